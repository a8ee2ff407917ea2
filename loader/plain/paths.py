"""Paths by number: the keys that lead to a value, as `tokens.c` has found them."""

import ctypes

from loader import native
from loader.plain.arrays import NotPlain


class Paths:
    """The paths that were met so far. Path 0 is the record itself."""

    def __init__(self) -> None:
        self.handle = native.new_paths()
        if not self.handle:
            raise MemoryError
        self.paths: list[tuple[str, ...]] = [()]

    def __del__(self) -> None:
        native.free_paths(self.handle)

    def path(self, *keys: str) -> int:
        """The number of a path."""
        at = 0
        for key in map(str.encode, keys):
            at = native.find_path(self.handle, at, key, len(key))
            if not at:
                raise NotPlain
        self.learn()
        return at

    def time(self, key: str) -> int:
        """The number of a path whose strings may be times."""
        at = self.path(key)
        native.expect_times(self.handle, at)
        return at

    def learn(self) -> None:
        """Take over paths that are new."""
        key, size = ctypes.c_void_p(), ctypes.c_int64()
        for at in range(len(self.paths), native.count_paths(self.handle)):
            above = native.get_path(self.handle, at, key, size)
            last = ctypes.string_at(key.value or 0, size.value).decode()
            self.paths.append((*self.paths[above], last))
