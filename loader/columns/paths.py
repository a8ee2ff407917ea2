"""Paths by number: the keys that lead to a value."""

import secrets

import numpy as np
from numpy.typing import NDArray

from loader import native
from loader.columns.tokens import Longs

Path = tuple[str, ...]

MOST_PATHS = 1 << 15  # the same number stands in paths.h
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
        self.parents: NDArray[np.int32] = np.zeros(1, np.int32)  # by path: the one above it
        self.keys = [""]  # by path: its last key
        self._key_bytes = 0
        self.number: dict[Path, int] = {(): 0}  # of those that the forms name
        for path in sorted(marks, key=len):  # the path above it is there already
            self.number[path] = self._find(path)
            native.mark_path(self.handle, self.number[path], marks[path])
        self.learn()
        self.named = len(self)

    def __del__(self) -> None:
        native.free_paths(self.handle)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Path:
        keys: list[str] = []
        while number:
            keys.append(self.keys[number])
            number = int(self.parents[number])
        return tuple(reversed(keys))

    def make(self, path: Path) -> int:
        """The number of a path, which need not stand in any record."""
        number = self._find(path)
        self.learn()
        return number

    def _find(self, path: Path) -> int:
        number = 0
        for key in map(str.encode, path):
            number = native.find_path(self.handle, number, key, len(key))
            if not number:
                raise PathsFull
        return number

    def learn(self) -> None:
        """Take over the paths that the tokenizer has met since."""
        known, now = len(self), native.count_paths(self.handle)
        if now == known:
            return
        size = native.count_key_bytes(self.handle)
        parents = np.empty(now - known, np.int32)
        keys = np.empty(size - self._key_bytes + now - known, np.uint8)
        native.list_paths(self.handle, known, parents.ctypes.data, keys.ctypes.data)
        self._key_bytes = size
        self.parents = np.append(self.parents, parents)
        self.keys += keys.tobytes().decode().split("\0")[:-1]

    def tops(self, above: int = 0) -> Longs:
        """By path: the one right below `above` that it is or is below of; 0 for others."""
        found = np.where(self.parents == above, np.arange(len(self)), 0)
        while True:
            at = np.flatnonzero((found == 0) & (found.take(self.parents) > 0))
            if not len(at):
                return found
            found[at] = found[self.parents[at]]
