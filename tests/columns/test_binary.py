"""The binary format of COPY: the server reads what was written, and so do we."""

import json
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from acceptance.harness import Database, Server
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.columns.binary import READ_VALUE, EncodedRows, field
from loader.normalize.collections import Type
from loader.normalize.times import parse_time
from loader.normalize.types import TYPES

few = settings(max_examples=20)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROUGH = st.text(st.sampled_from("\\\t\n\r\x0b\x1cNtnr.x\u2028é🙂"), max_size=20)


def coerced(values: list[Any], type_: Type) -> list[str | None]:
    """The values as texts of a type; JSON stands as it is."""
    if type_ == "jsonb":
        return [None if value is None else json.dumps(value) for value in values]
    return [None if value is None else TYPES[type_].coerce(value) for value in values]


@pytest.fixture(scope="module")
def scratch(server: Server) -> Database:
    """The administrator's database, for tables that live as long as a connection."""
    return server.database("postgres")


def rows_of(fields: list[bytes]) -> EncodedRows:
    """Rows of one field each."""
    lines = [b"\0\1" + one for one in fields]
    buffer = np.frombuffer(b"".join(lines), np.uint8)
    return EncodedRows.cut(buffer, np.cumsum([len(line) for line in lines]))


def copied(db: Database, type_: Type, texts: list[str | None]) -> list[tuple[Any, Any]]:
    """The values that a real COPY of some texts makes, and how the server writes them."""
    rows = rows_of([field(text, type_) for text in texts])
    values = [None if text is None else field(text, type_)[4:] for text in texts]
    assert [value for (value,) in rows.fields()] == values
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'; SET client_encoding = 'UTF8'")
        cursor.execute(f"CREATE TEMP TABLE t (n serial, v {type_})")
        cursor.copy_expert("COPY t (v) FROM STDIN (FORMAT binary)", rows.payload(), 50)
        cursor.execute("SELECT v, v::text FROM t ORDER BY n")
        found: list[tuple[Any, Any]] = cursor.fetchall()
    return found


def cast(db: Database, type_: Type, texts: list[str | None]) -> list[tuple[Any, Any]]:
    """The same as the server reads the texts themselves."""
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'; SET client_encoding = 'UTF8'")
        cursor.execute(
            f"SELECT v::{type_}, v::{type_}::text FROM unnest(%s::text[]) WITH ORDINALITY x (v, n)"
            " ORDER BY n",
            (texts,),
        )
        found: list[tuple[Any, Any]] = cursor.fetchall()
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT | ROUGH,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | ROUGH, inner, max_size=4),
    max_leaves=10,
)


SCALARS: list[tuple[Type, st.SearchStrategy[Any]]] = [
    ("bigint", st.integers(-(2**64), 2**64) | st.sampled_from(["1", "-0", "01", " 1", "1e3", ""])),
    ("numeric", st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | TEXT),
    ("boolean", st.booleans() | st.sampled_from(["true", "t", "TRUE", 1, 0, ""])),
]


@pytest.mark.parametrize(("type_", "values"), SCALARS, ids=[name for name, _ in SCALARS])
def test_what_fits_a_column_is_accepted_by_the_server(
    scratch: Database, type_: Type, values: st.SearchStrategy[Any]
) -> None:
    @few
    @given(st.lists(values, min_size=1, max_size=50))
    def check(found: list[Any]) -> None:
        texts = coerced(found, type_)
        stored = [value for value, _ in copied(scratch, type_, texts)]
        assert [value is None for value in stored] == [text is None for text in texts]
        for i, value in enumerate(stored):
            if value is not None and not isinstance(found[i], str):
                assert value == found[i]

    check()


TIMES = (
    st.datetimes().map(lambda t: t.isoformat() + "Z")
    | st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat())
    | st.integers(-(10**14), 10**14)
    | st.from_regex(
        r"[0-9]{4}-(W[0-9]{2}-[1-7]|[01][0-9]-[0-3][0-9])[T ][0-2][0-9]:?[0-5][0-9](:?[0-5][0-9]"
        r"([.,][0-9]{1,9})?)?(Z|[+-][01][0-9]:?[0-5][0-9])?",
        fullmatch=True,
    )
)


