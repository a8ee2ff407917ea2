"""COPY's formats, text and binary: what is written is what is read."""

import pickle
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from acceptance.harness import Database, Server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.normalize.collections import Type
from loader.normalize.columns import clean, coerce
from loader.normalize.times import parse_time
from loader.warehouse import binary, forms
from loader.warehouse.binary import BINARY
from loader.warehouse.forms import NULL, Form, Payload, escape, fields, unescape

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROUGH = st.text(st.sampled_from("\\\t\n\r\x0b\x1cNtnr.x\u2028é🙂"), max_size=20)


@pytest.fixture(scope="module")
def scratch(server: Server) -> Database:
    """The administrator's database, for tables that live as long as a connection."""
    return server.database("postgres")


def copied(db: Database, type_: str, values: list[str]) -> list[Any]:
    """The values that a real COPY of some fields makes."""
    return [value for value, _ in copied_text(db, type_, values)]


def copied_text(db: Database, type_: str, values: list[str]) -> list[tuple[Any, Any]]:
    """The values that a real COPY of some fields makes, and how the server writes them."""
    return stored(db, type_, forms.TEXT.payload([value.encode() for value in values]))


def copied_binary(db: Database, type_: Type, texts: list[str | None]) -> list[tuple[Any, Any]]:
    """The values that a real binary COPY of some texts makes, and how the server writes them."""
    lines = [b"\0\1" + binary.field(text, type_) for text in texts]
    return stored(db, type_, BINARY.payload(binary.lines_of(lines)), BINARY.options)


def stored(db: Database, type_: str, data: Payload, options: str = "") -> list[tuple[Any, Any]]:
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'; SET client_encoding = 'UTF8'")
        cursor.execute(f"CREATE TEMP TABLE t (n serial, v {type_})")
        cursor.copy_expert(f"COPY t (v) FROM STDIN {options}", data, 50)  # in many pieces
        cursor.execute("SELECT v, v::text FROM t ORDER BY n")
        return cursor.fetchall()


@given(TEXT | ROUGH)
def test_unescape_undoes_escape(text: str) -> None:
    assert unescape(escape(text)) == text


@given(ROUGH)
def test_an_escaped_field_has_no_separator_and_is_never_null(text: str) -> None:
    escaped = escape(text)
    assert not set("\t\n\r") & set(escaped)
    assert escaped != NULL


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.none() | TEXT | ROUGH, min_size=1, max_size=50))
def test_texts_survive_a_real_copy(scratch: Database, texts: list[str | None]) -> None:
    assert copied(scratch, "text", list(fields(clean(texts), len(texts)))) == texts


def test_special_texts_survive_a_real_copy(scratch: Database) -> None:
    odd = [
        "",
        "\\N",
        "\\.",
        "\\",
        "\\\\",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "\x01\x7f",
        "é",
        "🙂",
        "\ufeff",
    ]
    odder = ["\u2028", "\\x41", "\\101", "NULL", " padded ", "\x0b\x0c", "\x85"]
    texts = [*odd, None, *odder]
    assert copied(scratch, "text", list(fields(clean(texts), len(texts)))) == texts


def test_what_cannot_be_stored_is_replaced(scratch: Database) -> None:
    column = clean(["a\0b", "\ud800", "\udfff\\", None])
    assert copied(scratch, "text", list(fields(column, 4))) == [
        "a\ufffdb",
        "\ufffd",
        "\ufffd\\",
        None,
    ]
    assert column.replaced == 3


def test_a_column_without_values_is_null_everywhere(scratch: Database) -> None:
    assert copied(scratch, "text", list(fields(None, 2))) == [None, None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT | ROUGH,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | ROUGH, inner, max_size=4),
    max_leaves=10,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(JSON.filter(lambda value: value is not None), min_size=1, max_size=20))
def test_json_survives_a_real_copy(scratch: Database, values: list[Any]) -> None:
    column, misfits = coerce(values, "jsonb")
    assert misfits == {}
    assert copied(scratch, "jsonb", list(fields(column, len(values)))) == values


SCALARS: list[tuple[Type, st.SearchStrategy[Any]]] = [
    ("bigint", st.integers(-(2**64), 2**64) | st.sampled_from(["1", "-0", "01", " 1", "1e3", ""])),
    ("numeric", st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | TEXT),
    ("boolean", st.booleans() | st.sampled_from(["true", "t", "TRUE", 1, 0, ""])),
]


@pytest.mark.parametrize(("type_", "values"), SCALARS, ids=[name for name, _ in SCALARS])
def test_what_fits_a_column_is_accepted_by_the_server(
    scratch: Database, type_: Type, values: st.SearchStrategy[Any]
) -> None:
    @settings(max_examples=20, deadline=None)
    @given(st.lists(values, min_size=1, max_size=50))
    def check(found: list[Any]) -> None:
        column, misfits = coerce(found, type_)
        stored = copied(scratch, type_, list(fields(column, len(found))))
        assert [i for i, value in enumerate(stored) if value is None] == sorted(misfits)
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


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(TIMES, min_size=1, max_size=50))
def test_the_server_reads_every_time_as_we_do(scratch: Database, values: list[Any]) -> None:
    texts = [text for value in values if (text := parse_time(value)) is not None]
    stored = copied(scratch, "timestamptz", texts)
    assert stored == [datetime.fromisoformat(text) for text in texts]


@pytest.mark.parametrize("form", [forms.TEXT, BINARY])
def test_a_form_that_a_worker_sends_is_the_same_form(form: Form) -> None:
    """Each block of a worker had a COPY of its own, because its form was equal to no other."""
    assert pickle.loads(pickle.dumps(form)) is form


BY_TYPE: list[tuple[Type, st.SearchStrategy[Any]]] = [
    ("text", TEXT | ROUGH),
    ("bigint", st.integers(-(2**63), 2**63 - 1)),
    ("numeric", st.integers() | st.decimals(allow_nan=False, allow_infinity=False)),
    ("boolean", st.booleans()),
    ("jsonb", JSON.filter(lambda value: value is not None)),
    ("timestamptz", TIMES),
]


@pytest.mark.parametrize(("type_", "values"), BY_TYPE, ids=[name for name, _ in BY_TYPE])
def test_the_server_reads_the_binary_form_as_it_reads_the_text(
    scratch: Database, type_: Type, values: st.SearchStrategy[Any]
) -> None:
    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.none() | values, min_size=1, max_size=50))
    def check(found: list[Any]) -> None:
        column, _ = coerce(found, type_)
        text = copied_text(scratch, type_, list(fields(column, len(found))))
        assert copied_binary(scratch, type_, column.texts) == text

    check()


@pytest.mark.parametrize(
    "number", ["0", "-0.0", "10000", "0.0001", "1E+20", "-1E-20", "9" * 200, "1." + "0" * 50, "1e4"]
)
def test_numbers_of_all_sizes_have_their_digits_in_the_binary_form(
    scratch: Database, number: str
) -> None:
    (text,) = coerce([Decimal(number)], "numeric")[0].texts
    assert copied_binary(scratch, "numeric", [text]) == copied_text(scratch, "numeric", [str(text)])
