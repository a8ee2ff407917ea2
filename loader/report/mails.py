"""The numbers of messages, from `email_messages`; a message counts at `metrics.TIME`."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Row,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from loader.report.numbers import Bounce, Day, Domain, Figures, Mails, Message, Top, add_up
from loader.report.period import Period
from loader.report.top import Key, is_of_several, select_top
from loader.warehouse.marts.metrics import BOUNCE_CLASSES, BOUNCE_CODE, COUNTS, TIME
from loader.warehouse.tables import dim_messages, email_messages

# How many rows of each kind a page shows.
MESSAGES, DOMAINS, BOUNCES = 20, 10, 10

_TIME = DateTime(timezone=True)
_COUNTS = [literal_column(count.sql, BigInteger).label(count.name) for count in COUNTS]
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
_messages = email_messages.c


def _within(period: Period) -> ColumnElement[bool]:
    """Whether a message counts in a period: `metrics.TIME`, so that the index can be used."""
    delivered, bounced = _messages.delivered_at, _messages.bounced_at
    return or_(
        and_(delivered >= period.start, delivered < period.end),
        and_(delivered.is_(None), bounced >= period.start, bounced < period.end),
    )


def select_mails(connection: Connection, period: Period) -> Mails:
    before = period.before()
    by_day = _select_days(connection, before, period)
    return Mails(
        total=add_up(by_day.get(day, add_up(())) for day in period.dates()),
        before=add_up(by_day.get(day, add_up(())) for day in before.dates()),
        days=tuple(Day(day=day, figures=by_day.get(day, add_up(()))) for day in period.dates()),
        messages=_select_messages(connection, period),
        domains=_select_domains(connection, period),
        bounces=_select_bounces(connection, period),
        without_delivery=_count_without_delivery(connection, period),
    )


def _select_days(connection: Connection, *periods: Period) -> dict[date, Figures]:
    """What is counted of each day that has messages."""
    dates = [day for period in periods for day in period.dates()]
    starts = [start for period in periods for start in period.starts()]
    number = func.width_bucket(
        literal_column(TIME, _TIME), bindparam("starts", starts, ARRAY(_TIME))
    ).label("number")
    counted = (
        select(number, *_COUNTS).where(or_(*map(_within, periods))).group_by(literal_column("1"))
    )
    return {dates[row.number - 1]: _figures(row) for row in connection.execute(counted)}


def _figures(row: Row[Any]) -> Figures:
    return Figures({count.name: int(getattr(row, count.name) or 0) for count in COUNTS})


def _select_messages(connection: Connection, period: Period) -> Top[Message]:
    keys = (_messages.message_kind, _messages.message_source_id)
    groups = (
        select(*keys, true().label("may_be_shown"), *_COUNTS).where(_within(period)).group_by(*keys)
    )
    found = select_top(connection, groups, keys, by=["delivered", "attempted"], limit=MESSAGES)
    names = _select_names(connection, period, [key for key, _ in found.shown])
    return Top(
        shown=tuple(
            Message(kind=kind, id=id_, name=names.get((kind, id_)), figures=_figures(row))
            for (kind, id_), row in found.shown
        ),
        others=found.others,
        rest=found.rest and Message(kind=None, id=None, name=None, figures=_figures(found.rest[1])),
    )


def _select_names(connection: Connection, period: Period, wanted: Sequence[Key]) -> dict[Key, str]:
    """What messages are called: as the customer says, else as several people have got it.

    A subject is a name only where all messages have the same: others are made for one person.
    """
    keys = (_messages.message_kind, _messages.message_source_id)
    are_wanted = and_(_within(period), tuple_(*keys).in_(wanted))
    subjects = (
        select(*keys, func.min(_messages.subject))
        .where(are_wanted, _messages.subject.is_not(None))
        .group_by(*keys)
        .having(
            func.min(_messages.subject) == func.max(_messages.subject),
            is_of_several(_messages.user_id, _messages.email),
        )
    )
    campaigns = (
        select(*keys, _messages.campaign_name)
        .where(are_wanted, _messages.campaign_name.is_not(None))
        .group_by(*keys, _messages.campaign_name)
        .having(is_of_several(_messages.user_id, _messages.email))
        .order_by(_messages.campaign_name)
    )
    names: dict[Key, str] = {}
    for statement in (subjects, campaigns):  # the last one wins
        for kind, id_, name in connection.execute(statement):
            names[kind, id_] = _ADDRESS.sub("…", name)
    return names | _select_given_names(connection, wanted)


def _select_given_names(connection: Connection, wanted: Sequence[Key]) -> dict[Key, str]:
    """What the customer calls messages."""
    given = dim_messages.c
    key = (given.message_kind, given.message_source_id)
    found = select(*key, given.name).where(given.name != "", tuple_(*key).in_(wanted))
    return {(kind, id_): name for kind, id_, name in connection.execute(found)}


def _select_domains(connection: Connection, period: Period) -> Top[Domain]:
    domain = _messages.email_domain
    may_be_shown = or_(domain.is_(None), is_of_several(_messages.user_id, _messages.email))
    groups = (
        select(domain, may_be_shown.label("may_be_shown"), *_COUNTS)
        .where(_within(period))
        .group_by(domain)
    )
    found = select_top(connection, groups, [domain], by=["attempted"], limit=DOMAINS)
    return Top(
        shown=tuple(Domain(domain=key[0], figures=_figures(row)) for key, row in found.shown),
        others=found.others,
        rest=found.rest and Domain(domain=None, figures=_figures(found.rest[1])),
    )


def _select_bounces(connection: Connection, period: Period) -> Top[Bounce]:
    code: ColumnElement[str] = literal_column(BOUNCE_CODE).label("code")
    groups = (
        select(code, true().label("may_be_shown"), func.count().label("bounced"))
        .where(_within(period), _messages.is_bounced)
        .group_by(literal_column("1"))
    )
    found = select_top(connection, groups, [code], by=["bounced"], limit=BOUNCES)
    return Top(
        shown=tuple(
            Bounce(code=code, kind=BOUNCE_CLASSES[code[0]], bounced=int(row.bounced))
            for (code,), row in found.shown
        ),
        others=found.others,
        rest=found.rest and Bounce(code=None, kind=None, bounced=int(found.rest[1].bounced)),
    )


def _count_without_delivery(connection: Connection, period: Period) -> int:
    """Messages of which something is known in a period, but neither delivery nor bounce."""
    first = func.least(
        _messages.first_opened_at,
        _messages.first_clicked_at,
        _messages.unsubscribed_at,
        _messages.spam_at,
        _messages.converted_at,
    )
    lost = and_(_messages.delivered_at.is_(None), _messages.bounced_at.is_(None))
    counted = select(func.count()).where(lost, first >= period.start, first < period.end)
    return int(connection.scalar(counted) or 0)
