"""Write the rows of one batch by COPY, in the caller's transaction."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from typing import NamedTuple

from psycopg2 import errors, sql
from sqlalchemy import Connection

from loader.columns.times import read_time
from loader.normalize.collections import TRACKS
from loader.normalize.times import widest
from loader.warehouse.batch import Copy, SealedBatch
from loader.warehouse.engine import driver_cursor
from loader.warehouse.ids import Ids, select_existing
from loader.warehouse.ledger import require_rows

# How much one step of COPY takes from Python: each step needs the interpreter, and a copy.
_COPY_BYTES = 1 << 20


class Written(NamedTuple):
    """What a batch really added."""

    rows: dict[str, int]  # by table
    known: frozenset[str]  # ids that `tracks` had already
    times: dict[str, tuple[str, str]]


def write_rows(connection: Connection, schema: str, batch: SealedBatch) -> Written:
    """COPY the rows of a batch, in the caller's transaction.

    The primary key finds the ids that are there already. Until it has, nobody asks for them: what
    meets one is rolled back, and then table by table repeated without the known ids.
    """
    if _copy_all(connection, schema, batch.copies):
        return Written(count_rows(batch.copies), frozenset(), dict(batch.times))
    known: set[str] = set()
    written: list[Copy] = []
    for copy in batch.copies:
        if copy.table == TRACKS:
            known |= select_existing(connection, schema, TRACKS, Ids.join(ids_of(copy)))
        if known:
            copy = _without_ids(copy, known)
        found = _copy_new(connection, schema, copy)
        written.append(_without_ids(copy, found) if found else copy)
    times = _times(copy for copy in written if copy.table == TRACKS) if known else batch.times
    return Written(count_rows(written), frozenset(known), dict(times))


def count_rows(copies: Iterable[Copy]) -> dict[str, int]:
    """Rows by table; there may be several copies for one."""
    rows: Counter[str] = Counter()
    for copy in copies:
        rows[copy.table] += len(copy.rows)
    return dict(+rows)


def _copy_all(connection: Connection, schema: str, copies: Iterable[Copy]) -> bool:
    """COPY all rows, if no id is there already; most batches are so, and need one savepoint."""
    savepoint = connection.begin_nested()
    try:
        for copy in copies:
            _run_copy(connection, schema, copy)
        savepoint.commit()
    except errors.UniqueViolation:
        savepoint.rollback()
        return False
    return True


def _copy_new(connection: Connection, schema: str, copy: Copy) -> set[str]:
    """COPY the rows whose ids are new; returns the ids that were there."""
    if _copy_all(connection, schema, [copy]):
        return set()
    found = select_existing(connection, schema, copy.table, Ids.join(ids_of(copy)))
    _run_copy(connection, schema, _without_ids(copy, found))
    return found


def _run_copy(connection: Connection, schema: str, copy: Copy) -> None:
    if not len(copy.rows):
        return
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(schema, copy.table),
        sql.SQL(", ").join(map(sql.Identifier, copy.columns)),
    )
    payload = copy.rows.payload()
    with driver_cursor(connection) as cursor, _driver_kept_silent():
        cursor.copy_expert(statement, payload, _COPY_BYTES)
        # A trigger can drop rows without an error.
        require_rows(f"{schema}.{copy.table}", sent=len(copy.rows), stored=cursor.rowcount)


@contextmanager
def _driver_kept_silent() -> Iterator[None]:
    """Where a session ends in a COPY, psycopg2 prints the error, and a row of people's data in it.

    It does so through `sys.excepthook`, and raises the error nevertheless.
    """
    hook = sys.excepthook
    sys.excepthook = lambda *_: None
    try:
        yield
    finally:
        sys.excepthook = hook


def _times(copies: Iterable[Copy]) -> dict[str, tuple[str, str]]:
    """First and last times of the rows that were left."""
    times: dict[str, tuple[str, str]] = {}
    for copy in copies:
        names = {copy.columns.index(name): name for name in ("timestamp", "received_at")}
        for values in copy.rows.fields():
            for place, name in names.items():
                value = values[place]
                assert value is not None  # every row has both
                text = read_time(value)
                times[name] = widest(times.get(name), (text, text))
    return times


def ids_of(copy: Copy) -> list[str]:
    """The ids of the rows."""
    return copy.rows.ids()


def _without_ids(copy: Copy, ids: Set[str]) -> Copy:
    """The rows but those of some ids."""
    gone = [at for at, key in enumerate(ids_of(copy)) if key in ids]
    return copy.without(gone)
