"""Which day a folder is named after, in every spelling that senders use."""

from datetime import date

import pytest

from loader.sources.days import NOTHING, Known, day_of, sort_folders

DAY = date(2026, 11, 25)


@pytest.mark.parametrize(
    "path",
    [
        "1795564800000",
        "1795564800",
        "2026-11-25",
        "11-25-2026",
        "2026/11/25",
        "2026/11/25/07",
        "year=2026/month=11/day=25",
        "year=2026/month=11/day=25/hour=07",
        "Year=2026/Month=11/Day=25",
        "y=2026/m=11/d=25",
        "dt=2026-11-25",
        "date=11-25-2026",
        "ds=1795564800",
        "segment-logs/abc123/1795564800000",
        "rudder-logs/2CXyz/11-25-2026",
        "2019/logs/2026/11/25",
        "2026-11-25/07",
        "2026-11-25/2020-01-01",  # the outer one
    ],
)
def test_every_spelling_of_a_day_is_read(path: str) -> None:
    assert day_of(path.split("/")) == DAY


def test_a_single_digit_is_a_month_or_day_where_the_folder_says_so() -> None:
    assert day_of(["year=2026", "month=3", "day=7"]) == date(2026, 3, 7)


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("2026/11", date(2026, 11, 30)),
        ("2024/02/late", date(2024, 2, 29)),
        ("2026/11/31", date(2026, 11, 30)),
        ("year=2026/month=12", date(2026, 12, 31)),
    ],
)
def test_a_month_can_hold_files_of_its_last_day(path: str, last: date) -> None:
    assert day_of(path.split("/")) == last


@pytest.mark.parametrize(
    "path",
    [
        "",
        "abc123",
        "2026",  # may be anybody's number
        "year=2026",
        "2026/13",
        "2026/1/5",
        "2026/late/11",
        "11/25",
        "2026-13-25",
        "2026-02-30",
        "25-11-2026",
        "2026-11-25T07",
        "20261125",
        "1795564801",  # no midnight: an id
        "1795564800001",
        "9999-01-01",
        "1234567890",
        "month=11/day=25",
        "id=1234/5/6",
        "٢٠٢٦-11-25x",
    ],
)
def test_what_is_no_day_is_none(path: str) -> None:
    assert day_of(path.split("/")) is None


def test_folders_are_sorted_by_time_and_not_by_text() -> None:
    names = ["11-25-2026", "01-02-2027", "2025-12-31", "zebra", "1795651200", "apple"]
    dated, others = sort_folders(NOTHING, names)
    assert [name for _, name in dated] == ["2025-12-31", "11-25-2026", "1795651200", "01-02-2027"]
    assert [name for _, name in others] == ["apple", "zebra"]


def test_years_months_and_days_are_sorted_level_by_level() -> None:
    years, others = sort_folders(NOTHING, ["2027", "2026", "late"])
    assert years == [(Known(2026), "2026"), (Known(2027), "2027")]
    assert others == [(NOTHING, "late")]
    months, others = sort_folders(Known(2026), ["10", "02", "13"])
    assert months == [(Known(2026, 2), "02"), (Known(2026, 10), "10")]
    assert others == [(NOTHING, "13")]
    days, others = sort_folders(Known(2026, 2), ["28", "01", "30", "late"])
    assert [known.day for known, _ in days] == [1, 28]
    assert others == [(Known(2026, 2), "30"), (Known(2026, 2), "late")]  # still of that month


def test_folders_that_begin_with_the_day_are_none_of_a_day_all_of_them() -> None:
    """`05-11-2026` would pass for one in May, and its files would be left out as old."""
    dated, others = sort_folders(NOTHING, ["05-11-2026", "25-11-2026", "2026-11-25"])
    assert [name for _, name in dated] == ["2026-11-25"]
    assert [name for _, name in others] == ["05-11-2026", "25-11-2026"]


def test_a_folder_of_the_future_is_one_of_a_day() -> None:
    assert day_of(["2099-01-01"]) == date(2099, 1, 1)


@pytest.mark.parametrize(
    ("folders", "day"),
    [
        (["05-11-2026"], date(2026, 11, 5)),  # of May or of November
        (["11-05-2026"], date(2026, 11, 5)),
        (["2026", "11", "05-11-2026"], date(2026, 11, 5)),
        (["2026", "11", "04-12-2026"], date(2026, 11, 30)),  # what stands above counts
        (["0000000000"], None),  # a shard, and not 1970
        (["9999936000"], None),
    ],
)
def test_a_name_that_may_mean_several_days_hides_nothing(
    folders: list[str], day: date | None
) -> None:
    assert day_of(folders) == day
