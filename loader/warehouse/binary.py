"""Rows in PostgreSQL's binary format of COPY.

The facts are in PostgreSQL's manual (COPY, "Binary Format") and in the `recv` functions of its
types. A line is the number of fields, in two bytes, and the fields: each its size, in four bytes
(-1 for null), and its value. Everything is big-endian.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from struct import Struct
from typing import Any, ClassVar

import numpy as np

from loader import native
from loader.normalize.collections import Type
from loader.normalize.columns import Column
from loader.warehouse.forms import Form, Payload

_COUNT = Struct(">h")
_SIZE = Struct(">i")
_LONG = Struct(">q")
_NUMERIC_HEAD = Struct(">HhHH")  # digits of base 10,000, weight, sign, digits after the point
_NEGATIVE = 0x4000
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = _COUNT.pack(-1)
NULL = _SIZE.pack(-1)
# Where PostgreSQL counts microseconds from.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Lines:
    """Some rows, wherever their lines stand in memory: to sort them, none has to be moved."""

    def __init__(self, begins: Any, sizes: Any, letters: Sequence[Any]) -> None:
        self.begins = begins  # int64: the address of each line
        self.sizes = sizes  # int64
        self._letters = letters  # uint8: where the lines stand

    def __len__(self) -> int:
        return len(self.begins)

    def take(self, at: Any) -> "Lines":
        """Some of the lines, in some order."""
        return Lines(self.begins[at], self.sizes[at], self._letters)

    def every(self) -> list[bytes]:
        """The lines."""
        ends = np.append(0, np.cumsum(self.sizes)).tolist()
        letters = self.letters(0, len(self))
        return [letters[begin:end] for begin, end in pairwise(ends)]

    def letters(self, first: int, behind: int) -> bytes:
        """Some consecutive lines as one text."""
        begins, sizes = self.begins[first:behind], self.sizes[first:behind]
        out = np.empty(int(sizes.sum()), np.uint8)
        native.gather(begins.ctypes.data, sizes.ctypes.data, len(begins), out.ctypes.data, 0)
        return out.tobytes()


def cut(letters: Any, ends: Any) -> Lines:
    """Lines that stand one behind the other, each up to one of the ends."""
    sizes = np.diff(ends, prepend=0)
    return Lines(ends - sizes + letters.ctypes.data, sizes, [letters])


def lines_of(values: Sequence[bytes]) -> Lines:
    """Lines that are given one by one."""
    letters = np.frombuffer(b"".join(values), np.uint8)
    return cut(letters, np.cumsum(np.array(list(map(len, values)), np.int64)))


class _Payload:
    """A COPY as the file that psycopg2 reads it from: its head, the lines, its end."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._ends = np.cumsum(lines.sizes)
        self._at = 0  # the next line
        self._more = [_END, _HEAD]

    def read(self, size: int) -> bytes:
        """So many bytes, or one line where it is longer."""
        if len(self._more) == 2 or self._at == len(self._lines):
            return self._more.pop() if self._more else b""
        first = self._at
        begin = self._ends[first] - self._lines.sizes[first]
        behind = int(np.searchsorted(self._ends, begin + size, side="right"))
        self._at = max(behind, first + 1)
        return self._lines.letters(first, self._at)


class _Binary:
    options: ClassVar[str] = "(FORMAT binary)"

    def size(self, lines: Lines) -> int:
        return int(lines.sizes.sum())

    def pick(self, lines: Lines, places: Sequence[int]) -> Lines:
        return lines.take(np.array(places, np.int64))

    def drop(self, lines: Lines, places: Sequence[int]) -> Lines:
        return lines.take(np.delete(np.arange(len(lines)), places))

    def ids(self, lines: Lines) -> list[str]:
        at = _COUNT.size + _SIZE.size
        return [
            line[at : at + _SIZE.unpack_from(line, _COUNT.size)[0]].decode()
            for line in lines.every()
        ]

    def times(self, lines: Lines, place: int) -> list[str]:
        return [_time(line, place) for line in lines.every()]

    def extend(
        self, lines: Lines, columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> Lines:
        ends = [
            [field(text, types[name]) for text in column.spread(len(lines))]
            for name, column in columns.items()
        ]
        extended = []
        for line, *more in zip(lines.every(), *ends, strict=True):
            count = _COUNT.pack(_COUNT.unpack_from(line)[0] + len(more))
            extended.append(b"".join([count, line[_COUNT.size :], *more]))
        return lines_of(extended)

    def sort(self, parts: Sequence[Lines]) -> Lines:
        lines = Lines(
            np.concatenate([part.begins for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            parts,
        )
        first, second = np.empty((2, len(lines)), np.uint64)
        native.read_keys(
            lines.begins.ctypes.data, len(lines), first.ctypes.data, second.ctypes.data
        )
        order = first.argsort()
        in_order = first[order]
        if np.count_nonzero(in_order[1:] == in_order[:-1]) > len(order) // _ALIKE:
            order = np.lexsort((second, first))
        return lines.take(order)

    def payload(self, lines: Lines) -> Payload:
        return _Payload(lines)


BINARY: Form = _Binary()

# Where more than one of so many ids begins like its neighbour, more letters count.
_ALIKE = 8


def _time(line: bytes, place: int) -> str:
    at = _COUNT.size
    for _ in range(place):
        at += _SIZE.size + max(_SIZE.unpack_from(line, at)[0], 0)
    return time_text(_LONG.unpack_from(line, at + _SIZE.size)[0])


def time_text(microseconds: int) -> str:
    """The text of a time, in ISO 8601."""
    return (EPOCH + int(microseconds) * _MICROSECOND).isoformat()


# texts -> fields


def field(text: str | None, type_: Type) -> bytes:
    """A text of `coerce` as a field."""
    if text is None:
        return NULL
    value = _VALUES[type_](text)
    return _SIZE.pack(len(value)) + value


def _time_value(text: str) -> bytes:
    return _LONG.pack((datetime.fromisoformat(text) - EPOCH) // _MICROSECOND)


def _numeric_value(text: str) -> bytes:
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)  # neither infinite nor no number
    places = max(-exponent, 0)
    written = "".join(map(str, digits)) + "0" * max(exponent, 0)
    before, after = written[: max(len(written) - places, 0)], written.zfill(places)
    after = after[len(after) - places :]
    before = before.zfill(-(-len(before) // 4) * 4)
    after = after.ljust(-(-places // 4) * 4, "0")
    groups = [int((before + after)[at : at + 4]) for at in range(0, len(before + after), 4)]
    head = _NUMERIC_HEAD.pack(len(groups), len(before) // 4 - 1, _NEGATIVE * sign, places)
    return head + b"".join(map(_COUNT.pack, groups))


_VALUES: Mapping[Type, Callable[[str], bytes]] = {
    "text": str.encode,
    "jsonb": lambda text: b"\x01" + text.encode(),  # the version of the format
    "boolean": lambda text: b"\x01" if text == "true" else b"\0",
    "bigint": lambda text: _LONG.pack(int(text)),
    "numeric": _numeric_value,
    "timestamptz": _time_value,
}
