"""Values that wait in `_extra` move into a column that has come, or has become wider."""

from psycopg2 import sql
from sqlalchemy import Connection

from loader.normalize.collections import EXTRA, Type
from loader.normalize.numbers import MAX_DIGITS
from loader.warehouse.engine import driver_cursor
from loader.warehouse.marts import definition
from loader.warehouse.tables import select_tables, stale_messages

_IS_NUMBER = (
    "jsonb_typeof(w.v) = 'number' OR (jsonb_typeof(w.v) = 'string' "
    "AND w.v #>> '{}' ~ '^-?(0|[1-9][0-9]*)([.][0-9]+)?$' AND w.v #>> '{}' !~ '^-0([.]0*)?$' "
    f"AND length(ltrim(split_part(w.v #>> '{{}}', '.', 1), '-')) <= {MAX_DIGITS} "
    f"AND length(split_part(w.v #>> '{{}}', '.', 2)) <= {MAX_DIGITS})"
)
# What `normalize.types` takes into a type, said once more for values in jsonb: whether a value fits
# and what it is then. Without a backslash, which standard_conforming_strings would change. The
# server may look at conditions in any order, so what can fail stands in a CASE.
_FITS: dict[Type, tuple[str, str]] = {
    "text": ("jsonb_typeof(w.v) IN ('string', 'number', 'boolean')", "w.v #>> '{}'"),
    "numeric": (_IS_NUMBER, "(w.v #>> '{}')::numeric"),
    "bigint": (
        f"CASE WHEN {_IS_NUMBER} THEN (w.v #>> '{{}}')::numeric %% 1 = 0 AND "
        "(w.v #>> '{}')::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 "
        "AND (jsonb_typeof(w.v) = 'number' OR w.v #>> '{}' !~ '[.]') ELSE false END",
        "(w.v #>> '{}')::numeric::bigint",
    ),
    "boolean": (
        "jsonb_typeof(w.v) = 'boolean' OR w.v IN ('\"true\"'::jsonb, '\"false\"'::jsonb)",
        "(w.v #>> '{}')::boolean",
    ),
    "jsonb": ("true", "w.v"),
}


def move_back(connection: Connection, schema: str, table: str, column: str, type_: Type) -> int:
    """Move what fits from `_extra` into a column that is null there; returns how many values.

    Messages that this changes are marked: the one that an event belonged to, and the one that it
    belongs to now.
    """
    if type_ not in _FITS:
        return 0
    fits, value = _FITS[type_]
    before = after = "NULL::text"
    if definition.uses(table, column):
        columns = select_tables(connection, schema, [table])[table]
        before, after = definition.key_sql(columns, "e"), definition.key_sql(columns, "t")
    statement = sql.SQL(
        "WITH waiting AS (SELECT id, {extra} -> %(column)s AS v, {before} AS message FROM {table} "
        "AS e WHERE {extra} ? %(column)s AND {column} IS NULL), "
        "moved AS (UPDATE {table} AS t SET {column} = {value}, "
        "{extra} = nullif(t.{extra} - %(column)s, '{{}}'::jsonb) "
        "FROM waiting AS w WHERE w.id = t.id AND ({fits}) RETURNING w.message, {after} AS later), "
        "marked AS (INSERT INTO {stale} SELECT message FROM moved WHERE message IS NOT NULL "
        "UNION SELECT later FROM moved WHERE later IS NOT NULL ON CONFLICT DO NOTHING) "
        "SELECT count(*) FROM moved"
    ).format(
        extra=sql.Identifier(EXTRA.name),
        table=sql.Identifier(schema, table),
        column=sql.Identifier(column),
        value=sql.SQL(value),
        fits=sql.SQL(fits),
        before=sql.SQL(before),
        after=sql.SQL(after),
        stale=sql.Identifier(schema, stale_messages.name),
    )
    with driver_cursor(connection) as cursor:
        cursor.execute(statement, {"column": column})
        (moved,) = cursor.fetchone()
    return int(moved)
