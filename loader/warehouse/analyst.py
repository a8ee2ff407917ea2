"""The role `analyst` of the embedded server: it comes in through a port, and only reads."""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from psycopg2 import sql
from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, text

from loader.errors import LoaderError, UsageError
from loader.warehouse import embedded
from loader.warehouse.cluster import ANALYST
from loader.warehouse.engine import connect, driver_cursor, make_engine
from loader.warehouse.grants import MADE_BY_LOADER, grant_reader

_BYTES = 24
# What a load needs stays free.
_CONNECTIONS = 50

_SELECT_ROLE = text(
    """
    -- Whether there is such a role, and whether the loader has made it.
    SELECT coalesce(shobj_description(oid, 'pg_authid') = :comment, false)
    FROM pg_roles WHERE rolname = :name
    """
)
_SELECT_SCHEMAS = text(
    """
    -- The schemas of sources.
    SELECT n.nspname FROM pg_namespace n
    WHERE EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = '_loads')
      AND EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = 'alembic_version')
    ORDER BY 1
    """
)


class Opened(NamedTuple):
    """An embedded server that was left running."""

    url: str
    port: int  # 0: it has none
    password: str | None  # of the role, if it is new


def start(folder: Path, *, port: int | None, new_password: bool) -> Opened:
    """Start the server, on a port as `embedded.start` has it; who comes in there can read."""
    if new_password and not (port or embedded.port_of(folder)):
        raise UsageError("there is no port that a password would open: say --port")
    url = embedded.start(folder, port=port)
    opened = embedded.port_of(folder)
    if not opened:
        return Opened(url, 0, None)
    try:
        return Opened(url, opened, _let_in(url, new_password=new_password))
    except BaseException:
        with suppress(LoaderError):
            embedded.start(folder, port=0)
        raise


def _let_in(url: str, *, new_password: bool) -> str | None:
    """See that the role is there and reads every source; returns its password if it is new."""
    with connect(make_engine(url)) as connection, connection.begin():
        is_ours = connection.scalar(_SELECT_ROLE, {"name": ANALYST, "comment": MADE_BY_LOADER})
        if is_ours is False:
            raise UsageError(
                f"the role {ANALYST!r} is there already, and not made for this: rename it, as by "
                f"`customerio-loader warehouse psql -- -c 'ALTER ROLE {ANALYST} RENAME TO other'`"
            )
        if is_ours is None:
            _run(connection, "CREATE ROLE {role} NOLOGIN")
            _run(connection, "COMMENT ON ROLE {role} IS {comment}", comment=MADE_BY_LOADER)
        password = secrets.token_urlsafe(_BYTES) if new_password or not is_ours else None
        if password is not None:
            _set_password(connection, password)
        for schema in connection.scalars(_SELECT_SCHEMAS).all():
            grant_reader(connection, schema, ANALYST)
        return password


def _set_password(connection: Connection, password: str) -> None:
    """Let the role log in with a password, which the server never sees: only what checks it."""
    with driver_cursor(connection) as cursor:
        checks = encrypt_password(password, ANALYST, cursor.connection, "scram-sha-256")
    _run(connection, "ALTER ROLE {role} SET default_transaction_read_only = on")
    login = f"LOGIN CONNECTION LIMIT {_CONNECTIONS} PASSWORD"
    _run(connection, f"ALTER ROLE {{role}} {login} {{checks}}", checks=checks)


def _run(connection: Connection, statement: str, **literals: str) -> None:
    with driver_cursor(connection) as cursor:
        cursor.execute(
            sql.SQL(statement).format(
                role=sql.Identifier(ANALYST),
                **{name: sql.Literal(value) for name, value in literals.items()},
            )
        )
