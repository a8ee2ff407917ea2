"""What a view is, as data, and the SQL that makes it."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from loader.warehouse.marts.metrics import Count
from loader.warehouse.marts.texts import in_schema, literal, quote

ViewType = Literal["text", "bigint", "integer", "numeric", "boolean", "date", "timestamptz"]


class ViewColumn(NamedTuple):
    """A column of a view."""

    name: str
    type: ViewType
    comment: str
    sql: str = ""  # over what stands behind FROM; default: the column of that name there


class View(NamedTuple):
    """A view; its first column is the time by which tools should plot it."""

    name: str
    comment: str
    columns: tuple[ViewColumn, ...]
    source: str  # what stands behind FROM, with `{schema}` for the schema


def counts_of(counts: Iterable[Count], row: str) -> tuple[ViewColumn, ...]:
    """The columns of what is counted, of rows that have it."""
    return tuple(
        ViewColumn(count.name, "bigint", count.comment, f"{row}.{count.name}") for count in counts
    )


def select_counts(counts: Iterable[Count]) -> str:
    """What is counted, over rows of `email_messages`."""
    return ", ".join(f"{count.sql} AS {count.name}" for count in counts)


def create_view_sql(schema: str, view: View) -> list[str]:
    """Make a view, with its comments; tables of the schema have to be named in full."""
    name = in_schema(schema, view.name)
    shown = ",\n    ".join(map(_shown, view.columns))
    source = view.source.replace("{schema}", quote(schema))
    return [
        f"CREATE VIEW {name} AS\nSELECT {shown}\nFROM {source}",
        f"COMMENT ON VIEW {name} IS {literal(view.comment)}",
        *(f"COMMENT ON COLUMN {name}.{c.name} IS {literal(c.comment)}" for c in view.columns),
    ]


def _shown(column: ViewColumn) -> str:
    collation = ' COLLATE "C"' if column.type == "text" else ""
    return f"({column.sql or column.name})::{column.type}{collation} AS {column.name}"
