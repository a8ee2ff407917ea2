"""The numbers of a report, from the tables of a source.

All of them are asked in one transaction that sees one state of the tables. Days begin when
`period.py` says so: the server need not know the timezone.
"""

from datetime import date, datetime, tzinfo

from sqlalchemy import Connection, column, exists, func, or_, select, text, true
from sqlalchemy.dialects.postgresql import JSONB

from loader import __version__
from loader.report.links import select_links
from loader.report.mails import select_mails
from loader.report.numbers import LoadDone, Mart, Rejects, Report, SchemaChange, Top
from loader.report.period import choose_period
from loader.warehouse.marts import fold
from loader.warehouse.rejects import is_waiting
from loader.warehouse.tables import loads, rejects, tracks

# How many of each a page shows.
LOADS, CHANGES = 10, 15


def select_report(
    connection: Connection,
    *,
    source: str,
    schema: str,
    warehouse: str | None,
    zone: tzinfo,
    days: int,
    until: date | None,
) -> Report:
    """All numbers of a page."""
    connection.rollback()  # what was asked before may have another state of the tables
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    now: datetime = connection.execute(select(func.now())).scalar_one()
    newest = _select_newest(connection)
    period = choose_period(zone, days=days, now=now, newest=newest, until=until)
    mart = _select_mart(connection, schema)
    return Report(
        source=source,
        schema=schema,
        warehouse=warehouse,
        timezone=str(zone),
        period=period,
        before=period.before(),
        made_at=now.astimezone(zone),
        newest_event_at=None if newest is None else newest.astimezone(zone),
        loader_version=__version__,
        mart=mart,
        mails=None if mart.is_off else select_mails(connection, period),
        links=select_links(connection, schema, period),
        loads=_select_loads(connection, zone),
        schema_changes=_select_changes(connection, zone),
        rejects=_select_rejects(connection),
    )


def _select_mart(connection: Connection, schema: str) -> Mart:
    found = fold.select_status(connection, schema)
    return Mart(
        is_off=found.is_off,
        batches=found.batches,
        waiting_batches=found.waiting_batches,
        stale_messages=found.stale_rows,
    )


def _select_newest(connection: Connection) -> datetime | None:
    """The time of the newest event.

    One that brought no time has that of the load, and a clock that is wrong may say tomorrow:
    neither is news. The ledger knows the newest event of loads that had no such one; else all
    events are looked at.
    """
    last = loads.c.last_timestamp
    is_sure = last < loads.c.started_at
    known = select(
        func.max(last).filter(is_sure, last >= func.to_timestamp(0)), func.bool_and(is_sure)
    )
    newest: datetime | None
    newest, are_sure = connection.execute(known).one()
    if are_sure or are_sure is None:
        return newest
    when = tracks.c.timestamp
    invented = exists().where(loads.c.started_at == when)
    looked = select(func.max(when)).where(
        when.between(func.to_timestamp(0), func.now()),
        or_(tracks.c.received_at != when, ~invented),
    )
    newest = connection.scalar(looked)
    return newest


def _select_loads(connection: Connection, zone: tzinfo) -> Top[LoadDone]:
    seconds = func.extract("epoch", loads.c.finished_at - loads.c.started_at)
    counts = ("records_read", "rows_loaded", "duplicates", "rejects", "ignored", "extra_values")
    newest = (
        select(
            loads.c.id,
            loads.c.status,
            loads.c.started_at,
            seconds.label("seconds"),
            *(loads.c[name] for name in counts),
        )
        .order_by(loads.c.id.desc())
        .limit(LOADS)
    )
    total = connection.scalar(select(func.count()).select_from(loads)) or 0
    shown = tuple(
        LoadDone(
            id=row.id,
            status=row.status,
            started_at=row.started_at.astimezone(zone),
            seconds=None if row.seconds is None else round(float(row.seconds), 3),
            **{name: getattr(row, name) for name in counts},
        )
        for row in connection.execute(newest)
    )
    return Top(shown=shown, others=total - len(shown))


def _select_changes(connection: Connection, zone: tzinfo) -> Top[SchemaChange]:
    entries = func.jsonb_array_elements(loads.c.schema_changes)
    entry = entries.table_valued(column("value", JSONB)).lateral("entry")
    change, table = entry.c.value["change"].astext, entry.c.value["table"].astext
    groups = (
        select(
            loads.c.id.label("load_id"),
            table.label("table"),
            func.max(loads.c.started_at).label("changed_at"),
            func.bool_or(change == "create table").label("is_new"),
            func.count().filter(change == "add column").label("new_columns"),
            func.count().filter(change == "widen column").label("wider_columns"),
        )
        .select_from(loads.join(entry, true()))
        .group_by(loads.c.id, table)
        .subquery()
    )
    newest = (
        select(groups).order_by(groups.c.load_id.desc(), groups.c.table.collate("C")).limit(CHANGES)
    )
    total = connection.scalar(select(func.count()).select_from(groups)) or 0
    shown = tuple(
        SchemaChange(**row._asdict() | {"changed_at": row.changed_at.astimezone(zone)})
        for row in connection.execute(newest)
    )
    return Top(shown=shown, others=total - len(shown))


def _select_rejects(connection: Connection) -> tuple[Rejects, ...]:
    number = func.count()
    waiting = func.count().filter(is_waiting())
    counted = (
        select(rejects.c.reason, number, waiting)
        .group_by(rejects.c.reason)
        .order_by(number.desc(), rejects.c.reason)
    )
    return tuple(
        Rejects(reason=reason, rejects=total, waiting=left)
        for reason, total, left in connection.execute(counted)
    )
