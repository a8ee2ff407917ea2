"""The numbers of a report, from the tables of a source.

All of them are asked in one transaction that sees one state of the tables. Days begin when
`period.py` says so: the server need not know the timezone.
"""

from datetime import date, datetime, tzinfo

from sqlalchemy import Column, Connection, MetaData, Table, exists, func, or_, select, text

from loader import __version__
from loader.report.links import select_links
from loader.report.mails import select_mails
from loader.report.numbers import LoadDone, Mart, Rejects, Report, SchemaChange, Top
from loader.report.period import choose_period
from loader.warehouse.marts import fold
from loader.warehouse.tables import loads, tracks

# How many of each a page shows.
LOADS, CHANGES = 10, 15

_VIEWS = MetaData()
_schema_changes = Table(
    "schema_changes",
    _VIEWS,
    *(Column(name) for name in ("changed_at", "load_id", "change", "table_name")),
)
_rejects_by_reason = Table(
    "rejects_by_reason", _VIEWS, *(Column(name) for name in ("reason", "rejects", "waiting"))
)


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
    is_sure = (last != loads.c.started_at) & (last <= loads.c.finished_at)
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
    one = _schema_changes.c
    groups = (
        select(
            one.load_id,
            one.table_name.label("table"),
            func.max(one.changed_at).label("changed_at"),
            func.bool_or(one.change == "create table").label("is_new"),
            func.count().filter(one.change == "add column").label("new_columns"),
            func.count().filter(one.change == "widen column").label("wider_columns"),
        )
        .group_by(one.load_id, one.table_name)
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
    """From the view, since who may read that need not read the raw texts beside them."""
    one = _rejects_by_reason.c
    number = func.sum(one.rejects)
    counted = (
        select(one.reason, number, func.sum(one.waiting))
        .group_by(one.reason)
        .order_by(number.desc(), one.reason)
    )
    return tuple(
        Rejects(reason=reason, rejects=int(total), waiting=int(left))
        for reason, total, left in connection.execute(counted)
    )
