"""Paths by number: the keys that lead to a value."""

import secrets

import numpy as np

from loader import native

Path = tuple[str, ...]

MOST_PATHS = 1 << 14  # the same number stands in paths.h
# What a path is marked as; the same numbers stand there, too.
MAY_BE_TIME, IS_OPENED, HOLDS_RECORDS = 1, 2, 4


class PathsFull(Exception):
    """There is no room for another path: read fewer records at once, with new paths."""


class Paths:
    """The paths that were met so far; 0 is the record itself, and those in `marks` come next."""

    def __init__(self, marks: dict[Path, int]) -> None:
        self.handle = native.new_paths(secrets.randbits(64))
        if not self.handle:
            raise MemoryError
        self.number: dict[Path, int] = {(): 0}
        self._paths: list[Path] = [()]
        self._key_bytes = 0
        for path in sorted(marks, key=len):  # the path above it is there already
            native.mark_path(self.handle, self.make(path), marks[path])
        self.named = len(self._paths)  # those that the forms name

    def __del__(self) -> None:
        native.free_paths(self.handle)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Path:
        return self._paths[number]

    def make(self, path: Path) -> int:
        """The number of a path, which need not stand in any record."""
        number = 0
        for key in map(str.encode, path):
            number = native.find_path(self.handle, number, key, len(key))
            if not number:
                raise PathsFull
        self.learn()
        return number

    def learn(self) -> None:
        """Take over the paths that the tokenizer has met since."""
        known, now = len(self._paths), native.count_paths(self.handle)
        if now == known:
            return
        size = native.count_key_bytes(self.handle)
        parents = np.empty(now - known, np.int32)
        keys = np.empty(size - self._key_bytes + now - known, np.uint8)
        native.list_paths(self.handle, known, parents.ctypes.data, keys.ctypes.data)
        self._key_bytes = size
        paths = self._paths
        for above, key in zip(
            parents.tolist(), keys.tobytes().decode().split("\0")[:-1], strict=True
        ):
            paths.append((*paths[above], key))
        self.number.update(zip(paths[known:], range(known, now), strict=True))
