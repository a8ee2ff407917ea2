"""What the roles of the analysts may read: `reader_role`, and `analyst` of the embedded server."""

from collections.abc import Iterable

from psycopg2 import errors, sql
from sqlalchemy import Connection, text

from loader.errors import UsageError
from loader.normalize.collections import MARTS
from loader.warehouse.cluster import ANALYST
from loader.warehouse.engine import driver_cursor
from loader.warehouse.marts.views import FUNCTIONS
from loader.warehouse.tables import LEDGER, rejects, select_tables

_SELECT_MISSING = text(
    """
    -- Which of some tables a role may not read yet; and whether it may use the schema.
    SELECT c.relname, has_schema_privilege(:role, n.oid, 'USAGE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = ANY(:tables)
      AND NOT (
          has_table_privilege(:role, c.oid, 'SELECT')
          AND has_schema_privilege(:role, n.oid, 'USAGE')
      )
    ORDER BY c.relname
    """
)


# The views of ours that select from functions do so with the rights of the reader. Everybody may
# call these, unless the owner of the database has default privileges that say otherwise. Functions
# of somebody else are nobody's to call but whom they have let.
_SELECT_FUNCTIONS = text(
    """
    -- Which functions of a schema, out of some, a role may not call yet.
    SELECT format(
        '%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)
    )
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = :schema AND p.prokind = 'f'
      AND p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = ANY(:functions)
      AND NOT has_function_privilege(:role, p.oid, 'EXECUTE')
    ORDER BY p.proname
    """
)

# The comment of a role that the loader has made; one of that name may be somebody's own.
MADE_BY_LOADER = "Reads what customerio-loader loads; made by `warehouse start --port`."

_SELECT_ANALYST = text(
    """
    -- The role of the embedded server that reads, if there is one.
    SELECT rolname FROM pg_roles
    WHERE rolname = :name AND shobj_description(oid, 'pg_authid') = :comment
    """
)


def select_readers(connection: Connection, configured: str) -> list[str]:
    """The roles that read: the one that is configured, and the one that the loader has made."""
    facts = {"name": ANALYST, "comment": MADE_BY_LOADER}
    found = list(connection.scalars(_SELECT_ANALYST, facts))
    return [configured, *found] if configured and configured not in found else found


def grant_reader(connection: Connection, schema: str, role: str) -> None:
    """Let `role` read the events, what is made of them, and the ledger but for the raw texts."""
    ledger = [table.name for table in LEDGER if table is not rejects]
    # The version is what `report` and `status` look at first.
    tables = [*select_tables(connection, schema), *MARTS, *ledger, "alembic_version"]
    try:
        missing = connection.execute(
            _SELECT_MISSING, {"role": role, "schema": schema, "tables": tables}
        ).all()
    except Exception as error:
        if isinstance(getattr(error, "orig", None), errors.UndefinedObject):
            raise UsageError(
                f"the reader_role {role!r} does not exist: create it, or correct the setting"
            ) from error
        raise
    if missing:
        _run(connection, "GRANT USAGE ON SCHEMA {schema} TO {role}", schema, role, [])
        grant_tables(connection, schema, role, [name for name, _ in missing])
    facts = {"role": role, "schema": schema, "functions": list(FUNCTIONS)}
    for name in connection.scalars(_SELECT_FUNCTIONS, facts).all():
        grant = "GRANT EXECUTE ON FUNCTION {function} TO {role}"
        _run(connection, grant, schema, role, [], function=name)


def grant_tables(connection: Connection, schema: str, role: str, tables: Iterable[str]) -> None:
    """Let `role` read some tables."""
    names = list(tables)
    if names:
        _run(connection, "GRANT SELECT ON {tables} TO {role}", schema, role, names)


def _run(
    connection: Connection,
    grant: str,
    schema: str,
    role: str,
    tables: list[str],
    *,
    function: str = "",  # with its arguments, as SQL
) -> None:
    statement = sql.SQL(grant).format(
        schema=sql.Identifier(schema),
        role=sql.Identifier(role),
        function=sql.SQL(function),
        tables=sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables),
    )
    with driver_cursor(connection) as cursor:
        cursor.execute(statement)
