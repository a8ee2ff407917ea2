"""Times: what counts as one, and what it is."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.normalize.times import from_microseconds, microseconds, parse_time, parse_times

AT = "2026-09-15T08:23:32+00:00"

TIMES = [
    # ISO 8601
    ("2026-09-15T08:23:32Z", AT),
    ("2026-09-15T08:23:32.000Z", AT),
    ("2026-09-15T08:23:32.0Z", AT),
    ("2026-09-15T08:23:32.123Z", "2026-09-15T08:23:32.123+00:00"),
    ("2026-09-15T08:23:32.12345Z", "2026-09-15T08:23:32.123450+00:00"),
    ("2026-09-15T08:23:32.123456Z", "2026-09-15T08:23:32.123456+00:00"),
    ("2026-09-15T08:23:32.123456789Z", "2026-09-15T08:23:32.123456+00:00"),
    ("2026-09-15T08:23:32,123Z", "2026-09-15T08:23:32.123+00:00"),
    ("2026-09-15T08:23:32", AT),
    ("2026-09-15 08:23:32", AT),
    ("2026-09-15 08:23:32 UTC", AT),
    ("2026-09-15T08:23:32 GMT", AT),
    ("2026-09-15T08:23:32z", AT),
    ("2026-09-15T08:23:32+00:00", AT),
    ("2026-09-15T10:23:32+02:00", AT),
    ("2026-09-15T10:23:32+0200", AT),
    ("2026-09-15 10:23:32+02", AT),
    ("2026-09-15 10:23:32 +02:00", AT),
    ("2026-09-15T02:53:32-05:30", AT),
    ("2026-09-15T08:23Z", "2026-09-15T08:23:00+00:00"),
    ("2026-09-15", "2026-09-15T00:00:00+00:00"),
    (" 2026-09-15T08:23:32Z ", AT),
    ("2026-09-15T08:23:32.000Z\n", AT),
    ("2026-W38-2T08:23:32Z", AT),
    ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00+00:00"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
    ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
    # epoch
    (1789460612, AT),
    (1789460612000, AT),
    (1789460612123, "2026-09-15T08:23:32.123+00:00"),
    ("1789460612", AT),
    ("1789460612123", "2026-09-15T08:23:32.123+00:00"),
    ("1789460612.5", "2026-09-15T08:23:32.500000+00:00"),
    (Decimal("1789460612.0"), AT),
    (Decimal("1789460612.123456"), "2026-09-15T08:23:32.123456+00:00"),
    (Decimal("1789460612123.456"), "2026-09-15T08:23:32.123456+00:00"),
    (Decimal("1.789460612E+9"), AT),
    (0, "1970-01-01T00:00:00+00:00"),
    (-1, "1969-12-31T23:59:59+00:00"),
    ("-1", "1969-12-31T23:59:59+00:00"),
    (99_999_999_999, "5138-11-16T09:46:39+00:00"),
    (100_000_000_000, "1973-03-03T09:46:40+00:00"),
    (253_402_300_799_999, "9999-12-31T23:59:59.999+00:00"),
]

NO_TIMES = [
    None,
    "",
    " ",
    "yesterday",
    "soon",
    "null",
    "true",
    True,
    False,
    [],
    {},
    [1789460612],
    {"seconds": 1789460612},
    "2026-02-31",
    "2026-02-31T00:00:00Z",
    "2026-02-31T00:00:00.000Z",
    "2023-02-29T00:00:00.000Z",
    "2026-13-01T00:00:00.000Z",
    "2026-09-00T00:00:00.000Z",
    "2026-09-15T25:00:00.000Z",
    "2026-09-15T08:60:00.000Z",
    "2026-09-15T08:23:60.000Z",
    "0000-01-01T00:00:00.000Z",
    "0000-01-01T00:00:00Z",
    "12026-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-05:00",
    "0001-01-01T00:00:00+05:00",
    "2026-09-15T08:23:32 PST",
    "2026-09-15T08:23:32-25:00",
    "15/09/2026",
    "Tue, 15 Sep 2026 08:23:32 GMT",
    "2026-09-15T08:2٣:32.000Z",
    "２０２６-09-15T08:23:32.000Z",
    "٣",
    "1e9",
    "0x6aa7",
    253_402_300_800_000,
    -99_999_999_999_999,
    10**30,
    "9" * 18,
    "9" * 5000,
    Decimal("1E+400"),
    Decimal("1E+999999999999999999"),
    Decimal("-1E+400"),
    Decimal("NaN"),
    Decimal("Infinity"),
    "infinity",
    "now",
    "epoch",
]


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@pytest.mark.parametrize(("value", "expected"), TIMES, ids=repr)
def test_a_time_is_read(value: Any, expected: str) -> None:
    assert moment(expected) == moment(parse_time(value))


@pytest.mark.parametrize(("value", "expected"), TIMES, ids=repr)
def test_a_time_is_written_as_postgresql_reads_it(value: Any, expected: str) -> None:
    """Python's own form with a zone; PostgreSQL knows neither week dates nor a comma."""
    text = parse_time(value)
    assert text is not None
    assert text == moment(text).isoformat()  # type: ignore[union-attr]


