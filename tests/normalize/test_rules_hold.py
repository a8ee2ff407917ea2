"""Properties of the rules, over whatever JSON can hold."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loader.normalize.collections import SHARED_NAMES, Type
from loader.normalize.names import (
    context_column,
    identifier,
    property_column,
    property_columns,
    schema_name,
    snake_case,
    table_name,
)
from loader.normalize.types import TYPES as RULES
from loader.normalize.types import infer

TYPES: tuple[Type, ...] = ("text", "bigint", "numeric", "boolean", "jsonb", "timestamptz", "other")

names = st.one_of(
    st.text(),
    st.text("aB1_. -é日", max_size=90),
    st.sampled_from(["id", "timestamp", "user", "tracks", "context_x", "n" * 70, "1" * 63]),
)
numbers = st.one_of(
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from([Decimal("1E+400"), Decimal("1E+131072"), Decimal("1E-16384"), Decimal("-0")]),
)
scalars = st.one_of(
    st.booleans(),
    numbers,
    st.text(max_size=5),
    st.sampled_from(["", "33", "033", "-0.5", "true", "2026-09-15", "\0", "\ud800", "1e5"]),
)
leaves = st.one_of(scalars, st.lists(scalars, max_size=2))

# names


@given(names)
def test_a_name_converted_twice_is_the_name_converted_once(name: str) -> None:
    for convert in (snake_case, identifier, property_column, table_name, schema_name):
        assert convert(name) == convert(convert(name))


@given(names)
def test_a_name_fits_and_is_never_empty(name: str) -> None:
    for convert in (identifier, property_column, table_name, context_column):
        assert 0 < len(convert(name).encode()) <= 63
    assert len(schema_name(name).encode()) <= 63


@given(names)
def test_a_name_needs_no_quotes(name: str) -> None:
    for convert in (identifier, property_column, table_name, context_column):
        actual = convert(name)
        assert actual.replace("_", "a").isascii()
        assert actual.replace("_", "a").isalnum()
        assert actual == actual.lower()
        assert not actual[0].isdigit()


@given(names)
def test_a_property_is_never_a_shared_column(name: str) -> None:
    assert property_column(name) not in SHARED_NAMES
    assert not property_column(name).startswith("context_")


@given(st.lists(st.one_of(names, st.text("ab\n.A1_", max_size=4))))
def test_names_found_together_are_those_found_alone(keys: list[str]) -> None:
    assert property_columns(keys) == list(map(property_column, keys))


# infer and coerce


@given(st.lists(scalars, min_size=1, max_size=6))
def test_the_inferred_type_holds_every_value(column: list[Any]) -> None:
    assert None not in map(RULES[infer(column)].coerce, column)


@given(st.lists(leaves, min_size=1, max_size=6))
def test_the_inferred_type_does_not_depend_on_the_order(column: list[Any]) -> None:
    assert infer(column) == infer(column[::-1])


@given(st.lists(leaves, min_size=1, max_size=6), st.sampled_from(TYPES))
def test_a_list_fits_nothing_but_jsonb(column: list[Any], type_: Type) -> None:
    for value in column:
        if type(value) is list:
            assert RULES[type_].coerce(value) is None


@given(st.lists(numbers, min_size=1, max_size=4))
def test_a_stored_number_is_the_number_that_was_sent(column: list[Any]) -> None:
    for type_ in ("bigint", "numeric", "text"):
        for value in column:
            text = RULES[type_].coerce(value)  # type: ignore[index]
            assert text is None or Decimal(value) == Decimal(text)
