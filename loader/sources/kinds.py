"""Kinds: what a file is that holds no events, by its first bytes.

A folder or bucket may hold other things than events. Taking events for something else leaves them
unread, while the reverse costs rejects; so a file is called something else only if it begins like a
known container, or if nothing in its start could be a record or the beginning of one.
"""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from loader.normalize.event import JSON
from loader.normalize.jsontext import parse_json
from loader.sources.records import read_blocks

# So much of a file is looked at, as bytes of what was packed. What stands behind does not count.
START_BYTES = 1 << 16


def describe(start: bytes) -> str:
    """What a file is that holds no events, as "a zip archive"; or "" if it may hold some.

    `start` is its first START_BYTES after decompression, and is shorter only if the file is.
    """
    if container := describe_container(start):
        return container
    text = start.removeprefix(b"\xef\xbb\xbf")
    if _OBJECT_FIRST.match(text):  # nearly every file of events
        return ""
    if markup := _describe_markup(text):
        return "" if any(map(_is_object, _lines_of_json(text))) else markup
    if _OPENING.search(text) or _is_undecided(text, is_cut=len(start) >= START_BYTES):
        return ""
    return "" if _holds_record(text) else _describe_rest(text)


def no_events(uri: str, what: str) -> str:
    """The words for an input that is named itself and holds no events."""
    return (
        f"{uri!r} holds no events (it looks like {what}): name another file, or its folder, where "
        "such files are left out"
    )


# containers


class _Magic(NamedTuple):
    """Bytes that tell a container, whatever stands behind them."""

    words: str
    bytes: bytes
    at: int = 0
    # A text may begin like this: it is one, unless control characters stand in it.
    is_text: bool = False


