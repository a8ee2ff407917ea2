"""Columns: objects into columns, types from values, values into types."""

import json
from decimal import Decimal
from typing import Any

import pytest

from loader.normalize.collections import Type
from loader.normalize.columns import (
    clean,
    clean_text,
    coerce,
    dump_json,
    infer,
    unstorable,
    unstorable_in,
)
from loader.normalize.flatten import MAX_DEPTH, flatten, flatten_one
from loader.normalize.names import context_column, property_column
from loader.normalize.numbers import LongNumber

# flatten

ONE_RECORD = [
    pytest.param({}, {}, {}, id="nothing"),
    pytest.param({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, {}, id="flat"),
    pytest.param({"a": {"b": {"c": 1}}}, {"a_b_c": 1}, {}, id="nested"),
    pytest.param({"a": {}, "b": {"c": {}}}, {}, {}, id="empty objects"),
    pytest.param({"a": None, "b": {"c": None}}, {}, {}, id="nulls"),
    pytest.param({"a": ""}, {"a": ""}, {}, id="an empty text is not null"),
    pytest.param(
        {"a": [], "b": [{"c": 1}, None]}, {"a": [], "b": [{"c": 1}, None]}, {}, id="arrays"
    ),
    pytest.param({"a": False, "b": 0}, {"a": False, "b": 0}, {}, id="false and zero"),
    pytest.param(
        {"Link ID": 1, "link_id": 2},
        {"link_id": 2},
        {"Link ID": 1},
        id="the canonical key wins behind",
    ),
    pytest.param(
        {"link_id": 2, "Link ID": 1},
        {"link_id": 2},
        {"Link ID": 1},
        id="the canonical key wins in front",
    ),
    pytest.param(
        {"linkId": 1, "Link ID": 2},
        {"link_id": 1},
        {"Link ID": 2},
        id="else the first wins",
    ),
    pytest.param(
        {"linkId": None, "Link ID": 2}, {"link_id": 2}, {}, id="a null takes no part in it"
    ),
    pytest.param(
        {"linkId": 1, "LinkId": 2, "link_id": 3, "LINK ID": 4},
        {"link_id": 3},
        {"linkId": 1, "LinkId": 2, "LINK ID": 4},
        id="four keys",
    ),
    pytest.param(
        {"a": {"b": 1}, "a_b": 2}, {"a_b": 2}, {"a.b": 1}, id="nested against flat, flat behind"
    ),
    pytest.param(
        {"a_b": 2, "a": {"b": 1}}, {"a_b": 2}, {"a.b": 1}, id="nested against flat, flat in front"
    ),
    pytest.param(
        {"aB": 2, "a": {"b": 1}}, {"a_b": 2}, {"a.b": 1}, id="nested against flat, none canonical"
    ),
    pytest.param(
        {"a": {"b": 1}, "a.b": 2},
        {"a_b": 1},
        {"a.b": 2},
        id="nested against a key with a dot",
    ),
    pytest.param(
        {"a": {"b": 1}, "a.b": 2, "a_b": 3},
        {"a_b": 3},
        {"a.b": 2, "a.b#2": 1},
        id="two losers of one key",
    ),
    pytest.param({"id": 1, "_id": 2}, {"_id": 2}, {"id": 1}, id="a moved name and its target"),
    pytest.param({"A": 1, "a": {"x": 1}}, {"a": 1, "a_x": 1}, {}, id="a value and an object"),
    pytest.param({"a": {"日本": 1, "語": 2}}, {"a": 1}, {"a.語": 2}, id="names that vanish"),
]


@pytest.mark.parametrize(("record", "values", "losers"), ONE_RECORD)
def test_one_record_becomes_values_and_losers(
    record: dict[str, Any], values: dict[str, Any], losers: dict[str, Any]
) -> None:
    assert (values, losers) == flatten_one(record, property_column)


@pytest.mark.parametrize(("record", "values", "losers"), ONE_RECORD)
def test_a_batch_treats_a_record_as_it_treats_it_alone(
    record: dict[str, Any], values: dict[str, Any], losers: dict[str, Any]
) -> None:
    """Its neighbours use the same keys in another order, another nesting, or not at all."""
    backwards = dict(reversed(record.items()))
    flat = flatten([{}, backwards, record, {"a": 1, "a_b": 1, "link_id": 1}], property_column)
    actual = {name: column[2] for name, column in flat.columns.items() if column[2] is not None}
    assert values == actual
    assert losers == flat.extra.get(2, {})


def test_rows_without_a_value_have_none() -> None:
    flat = flatten([{"a": 1}, {"b": 2}, {"a": None, "b": {"c": 3}}], property_column)
    assert flat.columns == {"a": [1, None, None], "b": [None, 2, None], "b_c": [None, None, 3]}
    assert flat.extra == {}


def test_a_column_remembers_the_key_it_was_sent_under() -> None:
    flat = flatten([{"Link ID": 1}, {"app": {"Version": 2}}], context_column)
    assert flat.keys == {"context_link_id": "Link ID", "context_app_version": "app.Version"}


def test_a_key_with_only_nulls_makes_no_column() -> None:
    assert flatten([{"a": None}, {"a": {"b": None}}, {}], property_column).columns == {}


def test_no_objects_are_no_columns() -> None:
    flat = flatten([], property_column)
    assert flat.columns == {}
    assert flat.extra == {}


def test_a_collision_of_one_record_leaves_its_neighbours_alone() -> None:
    flat = flatten([{"a b": 1}, {"a b": 2, "a_b": 3}, {"a_b": 4}], property_column)
    assert flat.columns == {"a_b": [1, 3, 4]}
    assert flat.extra == {1: {"a b": 2}}


def test_an_object_nested_too_deep_is_a_value() -> None:
    record: Any = {"x": 1}
    for _ in range(MAX_DEPTH):
        record = {"x": record}
    values, _ = flatten_one(record, property_column)
    assert list(values.values()) == [{"x": 1}]
    assert list(flatten([record], property_column).columns.values()) == [[{"x": 1}]]


# infer


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([True, False], "boolean", id="booleans"),
        pytest.param([1, -5, 0], "bigint", id="integers"),
        pytest.param([2**63 - 1, -(2**63)], "bigint", id="the ends of bigint"),
        pytest.param([1, 2**63], "numeric", id="an integer past bigint"),
        pytest.param([-(2**63) - 1], "numeric", id="an integer before bigint"),
        pytest.param([10**350 - 1, 1 - 10**350], "numeric", id="the largest integers"),
        pytest.param([10**350], "text", id="an integer that is too long"),
        pytest.param([LongNumber("1e131000"), 1], "text", id="a number that is too long"),
        pytest.param([Decimal("1.5")], "numeric", id="a fraction"),
        pytest.param([1, Decimal("1.5")], "numeric", id="integers and fractions"),
        pytest.param([Decimal("1E+349")], "numeric", id="the largest numeric"),
        pytest.param([Decimal("1E+350")], "text", id="a number past numeric"),
        pytest.param([Decimal("1E-350")], "numeric", id="the finest numeric"),
        pytest.param([Decimal("1E-351")], "text", id="a number too fine for numeric"),
        pytest.param([Decimal("1E+350"), 1], "text", id="one number past numeric"),
        pytest.param(["x"], "text", id="text"),
        pytest.param(["1", "2"], "text", id="digits in quotes stay text"),
        pytest.param(["true"], "text", id="true in quotes stays text"),
        pytest.param(["2026-09-15"], "text", id="a date in quotes stays text"),
        pytest.param([""], "text", id="an empty text"),
        pytest.param([1, "x"], "text", id="number and text"),
        pytest.param([True, 1], "text", id="boolean and number"),
        pytest.param([True, "x"], "text", id="boolean and text"),
        pytest.param([[1]], "jsonb", id="an array"),
        pytest.param([[]], "jsonb", id="an empty array"),
        pytest.param([{}], "jsonb", id="an object too deep for columns"),
        pytest.param([[1], "x", 1, True], "jsonb", id="an array and anything"),
    ],
)
def test_the_type_is_the_narrowest_that_holds_every_value(
    values: list[Any], expected: Type
) -> None:
    assert expected == infer(values)
    assert expected == infer(reversed(values))
    assert coerce(values, expected)[1] == {}


