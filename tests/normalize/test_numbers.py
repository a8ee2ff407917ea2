"""Numbers: what is stored as one, and how it is written."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.normalize.numbers import (
    MAX_DIGITS,
    LongNumber,
    is_storable,
    number_text,
    parse_integer,
    parse_number,
)


@pytest.mark.parametrize(
    "text",
    [
        *("0.0", "-0.5", "1e5", "1E-7", "5e-324", "1.7976931348623157e308", "0e300"),
        *("1e349", "-9.9e349", "1e-350", f"{'9' * 350}.{'9' * 350}", f"-{'9' * 350}.0"),
    ],
    ids=lambda text: text[:24],
)
def test_a_number_of_fitting_size_is_a_number(text: str) -> None:
    assert parse_number(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("1e350", "10e349", "-1e350", "1e-351", "1.5e-350", "0e351", "0e-351", "1e131000"),
        *("1e99999999999999999999", "-1e-99999999999999999999", f"{'9' * 351}.0"),
        *(f"0.{'9' * 351}", "9" * 1_000_000 + ".5"),
    ],
    ids=lambda text: text[:24],
)
def test_a_number_of_more_digits_is_its_text(text: str) -> None:
    assert parse_number(text) == LongNumber(text)
    assert number_text(parse_number(text)) == text


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(("digits", "type_"), [(350, int), (351, LongNumber), (5000, LongNumber)])
def test_an_integer_of_more_digits_is_its_text(sign: str, digits: int, type_: type) -> None:
    text = sign + "9" * digits
    assert type(parse_integer(text)) is type_
    assert number_text(parse_integer(text)) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "7"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1e5"), "100000"),
        (Decimal("1.5E+3"), "1500"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("0E+3"), "0"),
        (Decimal("-2.50e1"), "-25.0"),
        (LongNumber("1E400"), "1E400"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_a_number_is_written_with_all_its_digits(
    number: int | Decimal | LongNumber, text: str
) -> None:
    assert number_text(number) == text


def test_an_integer_of_thousands_of_digits_is_written() -> None:
    """Python itself refuses to write more than 4,300."""
    assert number_text(10**5_000) == "1" + "0" * 5_000


@given(st.decimals(), st.integers(-400, 400))
def test_a_stored_number_is_short_however_it_is_sent(number: Decimal, shift: int) -> None:
    if number.is_finite():
        number = number.scaleb(shift)
    if is_storable(number):
        assert len(number_text(number)) <= 2 * MAX_DIGITS + 2
        assert Decimal(number_text(number)) == number
