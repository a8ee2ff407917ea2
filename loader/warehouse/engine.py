"""Connections: where the server is, how a session is set up, the lock, and errors in our words."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InvalidRequestError,
    NoSuchModuleError,
    PendingRollbackError,
)
from sqlalchemy.pool import NullPool

from loader.errors import (
    LoaderError,
    MissingRight,
    SchemaDrift,
    TransientFault,
    UsageError,
    WarehouseFailed,
    WarehouseUnavailable,
)

OLDEST_VERSION = 14
APPLICATION_NAME = "customerio-loader"

# A peer that vanished without a word is noticed within about a minute.
_CONNECT = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": "15",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# The server notices a vanished client as soon, and gives up its lock. A commit that it answers is
# on its disk, whatever the server's, the database's or the role's setting; on those of standbys too
# where they say so.
_SESSION = (
    "SET TIME ZONE 'UTC'; SET client_encoding = 'UTF8'; SET DateStyle = 'ISO'; "
    "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; "
    "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 60000; "
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)


def make_engine(url: str) -> Engine:
    """An engine for a PostgreSQL URL, with or without a driver in it; connects nowhere yet."""
    parsed = parse_url(url)
    defaults = {k: v for k, v in _CONNECT.items() if k not in parsed.query}
    engine = create_engine(parsed, poolclass=NullPool, connect_args=defaults)
    event.listen(engine, "connect", _set_session)
    return engine


def parse_url(url: str) -> URL:
    """The URL for SQLAlchemy on psycopg2; `postgres://` is accepted. Raises UsageError."""
    scheme, separator, rest = url.partition("://")
    dialect = scheme.partition("+")[0]
    if not separator or dialect not in ("postgres", "postgresql"):
        raise UsageError(
            "the warehouse URL does not begin with postgresql://: "
            "write postgresql://USER@HOST:5432/DATABASE"
        )
    try:
        parsed = make_url(f"postgresql+psycopg2://{rest}")
    except (ArgumentError, NoSuchModuleError, ValueError):
        parsed = None
    if parsed is None or any(mark in (parsed.host or "") for mark in "@/"):
        raise UsageError(
            "the warehouse URL cannot be read: write postgresql://USER@HOST:5432/DATABASE, "
            "and special characters of a password in percent-encoding"
        )
    return parsed


def describe(url: URL) -> str:
    """Host and database of a URL, for people; never a password."""
    host = url.host or url.query.get("host") or "the local socket"
    return (
        f"{url.database or 'the default database'} on {host if isinstance(host, str) else host[0]}"
    )


def _set_session(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SESSION)
    connection.commit()


@contextmanager
def connect(engine: Engine) -> Iterator[Connection]:
    """A connection; errors of the driver in the block become ours."""
    with translate(engine.url), engine.connect() as connection:
        yield connection


@contextmanager
def translate(url: URL) -> Iterator[None]:
    """Turn the driver's errors into the loader's."""
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "pgcode", None) is None and "memory" in str(cause):
            raise MemoryError("the client library is out of memory") from error
        raise explain(cause, url) from error
    except PendingRollbackError as error:  # a connection that was lost in a transaction
        raise TransientFault(f"the connection to {describe(url)} was lost; load again") from error


# Faults that pass by themselves, by SQLSTATE, and what to say when they did not.
_TRANSIENT = {
    errorcodes.SERIALIZATION_FAILURE: "it lost a race with another transaction",
    errorcodes.DEADLOCK_DETECTED: "it met a deadlock",
    errorcodes.LOCK_NOT_AVAILABLE: "someone holds a lock on a table: see pg_locks",
    errorcodes.TOO_MANY_CONNECTIONS: "raise max_connections, or end idle sessions",
    errorcodes.ADMIN_SHUTDOWN: "the session was ended, or the server is shutting down",
    errorcodes.CRASH_SHUTDOWN: "the server crashed",
    errorcodes.CANNOT_CONNECT_NOW: "the server is starting up",
    errorcodes.READ_ONLY_SQL_TRANSACTION: "the server is a standby that was not promoted, or "
    "default_transaction_read_only is on",
}
_ROOM = {
    errorcodes.DISK_FULL: "free disk space on the server",
    errorcodes.OUT_OF_MEMORY: "the server is out of memory, or of locks: raise "
    "max_locks_per_transaction",
}
# What the client library says, without a SQLSTATE, when trying again would not help.
_REFUSED = (
    *("authentication", "password", "does not exist", "pg_hba", "certificate", "role "),
    *("does not support SSL", "SSL error", "SSL is required"),
)


def explain(error: BaseException | None, url: URL) -> LoaderError:
    """The loader's error for one of psycopg2's. Its text never holds a row or a password."""
    code = getattr(error, "pgcode", None)
    diag = getattr(error, "diag", None)
    message = (getattr(diag, "message_primary", None) or str(error)).strip().splitlines()
    said = _secretless(message[0] if message else "no reason given", url)
    where = describe(url)
    if code is not None and code.startswith("22"):
        said = said.partition(":")[0]  # what follows may be a value of a person
    if code is None:
        if "too many" not in said and any(word in said for word in _REFUSED):
            return WarehouseUnavailable(f"{where} refused the connection: {said}; {_hint(said)}")
        return TransientFault(f"cannot reach {where}: {said}; {_hint(said)}")
    if code in _TRANSIENT or code.startswith("08"):
        advice = _TRANSIENT.get(code, "the connection was lost")
        return TransientFault(f"{where} interrupted the load: {said}; {advice}; then load again")
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return MissingRight(
            f"the role {url.username!r} lacks a right in {where}: {said}; "
            "`customerio-loader check` names the GRANT"
        )
    if code in (
        errorcodes.UNDEFINED_TABLE,
        errorcodes.UNDEFINED_COLUMN,
        errorcodes.DATATYPE_MISMATCH,
        errorcodes.INVALID_SCHEMA_NAME,
    ):
        return SchemaDrift(
            f"a table in {where} is not as the loader made it: {said}; "
            "`alembic check` shows the difference"
        )
    if code == errorcodes.DUPLICATE_TABLE:
        return SchemaDrift(
            f"a view, an index or a sequence in {where} has the name of a table that an event "
            f"needs: {said}; rename it"
        )
    if code.startswith("53"):
        advice = _ROOM.get(code, "free some")
        return WarehouseFailed(f"{where} is out of room: {said}; {advice}; then load again")
    return WarehouseFailed(f"{where} refused: {said} (SQLSTATE {code})")


def _hint(said: str) -> str:
    if "password" in said or "authentication" in said:
        return "check the role and its password (URL, PGPASSWORD or ~/.pgpass)"
    if "does not exist" in said:
        return "check the role and the database in the URL"
    if "SSL" in said or "certificate" in said:
        return "check sslmode and sslrootcert in the URL"
    return "check that the server runs and that host and port are right"


def _secretless(said: str, url: URL) -> str:
    return said.replace(str(url.password), "***") if url.password else said


def retrying(timeout: float, stopped: Callable[[], bool] = lambda: False) -> Iterable[Any]:
    """Attempts at something, while it fails with a TransientFault: for `timeout` seconds.

    They count from the first fault. What came before it was no waiting: a batch may take long to
    write, and a network that fell silent is noticed only after a minute.
    Use as `for attempt in retrying(60): with attempt: ...`.
    """
    import stamina

    # Its own log would go to stdout, among the results.
    stamina.instrumentation.set_on_retry_hooks(())

    first_fault: float | None = None

    def may_pass(error: Exception) -> bool:
        nonlocal first_fault
        now = time.monotonic()
        first_fault = now if first_fault is None else first_fault
        return isinstance(error, TransientFault) and now - first_fault < timeout and not stopped()

    return stamina.retry_context(
        on=may_pass,
        attempts=None,
        timeout=None,
        wait_initial=0.2,
        wait_max=5.0,
        wait_jitter=1.0,
    )


_SELECT_BACKEND = text(
    "SELECT pid, backend_start AS start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
# A role that is another one by a setting of its own does not see when its sessions began.
_SELECT_IS_THERE = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity "
    "WHERE pid = :pid AND backend_start IS NOT DISTINCT FROM :start)"
)
_END_SESSION = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid = :pid AND backend_start = :start"
)
_CANCEL_STATEMENT = text(
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
    "WHERE pid = :pid AND backend_start = :start"
)


class Session:
    """A connection that holds the lock of one schema, and can come back after it was lost."""

    def __init__(self, engine: Engine, schema: str, *, lock_timeout: float = 10.0) -> None:
        self.engine = engine
        self._lock_timeout = lock_timeout
        self._backend: dict[str, Any] = {}  # of the server, for this connection
        self.number = 0  # of connections that held the lock, this one included
        self.schema = schema
        self.given_up = False  # nobody waits for the lock any more
        self.silent = False  # the server did not answer; nothing more is asked of it
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The open connection; tables without a schema are those of the source.

        Raises TransientFault if it was lost: SQLAlchemy would connect anew without a word, and
        the new connection would have neither the lock nor its time limit.
        """
        assert self._connection is not None, "the session is not open"
        if self._connection.invalidated:
            raise TransientFault(
                f"the connection to {describe(self.engine.url)} was lost; load again"
            )
        return self._connection

    def open(self, *, wait: bool = False) -> bool:
        """Connect and take the lock; False if another load holds it and `wait` is off.

        If this session held it before and lost its connection, the server may not have noticed
        yet: then the old connection is ended there, and TransientFault raised.
        """
        try:
            self.connect()
            with translate(self.engine.url):
                return self._take_lock(wait=wait)
        except BaseException:  # a connection without the lock must not pass for one that has it
            self.close(politely=False)
            raise

    def _take_lock(self, *, wait: bool) -> bool:
        if not try_lock(self.connection, self.schema):
            if self._backend:
                self.connection.execute(_END_SESSION, self._backend)
                self.connection.commit()
                raise TransientFault(
                    f"the connection to {describe(self.engine.url)} was lost, and its lock is "
                    "held: by the server until it notices, or by another load; load again later"
                )
            if not wait:
                return False
            wait_for_lock(self.connection, self.schema, lambda: self.given_up)
        self._backend = dict(self.connection.execute(_SELECT_BACKEND).one()._mapping)
        self.connection.commit()
        self.number += 1
        return True

    def connect(self) -> None:
        """Connect, without the lock."""
        with translate(self.engine.url):
            self._connection = self.engine.connect().execution_options(
                schema_translate_map={None: self.schema}
            )
            # A wait for a lock would make everybody behind it wait too.
            timeout = f"SET lock_timeout = {int(self._lock_timeout * 1000)}"
            self._connection.execute(text(timeout))
            self._connection.commit()

    def revive(self) -> None:
        """Make sure that the connection lives and holds the lock. Raises TransientFault."""
        if self._connection is not None:
            with suppress(TransientFault, DBAPIError, psycopg2.Error, InvalidRequestError):
                with self.connection.begin():
                    read_only = self.connection.scalar(text("SHOW transaction_read_only"))
                if read_only == "off":
                    return
                # A standby: the server that is to be written to may be found by now.
            self.close(politely=False)
        self.open()

    def is_beside(self, other: "Session") -> bool:
        """Whether the server of this session is the one on which another session lives."""
        found = self.connection.scalar(_SELECT_IS_THERE, other._backend)
        self.connection.commit()
        return bool(found)

    def cancel(self) -> None:
        """Ask the server to stop what this session does; for another thread.

        On a connection of its own: the driver's `cancel` waits for the server without letting any
        other thread of Python go on.
        """
        with connect(self.engine) as connection:
            connection.execute(_CANCEL_STATEMENT, self._backend)

    def close(self, *, politely: bool = True) -> None:
        """Give up the connection, and the lock with it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(DBAPIError, psycopg2.Error, InvalidRequestError):
            if politely and not (
                self.silent or connection.in_transaction() or connection.invalidated
            ):
                # The server would keep the lock until it has noticed that the client is gone.
                connection.execute(text("SELECT pg_advisory_unlock_all()"))
                connection.commit()
        with suppress(DBAPIError, psycopg2.Error, InvalidRequestError):
            connection.invalidate()
            connection.close()


def driver_cursor(connection: Connection) -> Any:
    """A cursor of the driver's own, for COPY and for statements made by `psycopg2.sql`."""
    return connection.connection.cursor()


def lock_key(schema: str) -> int:
    """The key of the advisory lock that a load of this schema holds."""
    digest = hashlib.blake2b(f"{APPLICATION_NAME}:{schema}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def try_lock(connection: Connection, schema: str) -> bool:
    """Take the lock of a schema for this session, if it is free."""
    statement = text("SELECT pg_try_advisory_lock(:key)")
    taken = bool(connection.scalar(statement, {"key": lock_key(schema)}))
    connection.commit()
    return taken


def wait_for_lock(
    connection: Connection, schema: str, given_up: Callable[[], bool] = lambda: False
) -> None:
    """Take the lock of a schema for this session, as soon as it is free.

    Asks again and again: a blocking wait in the client library could not be given up.
    """
    while not try_lock(connection, schema):
        if given_up():
            raise TransientFault("the wait for another load was given up; load again")
        time.sleep(0.5)