@pytest.mark.parametrize(
    ("values", "expected"), [([None, 1], "bigint"), ([Decimal("1.5"), None], "numeric")], ids=repr
)
def test_rows_without_a_value_do_not_matter(values: list[Any], expected: Type) -> None:
    assert expected == infer(values)


def test_booleans_and_texts_without_a_value_in_some_rows() -> None:
    assert infer([None, True]) == "boolean"
    assert infer([None, "x", None]) == "text"
    assert infer([None, []]) == "jsonb"


# coerce

FITS: list[Any] = [
    # bigint
    (33, "bigint", "33"),
    (-33, "bigint", "-33"),
    (0, "bigint", "0"),
    ("33", "bigint", "33"),
    ("-33", "bigint", "-33"),
    ("0", "bigint", "0"),
    (Decimal("33.0"), "bigint", "33"),
    (Decimal("33"), "bigint", "33"),
    (Decimal("3.3E+1"), "bigint", "33"),
    (Decimal("1E+2"), "bigint", "100"),
    (Decimal("0.00"), "bigint", "0"),
    (Decimal("33." + "0" * 40), "bigint", "33"),
    (2**63 - 1, "bigint", "9223372036854775807"),
    (-(2**63), "bigint", "-9223372036854775808"),
    ("9223372036854775807", "bigint", "9223372036854775807"),
    ("-9223372036854775808", "bigint", "-9223372036854775808"),
    (Decimal("9223372036854775807.0"), "bigint", "9223372036854775807"),
    # numeric
    (33, "numeric", "33"),
    (2**64, "numeric", "18446744073709551616"),
    (Decimal("1.10"), "numeric", "1.10"),
    (Decimal("12345678901234567890.12"), "numeric", "12345678901234567890.12"),
    (Decimal("1E+5"), "numeric", "100000"),
    (Decimal("1E-350"), "numeric", f"0.{1:0350}"),
    (Decimal("-0.5"), "numeric", "-0.5"),
    ("33", "numeric", "33"),
    ("1.10", "numeric", "1.10"),
    ("-1.5", "numeric", "-1.5"),
    ("0.5", "numeric", "0.5"),
    ("-0.5", "numeric", "-0.5"),
    # boolean
    (True, "boolean", "true"),
    (False, "boolean", "false"),
    ("true", "boolean", "true"),
    ("false", "boolean", "false"),
    # text
    ("", "text", ""),
    ("Grüße 日本 🙂", "text", "Grüße 日本 🙂"),
    (33, "text", "33"),
    (2**64, "text", "18446744073709551616"),
    (True, "text", "true"),
    (False, "text", "false"),
    (Decimal("1.10"), "text", "1.10"),
    (Decimal("1E+5"), "text", "100000"),
    (Decimal("1E-7"), "text", "0.0000001"),
    (LongNumber("1e131000"), "text", "1e131000"),
    (10**350, "text", "1" + "0" * 350),
    # jsonb
    ("", "jsonb", '""'),
    ("x", "jsonb", '"x"'),
    (33, "jsonb", "33"),
    (2**64, "jsonb", "18446744073709551616"),
    (True, "jsonb", "true"),
    (Decimal("1.10"), "jsonb", "1.10"),
    (Decimal("1E+300"), "jsonb", "1E+300"),
    (LongNumber("1e131000"), "jsonb", '"1e131000"'),
    ([{"a": [LongNumber("-1.5e400")]}], "jsonb", '[{"a":["-1.5e400"]}]'),
    ([10**350], "jsonb", f'["1{0:0350}"]'),
    ([], "jsonb", "[]"),
    ([1, None, "x", Decimal("1.10")], "jsonb", '[1,null,"x",1.10]'),
    ({"b": {}, "a": None}, "jsonb", '{"b":{},"a":null}'),
    # timestamptz
    ("2026-09-15T10:23:32+02:00", "timestamptz", "2026-09-15T08:23:32+00:00"),
    (1789460612, "timestamptz", "2026-09-15T08:23:32+00:00"),
]
MISFITS: list[Any] = [
    ("033", "bigint"),
    ("+33", "bigint"),
    (" 33", "bigint"),
    ("33 ", "bigint"),
    ("33\n", "bigint"),
    ("33.0", "bigint"),
    ("1e3", "bigint"),
    ("-0", "bigint"),
    ("3_3", "bigint"),
    ("٣٣", "bigint"),
    ("", "bigint"),
    ("x", "bigint"),
    (2**63, "bigint"),
    (-(2**63) - 1, "bigint"),
    ("9223372036854775808", "bigint"),
    ("9" * 5000, "bigint"),
    (Decimal("33.5"), "bigint"),
    (Decimal("1E-30"), "bigint"),
    (Decimal("1E+400"), "bigint"),
    (Decimal("1E+999999999999999999"), "bigint"),
    (Decimal("9223372036854775808"), "bigint"),
    (True, "bigint"),
    (False, "bigint"),
    ([33], "bigint"),
    ({"a": 33}, "bigint"),
    ("033", "numeric"),
    ("00.5", "numeric"),
    (".5", "numeric"),
    ("5.", "numeric"),
    ("-0", "numeric"),
    ("-0.0", "numeric"),
    ("1e5", "numeric"),
    ("NaN", "numeric"),
    ("Infinity", "numeric"),
    ("1,5", "numeric"),
    ("", "numeric"),
    ("9" * 351, "numeric"),
    ("9" * 4001, "numeric"),
    (10**350, "numeric"),
    (LongNumber("1e400"), "numeric"),
    (LongNumber("1e400"), "bigint"),
    (LongNumber("1e400"), "boolean"),
    (LongNumber("1e400"), "timestamptz"),
    (Decimal("1E+350"), "numeric"),
    (Decimal("1E-351"), "numeric"),
    (Decimal("NaN"), "numeric"),
    (Decimal("Infinity"), "numeric"),
    (True, "numeric"),
    ([1], "numeric"),
    (1, "boolean"),
    (0, "boolean"),
    (Decimal(1), "boolean"),
    ("1", "boolean"),
    ("t", "boolean"),
    ("TRUE", "boolean"),
    ("yes", "boolean"),
    ("", "boolean"),
    ([], "boolean"),
    ({}, "boolean"),
    ([], "text"),
    (["x"], "text"),
    ({}, "text"),
    ({"a": 1}, "text"),
    ("2026-02-31", "timestamptz"),
    ("x", "timestamptz"),
    (True, "timestamptz"),
    ("x", "other"),
    (1, "other"),
    ([], "other"),
]


