"""Look at a warehouse without changing it: can it work, and how fresh is it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, column, func, select, table, text

from loader.config import Source
from loader.errors import BrokenInstallation
from loader.normalize.collections import TRACKS
from loader.warehouse import ledger, migrate
from loader.warehouse.engine import OLDEST_VERSION, server_connection
from loader.warehouse.faults import READ_ONLY
from loader.warehouse.tables import select_tables


class Finding(NamedTuple):
    """One thing that `check` looked at."""

    ok: bool
    what: str
    advice: str = ""  # what to do where it is not ok


class TableStatus(NamedTuple):
    """How full and fresh a table is."""

    table: str
    rows: int
    last_received_at: Any
    last_timestamp: Any
    rows_with_extra: int


def check_warehouse(connection: Connection, source: Source) -> Iterator[Finding]:
    """Whether a load of `source` can work on this server with this role."""
    version = connection.scalar(text("SHOW server_version"))
    number = int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
    yield Finding(
        number >= OLDEST_VERSION,
        f"PostgreSQL {version}",
        f"the loader needs PostgreSQL {OLDEST_VERSION} or newer",
    )
    encoding = connection.scalar(text("SHOW server_encoding"))
    yield Finding(
        encoding == "UTF8",
        f"encoding of the database: {encoding}",
        "make a database with ENCODING 'UTF8': others cannot hold every character",
    )
    found = server_connection(connection)
    yield Finding(not found.read_only, f"the server {found.access}", READ_ONLY)
    if found.pooled:
        yield Finding(True, "a pooler in session mode stands before the server")
    for name, value in found.limits.items():
        yield Finding(True, f"{name} is {value} for this role: what takes longer is tried again")
    rights = list(_rights(connection, source.schema_))
    yield from rights
    if not all(finding.ok for finding in rights):
        return  # the next questions need them
    state = migrate.read_state(connection, source.schema_)
    revision = f" at revision {state.revision}" if state.revision else ""
    yield Finding(
        state.kind not in ("foreign", "ahead"),
        f"schema {source.schema_}: {state.kind}{revision}",
        "see `customerio-loader load`, which says what to do",
    )
    if state.revision is not None:
        named = connection.execution_options(schema_translate_map={None: source.schema_})
        owner = ledger.select_source(named)
        yield Finding(
            owner in (None, source.name),
            f"source of the schema: {owner or 'none yet'}",
            f"set another `schema` for the source {source.name!r}",
        )


def check_compiled() -> Iterator[Finding]:
    """Whether the compiled part can be used."""
    try:
        from loader import native  # noqa: F401
    except BrokenInstallation as error:
        yield Finding(False, "the compiled part", str(error))


_SELECT_RIGHTS = {
    "exists": text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :schema)"),
    "database": text(
        "SELECT has_database_privilege(current_database(), 'CREATE'), "
        "quote_ident(current_database()), quote_ident(current_user)"
    ),
    "schema": text(
        "SELECT has_schema_privilege(:schema, 'USAGE'), has_schema_privilege(:schema, 'CREATE'), "
        "quote_ident(:schema), quote_ident(current_user)"
    ),
    "owners": text(
        """
        -- Tables of the schema that the role could not change.
        SELECT quote_ident(c.relname), quote_ident(pg_get_userbyid(c.relowner))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
          AND NOT pg_has_role(c.relowner, 'USAGE')
        ORDER BY 1
        """
    ),
}


def _rights(connection: Connection, schema: str) -> Iterator[Finding]:
    parameters = {"schema": schema}
    if not connection.scalar(_SELECT_RIGHTS["exists"], parameters):
        may, database, role = connection.execute(_SELECT_RIGHTS["database"]).one()
        yield Finding(
            may, "right to create the schema", f"GRANT CREATE ON DATABASE {database} TO {role};"
        )
        return
    usage, create, quoted, role = connection.execute(_SELECT_RIGHTS["schema"], parameters).one()
    yield Finding(
        usage and create,
        "right to use the schema and create tables in it",
        f"GRANT USAGE, CREATE ON SCHEMA {quoted} TO {role};",
    )
    others = connection.execute(_SELECT_RIGHTS["owners"], parameters).all()
    for name, owner in others:
        yield Finding(
            False,
            f"table {name} belongs to {owner}",
            f"ALTER TABLE {quoted}.{name} OWNER TO {role}; or GRANT {owner} TO {role};",
        )
    if not others:
        yield Finding(True, "right to add columns to the tables")


def table_status(connection: Connection, schema: str) -> list[TableStatus]:
    """Rows and freshness of each table; reads the tables."""
    found = []
    for name in sorted(select_tables(connection, schema), key=lambda name: (name != TRACKS, name)):
        rows = table(name, schema=schema)
        statement: Any = select(
            func.count(),
            func.max(column("received_at")),
            func.max(column("timestamp")),
            func.count(column("_extra")),
        ).select_from(rows)
        count, received, happened, extra = connection.execute(statement).one()
        found.append(TableStatus(name, count, received, happened, extra))
    return found
