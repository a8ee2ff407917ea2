"""Fold the events of committed batches into `email_messages`, each batch once.

What is folded is marked in the same transaction, so it does not matter where a load is killed, nor
who goes on. Whoever calls this holds the lock of the schema.
"""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import psycopg2
from psycopg2 import sql
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Text,
    cast,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from loader.errors import TransientFault
from loader.normalize.collections import EMAIL_MESSAGES
from loader.warehouse.blockers import lock_tables
from loader.warehouse.engine import driver_cursor
from loader.warehouse.ledger import require_rows
from loader.warehouse.marts import definition
from loader.warehouse.marts.messages import OFF_COMMENT, SOURCES, TABLE_COMMENT
from loader.warehouse.marts.renewal import renew_views
from loader.warehouse.marts.texts import Tables
from loader.warehouse.tables import (
    batches,
    email_messages,
    loads,
    marts,
    select_tables,
    stale_messages,
)

# Of one transaction: about a million events.
_BATCHES_AT_ONCE = 20
# Of a transaction that folds. What servers allow for sorting is meant for many sessions at once;
# the number of messages cannot be estimated, and hashing too many takes longer than sorting them;
# and compiling such wide statements takes longer than running them.
_SETTINGS = "SET LOCAL work_mem = '64MB'; SET LOCAL enable_hashagg = off; SET LOCAL jit = off"
# What a load folds of others; a small one must not take minutes.
_SECONDS_FOR_OTHERS = 60.0
# The load of batches that are known by their rows alone.
_FOUND = 0
# What a clock may have been set back by while a load ran.
_CLOCK_MARGIN = timedelta(days=1)

T = TypeVar("T", covariant=True)
Work = Callable[[Connection], T]


class Run(Protocol):
    """Runs work in a transaction of its own."""

    def __call__(self, work: Work[T], /) -> T: ...


class State(NamedTuple):
    """Whether there is something to do, before a load has written anything."""

    is_behind: bool
    is_off: bool  # the comment of the table says that it is not filled


class Waiting(NamedTuple):
    """Batches whose events are not folded yet."""

    own: int  # of the load in hand
    others: int


class MartStatus(NamedTuple):
    """How full a mart is."""

    mart: str
    rows: int
    batches: int
    waiting_batches: int  # of them, whose events it lacks
    stale_rows: int  # that have to be made anew
    is_off: bool


_SELECT_IS_OFF = text(
    """
    -- Whether the comment of a table says that it is not filled.
    SELECT coalesce(obj_description(to_regclass(format('%I.%I', :schema, :name))) = :off, false)
    """
)
_SEEN = select(func.coalesce(func.max(marts.c.loads_seen), 0)).scalar_subquery()
_RECORDED = select(func.count()).where(batches.c.load_id == loads.c.id).scalar_subquery()
_LACKS_BATCHES = (loads.c.id > _SEEN) & (loads.c.batches > 0) & (loads.c.batches > _RECORDED)


def select_state(connection: Connection, schema: str) -> State:
    """What a load finds."""
    is_behind = or_(
        exists().where(~batches.c.folded),
        exists(stale_messages.select()),
        exists().where(_LACKS_BATCHES),
        exists().where(marts.c.definition.is_(None)),  # made without a look at the tables
    )
    return State(bool(connection.scalar(select(is_behind))), is_off(connection, schema))


def is_off(connection: Connection, schema: str) -> bool:
    """Whether the comment of the table says that it is not filled."""
    facts = {"schema": schema, "name": EMAIL_MESSAGES, "off": OFF_COMMENT}
    return bool(connection.scalar(_SELECT_IS_OFF, facts))


def select_status(connection: Connection, schema: str) -> MartStatus:
    """How full `email_messages` is; reads the table.

    Batches that no load has recorded yet are counted as the loads say that they wrote them.
    """
    lacking = func.coalesce(func.sum(loads.c.batches - _RECORDED), 0)
    unknown = cast(select(lacking).where(_LACKS_BATCHES).scalar_subquery(), BigInteger)
    counts = select(
        select(func.count()).select_from(email_messages).scalar_subquery(),
        select(func.count()).select_from(batches).scalar_subquery() + unknown,
        select(func.count()).where(~batches.c.folded).scalar_subquery() + unknown,
        select(func.count()).select_from(stale_messages).scalar_subquery(),
    )
    return MartStatus(EMAIL_MESSAGES, *connection.execute(counts).one(), is_off(connection, schema))


def transactions_on(connection: Connection) -> Run:
    """What runs work on a connection that holds the lock, and is in no transaction."""

    def run(work: Work[T]) -> T:
        with connection.begin():
            return work(connection)

    return run