def short(value: Any) -> str:
    return ascii(value)[:40]


@pytest.mark.parametrize(("value", "type_", "expected"), FITS, ids=short)
def test_a_value_that_converts_without_loss_is_stored(
    value: Any, type_: Type, expected: str
) -> None:
    column, misfits = coerce([value], type_)
    assert [expected] == column.texts
    assert misfits == {}


@pytest.mark.parametrize(("value", "type_"), MISFITS, ids=short)
def test_a_value_that_would_lose_something_is_a_misfit(value: Any, type_: Type) -> None:
    column, misfits = coerce([value], type_)
    assert column.texts == [None]
    assert list(misfits) == [0]
    assert misfits[0] is value


def test_a_time_finer_than_microseconds_does_not_fit() -> None:
    value = "2026-09-15T08:23:32.123456789Z"
    assert {0: value} == coerce([value], "timestamptz")[1]


@pytest.mark.parametrize(
    "type_", ["text", "bigint", "numeric", "boolean", "jsonb", "timestamptz", "other"]
)
def test_a_missing_value_is_neither_a_text_nor_a_misfit(type_: Type) -> None:
    column, misfits = coerce([None, None], type_)
    assert column.texts == [None, None]
    assert misfits == {}


@pytest.mark.parametrize(
    ("values", "type_", "texts", "misfits"),
    [
        pytest.param([1, None, "2", "x"], "bigint", ["1", None, "2", None], {3: "x"}, id="bigint"),
        pytest.param([1, 2**63], "bigint", ["1", None], {1: 2**63}, id="bigint, all integers"),
        pytest.param([True, None, "no"], "boolean", ["true", None, None], {2: "no"}, id="boolean"),
        pytest.param(["x", None, 5, [1]], "text", ["x", None, "5", None], {3: [1]}, id="text"),
    ],
)
def test_each_row_keeps_its_place(
    values: list[Any], type_: Type, texts: list[str | None], misfits: dict[int, Any]
) -> None:
    column, actual = coerce(values, type_)
    assert texts == column.texts
    assert misfits == actual


