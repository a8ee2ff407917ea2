"""Schema changes as values: plan them, print them, apply them. The loader only adds."""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Column, Connection
from sqlalchemy.dialects import postgresql

from loader.normalize.collections import Type
from loader.normalize.text import clean_text
from loader.warehouse.engine import driver_cursor
from loader.warehouse.tables import SQL_TYPES, shared_columns

_COMMENT_LENGTH = 500


@dataclass(frozen=True, kw_only=True)
class CreateTable:
    """A table for a collection that is not declared: the shared columns."""

    table: str
    comment: str

    def as_json(self) -> dict[str, str]:
        return {"change": "create table", "table": self.table}


@dataclass(frozen=True, kw_only=True)
class AddColumn:
    """A nullable column for a new property or context key."""

    table: str
    column: str
    type: Type
    comment: str

    def as_json(self) -> dict[str, str]:
        facts = {"table": self.table, "column": self.column, "type": self.type}
        return {"change": "add column", **facts}


@dataclass(frozen=True, kw_only=True)
class WidenColumn:
    """A column that gets a type which holds its old values and more; a person asks for it."""

    table: str
    column: str
    before: Type
    type: Type

    def as_json(self) -> dict[str, str]:
        return {"change": "widen column", **asdict(self)}


Change = CreateTable | AddColumn | WidenColumn


def table_comment(event_text: str) -> str:
    """The comment of a table that an event brought; it keeps the name as sent."""
    return _quoted("One row per event", event_text)


def column_comment(kind: str, key: str) -> str:
    """The comment of a column that an event brought; it keeps the key as sent."""
    return _quoted(kind, key)


def _quoted(start: str, name: str) -> str:
    shown = re.sub(r"\s", " ", clean_text(name))
    if len(shown) > _COMMENT_LENGTH:
        shown = shown[:_COMMENT_LENGTH] + "..."
    return f'{start} "{shown}".'


def apply_changes(connection: Connection, schema: str, changes: Sequence[Change]) -> None:
    """Carry out `changes` inside the transaction of `connection`.

    All at once: readers wait from the first change of a table to the end of the transaction, and a
    network may take longer for an answer than the server for a change.
    """
    if changes:
        with driver_cursor(connection) as cursor:
            cursor.execute("SET LOCAL standard_conforming_strings = on")
            cursor.execute(changes_sql(schema, changes))


def changes_sql(schema: str, changes: Iterable[Change]) -> str:
    """The SQL that `apply_changes` runs."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    output = io.StringIO()
    context = MigrationContext.configure(
        # Not the driver's way of writing parameters, which doubles each percent sign.
        dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
        opts={"as_sql": True, "output_buffer": output},
    )
    operations = Operations(context)
    for change in changes:
        if isinstance(change, CreateTable):
            operations.create_table(
                change.table, *shared_columns(), schema=schema, comment=change.comment
            )
        elif isinstance(change, WidenColumn):
            name = postgresql.dialect().identifier_preparer.quote_identifier(change.column)  # type: ignore[no-untyped-call]
            operations.alter_column(
                change.table,
                change.column,
                schema=schema,
                existing_type=SQL_TYPES[change.before],
                type_=SQL_TYPES[change.type],
                postgresql_using=f"to_jsonb({name})"
                if change.type == "jsonb"
                else f"{name}::{change.type}",
            )
        else:
            column = Column(change.column, SQL_TYPES[change.type], comment=change.comment)
            operations.add_column(change.table, column, schema=schema)
    return output.getvalue()
