"""Rows of a table or view, as they are now; for notebooks."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql
from sqlalchemy import Connection, text

from loader.errors import UsageError
from loader.normalize.collections import Type
from loader.normalize.text import clean_text
from loader.warehouse.engine import server_connection
from loader.warehouse.tables import TYPE_NAMES

_ROWS_AT_ONCE = 10_000

# How a type of the server is read, and as which of ours.
_AS_TEXT: tuple[str, Type] = ("CAST({} AS text)", "text")
_READ: dict[str, tuple[str, Type]] = {
    **{name: ("{}", type_) for name, type_ in TYPE_NAMES.items()},
    "integer": ("{}", "bigint"),
    "smallint": ("{}", "bigint"),
    # By its text, which has all digits: a cast to numeric keeps 15.
    "double precision": ("CAST(CAST({} AS text) AS numeric)", "numeric"),
    "jsonb": ("CAST({} AS text)", "jsonb"),  # which the driver would read with floats
}

# Types of columns by which rows are chosen; a date begins at midnight, UTC.
_TIMES = ("timestamp with time zone", "timestamp without time zone", "date")

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
    table = clean_text(table)  # what no name can have makes none of another table
    asked = {"schema": schema, "table": table}
    there: dict[str, str] = dict(iter(connection.execute(_SELECT_COLUMNS, asked)))
    reads = {name: _READ.get(type_, _AS_TEXT) for name, type_ in there.items()}
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
        column = sql.Identifier(_time_column(table, there))
        # No parameters: with one, a percent sign in a name would begin another.
        each = [
            sql.SQL(f"{{}} {by} CAST({{}} AS timestamptz)").format(column, sql.Literal(time))
            for by, time in limits
        ]
        query += sql.SQL(" WHERE ") + sql.SQL(" AND ").join(each)
    connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
    values: list[list[object]] = [[] for _ in types]
    with server_connection(connection).cursor("rows") as cursor:
        cursor.execute(query)
        while rows := _fetch(cursor, table):
            for column_values, some in zip(values, zip(*rows, strict=True), strict=True):
                column_values.extend(some)
    return types, values


def _fetch(cursor: Any, table: str) -> Sequence[Sequence[object]]:
    try:
        rows: Sequence[Sequence[object]] = cursor.fetchmany(_ROWS_AT_ONCE)
    except ValueError as error:  # no load writes such a time
        raise UsageError(
            f"{table!r} has a time outside of the years 1 to 9999, which Python cannot hold: "
            "leave it out by `since` and `until`, or by a view"
        ) from error
    return rows


def _time_column(table: str, there: Mapping[str, str]) -> str:
    times = [name for name, type_ in there.items() if type_ in _TIMES]
    if not times:
        raise UsageError(f"{table!r} has no column with times: leave `since` and `until` out")
    return "timestamp" if "timestamp" in times else times[0]
