"""What is wrong with the loads of a schema, by what its ledger says."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, ScalarSelect, func, select

from loader.normalize.collections import EMAIL_MESSAGES
from loader.warehouse.marts import fold
from loader.warehouse.tables import batches, loads

_SUCCESS, _RUNNING = "success", "running"
_WANTED = loads.c.records_read - loads.c.ignored
# `columns widen` has a row of its own in the ledger, and is no load.
_IS_WIDENING = func.coalesce(loads.c.schema_changes.contains([{"change": "widen column"}]), False)
_IS_GOOD = (loads.c.status == _SUCCESS) & ~_IS_WIDENING
# No event has arrived later than the load that read it: a sender's clock may run ahead for years.
_RECEIVED = func.least(loads.c.last_received_at, func.coalesce(loads.c.finished_at, func.now()))


def find_alerts(
    connection: Connection,
    schema: str,
    *,
    load_age: timedelta,
    event_age: timedelta,
    reject_ratio: float,
) -> list[str]:
    """A sentence for each thing that is wrong.

    There was no good load, or no event has arrived, for some time; loads have failed since the
    last good one; more than a share of the records were rejected since the last good load that read
    some, which a load that finds nothing new leaves as it is; the last good load with events could
    not fold them, which is no failure of the load.
    """
    good = select(func.max(loads.c.finished_at)).where(_IS_GOOD)
    newest = select(func.max(_RECEIVED)).where(loads.c.last_received_at.is_not(None))
    now: datetime = connection.execute(select(func.now())).scalar_one()
    found = []
    for what, statement, age in (
        ("successful load", good, load_age),
        ("event received", newest, event_age),
    ):
        last: datetime | None = connection.scalar(statement)
        if last is None or last < now - age:
            found.append(f"no {what} {f'since {last:%Y-%m-%d %H:%M %Z}' if last else 'ever'}")
    failed = connection.execute(
        select(loads.c.id, loads.c.status, loads.c.error)
        .where(loads.c.id > _last(), loads.c.status.not_in([_SUCCESS, _RUNNING]))
        .order_by(loads.c.id.desc())
        .limit(1)
    ).one_or_none()
    if failed is not None:
        why = f": {failed.error}" if failed.error else ""
        found.append(f"load {failed.id} has ended as {failed.status}{why}")
    since = _last(with_records=True)
    sums = select(func.min(loads.c.id), func.sum(loads.c.rejects), func.sum(_WANTED)).where(
        loads.c.id >= since
    )
    first, rejects, wanted = connection.execute(sums).one()
    if wanted and rejects / wanted > reject_ratio:
        found.append(f"{rejects:,} of {wanted:,} records were rejected since load {first}")
    last_with_events = (
        select(func.max(loads.c.id)).where(_IS_GOOD, loads.c.batches > 0).scalar_subquery()
    )
    lacking = select(func.min(batches.c.load_id)).where(
        batches.c.load_id == last_with_events, ~batches.c.folded
    )
    load_id = connection.scalar(lacking)
    if load_id is not None and not fold.is_off(connection, schema):
        found.append(f"{EMAIL_MESSAGES} lacks events of load {load_id}: see its log")
    return found


def _last(*, with_records: bool = False) -> ScalarSelect[int]:
    """The last good load; 0 where there is none."""
    statement = select(func.coalesce(func.max(loads.c.id), 0)).where(_IS_GOOD)
    return (statement.where(_WANTED > 0) if with_records else statement).scalar_subquery()