@pytest.mark.parametrize(("value", "expected"), TIMES, ids=repr)
def test_a_column_of_one_time_is_that_time(value: Any, expected: str) -> None:
    assert [moment(expected)] == [moment(text) for text in parse_times([value])[0]]


@pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: ascii(value)[:40])
def test_what_is_no_time_is_not_guessed(value: Any) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize("value", NO_TIMES[1:], ids=lambda value: ascii(value)[:40])
def test_what_is_no_time_is_pointed_out_in_a_column(value: Any) -> None:
    texts, inexact = parse_times(["2026-09-15T08:23:32.000Z", value])
    assert [moment(AT), None] == [moment(text) for text in texts]
    assert inexact == [1]


def test_an_integer_too_long_to_be_printed_is_no_time() -> None:
    assert parse_time(10**4299) is None


def test_missing_times_are_not_pointed_out() -> None:
    assert parse_times([None, None]) == ([None, None], [])
    assert parse_times([]) == ([], [])


@pytest.mark.parametrize(
    "column",
    [
        ["2026-09-15T08:23:32.000Z", "2026-02-31T08:23:32.000Z"],
        ["2026-09-15T08:23:32.000Z", "2026-09-15T08:23:32,000Z"],
        ["2026-09-15T08:23:32.000Z", "2026-W38-2T08:23:32.000Z"],
        ["2026-09-15T08:23:32.000Z", "2026-09-15T082332.00000Z"],
        ["2026-09-15T08:23:32.000Z", "2026-09-15x08:23:32.000Z"],
        ["2026-09-15T08:23:32.000Z", "2026-09-15T08:23:32.12 Z"],
        ["2026-09-15T08:23:32.000Z", None],
        ["2026-09-15T08:23:32.000Z", 1789460612],
        [None, True, 1, "1", "x", Decimal(1)],
        [1, True, 0, False],
        [True, 1, False, 0],
    ],
    ids=repr,
)
def test_a_column_is_read_like_its_values_one_by_one(column: list[Any]) -> None:
    one_by_one = [moment(parse_time(value)) for value in column]
    assert one_by_one == [moment(text) for text in parse_times(column)[0]]


@pytest.mark.parametrize(
    "value",
    [
        "2026-09-15T08:23:32.1234567Z",
        "2026-09-15T08:23:32.123456789Z",
        "2026-09-15T08:23:32.0000001+02:00",
        "1789460612.1234567",
        Decimal("1789460612.1234567"),
        Decimal("1789460612123.4567"),
        Decimal("1E-400"),
    ],
    ids=repr,
)
def test_a_time_finer_than_microseconds_is_pointed_out(value: Any) -> None:
    texts, inexact = parse_times([value])
    assert texts[0] is not None
    assert inexact == [0]


@pytest.mark.parametrize(
    "value",
    [
        "2026-09-15T08:23:32.123456Z",
        "2026-09-15T08:23:32.123456000Z",
        "2026-09-15T08:23:32.100000000+02:00",
        "1789460612.500000000",
        Decimal("1789460612.5000000"),
        1789460612123,
    ],
    ids=repr,
)
def test_a_time_with_no_more_than_microseconds_is_whole(value: Any) -> None:
    assert parse_times([value])[1] == []


@given(st.integers())
def test_any_number_of_microseconds_is_a_time(count: int) -> None:
    time = from_microseconds(count)
    assert time.year in range(1, 10_000)
    if 3 < time.year < 9999:
        assert microseconds(time) == count
