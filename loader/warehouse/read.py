"""Rows of a table or view, as they are now; for notebooks."""

from collections.abc import Sequence

from psycopg2 import sql
from sqlalchemy import Connection, text

from loader.errors import UsageError
from loader.normalize.collections import Type
from loader.warehouse.engine import server_connection
from loader.warehouse.tables import TYPE_NAMES

_ROWS_AT_ONCE = 10_000

# How a type of the server is read, and as which of ours.
_AS_TEXT: tuple[str, Type] = ("CAST({} AS text)", "text")
_READ: dict[str, tuple[str, Type]] = {
    **{name: ("{}", type_) for name, type_ in TYPE_NAMES.items()},
    "integer": ("{}", "bigint"),
    "smallint": ("{}", "bigint"),
    "double precision": ("CAST({} AS numeric)", "numeric"),
    "jsonb": ("CAST({} AS text)", "jsonb"),  # which the driver would read with floats
}

_SELECT_COLUMNS = text(
    """
    -- Columns of a table or view, in their order.
    SELECT a.attname, format_type(a.atttypid, NULL)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = :schema AND c.relname = :table AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY a.attnum
    """
)
_SELECT_TABLES = text(
    """
    -- What of a schema may be read.
    SELECT c.relname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY 1
    """
)


def select_rows(
    connection: Connection, schema: str, table: str, *, since: str | None, until: str | None
) -> tuple[dict[str, Type], Sequence[Sequence[object]]]:
    """The columns of a table or view with their types, and the values of each column.

    The rows are those from one time on until before another, by `timestamp` or else the first
    column that is a time; all of them without. A jsonb value is its text. Raises UsageError where
    there is no such table, or no such column.
    """
    found = connection.execute(_SELECT_COLUMNS, {"schema": schema, "table": table})
    reads = {name: _READ.get(type_, _AS_TEXT) for name, type_ in found}
    if not reads:
        names = ", ".join(connection.scalars(_SELECT_TABLES, {"schema": schema})) or "nothing"
        raise UsageError(f"there is no table {table!r} in the schema {schema!r}, which has {names}")
    types = {name: type_ for name, (_, type_) in reads.items()}
    wanted = [sql.SQL(how).format(sql.Identifier(name)) for name, (how, _) in reads.items()]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(wanted), sql.Identifier(schema, table)
    )
    bounds = {">=": since, "<": until}
    limits = [(by, time) for by, time in bounds.items() if time is not None]
    if limits:
        column = sql.Identifier(_time_column(table, types))
        each = [sql.SQL(f"{{}} {by} CAST(%s AS timestamptz)").format(column) for by, _ in limits]
        query += sql.SQL(" WHERE ") + sql.SQL(" AND ").join(each)
    connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
    values: list[list[object]] = [[] for _ in types]
    with server_connection(connection).cursor("rows") as cursor:
        cursor.execute(query, [time for _, time in limits])
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            for column_values, some in zip(values, zip(*rows, strict=True), strict=True):
                column_values.extend(some)
    return types, values


def _time_column(table: str, types: dict[str, Type]) -> str:
    times = [name for name, type_ in types.items() if type_ == "timestamptz"]
    if not times:
        raise UsageError(f"{table!r} has no column with times: leave `since` and `until` out")
    return "timestamp" if "timestamp" in times else times[0]
