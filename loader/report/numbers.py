"""The numbers of a report. They know neither HTML nor SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

from loader.report.period import Period
from loader.warehouse.marts.metrics import COUNTS, FUNNEL, RATES, Rate

T = TypeVar("T")

_RATES = {rate.name: rate for rate in RATES}

# What is said first, and of these those of which less is better.
KEY_FIGURES = (
    "delivered",
    "human_open_rate",
    "click_rate",
    "click_to_open_rate",
    "conversion_rate",
    "bounce_rate",
    "unsubscribe_rate",
    "spam_rate",
)
LESS_IS_BETTER = frozenset({"bounce_rate", "unsubscribe_rate", "spam_rate"})
LABELS: Mapping[str, str] = {one.name: one.label for one in (*COUNTS, *RATES)}


@dataclass(frozen=True)
class Figures:
    """What is counted of some messages: `metrics.COUNTS`."""

    counts: Mapping[str, int]

    @property
    def rates(self) -> dict[str, float | None]:
        """Each of `metrics.RATES`; None where there is nothing to divide by."""
        return {name: self._rate(rate) for name, rate in _RATES.items()}

    def value(self, name: str) -> float | None:
        """A count or a rate by its name."""
        return self._rate(_RATES[name]) if name in _RATES else self.counts[name]

    def _rate(self, rate: Rate) -> float | None:
        per = self.counts[rate.per]
        return self.counts[rate.of] / per if per else None


def add_up(several: Iterable[Figures]) -> Figures:
    """The figures of all messages together."""
    sums = {count.name: 0 for count in COUNTS}
    for one in several:
        for name, count in one.counts.items():
            sums[name] += count
    return Figures(sums)


@dataclass(frozen=True, kw_only=True)
class Top(Generic[T]):
    """The first of many, and what becomes of the others: nothing is left out without a word."""

    shown: tuple[T, ...]
    others: int = 0  # how many are not shown
    rest: T | None = None  # of which this is the sum


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """A number, and what it was before."""

    name: str  # of a count or a rate
    now: float | None
    before: float | None

    @property
    def change(self) -> float | None:
        """Of a rate the difference; of a count its share of what was before."""
        if self.now is None or self.before is None:
            return None
        if self.name in _RATES:
            return self.now - self.before
        return self.now / self.before - 1 if self.before else None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the funnel."""

    name: str  # of a count
    messages: int
    share: float | None  # of what was delivered


@dataclass(frozen=True, kw_only=True)
class Day:
    """The messages of a day."""

    day: date
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Message:
    """All messages of one campaign, newsletter, broadcast or transactional message."""

    kind: str | None  # None: of several
    id: str | None
    name: str | None  # None where it has none that several people have got
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The messages to the addresses of one domain."""

    domain: str | None  # None: the address is not known, or of several
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Bounce:
    """The messages that bounced for one reason."""

    code: str | None  # such as 5.1.1 or 550; None: of several
    kind: str | None  # hard, soft or unknown
    bounced: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """Clicks on one address."""

    address: str | None  # without query and fragment; None: not known, or of several
    clicks: int
    messages: int  # clicked in


@dataclass(frozen=True, kw_only=True)
class Mails:
    """What is known of the messages of the period."""

    total: Figures
    before: Figures  # of the period before
    days: tuple[Day, ...]
    messages: Top[Message]
    domains: Top[Domain]
    bounces: Top[Bounce]
    without_delivery: int  # of which an open or the like is known, and no delivery: not counted

    @property
    def key_figures(self) -> tuple[KeyFigure, ...]:
        """What is said first."""
        return tuple(
            KeyFigure(name=name, now=self.total.value(name), before=self.before.value(name))
            for name in KEY_FIGURES
        )

    @property
    def funnel(self) -> tuple[Stage, ...]:
        """What became of the messages."""
        counts = self.total.counts
        all_of_them = counts[FUNNEL[0]]
        return tuple(
            Stage(
                name=name,
                messages=counts[name],
                share=counts[name] / all_of_them if all_of_them else None,
            )
            for name in FUNNEL
        )


@dataclass(frozen=True, kw_only=True)
class Mart:
    """Whether `email_messages` has all events."""

    is_off: bool
    batches: int
    waiting_batches: int  # of them, whose events it lacks
    stale_messages: int  # that have to be made anew


@dataclass(frozen=True, kw_only=True)
class LoadDone:
    """A load, and what became of its records."""

    id: int
    status: str
    started_at: datetime
    seconds: float | None  # None: it runs, or nobody knows
    records_read: int
    rows_loaded: int
    duplicates: int
    rejects: int
    ignored: int
    extra_values: int


@dataclass(frozen=True, kw_only=True)
class SchemaChange:
    """What a load, or a command, did to a table; names of columns may come from a person's data."""

    changed_at: datetime
    load_id: int
    table: str
    is_new: bool
    new_columns: int
    wider_columns: int


