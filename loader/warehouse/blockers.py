"""Who holds a table that is to be changed, and how to get it in spite of them."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from psycopg2 import errors, sql
from sqlalchemy import Connection, func, select, text

from loader.errors import TransientFault
from loader.normalize.text import clean_text
from loader.warehouse.engine import driver_cursor, milliseconds, retrying

_SELECT_BLOCKERS = text(
    """
    -- Sessions that hold a lock on some tables. Without rights on them a role sees no
    -- backend_type; but a worker of autovacuum has no user either.
    SELECT DISTINCT l.pid, a.usename, a.application_name,
        a.usesysid IS NULL AND coalesce(a.backend_type, 'autovacuum worker') = 'autovacuum worker'
            AND l.pid IS NOT NULL AS is_autovacuum
    FROM pg_locks l
    JOIN pg_class c ON c.oid = l.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND n.nspname = :schema AND c.relname = ANY(:tables)
    ORDER BY l.pid
    """
)
_SELECT_DEADLOCK_TIMEOUT = text(
    "SELECT setting::float / 1000 FROM pg_settings WHERE name = 'deadlock_timeout'"
)
# What the server needs to end an autovacuum, once it has noticed.
_SECONDS_OVER = 0.2
_MOST_SHOWN = 3


class Blockers(NamedTuple):
    """Who was found to hold some tables."""

    words: str  # for people
    are_autovacuum: bool

    def next_wait(self, connection: Connection, lock_timeout: float, *, longest: float) -> float:
        """How long the next try waits for the lock, in seconds; `longest` is the longest so far.

        Autovacuum goes as soon as the server notices that somebody waits for it; so behind it one
        try is that long. No second one is: readers wait too, and one that protects from a
        wraparound does not go.
        """
        if not self.are_autovacuum or longest > lock_timeout:
            return lock_timeout
        needed = float(connection.scalar(_SELECT_DEADLOCK_TIMEOUT) or 1.0) + _SECONDS_OVER
        return max(needed, lock_timeout)


def select_blockers(connection: Connection, schema: str, tables: Collection[str]) -> Blockers:
    """Who holds some tables now; they may have gone since."""
    found = connection.execute(_SELECT_BLOCKERS, {"schema": schema, "tables": list(tables)}).all()
    words = [_describe(pid, role, application) for pid, role, application, _ in found]
    if len(words) > _MOST_SHOWN:
        words[_MOST_SHOWN:] = [f"{len(words) - _MOST_SHOWN} more"]
    return Blockers(
        ", ".join(words) or "somebody who has gone since",
        bool(found) and all(row.is_autovacuum for row in found),
    )


def _describe(pid: int | None, role: str | None, application: str | None) -> str:
    if pid is None:
        return "a prepared transaction"
    what = f", {application}" if application else ""
    return clean_text(f"session {pid} ({role or 'autovacuum'}{what})")


def lock_tables(
    connection: Connection,
    schema: str,
    tables: Sequence[str],
    *,
    lock_timeout: float,
    retry_timeout: float,
    then: str,
) -> None:
    """Lock tables for the rest of the transaction, in short tries: readers queue behind each.

    Raises TransientFault, with who holds them and what to do `then`, if that takes longer than
    `retry_timeout`.
    """
    names = sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables)
    seconds = longest = lock_timeout
    before = connection.scalar(text("SHOW lock_timeout"))
    for attempt in retrying(retry_timeout):
        with attempt:
            try:
                with connection.begin_nested(), driver_cursor(connection) as cursor:
                    cursor.execute("SET LOCAL lock_timeout = %s", (milliseconds(seconds),))
                    cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
            except errors.LockNotAvailable as error:
                blockers = select_blockers(connection, schema, tables)
                longest = max(longest, seconds)
                seconds = blockers.next_wait(connection, lock_timeout, longest=longest)
                raise TransientFault(
                    f"{', '.join(tables)}: held by {blockers.words}; wait until they have "
                    f"finished, or end them, and {then}"
                ) from error
    connection.execute(select(func.set_config("lock_timeout", before, True)))