# Packed once more than the reader unpacks, or in a way that it does not know.
_PACKED = (
    _Magic("a gzip file inside a compressed file", b"\x1f\x8b"),
    _Magic("a zstd file inside a compressed file", b"\x28\xb5\x2f\xfd"),
    _Magic("a bzip2 file inside a compressed file", b"BZh", is_text=True),
    _Magic("an xz file inside a compressed file", b"\xfd7zXZ\0"),
    _Magic("a zstd file that begins with a skippable frame", b"\x2a\x4d\x18", at=1),
    _Magic("an lz4 file", b"\x04\x22\x4d\x18"),
    _Magic("a Snappy file", b"\xff\x06\0\0sNaPpY"),
    _Magic("an lzip file", b"LZIP", is_text=True),
    _Magic("a file packed by compress", b"\x1f\x9d"),
)
_ARCHIVES = (
    _Magic("a zip archive", b"PK\3\4"),
    _Magic("a zip archive", b"PK\5\6"),  # an empty one
    _Magic("a zip archive", b"PK\7\x08"),  # one of several parts
    _Magic("a tar archive", b"ustar\0", at=257),
    _Magic("a tar archive", b"ustar  \0", at=257),
    _Magic("a 7z archive", b"7z\xbc\xaf\x27\x1c"),
    _Magic("a RAR archive", b"Rar!\x1a\7"),
    _Magic("an ar archive", b"!<arch>\n"),
)
_TABLES = (
    _Magic("a Parquet file", b"PAR1", is_text=True),
    _Magic("an encrypted Parquet file", b"PARE", is_text=True),
    _Magic("an Avro file", b"Obj\1"),
    _Magic("an ORC file", b"ORC", is_text=True),
    _Magic("an Arrow file", b"ARROW1\0\0"),
    _Magic("a Feather file", b"FEA1", is_text=True),
    _Magic("a Hadoop sequence file", b"SEQ\6"),
    _Magic("an HDF5 file", b"\x89HDF\r\n\x1a\n"),
    _Magic("a NumPy array", b"\x93NUMPY"),
    _Magic("a SQLite database", b"SQLite format 3\0"),
    _Magic("a DuckDB database", b"DUCK", at=8, is_text=True),
    _Magic("a dump of PostgreSQL", b"PGDMP", is_text=True),
)
_DOCUMENTS = (
    _Magic("a PDF document", b"%PDF-"),
    _Magic("an RTF document", b"{\\rtf"),
    _Magic("an Office document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    _Magic("a PNG image", b"\x89PNG\r\n\x1a\n"),
    _Magic("a JPEG image", b"\xff\xd8\xff"),
    _Magic("a GIF image", b"GIF87a", is_text=True),
    _Magic("a GIF image", b"GIF89a", is_text=True),
    _Magic("a WebP image", b"WEBP", at=8, is_text=True),
    _Magic("a TIFF image", b"II*\0"),
    _Magic("a TIFF image", b"MM\0*"),
    _Magic("a BMP image", b"BM", is_text=True),
    _Magic("an icon", b"\0\0\1\0"),
    _Magic("a video", b"ftyp", at=4, is_text=True),
)
_PROGRAMS = (
    _Magic("an executable", b"\x7fELF"),
    _Magic("an executable", b"MZ", is_text=True),
    _Magic("an executable", b"\xcf\xfa\xed\xfe"),
    _Magic("an executable", b"\xce\xfa\xed\xfe"),
    _Magic("an executable", b"\xca\xfe\xba\xbe"),
    _Magic("a WebAssembly module", b"\0asm"),
)
_SECRETS = (
    _Magic("an encrypted file", b"age-encryption.org/v1\n"),
    _Magic("an encrypted file", b"Salted__", is_text=True),
)
_MAGICS = _PACKED + _ARCHIVES + _TABLES + _DOCUMENTS + _PROGRAMS + _SECRETS
# Those at the beginning are told apart only when one of them is there.
_FIRST_MAGICS = tuple(magic.bytes for magic in _MAGICS if not magic.at)
_LATER_MAGICS = tuple(magic for magic in _MAGICS if magic.at)

# Control characters that do not stand in texts.
_CONTROL = re.compile(rb"[\0-\x06\x0e-\x19\x1c\x1d\x1f\x7f]")
# A binary format has some of them among so many bytes.
_HEAD_BYTES = 512

# UTF-16 and UTF-32, by their byte order mark, or without one by their first bracket.
_WIDE = (
    ("UTF-32", re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff")),
    ("UTF-16", re.compile(rb"(?:\xff\xfe|\xfe\xff)(?=[^\0]{0,62}\0)", re.DOTALL)),
    ("UTF-32", re.compile(rb"(?:\s\0\0\0)*+[{\[]\0\0\0|(?:\0\0\0\s)*+\0\0\0[{\[]\0\0\0")),
    ("UTF-16", re.compile(rb"(?:\s\0)*+[{\[]\0[^\0]\0|(?:\0\s)*+\0[{\[]\0[^\0]")),
)


def describe_container(start: bytes) -> str:
    """What a file is that no line of JSON makes events: a binary format or encoding; or ""."""
    magics = _MAGICS if start.startswith(_FIRST_MAGICS) else _LATER_MAGICS
    for magic in magics:
        if start.startswith(magic.bytes, magic.at) and (
            not magic.is_text or _CONTROL.search(start, 0, _HEAD_BYTES)
        ):
            return magic.words
    if b"\0" not in start[:_HEAD_BYTES]:
        return ""
    if _is_old_tar(start[:_HEAD_BYTES]):
        return "a tar archive"
    wide = next((name for name, pattern in _WIDE if pattern.match(start)), "")
    return f"{wide} text (store it as UTF-8)" if wide else ""


_CHECKSUM = slice(148, 156)
_OCTAL = re.compile(rb" *([0-7]{1,7})[ \0]")


def _is_old_tar(header: bytes) -> bool:
    """Whether the checksum of a tar header is right. It counts itself as blanks.

    Tars from before 1988 have no mark but this one.
    """
    stored = _OCTAL.match(header[_CHECKSUM])
    if len(header) < 512 or stored is None:
        return False
    counted = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    return int(stored[1], 8) == sum(counted)


# events

_OBJECT_FIRST = re.compile(rb'\s*+\{\s*+["}]')
# Lines that may begin a record, a document or an array of them, be it cut, broken or not JSON as in
# {'event': ...}: all of them shall be rows or rejects. Lines of `[INFO]` and `{% if %}` do not.
_OPENING = re.compile(
    rb"""
    ^[ \t\r]*+ (?:
        \{ (?: \s*+ (?:["}]|\Z) | [ \t]*+ (?: ' | \\" | \w++[ \t]*+: ) )
        | \[[\[ \t\r,]*+ \{
    )
    """,
    re.MULTILINE | re.VERBOSE,
)
_BRACKET_LINE = re.compile(rb"^[ \t\r]*+[{\[]", re.MULTILINE)
_OBJECT = re.compile(rb'\{\s*+["}]')
# A line that is not blank and does not begin with a brace.
_NO_BRACE = re.compile(rb"^[ \t\r]*+[^\s{]", re.MULTILINE)
_NOTHING = re.compile(rb"[\s\[\],]*")
_ARRAY_FIRST = re.compile(rb"\s*+\[[ \t\r]*+(?:\n|\Z)")


def _is_undecided(text: bytes, *, is_cut: bool) -> bool:
    """Whether records may follow on what is in the start, or nothing in it is anything else."""
    if not _NO_BRACE.search(text) or _NOTHING.fullmatch(text):
        return True  # broken records only, nothing at all, or an empty array
    if not is_cut:
        return False
    # A log that was cut while it was written to begins with a hole: zeros up to the next line.
    is_one_line = b"\n" not in text.lstrip() and not _CONTROL.search(text.replace(b"\0", b""))
    return is_one_line or _ARRAY_FIRST.match(text) is not None


def _holds_record(text: bytes) -> bool:
    """Whether the reader of records finds an object, or an array with one in it.

    It finds them behind other values too, as in `[INFO] {"event": ...}`.
    """
    if not (_BRACKET_LINE.search(text) and _OBJECT.search(text)):  # it takes a while
        return False
    return any(raw[:1] in b"{[" and _holds_object(parse_json(raw)[0]) for raw in _records(text))


def _records(text: bytes) -> Iterator[bytes]:
    """The records in a text, and what is none in it."""
    for block in read_blocks([text]):
        data = block.bytes.tobytes()
        for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True):
            yield data[start:end]
        yield from (bad.raw for bad in block.bad)


def _holds_object(value: JSON) -> bool:
    """Whether a value is an object, or an array with one in it at any depth."""
    level = [value]
    while level:
        if any(isinstance(one, dict) for one in level):
            return True
        level = [item for one in level if isinstance(one, list) for item in one]
    return False


# texts

# So many records or rows tell what a text is, of its first whole lines of so many bytes.
_SAMPLE, _SAMPLE_BYTES = 20, 1 << 13
_MARKUP = re.compile(rb"\s*+<(?:[!?]|[a-z][\w:.-]*+[\s/>])", re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype html|html|head|body|script|div|p)\b", re.IGNORECASE)
_MARKUP_BYTES = 1 << 10
_LINE_OF_JSON = re.compile(rb"^[ \t\r]*+([{\[][^\n]*+)$", re.MULTILINE)


def _describe_markup(text: bytes) -> str:
    if not _MARKUP.match(text):
        return ""
    return "HTML" if _HTML.search(text, 0, _MARKUP_BYTES) else "XML"


def _lines_of_json(text: bytes) -> Iterator[JSON]:
    """The values on lines of a page, which may have JavaScript and documents over many lines."""
    for found in _LINE_OF_JSON.finditer(text):
        yield parse_json(found[1].rstrip(b" \t\r,"))[0]


def _is_object(value: JSON) -> bool:
    return value != {} and _holds_object(value)


def _describe_rest(text: bytes) -> str:
    if not text.strip(b"\0"):
        return "zero bytes only"
    if _CONTROL.search(text):
        return "binary data"
    if text.startswith(b"#!"):
        return "a script"
    head = text[: text.rfind(b"\n", 0, _SAMPLE_BYTES) + 1] or text
    if all(parse_json(raw)[1] is None for raw in islice(_records(head), _SAMPLE)):
        return "JSON without objects"
    if _is_csv(head):
        return "CSV"
    if b'{"' in text:
        return "text with JSON only behind other text"
    return "text without JSON"


_DELIMITERS = ",;\t|"


def _is_csv(text: bytes) -> bool:
    """Whether the first rows have equally many fields, or there is only one of column names."""
    lines = text.decode("utf-8", "replace").splitlines(keepends=True)
    for delimiter in _DELIMITERS:
        try:
            rows = list(islice(filter(None, csv.reader(lines, delimiter=delimiter)), _SAMPLE))
        except csv.Error:
            continue
        counts = set(map(len, rows))
        if len(counts) == 1 and counts != {1}:
            names = len(rows[0]) > 2 and all(map(str.isidentifier, rows[0]))
            if len(rows) > 1 or names:
                return True
    return False
