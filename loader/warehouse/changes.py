"""The schema changes of a load, ahead of the batch that needs them.

An ALTER TABLE waits for everybody who reads the table, and everybody who comes later waits behind
it. So each table is changed in a short transaction of its own, a try waits `lock_timeout` at most,
and between two tries all who queued go on. Where a table stays held past `retry_timeout`, the load
goes on without its new columns: they are recorded with the batch whose values are in `_extra`
instead, and every later batch tries once.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import TypeVar

import psycopg2
from psycopg2 import errors, sql
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from loader.errors import LoaderError, MissingRight, SchemaDrift, TransientFault, WarehouseFailed
from loader.normalize.collections import SHARED_NAMES, TRACKS, Type
from loader.normalize.types import INFERRED
from loader.warehouse import ledger
from loader.warehouse.batch import Waiting
from loader.warehouse.blockers import Blockers, select_blockers
from loader.warehouse.engine import driver_cursor, milliseconds
from loader.warehouse.evolve import AddColumn, Change, CreateTable, apply_changes
from loader.warehouse.extra import move_back
from loader.warehouse.grants import grant_tables, select_readers
from loader.warehouse.tables import select_tables
from loader.warehouse.transactions import Transactions

# The server locks each table that a transaction makes, and has room for some thousands of locks.
_TABLES_AT_ONCE = 50
_SECONDS_BETWEEN = (0.2, 5.0)  # two tries: at first, and at most

T = TypeVar("T")


class TablesDiffer(LoaderError):
    """Tables are not, or no longer, those that a batch was planned for, or encoded for."""

    def __init__(
        self, there: Mapping[str, dict[str, Type]], *, is_of_submitted: bool = False
    ) -> None:
        names = ", ".join(sorted(there))
        super().__init__(f"somebody has changed tables while it ran ({names}); load again")
        self.there = there  # the types of their columns; a table that is gone has none
        self.is_of_submitted = is_of_submitted  # of a batch that is encoded already


class _Locked(Exception):
    """Somebody held a table for longer than a try waits."""


class Changes:
    """Makes the changes that the batches of one load need."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        waiting: Sequence[Waiting],
        lock_timeout: float,
        retry_timeout: float,
        reader_role: str,
        stopped: threading.Event,
    ) -> None:
        # By table and name of a column that may have a row in the ledger: who held its table.
        self._waiting: dict[tuple[str, str], str] = {}
        self.remember(waiting)
        self._transactions = transactions
        self._lock_timeout = lock_timeout
        self._retry_timeout = retry_timeout
        self._reader_role = reader_role
        self._stopped = stopped
        self._is_patient = True  # until a table was held for `retry_timeout`

    @property
    def waiting(self) -> dict[str, str]:
        """The columns that wait, as `table.column`, and who held their table."""
        return {f"{table}.{name}": who for (table, name), who in sorted(self._waiting.items())}

    def remember(self, waiting: Sequence[Waiting]) -> None:
        """Know of columns that are about to be recorded."""
        self._waiting |= {(column.table, column.column): who for column, who in waiting}

    def make(self, changes: Sequence[Change]) -> list[Waiting]:
        """Make changes, all of one table or none; returns the columns that have to wait.

        Raises TablesDiffer if a table is not as the changes were planned for.
        """
        waiting: list[Waiting] = []
        # A context column has the same type in every table, so it comes to `tracks` first.
        held: dict[str, str] = {}
        for step in _steps(changes):
            waiting += [Waiting(c, held[c.column]) for c in _columns(step) if c.column in held]
            step = [c for c in step if not (isinstance(c, AddColumn) and c.column in held)]
            blocker = self._make_step(step) if step else ""
            if blocker:
                waiting += [Waiting(column, blocker) for column in _columns(step)]
                if step[0].table == TRACKS:
                    held = {column.column: blocker for column in _columns(step)}
        return waiting

    def _make_step(self, step: Sequence[Change]) -> str:
        """Change tables as soon as nobody holds them; says who does if that takes too long."""
        seconds = longest = self._lock_timeout
        # What waits already is tried once: each batch does, and each load.
        waits = all(
            isinstance(change, AddColumn) and (change.table, change.column) in self._waiting
            for change in step
        )
        patience = self._retry_timeout if self._is_patient and not waits else 0.0
        first_try = time.monotonic()
        for number in count():
            try:
                recorded = self._run(partial(self._apply, step, seconds))
            except _Locked:
                blockers, seconds = self._run(partial(self._look, step, longest))
            except (MissingRight, SchemaDrift, WarehouseFailed) as error:
                if not waits:
                    raise
                return str(error)  # events without such values load nevertheless
            else:
                self._transactions.counts.schema_changes = recorded
                break
            if self._stopped.is_set():
                raise TransientFault("the load was stopped while it waited for a lock")
            if seconds > longest:
                longest = seconds
                continue
            if time.monotonic() - first_try >= patience:
                if any(isinstance(change, CreateTable) for change in step):
                    raise TransientFault(f"tables could not be made: held by {blockers.words}")
                self._is_patient = False
                return blockers.words
            first, most = _SECONDS_BETWEEN
            self._stopped.wait(min(first * 2**number, most) * random.uniform(0.5, 1.5))
        for column in _columns(step):
            self._settle(column)
        return ""

    def _run(self, work: Callable[[Connection], T]) -> T:
        done = self._transactions.run_until_done(work)
        assert done is not None, "what can be done twice is never found done already"
        return done

    def _apply(
        self, step: Sequence[Change], seconds: float, connection: Connection
    ) -> list[dict[str, str]]:
        """Make what is not there yet; returns all changes that the load has made."""
        made = apply_step(connection, self._transactions.schema, step, lock_timeout=seconds)
        tables = [change.table for change in made if isinstance(change, CreateTable)]
        for role in select_readers(connection, self._reader_role) if tables else ():
            grant_tables(connection, self._transactions.schema, role, tables)
        return ledger.record_changes(
            connection, self._transactions.load.id, [change.as_json() for change in made]
        )

    def _look(
        self, step: Sequence[Change], longest: float, connection: Connection
    ) -> tuple[Blockers, float]:
        """Who holds the tables, and how long the next try waits."""
        tables = {change.table for change in step}
        blockers = select_blockers(connection, self._transactions.schema, tables)
        return blockers, blockers.next_wait(connection, self._lock_timeout, longest=longest)

    def _settle(self, column: AddColumn) -> None:
        """Move what waits in `_extra` for a column, if it is one that was waited for."""
        key = column.table, column.column
        if key in self._waiting and not self._stopped.is_set():
            schema = self._transactions.schema
            settle = partial(
                settle_column, schema=schema, column=column, lock_timeout=self._lock_timeout
            )
            self._is_patient = True
            if self._run(settle):
                del self._waiting[key]