# text that PostgreSQL can store


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("plain", "plain", 0),
        ("", "", 0),
        ("Grüße 日本 🙂", "Grüße 日本 🙂", 0),
        ("a\0b", "a\ufffdb", 1),
        ("\0\0", "\ufffd\ufffd", 2),
        ("a\ud800b", "a\ufffdb", 1),
        ("\udc00\ud800", "\ufffd\ufffd", 2),
        ("é\ud83d\0", "é\ufffd\ufffd", 2),
        ("\ufffd", "\ufffd", 0),
        ("\ufeff\u2028\x7f\x01", "\ufeff\u2028\x7f\x01", 0),
    ],
    ids=ascii,
)
def test_what_cannot_be_stored_is_replaced_and_counted(
    text: str, expected: str, count: int
) -> None:
    assert expected == clean_text(text)
    assert count == unstorable(text)
    for column in (clean([text, None]), coerce([text, None], "text")[0]):
        assert [expected, None] == column.texts
        assert count == column.replaced
    alone = coerce([text], "text")[0]
    assert [expected] == alone.texts
    assert count == alone.replaced


def test_replaced_characters_are_counted_inside_json_too() -> None:
    value = [{"a\0": ["\ud800", {"b": "\0"}]}, "x"]
    column, _ = coerce([value], "jsonb")
    assert column.texts == ['[{"a\ufffd":["\ufffd",{"b":"\ufffd"}]},"x"]']
    assert 3 == column.replaced == unstorable_in(value)


def test_keys_that_become_one_when_cleaned_keep_both_values() -> None:
    assert {1, 2} == set(json.loads(dump_json({"a\0": 1, "a\ud800": 2})).values())


@pytest.mark.parametrize(
    ("text", "rough"),
    [("plain", False), ("a\\b", True), ("a\tb", True), ("a\nb", True), ("a\rb", True)],
    ids=repr,
)
def test_texts_that_copy_must_escape_are_marked(text: str, rough: bool) -> None:
    assert rough is clean(["x", text]).rough


def test_what_is_nested_too_deep_for_the_server_is_kept_as_text() -> None:
    value: Any = "leaf"
    for _ in range(300):
        value = [value]
    text = dump_json(value)
    assert json.loads(text) != value
    assert "leaf" in text


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["[", "{"])
def test_whatever_the_parser_reads_can_be_stored(opening: str, closing: str) -> None:
    value = json.loads(opening * 900 + "1" + closing * 900)
    assert coerce([value], "jsonb")[0].texts[0] is not None


def test_json_keeps_every_digit() -> None:
    value = [Decimal("12345678901234567890.120"), 2**70, Decimal("1E-300")]
    assert dump_json(value) == "[12345678901234567890.120,1180591620717411303424,1E-300]"
