"""What a file is that holds no events, told by its start; and that events are never called so."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from sources.other_files import (
    CALL,
    CALLS,
    database,
    empty_zip,
    old_tar,
    png,
    table,
    tarred,
    zipped,
)

from loader.normalize.jsontext import parse_json
from loader.sources.kinds import START_BYTES, describe, describe_container
from loader.sources.records import read_blocks
from loader.sources.unpack import unpack
from samples import generate

PAYLOADS = Path(__file__).parent.parent / "forms" / "payloads"
ROWS: list[list[object]] = [["id", "name", "sent"], *([n, "a, b\nc", n / 2] for n in range(50))]
PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" + CALL + b"trailer\n%%EOF\n"
HTML = b"<!DOCTYPE html>\n<html>\n<head><title>Events</title></head>\n<body>\n</body>\n</html>\n"
LINKED_DATA = b'<script type="application/ld+json">\n{\n  "@context": "https://schema.org"\n}\n'
DENIED = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>\n'
PROSE = b"Events of March.\n\nAsk the team, if a day is missing.\n[1] See the archive.\n"

NOT_EVENTS: dict[str, tuple[bytes, str]] = {
    "zip stored": (zipped(zipfile.ZIP_STORED), "a zip archive"),
    "zip deflated": (zipped(zipfile.ZIP_DEFLATED), "a zip archive"),
    "zip of nothing": (empty_zip(), "a zip archive"),
    "tar ustar": (tarred(tarfile.USTAR_FORMAT), "a tar archive"),
    "tar gnu": (tarred(tarfile.GNU_FORMAT), "a tar archive"),
    "tar pax": (tarred(tarfile.PAX_FORMAT, "é" * 120), "a tar archive"),
    "tar without a mark": (old_tar(), "a tar archive"),
    "tar of a strange name": (tarred(tarfile.USTAR_FORMAT, '{"a":1}'), "a tar archive"),
    "gzip in gzip": (gzip.compress(CALLS), "a gzip file inside a compressed file"),
    "zstd in gzip": (zstandard.compress(CALLS), "a zstd file inside a compressed file"),
    "bzip2 in gzip": (bz2.compress(CALLS), "a bzip2 file inside a compressed file"),
    "xz in gzip": (lzma.compress(CALLS), "an xz file inside a compressed file"),
    "zstd skippable": (
        b"\x50\x2a\x4d\x18\4\0\0\0abcd" + zstandard.compress(CALLS),
        "a zstd file that begins with a skippable frame",
    ),
    "png": (png(), "a PNG image"),
    "pdf": (PDF, "a PDF document"),
    "rtf": (b"{\\rtf1\\ansi Events}\n", "an RTF document"),
    "parquet": (b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02" + CALLS + b"PAR1", "a Parquet file"),
    "avro": (b"Obj\x01\x04\x16avro.schema\n" + CALLS, "an Avro file"),
    "orc": (b"ORC\x0a\x14\x0a\x04\x08\n" + CALLS + b"\3ORC", "an ORC file"),
    "python": (Path(sys.executable).resolve().read_bytes(), "an executable"),
    "utf-16": (CALLS.decode().encode("utf-16"), "UTF-16 text (store it as UTF-8)"),
    "utf-16 unmarked": (CALLS.decode().encode("utf-16-le"), "UTF-16 text (store it as UTF-8)"),
    "utf-16 big-endian": (CALLS.decode().encode("utf-16-be"), "UTF-16 text (store it as UTF-8)"),
    "utf-16 prose": (PROSE.decode().encode("utf-16"), "UTF-16 text (store it as UTF-8)"),
    "utf-32": (CALLS.decode().encode("utf-32"), "UTF-32 text (store it as UTF-8)"),
    "utf-32 unmarked": (CALLS.decode().encode("utf-32-be"), "UTF-32 text (store it as UTF-8)"),
    "html": (HTML, "HTML"),
    "html in capitals": (b"\n <HTML><BODY>no such key</BODY></HTML>", "HTML"),
    "html in one line": (b"<html>" + b"<p>a</p>" * 20_000, "HTML"),
    "html with documents": (HTML + LINKED_DATA + b"{}\n[1]\n", "HTML"),
    "xml": (DENIED, "XML"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><title>a</title></svg>', "XML"),
    "csv": (table(ROWS), "CSV"),
    "csv with a mark": (b"\xef\xbb\xbf" + table(ROWS, ";"), "CSV"),
    "csv of tabs": (table([["a", "b"], ["1", "2"]], "\t"), "CSV"),
    "csv with JSON": (table([["id", "payload"], ["1", CALL.decode()]]), "CSV"),
    "csv of many rows": (table(ROWS * 400), "CSV"),
    "csv of no rows": (b"id,name,sent\n", "CSV"),
    "prose": (PROSE, "text without JSON"),
    "prose in Latin-1": ("Fünf Öfen".encode("latin-1"), "text without JSON"),
    "much prose": (PROSE * 2_000, "text without JSON"),
    "words": (b"alpha\nbeta\n", "text without JSON"),
    "log": (b"[INFO] begun\n[Wed Oct 11 14:32:52] [error] {oops}\n", "text without JSON"),
    "log with JSON": (b"INFO: " + CALL, "text with JSON only behind other text"),
    "JSON sequence": (b"\x1e" + CALL, "text with JSON only behind other text"),
    "ini": (b"[default]\nregion = eu\n", "text without JSON"),
    "template": (b"{% if a %}\n{{ a }}\n{% endif %}\nend\n", "text without JSON"),
    "code": (b"int main(void)\n{\n  return 0;\n}\n", "text without JSON"),
    "script": (b"#!/bin/sh\necho '{}'\n", "a script"),
    "scalars": (b'1\n"a"\nnull\n', "JSON without objects"),
    "records in strings": (json.dumps(CALL.decode()).encode(), "JSON without objects"),
    "array of scalars": (b'[\n  "a",\n  "b"\n]\n', "JSON without objects"),
    "zeros": (bytes(4_096), "zero bytes only"),
    "binary": (bytes(range(32)) * 100, "binary data"),
}


@pytest.mark.parametrize("name", NOT_EVENTS)
def test_a_file_of_something_else_is_told_by_its_start(name: str) -> None:
    data, words = NOT_EVENTS[name]
    assert words == describe(data[:START_BYTES])


def test_a_database_is_one(tmp_path: Path) -> None:
    assert describe(database(tmp_path / "a")[:START_BYTES]) == "a SQLite database"


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (gzip.compress, "a gzip file inside a compressed file"),
        (zstandard.compress, "a zstd file inside a compressed file"),
        (bz2.compress, "a bzip2 file inside a compressed file"),
        (lzma.compress, "an xz file inside a compressed file"),
    ],
)
def test_what_is_unpacked_once_may_be_packed_still(
    pack: Callable[[bytes], bytes], words: str
) -> None:
    once, twice = pack(CALLS), pack(pack(CALLS))
    assert describe(b"".join(unpack(io.BytesIO(once), once))) == ""
    assert describe(b"".join(unpack(io.BytesIO(twice), twice))) == words


LONG = b'"' + b"x" * START_BYTES + b'"'

EVENTS: dict[str, bytes] = {
    "nothing": b"",
    "a mark": b"\xef\xbb\xbf",
    "blanks": b" \t\r\n\n",
    "more blanks than are looked at": b"\n" * START_BYTES,
    "an empty array": b"[]\n",
    "lines": CALLS,
    "lines behind a mark": b"\xef\xbb\xbf" + CALLS,
    "lines with a carriage return": CALLS.replace(b"\n", b"\r\n"),
    "a batch": b'{"batch":[' + CALL + b"]}",
    "an array on a line": b"[" + CALL.strip() + b"," + CALL.strip() + b"]",
    "arrays in an array": b"[[\n" + CALL + b"]]",
    "an object behind scalars in an array": b"[1, " + CALL.strip() + b"]",
    "one good line in a log": PROSE * 100 + CALL + PROSE * 100,
    "one good line that is indented": PROSE + b"  \t" + CALL,
    "one good line in a page": HTML + CALL,
    "an array on a line in a page": HTML + b"[" + CALL.strip() + b"]\n",
    "one good line in a table": table(ROWS) + CALL,
    "one good line behind binary data": b"\0\1\2\n" + CALL,
    "behind another value": b"[INFO] " + CALL,
    "a document": json.dumps(json.loads(CALL), indent=2).encode(),
    "a document with its brace alone": b"\n{\n\n\n" + CALL[1:],
    "a document behind a log": PROSE + json.dumps(json.loads(CALL), indent=2).encode(),
    "a long document": b'{\n  "a": ' + LONG,
    "a long document that is cut behind its brace": PROSE + b"{" + b" " * START_BYTES,
    "a long array": b"[\n  {\n" + b'    "a": ' + LONG,
    "a long array of what is no object yet": b"[\n" + b"1,\n" * START_BYTES,
    "a long line": b'{"a":' + LONG,
    "a long array on a line": b'["a", ' + LONG,
    "the end of a long line": LONG + b"}\n" + CALL,
    "a hole": bytes(START_BYTES) + b"\n" + CALL,
    "a small hole": bytes(512) + CALL + CALL,
    "cut records": b'{"a":1,"b\n' * 3,
    "cut records in a log": PROSE + b'{"a":1,"b\n',
    "records of Python": b"{'event': 'Email Opened'}\n",
    "records of Python in a log": PROSE + b"{'event': 'Email Opened'}\n",
    "keys without quotes": PROSE + b"{event: 'Email Opened'}\n",
    "records in strings without quotes": PROSE + b'{\\"event\\": 1}\n',
    "broken records": b"{a\n{b\n",
    "not UTF-8": b'{"event":"\xff"}\n',
}


@pytest.mark.parametrize("name", EVENTS)
def test_what_may_hold_events_is_called_nothing_else(name: str) -> None:
    assert describe(EVENTS[name][:START_BYTES]) == ""


@pytest.mark.parametrize("path", sorted(PAYLOADS.iterdir()), ids=lambda path: path.name)
def test_the_payloads_are_events(path: Path) -> None:
    assert describe(path.read_bytes()) == ""


def test_only_what_is_looked_at_counts() -> None:
    behind = PROSE * (START_BYTES // len(PROSE) + 1) + CALL
    assert describe(behind[:START_BYTES]) == "text without JSON"


def test_a_word_of_a_magic_may_begin_a_text() -> None:
    for word in (b"ORChestra", b"PAR1", b"BMX", b"MZ", b"BZh9", b"LZIP", b"GIF89a"):
        assert describe(word + b" is a word\n") == "text without JSON"
        assert describe(word + b"\n" + CALL) == ""


# properties

GARBAGE = st.binary(max_size=60) | st.sampled_from(
    [
        b"",
        b" ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"[INFO] x",
        b"<html>",
        b"a,b",
        b'{"a":',
        b"\0",
        b"[1,",
        b'"',
    ]
)
RECORD = st.sampled_from([CALL.strip(), b"{}", b'  {"a":{}}', b'[{"a":1}]', b'[[{"a":"\\ud800"}]]'])


def is_markup(data: bytes) -> bool:
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


@given(st.lists(GARBAGE, max_size=6), RECORD, st.lists(GARBAGE, max_size=6))
def test_one_line_of_json_is_enough(
    before: list[bytes], record: bytes, behind: list[bytes]
) -> None:
    data = b"\n".join([*before, record, *behind])
    if not describe_container(data) and not (is_markup(data) and record == b"{}"):
        assert describe(data) == ""


PIECES = st.sampled_from(
    [*b"[]{}\"',:\n\t \0\r", *CALL, b'{"a":1}', b"[INFO] ", b'"a":', b"\xef\xbb\xbf", b"\xff\xfe"]
).map(lambda piece: bytes([piece]) if isinstance(piece, int) else piece)


@given(st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=200))
def test_where_the_reader_finds_an_object_are_events(data: bytes) -> None:
    """Nothing that would become a row is left out; a page is the exception that is meant."""
    words = describe(data)
    if describe_container(data) or is_markup(data):
        return
    for block in read_blocks([data]):
        for start, end in zip(block.starts, block.ends, strict=True):
            if isinstance(parse_json(block.bytes[start:end].tobytes())[0], dict):
                assert words == ""


@given(st.sampled_from(sorted(NOT_EVENTS)), st.integers(0, 600), st.binary(max_size=3))
def test_any_start_is_judged(name: str, size: int, more: bytes) -> None:
    assert isinstance(describe(NOT_EVENTS[name][0][:size] + more), str)


def test_a_month_of_samples_is_events_wherever_it_is_cut() -> None:
    data = b"".join(generate(5_000, broken=0.2))
    for at in range(0, len(data) - START_BYTES, len(data) // 200):
        assert describe(data[at : at + START_BYTES]) == ""