def fill(run: Run, *, schema: str, load_id: int | None, was_off: bool) -> str:
    """Fold what waits; says what is left to later loads, if anything is."""
    if was_off:
        run(partial(_say_whether_filled, schema=schema, filled=True))
    left = fold_all(run, schema, load_id=load_id, seconds=_SECONDS_FOR_OTHERS)
    if not left.others:
        return ""
    return (
        f"{left.others:,} batches of earlier loads wait; each load goes on with them for a "
        "minute, and `customerio-loader marts rebuild` until all are there"
    )


def leave(run: Run, *, schema: str, was_off: bool) -> str:
    """Say in its comment that the table is not filled; the views of events are right all the same.

    They depend on the tables, which a load may have changed, and not on what is folded.
    """
    run(partial(renew_views, schema=schema))
    if not was_off:
        run(partial(_say_whether_filled, schema=schema, filled=False))
    return ""


def rebuild(
    connection: Connection, schema: str, *, lock_timeout: float, retry_timeout: float
) -> None:
    """Make the table anew from all events, slice by slice; in between others see what is there."""
    run = transactions_on(connection)
    run(partial(find_batches, schema=schema, everything=True))
    empty = partial(_empty, schema=schema, lock_timeout=lock_timeout, retry_timeout=retry_timeout)
    run(empty)
    fold_all(run, schema, load_id=None, seconds=None)


def _empty(
    connection: Connection, schema: str, *, lock_timeout: float, retry_timeout: float
) -> None:
    lock_tables(
        connection,
        schema,
        [EMAIL_MESSAGES],
        lock_timeout=lock_timeout,
        retry_timeout=retry_timeout,
        then="rebuild again",
    )
    with driver_cursor(connection) as cursor:
        cursor.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(schema, EMAIL_MESSAGES)))
    connection.execute(update(batches).where(batches.c.folded).values(folded=False))
    connection.execute(delete(stale_messages))
    connection.execute(update(marts).values(definition=None))  # so that the function is made anew
    _say_whether_filled(connection, schema, filled=True)


def fold_all(run: Run, schema: str, *, load_id: int | None, seconds: float | None) -> Waiting:
    """Fold what waits, slice by slice; what is not the load's own for so many seconds at most.

    Returns what is left. One slice of the others is folded however few seconds there are.
    """
    most, end = _BATCHES_AT_ONCE, None
    while True:
        step = partial(fold_some, schema=schema, load_id=load_id, most=most)
        try:
            left = run(step)
        except TransientFault:
            if most == 1:
                raise
            most = 1  # the server may have a limit of time that a large statement exceeds
            continue
        if not (left.own or left.others):
            return left
        if not left.own and seconds is not None:
            if end is not None and time.monotonic() >= end:
                return left
            end = time.monotonic() + seconds if end is None else end


def fold_some(
    connection: Connection, schema: str, *, load_id: int | None, most: int = 1
) -> Waiting:
    """Fold `most` batches, those of a load first, in the caller's transaction.

    Returns what is left; where that is nothing, stale messages are made anew.
    """
    find_batches(connection, schema)
    tables = renew_views(connection, schema)
    stamps = _claim_batches(connection, load_id, most)
    if stamps:
        _summarize(connection, schema, tables)
        _fold(connection, schema, tables, stamps)
        _summarize(connection, schema, [EMAIL_MESSAGES])
    left, is_stale = _count_waiting(connection, load_id)
    if is_stale and not (left.own or left.others):
        _refold(connection, schema, tables)
    return left


def _claim_batches(connection: Connection, load_id: int | None, most: int) -> list[str]:
    """The stamps of some batches that nobody folds before this transaction ends.

    They are the load's own while it has some, and then others; the newest ones first, for they are
    what people look at. As texts: rows that came by hand may have one that Python has no time for.
    """
    is_own = _is_own(load_id)
    waiting = (
        select(cast(batches.c.uuid_ts, Text), is_own)
        .where(~batches.c.folded)
        .order_by(is_own.desc(), batches.c.uuid_ts.desc())
        .limit(most)
        .with_for_update()
    )
    found = connection.execute(waiting).all()
    return [stamp for stamp, own in found if own] or [stamp for stamp, _ in found]


def _is_own(load_id: int | None) -> ColumnElement[bool]:
    return func.coalesce(batches.c.load_id == load_id, false())


def _fold(connection: Connection, schema: str, tables: Tables, stamps: list[str]) -> None:
    facts = {"first": stamps[-1], "last": stamps[0], "stamps": stamps}
    _write_messages(connection, definition.fold_sql(schema, tables), facts)
    done_now = func.any(cast(stamps, ARRAY(DateTime(timezone=True))))
    marked = update(batches).where(batches.c.uuid_ts == done_now).values(folded=True)
    done = connection.execute(marked)
    require_rows(batches.name, sent=len(stamps), stored=done.rowcount)


