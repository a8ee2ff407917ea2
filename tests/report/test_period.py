"""Which days a report is about."""

import itertools
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from loader.errors import UsageError
from loader.report.period import Period, choose_period, find_zone

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)  # the 29th in Berlin


def test_the_last_day_is_that_of_the_newest_event() -> None:
    newest = datetime(2026, 9, 30, 22, 30, tzinfo=UTC)
    found = choose_period(BERLIN, days=30, now=NOW, newest=newest)
    assert (found.first, found.last, found.days) == (date(2026, 9, 2), date(2026, 10, 1), 30)
    before = found.before()
    assert (before.first, before.last) == (date(2026, 8, 3), date(2026, 9, 1))


def test_without_events_it_is_today() -> None:
    assert choose_period(BERLIN, days=1, now=NOW, newest=None).last == date(2026, 11, 29)


def test_a_day_that_is_named_is_the_last_one() -> None:
    found = choose_period(UTC, days=7, now=NOW, newest=NOW, until=date(2026, 1, 3))
    assert (found.first, found.last) == (date(2025, 12, 28), date(2026, 1, 3))


@pytest.mark.parametrize("until", [date(2026, 11, 30), date(9999, 12, 31), date(1, 1, 1)], ids=str)
def test_a_day_that_cannot_be_meant_is_refused(until: date) -> None:
    with pytest.raises(UsageError, match=f"--until {until} is"):
        choose_period(BERLIN, days=366, now=NOW, newest=None, until=until)


def test_a_day_is_as_long_as_the_clocks_make_it() -> None:
    days = Period(first=date(2026, 3, 28), last=date(2026, 3, 30), zone=BERLIN)
    starts = [start.astimezone(UTC) for start in (*days.starts(), days.end)]
    hours = [(b - a).total_seconds() / 3600 for a, b in itertools.pairwise(starts)]
    assert hours == [24, 23, 24]


def test_a_day_without_midnight_begins_later() -> None:
    """In Cairo clocks go from 0 to 1 in the morning."""
    day = Period(first=date(2026, 4, 24), last=date(2026, 4, 24), zone=ZoneInfo("Africa/Cairo"))
    assert day.start.astimezone(UTC) == datetime(2026, 4, 23, 22, 0, tzinfo=UTC)
    assert day.end.astimezone(UTC) == datetime(2026, 4, 24, 21, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "Europe", "../../etc/passwd", "", "/", "a\0b"])
def test_a_timezone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not known"):
        find_zone(name)


def test_a_misspelt_timezone_is_guessed() -> None:
    with pytest.raises(UsageError, match="did you mean 'Europe/Berlin'"):
        find_zone("europe/berlin")
