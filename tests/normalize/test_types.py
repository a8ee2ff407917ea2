"""Types: the narrowest that holds some values, and values into types."""

from decimal import Decimal
from typing import Any

import pytest

from loader.normalize.collections import Type
from loader.normalize.numbers import LongNumber
from loader.normalize.types import TYPES, infer

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
    if expected != "jsonb":
        assert None not in map(TYPES[expected].coerce, values)


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
    assert expected == TYPES[type_].coerce(value)


@pytest.mark.parametrize(("value", "type_"), MISFITS, ids=short)
def test_a_value_that_would_lose_something_does_not_fit(value: Any, type_: Type) -> None:
    assert TYPES[type_].coerce(value) is None


def test_a_time_finer_than_microseconds_does_not_fit() -> None:
    assert TYPES["timestamptz"].coerce("2026-09-15T08:23:32.123456789Z") is None
