"""The two forms in which COPY takes a row: text, and PostgreSQL's binary format.

Python makes lines of text faster; PostgreSQL reads binary ones in three quarters of the time, and
Arrow can make those. A line is one row without its end; `id` is its first field.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from struct import Struct
from typing import ClassVar, Protocol

from loader.normalize.collections import Type
from loader.normalize.columns import Column


class Form(Protocol):
    """How the rows of one COPY are written."""

    options: ClassVar[str]  # of the statement

    def id_of(self, line: bytes) -> str:
        """The id of a row."""

    def time_of(self, line: bytes, place: int) -> str:
        """The time in a field that is not null, in ISO 8601."""

    def extend(
        self, lines: Sequence[bytes], columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> list[bytes]:
        """The lines with more fields."""

    def join(self, lines: Sequence[bytes], fields: int) -> bytes:
        """What COPY takes for some rows, of so many fields each."""


# text


NULL = r"\N"


class _Text:
    options: ClassVar[str] = ""

    def id_of(self, line: bytes) -> str:
        return unescape(line.partition(b"\t")[0].decode())

    def time_of(self, line: bytes, place: int) -> str:
        return line.split(b"\t")[place].decode()

    def extend(
        self, lines: Sequence[bytes], columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> list[bytes]:
        ends = join([fields(column, len(lines)) for column in columns.values()])
        return [b"%b\t%b" % (line, end.encode()) for line, end in zip(lines, ends, strict=True)]

    def join(self, lines: Sequence[bytes], fields: int) -> bytes:
        return b"\n".join([*lines, b""])


TEXT: Form = _Text()


def join(columns: Sequence[Sequence[str]]) -> list[str]:
    """Lines out of columns of fields."""
    return list(map("\t".join, zip(*columns, strict=True)))


def fields(column: Column | None, size: int) -> Sequence[str]:
    """The fields of a column, escaped, null as `\\N`."""
    if column is None:
        return [NULL] * size
    if column.rows is not None:
        found = [NULL] * size
        for row, field_ in zip(column.rows, fields(column._replace(rows=None), 0), strict=True):
            found[row] = field_
        return found
    texts = column.texts
    if column.rough:
        texts = list(map(_escape_or_none, texts))
    if not column.full and None in texts:
        return [NULL if t is None else t for t in texts]
    return texts  # type: ignore[return-value]  # no None in it


def escape(text: str) -> str:
    """`text` as a field of COPY's text format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _escape_or_none(text: str | None) -> str | None:
    return None if text is None else escape(text)


def unescape(text: str) -> str:
    """The text of a field, where it holds only what `escape` writes."""
    if "\\" not in text:
        return text
    return "\\".join(map(_unescape_breaks, text.split("\\\\")))


def _unescape_breaks(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r")


# binary: each field is its size (four bytes, -1 for null) and its value; everything big-endian


_SIZE = Struct(">i")
_LONG = Struct(">q")
_COUNT = Struct(">h")
_NUMERIC_HEAD = Struct(">HhHH")  # digits of base 10,000, weight, sign, digits after the point
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = _COUNT.pack(-1)
BINARY_NULL = _SIZE.pack(-1)
# Where PostgreSQL counts microseconds from.
BINARY_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class _Binary:
    options: ClassVar[str] = "(FORMAT binary)"

    def id_of(self, line: bytes) -> str:
        return line[4 : 4 + _SIZE.unpack_from(line)[0]].decode()

    def time_of(self, line: bytes, place: int) -> str:
        at = 0
        for _ in range(place):
            at += 4 + max(_SIZE.unpack_from(line, at)[0], 0)
        microseconds: int = _LONG.unpack_from(line, at + 4)[0]
        return (BINARY_EPOCH + microseconds * _MICROSECOND).isoformat()

    def extend(
        self, lines: Sequence[bytes], columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> list[bytes]:
        ends = [
            [binary_field(text, types[name]) for text in column.spread(len(lines))]
            for name, column in columns.items()
        ]
        return list(map(b"".join, zip(lines, *ends, strict=True)))

    def join(self, lines: Sequence[bytes], fields: int) -> bytes:
        # Each row begins with how many fields it has.
        return _COUNT.pack(fields).join([_HEAD, *lines]) + _END


BINARY: Form = _Binary()


def binary_field(text: str | None, type_: Type) -> bytes:
    """A text of `coerce` as a field of COPY's binary format."""
    if text is None:
        return BINARY_NULL
    value = _BINARY[type_](text)
    return _SIZE.pack(len(value)) + value


def _binary_time(text: str) -> bytes:
    return _LONG.pack((datetime.fromisoformat(text) - BINARY_EPOCH) // _MICROSECOND)


def _binary_numeric(text: str) -> bytes:
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)  # neither infinite nor no number
    places = max(-exponent, 0)
    written = "".join(map(str, digits)) + "0" * max(exponent, 0)
    before, after = written[: max(len(written) - places, 0)], written.zfill(places)
    after = after[len(after) - places :]
    before = before.zfill(-(-len(before) // 4) * 4)
    after = after.ljust(-(-places // 4) * 4, "0")
    groups = [int((before + after)[at : at + 4]) for at in range(0, len(before + after), 4)]
    head = _NUMERIC_HEAD.pack(len(groups), len(before) // 4 - 1, 0x4000 * sign, places)
    return head + b"".join(map(_COUNT.pack, groups))


_BINARY: Mapping[Type, Callable[[str], bytes]] = {
    "text": str.encode,
    "jsonb": lambda text: b"\x01" + text.encode(),  # the version of the format
    "boolean": lambda text: b"\x01" if text == "true" else b"\0",
    "bigint": lambda text: _LONG.pack(int(text)),
    "numeric": _binary_numeric,
    "timestamptz": _binary_time,
}
