"""Connections and sessions: the lock of a schema, and how one comes back that was lost."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, PendingRollbackError
from sqlalchemy.pool import NullPool

from loader.errors import TransientFault, WarehouseFailed
from loader.warehouse.faults import READ_ONLY, explain
from loader.warehouse.opening import (
    APPLICATION_NAME,
    DEFAULTS,
    ServerConnection,
    describe,
    open_connection,
    parse_url,
)

OLDEST_VERSION = 14


def make_engine(url: str) -> Engine:
    """An engine for a PostgreSQL URL, with or without a driver in it; connects nowhere yet."""
    parsed = parse_url(url)
    defaults = {k: v for k, v in DEFAULTS.items() if k not in parsed.query}
    engine = create_engine(
        parsed,
        poolclass=NullPool,
        connect_args=defaults,
        use_native_hstore=False,  # it would ask each server for a type that no table of ours has
    )

    @event.listens_for(engine, "do_connect")
    def open_it(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> Any:
        return open_connection(describe(parsed), options)

    return engine


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
        # A rollback fails on a connection that was lost; what came before it says why.
        if isinstance(cause, psycopg2.InterfaceError) and isinstance(
            cause.__context__, psycopg2.Error
        ):
            cause = cause.__context__
        if getattr(cause, "pgcode", None) is None and "memory" in str(cause):
            raise MemoryError("the client library is out of memory") from error
        raise explain(cause, url) from error
    except PendingRollbackError as error:  # a connection that was lost in a transaction
        raise TransientFault(f"the connection to {describe(url)} was lost; load again") from error


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


_TRY_LOCK = text(
    "SELECT pg_try_advisory_lock(:key) AS taken, pid, backend_start AS start "
    "FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
# A role that is another one by a setting of its own does not see when its sessions began.
_SELECT_IS_THERE = text(
    "SELECT EXISTS (SELECT FROM pg_stat_activity "
    "WHERE pid = :pid AND backend_start IS NOT DISTINCT FROM :start)"
)
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")
# `pg_locks` shows the key of an advisory lock in two halves.
_HOLDS_LOCK = text(
    """
    -- Whether the backend that carries out this statement holds the lock of a schema.
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid = 1 AND granted
          AND (classid::bigint << 32) | objid::bigint = :key
    )
    """
)
_END_HOLDER = text(
    """
    -- End a backend, if it holds the lock of a schema.
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
    WHERE a.pid = :pid AND a.backend_start = :start
      AND l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
      AND (l.classid::bigint << 32) | l.objid::bigint = :key
    """
)
_CANCEL_STATEMENT = text(
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
    "WHERE pid = :pid AND backend_start = :start"
)


class Session:
    """A connection that holds the lock of one schema, and can come back after it was lost."""

    def __init__(self, engine: Engine, schema: str, *, lock_timeout: float = 10.0) -> None:
        self.engine = engine
        self._lock_timeout = lock_timeout  # seconds that a try waits, behind which no reader queues
        self._backend: dict[str, Any] = {}  # of the server, the last one that held the lock
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
            self._refuse_read_only()
            with translate(self.engine.url):
                return self._take_lock(wait=wait)
        except BaseException:  # a connection without the lock must not pass for one that has it
            self.close(politely=False)
            raise

    def _refuse_read_only(self) -> None:
        found = server_connection(self.connection)
        if found.read_only:
            # What held the lock of a load once may be a standby that is about to be promoted.
            raise (TransientFault if self._backend else WarehouseFailed)(
                f"{describe(self.engine.url)} {found.access}: {READ_ONLY}"
            )

    def _take_lock(self, *, wait: bool) -> bool:
        backend = try_lock(self.connection, self.schema)
        if not backend:
            if self._backend:
                self._end_holder()
                raise TransientFault(
                    f"the connection to {describe(self.engine.url)} was lost, and its lock is "
                    "held: by the server until it notices, or by another load; load again later"
                )
            if not wait:
                return False
            backend = wait_for_lock(self.connection, self.schema, lambda: self.given_up)
        self._backend = backend
        self.number += 1
        return True

    def verify_lock(self) -> None:
        """Make sure that the transaction in hand runs where the lock is held.

        A pooler that was not noticed may have given it another backend.
        """
        if not self.connection.scalar(_HOLDS_LOCK, {"key": lock_key(self.schema)}):
            self._end_holder()
            raise WarehouseFailed(
                f"the session in {describe(self.engine.url)} does not hold the lock of the load "
                "any more: connect to the server itself, not through a pooler, or to a pool in "
                "session mode; then load again"
            )

    def _end_holder(self) -> None:
        """End the backend that took the lock for this session, if it has it: nobody else would.

        One that does not have it may long serve others, behind a pooler.
        """
        self.connection.execute(_END_HOLDER, self._backend | {"key": lock_key(self.schema)})

    def connect(self) -> None:
        """Connect, without the lock."""
        with translate(self.engine.url):
            self._connection = self.engine.connect().execution_options(
                schema_translate_map={None: self.schema}
            )
            timeout = f"SET lock_timeout = {milliseconds(self._lock_timeout)}"
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
                connection.execute(_UNLOCK, {"key": lock_key(self.schema)})
                connection.commit()
        with suppress(DBAPIError, psycopg2.Error, InvalidRequestError):
            connection.invalidate()
            connection.close()


def milliseconds(seconds: float) -> int:
    """A limit of time as the server takes it, which knows 0 as none."""
    return max(int(seconds * 1000), 1)


def driver_cursor(connection: Connection) -> Any:
    """A cursor of the driver's own, for COPY and for statements made by `psycopg2.sql`."""
    return connection.connection.cursor()


def server_connection(connection: Connection) -> ServerConnection:
    """The driver's connection, which knows what was found when it was opened."""
    found = connection.connection.driver_connection
    assert isinstance(found, ServerConnection)
    return found


def lock_key(schema: str) -> int:
    """The key of the advisory lock that a load of this schema holds."""
    digest = hashlib.blake2b(f"{APPLICATION_NAME}:{schema}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def try_lock(connection: Connection, schema: str) -> dict[str, Any]:
    """Take the lock of a schema for this session; returns the backend that holds it, if any."""
    found = dict(connection.execute(_TRY_LOCK, {"key": lock_key(schema)}).one()._mapping)
    connection.commit()
    return found if found.pop("taken") else {}


def wait_for_lock(
    connection: Connection, schema: str, given_up: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Take the lock of a schema for this session, as soon as it is free.

    Asks again and again: a blocking wait in the client library could not be given up.
    """
    while not (backend := try_lock(connection, schema)):
        if given_up():
            raise TransientFault("the wait for another load was given up; load again")
        time.sleep(0.5)
    return backend
