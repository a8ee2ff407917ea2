"""Which days a report is about. Days are those of a timezone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from loader.errors import UsageError, did_you_mean

_FIRST_YEAR = 1970  # nobody means an earlier one, and dates end somewhere
_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Period:
    """Some days in a row."""

    first: date
    last: date  # of it, too
    zone: tzinfo = field(repr=False)

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        """When the first day begins."""
        return self._midnight(self.first)

    @property
    def end(self) -> datetime:
        """When the last day is over."""
        return self._midnight(self.last + _DAY)

    def dates(self) -> list[date]:
        """Its days."""
        return [self.first + number * _DAY for number in range(self.days)]

    def starts(self) -> list[datetime]:
        """When each day begins: one is not 24 hours long where clocks change."""
        return [self._midnight(day) for day in self.dates()]

    def before(self) -> "Period":
        """As many days before it."""
        last = self.first - _DAY
        return Period(first=last - (self.days - 1) * _DAY, last=last, zone=self.zone)

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone)


def find_zone(name: str) -> ZoneInfo:
    """The timezone of a name such as Europe/Berlin. Raises UsageError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # OSError: the name of a folder of zones, such as Europe.
        known: Iterable[str] = available_timezones()
        hint = did_you_mean(name, known, "write one as Europe/Berlin")
        raise UsageError(f"--timezone {name!r} is not known{hint}") from None


def choose_period(
    zone: tzinfo, *, days: int, now: datetime, newest: datetime | None, until: date | None = None
) -> Period:
    """The days up to `until`, else to that of the newest event.

    Where nothing new came for a while, the last days that something is known of say more than
    empty ones; how old the newest event is, the report says besides.
    """
    today = now.astimezone(zone).date()
    if until is None:
        until = today if newest is None else min(today, newest.astimezone(zone).date())
    elif until > today:
        raise UsageError(f"--until {until} is in the future: the last day can be {today}")
    elif until.year <= _FIRST_YEAR:
        raise UsageError(f"--until {until} is too long ago")
    return Period(first=until - (days - 1) * _DAY, last=until, zone=zone)