@few
@given(st.lists(TIMES, min_size=1, max_size=50))
def test_the_server_reads_every_time_as_we_do(scratch: Database, values: list[Any]) -> None:
    texts = [text for value in values if (text := parse_time(value)) is not None]
    if texts:
        stored = [value for value, _ in copied(scratch, "timestamptz", [*texts])]
        assert stored == [datetime.fromisoformat(text) for text in texts]


BY_TYPE: list[tuple[Type, st.SearchStrategy[Any]]] = [
    ("text", TEXT | ROUGH),
    ("bigint", st.integers(-(2**63), 2**63 - 1)),
    ("numeric", st.integers() | st.decimals(allow_nan=False, allow_infinity=False)),
    ("boolean", st.booleans()),
    ("jsonb", JSON.filter(lambda value: value is not None)),
    ("timestamptz", TIMES),
]


@pytest.mark.parametrize(("type_", "values"), BY_TYPE, ids=[name for name, _ in BY_TYPE])
def test_the_server_reads_the_binary_format_as_it_reads_the_text(
    scratch: Database, type_: Type, values: st.SearchStrategy[Any]
) -> None:
    @few
    @given(st.lists(st.none() | values, min_size=1, max_size=50))
    def check(found: list[Any]) -> None:
        texts = coerced(found, type_)
        assert copied(scratch, type_, texts) == cast(scratch, type_, texts)

    check()


@pytest.mark.parametrize(("type_", "values"), BY_TYPE, ids=[name for name, _ in BY_TYPE])
def test_what_was_written_is_read_back(type_: Type, values: st.SearchStrategy[Any]) -> None:
    @few
    @given(values)
    def check(value: Any) -> None:
        (text,) = coerced([value], type_)
        if text is None:
            return
        again = READ_VALUE[type_](field(text, type_)[4:])
        if type_ == "timestamptz":
            assert again == datetime.fromisoformat(text)
        elif type_ == "numeric":
            assert Decimal(again) == Decimal(text)
        else:
            assert coerced([again], type_) == [text]

    check()


@pytest.mark.parametrize(
    "number", ["0", "-0.0", "10000", "0.0001", "1E+20", "-1E-20", "9" * 200, "1." + "0" * 50, "1e4"]
)
def test_numbers_of_all_sizes_have_their_digits(scratch: Database, number: str) -> None:
    texts = coerced([Decimal(number)], "numeric")
    assert copied(scratch, "numeric", texts) == cast(scratch, "numeric", texts)


SPECIAL = [
    "",
    "\\N",
    "\\.",
    "\\",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\x01\x7f",
    "é",
    "🙂",
    "\ufeff",
    "\u2028",
]
SPECIAL += ["\\x41", "NULL", " padded ", "\x0b\x0c", "\x85"]


def test_special_texts_survive_a_real_copy(scratch: Database) -> None:
    texts = [*SPECIAL, None, *SPECIAL]
    assert [value for value, _ in copied(scratch, "text", texts)] == texts


# rows, wherever they stand


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=40), st.integers(1, 90))
def test_a_payload_is_its_rows_between_a_head_and_an_end(ids: list[bytes], size: int) -> None:
    rows = rows_of([len(one).to_bytes(4, "big") + one for one in ids])
    payload, pieces = rows.payload(), []
    while piece := payload.read(size):
        pieces.append(piece)
    text = b"".join(pieces)
    head, end = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
    assert (text[: len(head)], text[-2:]) == (head, end)
    assert text[len(head) : -2] == b"".join(rows.each()) == rows.joined(0, len(rows))
    assert len(text) == rows.size + len(head) + 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), unique=True))
def test_rows_are_sorted_by_what_tells_their_ids_apart(ids: list[str]) -> None:
    if not ids:
        return
    rows = rows_of([field(one, "text") for one in ids])
    both = EncodedRows.join(
        [rows.take(np.arange(0, len(ids), 2)), rows.take(np.arange(1, len(ids), 2))]
    )
    assert sorted(both.ids()) == sorted(ids)
    assert sorted(both.sort().ids()) == sorted(ids)
    short = [one for one in ids if len(one.encode()) <= 8]
    found = rows_of([field(one, "text") for one in short]).sort().ids() if short else []
    keys = [one.encode().ljust(8, b"\0") for one in found]
    assert keys == sorted(keys)
    assert rows.without([0]).ids() == ids[1:]