@dataclass(frozen=True, kw_only=True)
class Rejects:
    """Records that were rejected for one reason."""

    reason: str
    rejects: int
    waiting: int  # of them, that no replay has settled


@dataclass(frozen=True, kw_only=True)
class Report:
    """All numbers of a page."""

    source: str
    schema: str
    warehouse: str | None
    timezone: str
    period: Period
    before: Period
    made_at: datetime
    newest_event_at: datetime | None  # None: no event brings a time of its own
    loader_version: str
    mart: Mart
    mails: Mails | None  # None where the mart is off
    links: Top[Link]
    loads: Top[LoadDone]
    schema_changes: Top[SchemaChange]
    rejects: tuple[Rejects, ...]

    @property
    def last_day_is_over(self) -> bool:
        """Whether more can come on the last day."""
        return self.made_at >= self.period.end

    def notices(self) -> list[str]:
        """What a reader must know before the numbers."""
        return [*about_mart(self.mart), *_about_age(self), *_about_loads(self)]


_OLD_HOURS = 48


def about_mart(mart: Mart) -> Iterable[str]:
    """What is wrong with the figures about messages, if anything is."""
    if mart.is_off:
        yield (
            "There are no figures about messages, because the table email_messages is not filled: "
            "the setting mart is off. Set it to on, load once, and make this report again."
        )
    elif mart.waiting_batches:
        yield (
            f"The figures about messages are not complete: email_messages lacks "
            f"{mart.waiting_batches:,} of {mart.batches:,} batches of events. The next loads add "
            "them, or customerio-loader marts rebuild."
        )
    elif mart.stale_messages:
        yield (
            f"The figures about messages are not up to date: {mart.stale_messages:,} of them have "
            "to be made anew, which the next load does."
        )


def _about_age(report: Report) -> Iterable[str]:
    if report.newest_event_at is None:
        return
    hours = (report.made_at - report.newest_event_at).total_seconds() / 3600
    if hours >= _OLD_HOURS:
        yield f"No event has come for a while: the newest one is {hours // 24:,.0f} days old."


def _about_loads(report: Report) -> Iterable[str]:
    ended = [one for one in report.loads.shown if one.status != "running"]
    if ended and ended[0].status != "success":
        yield (
            f"The last load ended as {ended[0].status}, so events may be missing: see "
            "customerio-loader status."
        )


def to_document(report: Report) -> dict[str, object]:
    """The numbers as JSON has them."""
    found = _plain(report)
    assert isinstance(found, dict)
    return {"notices": report.notices(), **found}


def _plain(value: object) -> object:
    if isinstance(value, Figures):
        rates = {name: None if r is None else round(r, 6) for name, r in value.rates.items()}
        return {**value.counts, **rates}
    if isinstance(value, Period):
        return {"first": str(value.first), "last": str(value.last), "days": value.days}
    if isinstance(value, Mails):
        shown = {"key_figures": value.key_figures, "funnel": value.funnel}
        return {**{name: _plain(one) for name, one in shown.items()}, **_fields(value)}
    if isinstance(value, KeyFigure):
        return {**_fields(value), "change": value.change}
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def _fields(value: object) -> dict[str, object]:
    assert is_dataclass(value)
    return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
