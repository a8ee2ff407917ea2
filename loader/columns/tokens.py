"""Tokens: every value of a block of records as arrays, with its record and its path."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loader import native
from loader.normalize.event import JSON as Json
from loader.normalize.jsontext import read_value

Longs = NDArray[np.int64]
Ints = NDArray[np.int32] | NDArray[np.int64]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

# Kinds of values; the same numbers stand in reader.h. JSON is kept as text: a list, a number that
# Python has to look at, an object at a path that is not opened. 0 is the kind of no value.
STRING, TRUE, FALSE, INTEGER, DECIMAL, JSON, NULL, EMPTY, OPEN, TIME, ITEMS = range(1, 12)
# So many bytes are read at once, also behind the end.
WORD_BYTES = 8
# Arrays that only reading needs.
_READING = ("record", "path")
_SEED = secrets.randbits(64)
_FEW_TEXTS = 128


def is_one_of(*kinds: int) -> Flags:
    """A table by kind."""
    return np.isin(np.arange(ITEMS + 1), kinds)


IS_NOTHING = is_one_of(0, NULL)
IS_OBJECT = is_one_of(OPEN, EMPTY)
IS_TEXT = is_one_of(STRING, TIME)
IS_VALUE = ~is_one_of(0, NULL, OPEN, EMPTY, ITEMS)


class Text:
    """The bytes of a block, and behind them the texts of strings with escapes, and others."""

    def __init__(self, parts: Iterable[bytes | Bytes]) -> None:
        every = [np.frombuffer(part, np.uint8) for part in (*parts, bytes(WORD_BYTES))]
        self.bytes: Bytes = np.concatenate(every)
        self.size = len(self.bytes) - WORD_BYTES

    @property
    def room(self) -> int:
        """So large it can become where it stands."""
        return len(self.bytes) - WORD_BYTES

    def make_room(self, size: int) -> None:
        """Have room for so many bytes more."""
        if self.size + size > self.room:
            more = np.zeros(self.size + max(size, self.size // 8) + WORD_BYTES, np.uint8)
            more[: self.size] = self.bytes[: self.size]
            self.bytes = more

    def append(self, data: bytes) -> int:
        """Add some bytes; returns where they begin."""
        self.make_room(len(data))
        begin, self.size = self.size, self.size + len(data)
        self.bytes[begin : self.size] = np.frombuffer(data, np.uint8)
        return begin

    def cut(self, begin: int, end: int) -> bytes:
        """Some of the bytes."""
        return self.bytes[begin:end].tobytes()


# The arrays of tokens, in the order of the fields in reader.h.
TOKEN_ARRAYS = {
    **dict.fromkeys(("record", "path", "start", "end"), np.int32),
    **{"number": np.int64, "fraction": np.int32, "scale": np.int16, "kind": np.uint8},
}


@dataclass(kw_only=True)
class Tokens:
    """The values of a block. Token 0 is no value; its text is empty."""

    source: Text  # of the block
    cells: NDArray[np.int32]  # [path, record] -> token, for the paths that the forms name
    kind: NDArray[np.uint8]
    record: NDArray[np.int32]
    path: NDArray[np.int32]
    start: NDArray[np.int32]  # of the value's text in `text`; of a string without its quotes
    end: NDArray[np.int32]
    number: Longs  # of integers; of decimals the whole part; of times microseconds since 2000
    fraction: NDArray[np.int32]  # of decimals; of times whether they are finer than a microsecond
    scale: NDArray[np.int16]  # of decimals: digits of the fraction, and whether it is negative

    @property
    def text(self) -> Bytes:
        """Where the texts stand."""
        return self.source.bytes

    def compact(self) -> "Tokens":
        """The same in memory of their own, without what only reading needs."""
        kept = {name: getattr(self, name) for name in TOKEN_ARRAYS}
        kept = {name: each[: 0 if name in _READING else None].copy() for name, each in kept.items()}
        return Tokens(source=self.source, cells=np.zeros((0, 0), np.int32), **kept)

    def kinds(self, tokens: Ints) -> NDArray[np.uint8]:
        """The kinds of some tokens."""
        found: NDArray[np.uint8] = self.kind.take(tokens)
        return found

    def value(self, token: int) -> Json:
        """A value as Python has it, with every digit."""
        text = self.text[self.start[token] : self.end[token]].tobytes()
        return text.decode() if IS_TEXT[self.kind[token]] else read_value(text)

    def sizes(self, tokens: Ints) -> Longs:
        """The sizes of some tokens' texts, in bytes."""
        found: Longs = (self.end.take(tokens) - self.start.take(tokens)).astype(np.int64)
        return found

    def gather(self, tokens: Ints) -> bytes:
        """The texts of some tokens, with a zero behind each."""
        starts, ends = self.start.take(tokens), self.end.take(tokens)
        out = np.empty(int((ends - starts).sum()) + len(starts), np.uint8)
        native.gather_texts(
            *(each.ctypes.data for each in (self.text, starts, ends)), len(starts), out.ctypes.data
        )
        return out.tobytes()

    def texts(self, tokens: Ints) -> list[str]:
        """The texts of some tokens."""
        return self.gather(tokens).decode().split("\0")[:-1]  # no text holds a zero

    def distinct(self, tokens: Ints) -> tuple[list[str], Longs]:
        """The distinct texts of some tokens, and the index of each one's."""
        starts, ends = self.start.take(tokens), self.end.take(tokens)
        numbers, firsts = np.empty((2, len(starts)), np.int64)
        slot_count = 2 * _FEW_TEXTS
        while True:
            slots = np.full(slot_count, -1)
            found = native.number_texts(
                *(each.ctypes.data for each in (self.text, starts, ends)),
                *(len(starts), _SEED, slots.ctypes.data, slot_count),
                *(numbers.ctypes.data, firsts.ctypes.data),
            )
            if found >= 0:
                return self.texts(tokens[firsts[:found]]), numbers
            slot_count *= 16

    def add(self, texts: Sequence[bytes], kind: int) -> Longs:
        """New tokens, for texts that stand in no record."""
        sizes = np.array([len(one) for one in texts], np.int64)
        ends = np.cumsum(sizes) + self.source.append(b"".join(texts))
        first = len(self.kind)
        new = {"kind": np.full(len(texts), kind), "start": ends - sizes, "end": ends}
        if len(self.record):
            new["record"] = np.full(len(texts), -1)  # of none
        for name in TOKEN_ARRAYS:
            if len(before := getattr(self, name)) or name not in _READING:
                more = new.get(name, np.zeros(len(texts))).astype(before.dtype)
                setattr(self, name, np.append(before, more))
        return np.arange(first, first + len(texts))
