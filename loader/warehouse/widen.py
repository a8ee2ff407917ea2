"""Columns on purpose: list them, and widen one together with the values that wait in `_extra`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from psycopg2 import sql
from sqlalchemy import Connection, func, insert, select, text

from loader.config import Source
from loader.errors import UsageError
from loader.normalize.collections import SHARED_NAMES, TRACKS, declared_tables
from loader.normalize.names import is_context_column
from loader.normalize.types import TYPES
from loader.warehouse.engine import driver_cursor
from loader.warehouse.evolve import WidenColumn, apply_changes
from loader.warehouse.extra import move_back
from loader.warehouse.ledger import end_forgotten, require_rows
from loader.warehouse.marts.renewal import renew_views
from loader.warehouse.tables import loads, select_tables

_KEY = re.compile(r'^(?:Property|Context key) "(.*)"\.$', re.DOTALL)


class ColumnFacts(NamedTuple):
    """What is known of a column."""

    table: str
    column: str
    type: str
    key: str  # as sent; empty where the catalogue declares the column
    added_at: str  # start of the load that added it; empty where it is declared
    null_share: float | None  # None where the table is empty
    in_extra: int  # values that wait in `_extra` under this name


_SELECT_COMMENTS = text(
    """
    -- Comments of the columns of a schema.
    SELECT c.relname, a.attname, col_description(c.oid, a.attnum)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
    """
)


def list_columns(connection: Connection, schema: str, only: str | None) -> list[ColumnFacts]:
    """The columns of the event tables, or of one; reads the tables."""
    tables = select_tables(connection, schema)
    if only is not None and only not in tables:
        raise UsageError(f"there is no table {only!r} in the schema {schema!r}")
    comments = {
        (table, column): comment or ""
        for table, column, comment in connection.execute(_SELECT_COMMENTS, {"schema": schema})
    }
    added = _added(connection)
    declared = declared_tables()
    found = []
    for table in sorted(tables, key=lambda name: (name != TRACKS, name)):
        if only not in (None, table):
            continue
        rows, filled, waiting = _count(connection, schema, table, list(tables[table]))
        for column, type_ in tables[table].items():
            key = _KEY.match(comments.get((table, column), ""))
            is_declared = column in declared.get(table, declared[TRACKS])
            found.append(
                ColumnFacts(
                    table,
                    column,
                    type_,
                    key[1] if key and not is_declared else "",
                    "" if is_declared else added.get((table, column), ""),
                    1 - filled[column] / rows if rows else None,
                    waiting.get(column, 0),
                )
            )
    return found


def _added(connection: Connection) -> dict[tuple[str, str], str]:
    statement = select(loads.c.started_at, loads.c.schema_changes).order_by(loads.c.id)
    return {
        (change["table"], change["column"]): started_at.isoformat(timespec="seconds")
        for started_at, changes in connection.execute(statement)
        for change in changes or []
        if change["change"] == "add column"
    }


def _count(
    connection: Connection, schema: str, table: str, columns: list[str]
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Rows; rows with a value by column; values in `_extra` by name."""
    name = sql.Identifier(schema, table)
    counts = sql.SQL(", ").join(sql.SQL("count({})").format(sql.Identifier(c)) for c in columns)
    with driver_cursor(connection) as cursor:
        cursor.execute(sql.SQL("SELECT count(*), {} FROM {}").format(counts, name))
        rows, *filled = cursor.fetchone()
        cursor.execute(
            sql.SQL(
                "SELECT key, count(*) FROM {}, jsonb_object_keys(_extra) AS key GROUP BY key"
            ).format(name)
        )
        waiting = dict(cursor.fetchall())
    return rows, dict(zip(columns, filled, strict=True)), waiting


def plan_widening(
    connection: Connection, source: Source, table: str, column: str, type_: str
) -> list[WidenColumn]:
    """The changes that widen a column: a context column has the same type in every table.

    Raises UsageError where that is impossible.
    """
    schema = source.schema_
    tables = select_tables(connection, schema)
    before = tables.get(table, {}).get(column)
    if before is None:
        raise UsageError(
            f"there is no column {column!r} in a table {table!r} of the schema {schema!r}: "
            "see `customerio-loader columns list`"
        )
    if column in SHARED_NAMES and not is_context_column(column):
        raise UsageError(f"every table and the loader itself rely on the type of {column!r}")
    wider = {str(one): one for one in sorted(TYPES[before].wider)}
    if type_ not in wider:
        choice = ", ".join(wider) or "nothing"
        raise UsageError(f"{table}.{column} is {before}, which can be widened to: {choice}")
    changed = [
        name
        for name, columns in tables.items()
        if columns.get(column) == before and (name == table or is_context_column(column))
    ]
    for name in changed:
        _refuse_views(connection, schema, name, column)
    wanted = wider[type_]
    return [WidenColumn(table=one, column=column, before=before, type=wanted) for one in changed]


def select_bytes(connection: Connection, schema: str, table: str) -> int:
    """How large a table is on the server's disk, with its indexes."""
    name = func.to_regclass(func.format("%I.%I", schema, table))
    return int(connection.scalar(select(func.pg_total_relation_size(name))) or 0)


def widen(
    connection: Connection, source: Source, changes: Sequence[WidenColumn], *, version: str
) -> dict[str, int]:
    """Widen columns and move what fits from `_extra` into them; returns values moved by table.

    Runs in the caller's transaction, with the tables locked. `version` is the loader's.
    """
    schema = source.schema_
    apply_changes(connection, schema, changes)
    moved = {
        change.table: move_back(connection, schema, change.table, change.column, change.type)
        for change in changes
    }
    renew_views(connection, schema)
    # A load that comes back after it lost its connection has prepared rows of the old type.
    end_forgotten(connection)
    done = connection.execute(
        insert(loads).values(
            source=source.name,
            status="success",
            finished_at=text("now()"),
            schema_changes=[change.as_json() for change in changes],
            loader_version=version,
        )
    )
    require_rows(loads.name, sent=1, stored=done.rowcount)
    return moved


_SELECT_VIEWS = text(
    """
    -- Views that use one column of a table.
    SELECT DISTINCT v.oid::regclass::text
    FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_class v ON v.oid = r.ev_class
    JOIN pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE n.nspname = :schema AND c.relname = :table AND a.attname = :column AND v.oid <> c.oid
    ORDER BY 1
    """
)


def _refuse_views(connection: Connection, schema: str, table: str, column: str) -> None:
    names = {"schema": schema, "table": table, "column": column}
    views = list(connection.scalars(_SELECT_VIEWS, names))
    if views:
        raise UsageError(
            f"views use {table}.{column}: {', '.join(views)}; "
            "drop them, widen the column, and make them again"
        )
