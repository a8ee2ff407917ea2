"""Rows in PostgreSQL's binary format of COPY, as Arrow holds them.

The facts are in PostgreSQL's manual (COPY, "Binary Format") and in the `recv` functions of its
types. A line is the number of fields, in two bytes, and the fields: each its size, in four bytes
(-1 for null), and its value. Everything is big-endian.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from struct import Struct
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

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
# Where PostgreSQL counts microseconds from.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Array = Any  # pyarrow.BinaryArray; the library has no types of its own


class _Binary:
    options: ClassVar[str] = "(FORMAT binary)"

    def __reduce__(self) -> str:
        return "BINARY"  # one and the same, also where a worker sends it: lines go by their form

    def size(self, lines: Array) -> int:
        ends = _ends(lines)
        return int(ends[-1] - ends[0])

    def pick(self, lines: Array, places: Sequence[int]) -> Array:
        return lines.take(longs(places))

    def drop(self, lines: Array, places: Sequence[int]) -> Array:
        begins, ends = [0, *(place + 1 for place in places)], [*places, len(lines)]
        return pa.concat_arrays([lines[a:b] for a, b in zip(begins, ends, strict=True)])

    def ids(self, lines: Array) -> list[str]:
        at = _COUNT.size + _SIZE.size
        return [
            line[at : at + _SIZE.unpack_from(line, _COUNT.size)[0]].decode()
            for line in lines.to_pylist()
        ]

    def times(self, lines: Array, place: int) -> list[str]:
        return [_time(line, place) for line in lines.to_pylist()]

    def extend(
        self, lines: Array, columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> Array:
        ends = [
            [field(text, types[name]) for text in column.spread(len(lines))]
            for name, column in columns.items()
        ]
        extended = []
        for line, *more in zip(lines.to_pylist(), *ends, strict=True):
            count = _COUNT.pack(_COUNT.unpack_from(line)[0] + len(more))
            extended.append(b"".join([count, line[_COUNT.size :], *more]))
        return texts(extended)

    def sort(self, parts: Sequence[Array]) -> Array:
        lines = pa.concat_arrays(parts)
        if not len(lines):
            return lines
        first, second = _heads(lines)
        order = first.argsort()
        in_order = first[order]
        if np.count_nonzero(in_order[1:] == in_order[:-1]) > len(order) // _ALIKE:
            order = np.lexsort((second, first))
        return lines.take(longs(order))

    def payload(self, lines: Array) -> bytes:
        ends = _ends(lines)
        letters = memoryview(lines.buffers()[2])[ends[0] : ends[-1]]
        return b"".join([_HEAD, letters, _END])


BINARY: Form = _Binary()


# pyarrow.array loads pandas, which takes longer than a small load and as much memory as a batch.


def longs(values: Any) -> Array:
    """A pyarrow.Int64Array of some numbers."""
    values = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def texts(values: Sequence[bytes]) -> Array:
    """A pyarrow.BinaryArray of some bytes."""
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum(list(map(len, values)), out=ends[1:])
    return cut(b"".join(values), ends)


def cut(letters: Any, ends: Any) -> Array:
    """A pyarrow.BinaryArray: some letters, cut at the places `ends`, of which the first begins."""
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, buffers)


def _ends(lines: Array) -> Any:
    """Where each line begins, and the last one ends."""
    ends = np.frombuffer(lines.buffers()[1], np.int32)
    return ends[lines.offset : lines.offset + len(lines) + 1]


# Letters of the ids that sorting looks at: what all of them begin with, and two words behind.
_MOST_ALIKE = 64
# Where more than one of so many begins like its neighbour, both words count.
_ALIKE = 8


def _heads(lines: Array) -> tuple[Any, Any]:
    """Of each id the first eight letters that are not the same in all, and the next eight."""
    letters = np.frombuffer(lines.buffers()[2], np.uint8)
    size = min(_MOST_ALIKE, len(letters)) // 8 * 8
    every: Any = np.ndarray((len(letters) - size + 1,), np.dtype(f"V{size}"), letters.data, 0, (1,))
    starts = _ends(lines)[:-1].astype(np.int64) + _COUNT.size + _SIZE.size
    words = every[starts.clip(max=len(every) - 1)].view(">u8").reshape(-1, size // 8)
    differs = (words != words[0]).any(axis=0)
    first = int(differs.argmax())
    second = min(first + 1, words.shape[1] - 1)
    return words[:, first].astype(np.uint64), words[:, second].astype(np.uint64)


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


def count(fields: int) -> bytes:
    """What a line of so many fields begins with."""
    return _COUNT.pack(fields)


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