def _steps(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Changes by table, `tracks` first. Nobody waits for new tables, so many come at once."""
    by_table: dict[str, list[Change]] = {}
    for change in changes:
        by_table.setdefault(change.table, []).append(change)
    if TRACKS in by_table:
        yield by_table.pop(TRACKS)
    made = [change.table for change in changes if isinstance(change, CreateTable)]
    new = iter([by_table.pop(table) for table in made])
    while some := list(islice(new, _TABLES_AT_ONCE)):
        yield [change for of_table in some for change in of_table]
    yield from by_table.values()


def _columns(step: Sequence[Change]) -> list[AddColumn]:
    return [change for change in step if isinstance(change, AddColumn)]


def apply_step(
    connection: Connection, schema: str, step: Sequence[Change], *, lock_timeout: float
) -> list[Change]:
    """Make those changes that are not there yet, in the caller's transaction; returns them.

    Raises TablesDiffer if something else is there.
    """
    _limit_locks(connection, lock_timeout)
    there = select_tables(connection, schema, {change.table for change in step})
    expected = {table: dict(columns) for table, columns in there.items()}
    needed: list[Change] = []
    for change in step:
        if isinstance(change, CreateTable):
            if change.table not in there:
                needed.append(change)
                expected[change.table] = {}
            elif not there[change.table].keys() >= SHARED_NAMES:
                raise SchemaDrift(
                    f"the table {change.table!r}, which an event needs, is somebody else's: "
                    "rename it, or name the events that count in `collections`"
                )
        elif isinstance(change, AddColumn):
            columns = expected.get(change.table)
            if columns is None or columns.get(change.column, change.type) != change.type:
                raise TablesDiffer({c.table: there.get(c.table, {}) for c in step})
            if change.column not in columns:
                needed.append(change)
    try:
        apply_changes(connection, schema, needed)
    except errors.LockNotAvailable as error:
        raise _Locked from error
    except errors.DuplicateColumn as error:
        raise TransientFault("somebody else adds columns to the same tables; load again") from error
    return needed


def settle_column(
    connection: Connection, schema: str, column: AddColumn, *, lock_timeout: float
) -> bool:
    """Move what waits in `_extra` for a column that is there, and its row in the ledger goes.

    Returns False, with nothing done, where somebody holds one of the rows, a limit of the server's
    ends it, or a constraint or a trigger refuses it: that must end no load.
    """
    savepoint = connection.begin_nested()
    try:
        _limit_locks(connection, lock_timeout)
        if ledger.forget_waiting(connection, column.table, column.column):
            move_back(connection, schema, column.table, column.column, column.type)
        savepoint.commit()
    except (psycopg2.Error, DBAPIError):
        savepoint.rollback()  # raises again where the connection was lost
        return False
    return True


def _limit_locks(connection: Connection, seconds: float) -> None:
    """How long to wait for a lock, for the rest of a transaction."""
    connection.execute(select(func.set_config("lock_timeout", f"{milliseconds(seconds)}ms", True)))


def find_waiting(
    connection: Connection,
    schema: str,
    tables: Mapping[str, Mapping[str, Type]],
    *,
    lock_timeout: float,
) -> list[Waiting]:
    """The columns that wait, once those are settled that are there.

    A load can be killed between the two; and somebody may have made a column or dropped a table.
    """
    found: list[Waiting] = []
    for row in ledger.select_waiting(connection):
        # Somebody may have edited the row.
        type_ = row.type if row.type in INFERRED else "jsonb"
        column = AddColumn(table=row.table, column=row.column, type=type_, comment=row.comment)
        if row.table not in tables:
            ledger.forget_waiting(connection, row.table, row.column)
        elif row.column in tables[row.table]:
            there = replace(column, type=tables[row.table][row.column])
            if not settle_column(connection, schema, there, lock_timeout=lock_timeout):
                found.append(Waiting(there, row.blocker))
        else:
            found.append(Waiting(column, row.blocker))
    return found


def require_types(
    connection: Connection, schema: str, types: Mapping[str, Mapping[str, Type]]
) -> None:
    """See that tables have the types that rows were encoded for, and keep them to the end.

    In COPY's binary format `true` is a valid text: the server would not notice. Raises
    TablesDiffer.
    """
    if not types:
        return
    names = {"schema": schema, "tables": list(types)}
    there: Collection[str] = set(connection.scalars(_SELECT_THERE, names))
    if missing := types.keys() - there:
        raise TablesDiffer({table: {} for table in missing}, is_of_submitted=True)
    with driver_cursor(connection) as cursor:
        tables = sql.SQL(", ").join(sql.Identifier(schema, table) for table in types)
        try:
            cursor.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(tables))
        except errors.UndefinedTable as error:
            raise TransientFault("a table was dropped meanwhile; load again") from error
    found = select_tables(connection, schema, types)
    differing = {
        table: found.get(table, {})
        for table, columns in types.items()
        if any(found.get(table, {}).get(name) != type_ for name, type_ in columns.items())
    }
    if differing:
        raise TablesDiffer(differing, is_of_submitted=True)


_SELECT_THERE = text(
    """
    -- Which of some tables are there.
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY(:tables) AND c.relkind IN ('r', 'p')
    """
)
