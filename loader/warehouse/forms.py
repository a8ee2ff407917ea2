"""The forms in which COPY takes rows: text, here, and PostgreSQL's binary format.

Python makes lines of text faster; PostgreSQL reads binary ones in three quarters of the time
(`binary.py`). A line is one row; `id` is its first field.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import chain
from typing import Any, ClassVar, Protocol

from loader.normalize.collections import Type
from loader.normalize.columns import Column

# Lines of one table: a list of bytes, or a `binary.Lines`.
Lines = Any


class Payload(Protocol):
    """What COPY takes, as a file."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, about so many; none behind the last ones."""


class Form(Protocol):
    """How the rows of one COPY are written."""

    options: ClassVar[str]  # of the statement

    def size(self, lines: Lines) -> int:
        """How many bytes some lines take."""

    def pick(self, lines: Lines, places: Sequence[int]) -> Lines:
        """Some of the lines."""

    def drop(self, lines: Lines, places: Sequence[int]) -> Lines:
        """The other lines; `places` are ascending."""

    def ids(self, lines: Lines) -> list[str]:
        """The id of each row."""

    def times(self, lines: Lines, place: int) -> list[str]:
        """The times in a field that is never null, in ISO 8601."""

    def extend(
        self, lines: Lines, columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> Lines:
        """The lines with more fields."""

    def sort(self, parts: Sequence[Lines]) -> Lines:
        """All lines of the parts, in the order of the key, or nearly so.

        Neighbours of the index are written together then, which costs the server less.
        """

    def payload(self, lines: Lines) -> Payload:
        """What COPY takes for some rows."""


NULL = r"\N"


class _Text:
    options: ClassVar[str] = ""

    def size(self, lines: list[bytes]) -> int:
        return sum(map(len, lines))

    def pick(self, lines: list[bytes], places: Sequence[int]) -> list[bytes]:
        return [lines[place] for place in places]

    def drop(self, lines: list[bytes], places: Sequence[int]) -> list[bytes]:
        kept = list(lines)
        for place in reversed(places):
            del kept[place]
        return kept

    def ids(self, lines: list[bytes]) -> list[str]:
        return [unescape(line.partition(b"\t")[0].decode()) for line in lines]

    def times(self, lines: list[bytes], place: int) -> list[str]:
        return [line.split(b"\t")[place].decode() for line in lines]

    def extend(
        self, lines: list[bytes], columns: Mapping[str, Column], types: Mapping[str, Type]
    ) -> list[bytes]:
        ends = join([fields(column, len(lines)) for column in columns.values()])
        return [b"%b\t%b" % (line, end.encode()) for line, end in zip(lines, ends, strict=True)]

    def sort(self, parts: Sequence[list[bytes]]) -> list[bytes]:
        return sorted(chain.from_iterable(parts))

    def payload(self, lines: list[bytes]) -> Payload:
        return BytesIO(b"\n".join([*lines, b""]))


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
