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
from loader.warehouse.forms import Form

_COUNT = Struct(">h")
_SIZE = Struct(">i")
_LONG = Struct(">q")
_NUMERIC_HEAD = Struct(">HhHH")  # digits of base 10,000, weight, sign, digits after the point
_NEGATIVE = 0x4000
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = _COUNT.pack(-1)
NULL = _SIZE.pack(-1)
# Where the first line begins.
BEGIN = len(_HEAD)
# Where PostgreSQL counts microseconds from.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Lines:
    """Some rows as COPY takes them: its head, the lines, its end."""

    def __init__(self, letters: Any, ends: Any) -> None:
        self.letters = letters  # uint8
        self.ends = ends  # int32: where the first line begins, and where each of them ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def every(self) -> list[bytes]:
        """The lines."""
        letters, ends = self.letters.tobytes(), self.ends.tolist()
        return [letters[begin:end] for begin, end in pairwise(ends)]


def room_for(sizes: Any) -> Lines:
    """Lines of some sizes, to be written."""
    ends = np.full(len(sizes) + 1, BEGIN, np.int32)
    np.cumsum(sizes, out=ends[1:])
    ends[1:] += BEGIN
    return framed(int(ends[-1]) - BEGIN, ends)


def framed(size: int, ends: Any) -> Lines:
    """Lines of `size` bytes, to be written."""
    letters = np.empty(BEGIN + size + len(_END), np.uint8)
    letters[:BEGIN] = np.frombuffer(_HEAD, np.uint8)
    letters[BEGIN + size :] = np.frombuffer(_END, np.uint8)
    return Lines(letters, ends)


def lines_of(values: Sequence[bytes]) -> Lines:
    """Lines that are given one by one."""
    lines = room_for(list(map(len, values)))
    lines.letters[BEGIN : -len(_END)] = np.frombuffer(b"".join(values), np.uint8)
    return lines


class _Binary:
    options: ClassVar[str] = "(FORMAT binary)"

    def __reduce__(self) -> str:
        return "BINARY"  # one and the same, also where a worker sends it: lines go by their form

    def size(self, lines: Lines) -> int:
        return int(lines.ends[-1] - lines.ends[0])

    def pick(self, lines: Lines, places: Sequence[int]) -> Lines:
        at = np.array(places, np.int64)
        begins, sizes = _places(lines)
        return _gathered(begins[at], sizes[at])

    def drop(self, lines: Lines, places: Sequence[int]) -> Lines:
        begins, sizes = _places(lines)
        return _gathered(np.delete(begins, places), np.delete(sizes, places))

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
        begins, sizes = map(np.concatenate, zip(*map(_places, parts), strict=True))
        first, second = np.empty((2, len(begins)), np.uint64)
        native.read_keys(begins.ctypes.data, len(begins), first.ctypes.data, second.ctypes.data)
        order = first.argsort()
        in_order = first[order]
        if np.count_nonzero(in_order[1:] == in_order[:-1]) > len(order) // _ALIKE:
            order = np.lexsort((second, first))
        return _gathered(begins[order], sizes[order])

    def payload(self, lines: Lines) -> memoryview:
        return memoryview(lines.letters)


BINARY: Form = _Binary()

# Where more than one of so many ids begins like its neighbour, more letters count.
_ALIKE = 8


def _places(lines: Lines) -> tuple[Any, Any]:
    """The address of each line, and its size."""
    ends = lines.ends.astype(np.int64)
    return ends[:-1] + lines.letters.ctypes.data, np.diff(ends)


def _gathered(begins: Any, sizes: Any) -> Lines:
    """The lines that stand at some addresses."""
    lines = room_for(sizes)
    begins, sizes = np.ascontiguousarray(begins), np.ascontiguousarray(sizes)
    out = lines.letters[BEGIN:].ctypes.data
    native.gather(begins.ctypes.data, sizes.ctypes.data, len(begins), out, 0)
    return lines


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
