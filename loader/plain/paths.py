"""Keys and paths by number: each key of a block is looked up in a table, all at once."""

import random
from hashlib import blake2b

import numpy as np

from loader.plain.words import PAD, Letters, NotPlain, Places, Words, padded, words_at

# Senders with more keys, or more paths, go the other way; they are few, or hostile.
MOST = 1_000
_SLOT_BITS = 18  # so many that a thousand keys soon get a slot each
_MARKS = 3  # words of a key that are compared at once
_EXACT = 8 * _MARKS  # of longer keys, their hashes are compared
_MOST_TRIES = 1_000


def _mask(size: int) -> list[int]:
    """Ones for so many letters, in words."""
    return [(1 << 8 * min(max(size - at, 0), 8)) - 1 for at in range(0, _EXACT, 8)]


_MASKS = np.array([_mask(size) for size in range(_EXACT + 1)], np.uint64)


def _factors() -> Words:
    return np.array([random.getrandbits(64) | 1 for _ in range(_MARKS)], np.uint64)


class Paths:
    """The keys and paths that were met so far. Path 0 is the record itself."""

    def __init__(self) -> None:
        self.keys = [b""]
        self.paths: list[tuple[str, ...]] = [()]
        self._ids = {b"": 0}
        self._marks = np.zeros((1, _MARKS), np.uint64)
        self._table = np.zeros(1 << _SLOT_BITS, np.int16)
        self._factors = _factors()
        self._below = np.zeros((64, 64), np.int64)  # path, key -> path

    def path(self, *keys: str) -> int:
        """The number of a path."""
        at = 0
        for key in keys:
            at = self._step(at, self._add(key.encode()))
        return at

    def key_ids(self, letters: Letters, starts: Places, ends: Places) -> Places:
        """The number of each key."""
        marks = _marks(letters, starts, ends - starts)
        while True:
            found: Places = self._table.take(self._slots(marks), mode="clip").astype(np.int64)
            differs = self._marks.take(found, axis=0, mode="clip") != marks
            if not differs.any():
                return found
            some = np.flatnonzero(differs.any(axis=1))[:MOST].tolist()
            for key in {letters[starts[at] : ends[at]].tobytes() for at in some}:
                self._add(key)
            self._fill()

    def step(self, parents: Places, keys: Places) -> Places:
        """The path of each key below its parent."""
        code = parents * self._below.shape[1] + keys
        found: Places = self._below.take(code, mode="clip")
        if found.all():
            return found
        for new in np.unique(code.compress(found == 0)).tolist():
            self._step(*divmod(new, self._below.shape[1]))
        return self.step(parents, keys)

    def _step(self, parent: int, key: int) -> int:
        if found := int(self._below[parent, key]):
            return found
        if len(self.paths) == MOST:
            raise NotPlain
        self.paths.append((*self.paths[parent], self.keys[key].decode()))
        if len(self.paths) > len(self._below):
            self._below = np.pad(self._below, ((0, len(self._below)), (0, 0)))
        self._below[parent, key] = len(self.paths) - 1
        return len(self.paths) - 1

    def _add(self, key: bytes) -> int:
        if key in self._ids:
            return self._ids[key]
        if len(self.keys) == MOST:
            raise NotPlain
        self._ids[key] = len(self.keys)
        self.keys.append(key)
        if len(self.keys) > self._below.shape[1]:
            self._below = np.pad(self._below, ((0, 0), (0, self._below.shape[1])))
        marks = _marks(padded(key), np.array([PAD]), np.array([len(key)]))
        self._marks = np.concatenate((self._marks, marks))
        return self._ids[key]

    def _fill(self) -> None:
        """Give each key a slot of its own."""
        for _ in range(_MOST_TRIES):
            slots = self._slots(self._marks[1:])
            if len(np.unique(slots)) == len(slots):
                self._table[:] = 0
                self._table[slots] = np.arange(1, len(self.keys))
                return
            self._factors = _factors()
        raise NotPlain

    def _slots(self, marks: Words) -> Places:
        mixed = marks[:, 0] * self._factors[0]
        for column in range(1, _MARKS):
            mixed ^= marks[:, column]
            mixed *= self._factors[column]
        mixed >>= np.uint64(64 - _SLOT_BITS)
        slots: Places = mixed.view(np.int64)
        return slots


def _marks(letters: Letters, starts: Places, sizes: Places) -> Words:
    """The letters of keys that tell them apart; as no key holds a zero, also how many they are."""
    marks: Words = words_at(letters, starts, _MARKS)
    marks &= _MASKS.take(sizes, axis=0, mode="clip")
    for at in np.flatnonzero(sizes > _EXACT).tolist():
        key = letters[starts[at] : starts[at] + sizes[at]].tobytes()
        marks[at] = np.frombuffer(blake2b(key, digest_size=_EXACT).digest(), np.uint64)
    return marks
