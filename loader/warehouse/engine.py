"""Connections: where the server is, how a session is set up, the lock, and errors in our words."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from loader.errors import (
    LoaderError,
    MissingRight,
    SchemaDrift,
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
_SESSION = "SET TIME ZONE 'UTC'; SET client_encoding = 'UTF8'; SET DateStyle = 'ISO'"


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
        return make_url(f"postgresql+psycopg2://{rest}")
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise UsageError(
            "the warehouse URL cannot be read: write postgresql://USER@HOST:5432/DATABASE, "
            "and special characters of a password in percent-encoding"
        ) from None


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
        raise explain(cause, url) from error


def explain(error: BaseException | None, url: URL) -> LoaderError:
    """The loader's error for one of psycopg2's. Its text never holds a row or a password."""
    code = getattr(error, "pgcode", None)
    diag = getattr(error, "diag", None)
    message = (getattr(diag, "message_primary", None) or str(error)).strip().splitlines()
    said = message[-1] if message else "no reason given"
    where = describe(url)
    if code is None:
        return WarehouseUnavailable(
            f"cannot reach {where}: {_secretless(said, url)}; {_hint(said)}"
        )
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return MissingRight(
            f"the role {url.username!r} lacks a right in {where}: {said}; "
            "`customerio-loader check` names the GRANT"
        )
    if code.startswith("08") or code.startswith("57P"):
        return WarehouseUnavailable(f"the connection to {where} was lost: {said}; load again")
    if code in (
        errorcodes.UNDEFINED_TABLE,
        errorcodes.UNDEFINED_COLUMN,
        errorcodes.DATATYPE_MISMATCH,
    ):
        return SchemaDrift(
            f"a table in {where} is not as the loader made it: {said}; "
            "`alembic check` shows the difference"
        )
    if code.startswith("53"):
        return WarehouseFailed(f"{where} is out of room: {said}; free some and load again")
    return WarehouseFailed(f"{where} refused: {said} (SQLSTATE {code})")


def _hint(said: str) -> str:
    if "password" in said or "authentication" in said:
        return "check the role and its password (URL, PGPASSWORD or ~/.pgpass)"
    if "does not exist" in said:
        return "check the role and the database in the URL"
    return "check that the server runs and that host and port are right"


def _secretless(said: str, url: URL) -> str:
    return said.replace(str(url.password), "***") if url.password else said


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


def wait_for_lock(connection: Connection, schema: str) -> None:
    """Take the lock of a schema for this session, as soon as it is free."""
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": lock_key(schema)})
    connection.commit()
