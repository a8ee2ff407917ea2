"""Values in PostgreSQL's binary format of COPY, and rows of them.

The facts are in PostgreSQL's manual (COPY, "Binary Format") and in the `recv` functions of its
types. A row is the number of its fields, in two bytes, and the fields: each its size, in four bytes
(-1 for null), and its value. Everything is big-endian.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from struct import Struct

import numpy as np

from loader import native
from loader.columns.times import EPOCH, MICROSECOND, microseconds_of
from loader.columns.tokens import Bytes, Longs
from loader.normalize.collections import Type
from loader.normalize.jsontext import read_value

_COUNT = Struct(">h")
_SIZE = Struct(">i")
_LONG = Struct(">q")
_NUMERIC_HEAD = Struct(">HhHH")  # digits of base 10,000, weight, sign, digits after the point
_NEGATIVE = 0x4000
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = _COUNT.pack(-1)
_NULL = _SIZE.pack(-1)
# Where more than one of so many ids begins like its neighbour, more bytes count.
_ALIKE = 8


class EncodedRows:
    """Some rows, wherever their bytes stand in memory: to sort them, none has to be moved."""

    def __init__(self, begins: Longs, sizes: Longs, buffers: Sequence[object]) -> None:
        self.begins = begins  # the address of each row
        self.sizes = sizes
        self._buffers = buffers  # where the rows stand; kept alive

    def __len__(self) -> int:
        return len(self.begins)

    @classmethod
    def cut(cls, buffer: Bytes, ends: Longs) -> "EncodedRows":
        """Rows that stand one behind the other, each up to one of the ends."""
        sizes = np.diff(ends, prepend=0)
        return cls(ends - sizes + buffer.ctypes.data, sizes, [buffer])

    @classmethod
    def join(cls, parts: Sequence["EncodedRows"]) -> "EncodedRows":
        """The rows of all parts."""
        begins, sizes = (
            np.concatenate(each)
            for each in zip(*((part.begins, part.sizes) for part in parts), strict=True)
        )
        return cls(begins, sizes, parts)

    @property
    def size(self) -> int:
        """How many bytes they take."""
        return int(self.sizes.sum())

    def take(self, at: Longs) -> "EncodedRows":
        """Some of the rows, in some order."""
        return EncodedRows(self.begins[at], self.sizes[at], self._buffers)

    def without(self, at: Sequence[int]) -> "EncodedRows":
        """The other rows."""
        return self.take(np.delete(np.arange(len(self)), at))

    def sort(self) -> "EncodedRows":
        """The rows in the order of their ids, or nearly so.

        Neighbours of the index are written together then, which costs the server less.
        """
        first, second = np.empty((2, len(self)), np.uint64)
        begins = np.ascontiguousarray(self.begins)
        native.read_keys(begins.ctypes.data, len(self), first.ctypes.data, second.ctypes.data)
        order = first.argsort()
        in_order = first[order]
        if np.count_nonzero(in_order[1:] == in_order[:-1]) > len(order) // _ALIKE:
            order = np.lexsort((second, first))
        return self.take(order)

    def joined(self, first: int, behind: int) -> bytes:
        """Some consecutive rows as one text."""
        begins = np.ascontiguousarray(self.begins[first:behind])
        sizes = np.ascontiguousarray(self.sizes[first:behind])
        out = np.empty(int(sizes.sum()), np.uint8)
        native.gather(begins.ctypes.data, sizes.ctypes.data, len(begins), out.ctypes.data)
        return out.tobytes()

    def each(self) -> Iterator[bytes]:
        """The rows one by one."""
        ends = np.append(0, np.cumsum(self.sizes)).tolist()
        buffer = self.joined(0, len(self))
        return (buffer[begin:end] for begin, end in pairwise(ends))

    def ids(self) -> list[str]:
        """The id of each row, which is its first field."""
        at = _COUNT.size + _SIZE.size
        return [
            row[at : at + _SIZE.unpack_from(row, _COUNT.size)[0]].decode() for row in self.each()
        ]

    def fields(self) -> Iterator[list[bytes | None]]:
        """The values of each row."""
        for row in self.each():
            values: list[bytes | None] = []
            at = _COUNT.size
            for _ in range(_COUNT.unpack_from(row)[0]):
                (size,) = _SIZE.unpack_from(row, at)
                at += _SIZE.size
                values.append(row[at : at + size] if size >= 0 else None)
                at += max(size, 0)
            yield values

    def payload(self) -> "Payload":
        """What COPY takes for these rows."""
        return Payload(self)


class Payload:
    """A COPY as the file that psycopg2 reads it from: its head, the rows, its end."""

    def __init__(self, rows: EncodedRows) -> None:
        self._rows = rows
        self._ends = np.cumsum(rows.sizes)
        self._at = 0  # the next row
        self._more = [_END, _HEAD]

    def read(self, size: int, /) -> bytes:
        """So many bytes, or one row where it is longer; none behind the last ones."""
        if len(self._more) == 2 or self._at == len(self._rows):
            return self._more.pop() if self._more else b""
        first = self._at
        begin = self._ends[first] - self._rows.sizes[first]
        behind = int(np.searchsorted(self._ends, begin + size, side="right"))
        self._at = max(behind, first + 1)
        return self._rows.joined(first, self._at)


# texts of `coerce` -> fields


def field(text: str | None, type_: Type) -> bytes:
    """A text of `coerce` as a field."""
    if text is None:
        return _NULL
    value = _VALUES[type_](text)
    return _SIZE.pack(len(value)) + value


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
    "timestamptz": lambda text: _LONG.pack(microseconds_of(text)),
}


# fields -> values


def _read_numeric(value: bytes) -> Decimal:
    count, weight, sign, places = _NUMERIC_HEAD.unpack_from(value)
    groups = [_COUNT.unpack_from(value, _NUMERIC_HEAD.size + 2 * at)[0] for at in range(count)]
    before = weight + 1
    groups += [0] * (before + -(-places // 4) - len(groups))
    digits = "".join(f"{group:04}" for group in groups)
    whole, fraction = digits[: 4 * before], digits[4 * before :][:places]
    written = f"{whole or '0'}.{fraction}" if places else whole or "0"
    return Decimal(f"-{written}" if sign else written)


READ_VALUE: Mapping[Type, Callable[[bytes], object]] = {
    "text": bytes.decode,
    "jsonb": lambda value: read_value(value[1:]),
    "boolean": lambda value: value == b"\x01",
    "bigint": lambda value: _LONG.unpack(value)[0],
    "numeric": _read_numeric,
    "timestamptz": lambda value: EPOCH + _LONG.unpack(value)[0] * MICROSECOND,
}