def _count_waiting(connection: Connection, load_id: int | None) -> tuple[Waiting, bool]:
    """What waits, and whether there are stale messages."""
    is_own = _is_own(load_id)
    counts = select(
        func.count().filter(is_own),
        func.count().filter(~is_own),
        exists(stale_messages.select()),
    ).where(~batches.c.folded)
    own, others, is_stale = connection.execute(counts).one()
    return Waiting(own, others), is_stale


def _refold(connection: Connection, schema: str, tables: Tables) -> None:
    """Make stale messages anew, once every batch is folded."""
    gone = email_messages.c.message_key.in_(select(stale_messages.c.message_key))
    connection.execute(delete(email_messages).where(gone))
    _write_messages(connection, definition.refold_sql(schema, tables))
    connection.execute(delete(stale_messages))


def _write_messages(
    connection: Connection, statement: str, facts: Mapping[str, object] | None = None
) -> None:
    """Run a statement that says how many messages there are, and how many are written."""
    with driver_cursor(connection) as cursor:
        cursor.execute(_SETTINGS)
        cursor.execute(statement, facts)
        sent, stored = cursor.fetchone()
    require_rows(EMAIL_MESSAGES, sent=sent, stored=stored, undone="Nothing of them was folded")


def _summarize(connection: Connection, schema: str, tables: Collection[str]) -> None:
    """Have the indexes know the pages that were written, before or without a vacuum.

    Until then each of these pages is read whatever is looked for. That is slow and not wrong, so
    it is done without where somebody holds an index, or another role owns it.
    """
    with driver_cursor(connection) as cursor:
        try:
            cursor.execute(_SUMMARIZE, {"schema": schema, "tables": list(tables)})
        except psycopg2.Error:
            if cursor.connection.closed:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT summarizing; RELEASE SAVEPOINT summarizing")


# In one message to the server, since a load of a few events does it as well. For the lock on an
# index that is brought up to date, which a vacuum of its table holds, too, it waits an instant.
_SUMMARIZE = """
SAVEPOINT summarizing;
SELECT set_config('loader.lock_timeout', current_setting('lock_timeout'), true),
       set_config('lock_timeout', '100ms', true);
-- Bring the BRIN indexes of some tables up to date.
SELECT brin_summarize_new_values(i.oid)
FROM pg_index x
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_class i ON i.oid = x.indexrelid AND i.relkind = 'i'
JOIN pg_am a ON a.oid = i.relam AND a.amname = 'brin'
WHERE n.nspname = %(schema)s AND t.relname = ANY(%(tables)s);
SELECT set_config('lock_timeout', current_setting('loader.lock_timeout'), true);
RELEASE SAVEPOINT summarizing
"""


def find_batches(connection: Connection, schema: str, *, everything: bool = False) -> None:
    """Record batches that are known by their rows alone.

    Loads of older versions recorded none. With `everything` rows count, too, that no load wrote.
    """
    since = connection.scalar(select(func.min(loads.c.started_at)).where(_LACKS_BATCHES))
    if since is not None or everything:
        bound = None if everything else since - _CLOCK_MARGIN
        _record_found(connection, schema, bound)
    newest = select(func.coalesce(func.max(loads.c.id), 0)).scalar_subquery()
    own = (marts.c.name == EMAIL_MESSAGES) & (marts.c.loads_seen != newest)
    connection.execute(update(marts).where(own).values(loads_seen=newest))


def _record_found(connection: Connection, schema: str, since: datetime | None) -> None:
    tables = select_tables(connection, schema, SOURCES)
    stamps = sql.SQL(" UNION ").join(
        sql.SQL("SELECT uuid_ts FROM {} WHERE uuid_ts >= %(since)s").format(
            sql.Identifier(schema, table)
        )
        for table in tables
    )
    statement = sql.SQL(
        "INSERT INTO {batches} (load_id, number, uuid_ts) "
        "SELECT %(found)s, coalesce((SELECT max(number) FROM {batches} "
        "WHERE load_id = %(found)s), 0) + row_number() OVER (ORDER BY uuid_ts), uuid_ts "
        "FROM ({stamps}) AS found WHERE NOT EXISTS "
        "(SELECT FROM {batches} AS known WHERE known.uuid_ts = found.uuid_ts)"
    ).format(batches=sql.Identifier(schema, batches.name), stamps=stamps)
    with driver_cursor(connection) as cursor:
        cursor.execute(statement, {"found": _FOUND, "since": since or "-infinity"})


def _say_whether_filled(connection: Connection, schema: str, *, filled: bool) -> bool:
    """Have the comment of the table say whether it is filled."""
    with driver_cursor(connection) as cursor:
        cursor.execute(
            sql.SQL("COMMENT ON TABLE {} IS {}").format(
                sql.Identifier(schema, EMAIL_MESSAGES),
                sql.Literal(TABLE_COMMENT if filled else OFF_COMMENT),
            )
        )
    return True
