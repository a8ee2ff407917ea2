"""The day that a folder is named after, in the spellings that senders use. Pure."""

import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

_SECONDS_A_DAY = 86_400
_FIRST_YEAR, _LAST_YEAR = 2000, 2199

_YEAR_FIRST = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_MONTH_FIRST = re.compile(r"(\d\d)-(\d\d)-(\d{4})")
_UNIX_TIME = re.compile(r"(\d{10})(000)?")
_NAMED = re.compile(r"(\w+)=(.*)")
_DIGITS = re.compile(r"\d{1,4}")


class Known(NamedTuple):
    """What the folders of a path say of a day, from the top on down."""

    year: int | None = None
    month: int | None = None
    day: int | None = None

    @property
    def is_day(self) -> bool:
        """Whether nothing is missing."""
        return self.day is not None


NOTHING = Known()


def last_day(known: Known) -> date | None:
    """The last day that a folder can hold; None where its name says nothing.

    A year alone says nothing: as digits it may be anybody's number.
    """
    if known.year is None or known.month is None:
        return None
    return date(known.year, known.month, known.day or monthrange(known.year, known.month)[1])


def day_of(
    folders: Iterable[str], known: Known = NOTHING, *, month_first: bool | None = None
) -> date | None:
    """The last day that a file in these folders, from the top on down, can be of.

    `known` is what the folders above these say.
    """
    for name in folders:
        known = read_folder(known, name, month_first=month_first)
    return last_day(known)


def read_folder(known: Known, name: str, *, month_first: bool | None = None) -> Known:
    """What is known of the day in a folder of that name, below one of which `known` is.

    Whether names are like `11-25-2026`, with the `month_first`, the folders beside it may tell. If
    they do not, the later of two days counts, which hides nothing; if the day is first, such names
    are none of a day.
    """
    if known.is_day:  # hours, or whatever a sender puts below
        return known
    key, value = "", name
    if named := _NAMED.fullmatch(name):
        key, value = named[1].lower(), named[2]
    if day := _whole_day(value, month_first):
        if known.month and (day.year, day.month) != (known.year, known.month):
            return known  # what stands above it counts
        return Known(day.year, day.month, day.day)
    if not _DIGITS.fullmatch(value):
        return known if known.month else NOTHING
    return _part(known, key, value)


def sort_folders(
    known: Known, names: Iterable[str]
) -> tuple[list[tuple[Known, str]], list[tuple[Known, str]]]:
    """Folders beside each other: those of days, months and years by time, and the others by name.

    Each with what is known of it; `known` is that of the folder that they are in.
    """
    names = sorted(names)
    month_first = are_month_first(names)
    read = [(read_folder(known, name, month_first=month_first), name) for name in names]
    dated = [one for one in read if one[0] not in (known, NOTHING)]
    dated.sort(key=lambda one: (one[0].year, one[0].month or 0, one[0].day or 0))
    return dated, [one for one in read if one[0] in (known, NOTHING)]


def _part(known: Known, key: str, value: str) -> Known:
    """A year, month or day that is a folder of its own: `2026/11/25`, `year=2026/month=11/...`."""
    number = int(value)
    if key in ("year", "y", "") and len(value) == 4:
        return Known(number) if _FIRST_YEAR <= number <= _LAST_YEAR else NOTHING
    is_plain = key == "" and len(value) == 2
    if known.year is not None and known.month is None and (key in ("month", "m") or is_plain):
        return Known(known.year, number) if 1 <= number <= 12 else NOTHING
    if known.year is not None and known.month is not None and (key in ("day", "d") or is_plain):
        is_day = 1 <= number <= monthrange(known.year, known.month)[1]
        return known._replace(day=number) if is_day else known
    return known if known.month else NOTHING


def _whole_day(name: str, month_first: bool | None) -> date | None:
    """`2026-11-25`, `11-25-2026`, or midnight as Unix time in seconds or milliseconds."""
    if parts := _YEAR_FIRST.fullmatch(name):
        return _valid(*map(int, parts.groups()))
    if parts := _MONTH_FIRST.fullmatch(name):
        month, day, year = map(int, parts.groups())
        found = [_valid(year, month, day)] if month_first is not False else []
        if month_first is None and month <= 12:
            found.append(_valid(year, day, month))
        return max(filter(None, found), default=None)
    if parts := _UNIX_TIME.fullmatch(name):
        days, rest = divmod(int(parts[1]), _SECONDS_A_DAY)
        found_day = _EPOCH + timedelta(days=days)
        # A number that is no midnight, or of another century, is somebody's id.
        is_day = rest == 0 and _FIRST_YEAR <= found_day.year <= _LAST_YEAR
        return found_day if is_day else None
    return None


_EPOCH = datetime.fromtimestamp(0, UTC).date()


def _valid(year: int, month: int, day: int) -> date | None:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def are_month_first(names: Iterable[str]) -> bool | None:
    """Whether folders beside each other are named `11-25-2026`, and not `25-11-2026`.

    None where no name tells, as `05-11-2026` does not.
    """
    found = [parts for name in names if (parts := _MONTH_FIRST.fullmatch(name))]
    if any(int(parts[1]) > 12 for parts in found):
        return False
    return True if any(int(parts[2]) > 12 for parts in found) else None
