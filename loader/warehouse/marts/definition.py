"""The SQL of `email_messages`: the view that defines it, and what folds events into the table.

It depends on the types of the columns of the events, since a column may be widened: every text here
is the same before and after that.

The view selects from a function. PostgreSQL puts the function's text into each query that uses it,
as it does with a view, but looks up its tables only then: so it stands in nobody's way who changes
or swaps a table of events.

Revision 0008 makes both by the functions below, and has a digest of what these say, so that it
cannot change unseen. A later revision that changes what they say makes them anew, and takes that
step out of 0008, which might not have what they say it has.
"""

from collections.abc import Mapping

from loader.normalize.collections import (
    EMAIL_MESSAGES,
    EMAIL_MESSAGES_NOW,
    Type,
    declared_tables,
)
from loader.warehouse.marts.messages import COLUMNS, SOURCES, VIEW_COMMENT, MessageColumn
from loader.warehouse.marts.texts import (
    Tables,
    address_of,
    digest_of,
    flag_of,
    in_schema,
    literal,
    text_of,
)

_FUNCTION = "_email_messages_now"

# An index takes keys of 2,704 bytes at most.
_LONGEST_KEY = 512

# What tells the messages of legacy webhooks apart, whose `email_id` is a template.
_TOLD_APART_BY = (
    "campaign_id",
    "newsletter_id",
    "broadcast_id",
    "transactional_message_id",
    "email_id",
)
_IDS = (
    "campaign_id",
    "newsletter_id",
    "broadcast_id",
    "transactional_message_id",
    "action_id",
    "parent_action_id",
    "content_id",
)
_FLAGS = {"machine": "by_machine", "prefetched": "prefetched", "synthetic": "synthetic"}
# All columns of events that decide what a message is.
USED = frozenset(
    {
        *_IDS,
        *_TOLD_APART_BY,
        *_FLAGS,
        *("delivery_id", "event_type", "campaign_name", "subject", "email_subject"),
        *("context_traits_email", "recipient", "failure_message"),
    }
)

_STORED = [column for column in COLUMNS if column.combine != "derived"]
_MERGE = {
    "min": "least(m.{0}, part.{0})",
    "max": "greatest(m.{0}, part.{0})",
    "sum": "m.{0} + part.{0}",
}


def uses(table: str, column: str) -> bool:
    """Whether what a message is depends on a column of a table."""
    return table in SOURCES and column in USED


def key_sql(columns: Mapping[str, Type], row: str) -> str:
    """The key of the message that a row of an event belongs to.

    `delivery_id`; else `email_id`, where it is one message and not a template; else what is known
    of a template and a person; else the event itself. A person that is null is not one whose id is
    the word.
    """
    delivery, email = text_of(columns, "delivery_id", row), text_of(columns, "email_id", row)
    person = _person(columns, row)
    template = [text_of(columns, column, row) for column in _TOLD_APART_BY]
    together = " || ',' || ".join(f"quote_nullable({part})" for part in (person, *template))
    return (
        f"(CASE WHEN {delivery} IS NOT NULL THEN "
        f"CASE WHEN octet_length({delivery}) > {_LONGEST_KEY} THEN 'd:' || {_digest(delivery)} "
        # No id may look as if it were one of the other kinds.
        f"WHEN substr({delivery}, 2, 1) = ':' THEN 'd:' || {delivery} ELSE {delivery} END "
        f"WHEN {text_of(columns, 'event_type', row)} IS NULL AND {email} IS NOT NULL "
        f"THEN 'e:' || {_short(email)} "
        f"WHEN {person} IS NOT NULL AND coalesce({', '.join(template)}) IS NOT NULL "
        f"THEN 'p:' || {_digest(together)} "
        f"ELSE 'i:' || {_short(f'{row}.id')} END) COLLATE \"C\""
    )


def _person(columns: Mapping[str, Type], row: str) -> str:
    names = ("user_id", "context_traits_email")
    return f"coalesce({', '.join(text_of(columns, name, row) for name in names)})"


def _short(text: str) -> str:
    return f"CASE WHEN octet_length({text}) > {_LONGEST_KEY} THEN {_digest(text)} ELSE {text} END"


def _digest(text: str) -> str:
    return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"


def _events_of(schema: str, table: str, columns: Mapping[str, Type], where: str) -> str:
    """The events of one table, in the columns that `COLUMNS` is made of."""

    def text(column: str) -> str:
        return text_of(columns, column)

    made = {
        "kind": f"'{SOURCES[table]}'::text",
        "message_key": key_sql(columns, "e"),
        "happened_at": 'e."timestamp"',
        **{column: text(column) for column in _IDS},
        "campaign_name": text("campaign_name"),
        "subject": f"coalesce({text('subject')}, {text('email_subject')})",
        "user_id": text("user_id"),
        "email": address_of(columns, "recipient"),
        **{name: flag_of(columns, column) for column, name in _FLAGS.items()},
        "bounce_reason": text("failure_message"),
    }
    shown = ",\n    ".join(f"{sql} AS {name}" for name, sql in made.items())
    return f"SELECT {shown}\nFROM {in_schema(schema, table)} AS e{where}"


def _aggregate(schema: str, tables: Tables, *, of_rows: str = "", of_messages: str = "") -> str:
    """Messages with their stored columns, of all events or of some."""
    events = "\nUNION ALL\n".join(
        _events_of(schema, table, tables[table], of_rows) for table in SOURCES if table in tables
    )
    shown = ",\n    ".join(f"{_combined(column)} AS {column.name}" for column in _STORED)
    return f"SELECT {shown}\nFROM (\n{events}\n) AS event{of_messages}\nGROUP BY message_key"


def _combined(column: MessageColumn) -> str:
    if column.combine == "key":
        return column.sql
    only = f" FILTER (WHERE {column.where})" if column.where else ""
    if column.combine == "sum":
        return f"count(*){only}"
    collated = f'{column.sql} COLLATE "C"' if column.type == "text" else column.sql
    return f"{column.combine}({collated}){only}"


def function_sql(schema: str, tables: Tables) -> str:
    """Make the function that the view selects from, or make it anew; rights on it stay."""
    types = ", ".join(f"{column.name} {column.type}" for column in COLUMNS)
    shown = ",\n    ".join(
        f"({c.sql}) AS {c.name}" if c.combine == "derived" else c.name for c in COLUMNS
    )
    return (
        f"CREATE OR REPLACE FUNCTION {in_schema(schema, _FUNCTION)}()\nRETURNS TABLE ({types})\n"
        f"LANGUAGE sql STABLE PARALLEL SAFE AS $messages$\n"
        f"SELECT {shown}\nFROM (\n{_aggregate(schema, tables)}\n) AS message\n$messages$"
    )


def view_sql(schema: str) -> list[str]:
    """Make the view, with its comments."""
    view = in_schema(schema, EMAIL_MESSAGES_NOW)
    shown = ", ".join(
        f'{c.name} COLLATE "C" AS {c.name}' if c.type == "text" else c.name for c in COLUMNS
    )
    function = in_schema(schema, _FUNCTION)
    return [
        f"COMMENT ON FUNCTION {function}() IS 'The rows of {EMAIL_MESSAGES_NOW}.'",
        f"CREATE VIEW {view} AS SELECT {shown} FROM {function}()",
        f"COMMENT ON VIEW {view} IS {literal(VIEW_COMMENT)}",
        *(f"COMMENT ON COLUMN {view}.{c.name} IS {literal(c.comment)}" for c in COLUMNS),
    ]


def index_sql(schema: str, tables: Tables) -> list[str]:
    """Give tables that events have made the index that the declared ones have from the start."""
    made = SOURCES.keys() & tables.keys() - declared_tables().keys()
    return [
        f"CREATE INDEX IF NOT EXISTS {table}_uuid_ts_idx ON {in_schema(schema, table)} "
        "USING brin (uuid_ts) WITH (pages_per_range = 32)"
        for table in sorted(made)
    ]


def digest(schema: str, tables: Tables) -> str:
    """What tells whether the function is the one that the tables need."""
    return digest_of(function_sql(schema, tables))


def digest_of_all() -> str:
    """A digest of all that is said here of the view and its function."""
    return digest_of("\n".join((function_sql("s", declared_tables()), *view_sql("s"))))


def fold_sql(schema: str, tables: Tables) -> str:
    """Fold the events with the stamps `stamps`, of which `first` and `last` are the outermost.

    Nobody else writes messages meanwhile, so no row has to be inserted ON CONFLICT, which takes
    three times as long: those that are there are updated, and the others are new. Gives the number
    of messages, and how many of them the server has written.
    """
    rows = (
        "\nWHERE e.uuid_ts BETWEEN %(first)s AND %(last)s "
        "AND e.uuid_ts = ANY(CAST(%(stamps)s AS timestamptz[]))"
    )
    messages = in_schema(schema, EMAIL_MESSAGES)
    names = ", ".join(column.name for column in _STORED)
    merged = ",\n    ".join(
        f"{column.name} = {_MERGE[column.combine].format(column.name)}"
        for column in _STORED
        if column.combine != "key"
    )
    return (
        f"WITH part AS MATERIALIZED (\n{_aggregate(schema, tables, of_rows=rows)}\n),\n"
        f"known AS (UPDATE {messages} AS m SET {merged}\n"
        "FROM part WHERE part.message_key = m.message_key RETURNING part.message_key),\n"
        f"added AS (INSERT INTO {messages} ({names})\nSELECT {names} FROM part\n"
        "WHERE NOT EXISTS (SELECT FROM known WHERE known.message_key = part.message_key)\n"
        "RETURNING 1)\nSELECT (SELECT count(*) FROM part), "
        "(SELECT count(*) FROM known) + (SELECT count(*) FROM added)"
    )


def refold_sql(schema: str, tables: Tables) -> str:
    """Make the messages anew whose keys are in `_stale_messages`, and that are no more there.

    Gives the same two numbers as `fold_sql`.
    """
    names = ", ".join(column.name for column in _STORED)
    stale = in_schema(schema, "_stale_messages")
    some = f"\nWHERE message_key IN (SELECT message_key FROM {stale})"
    return (
        f"WITH part AS MATERIALIZED (\n{_aggregate(schema, tables, of_messages=some)}\n),\n"
        f"added AS (INSERT INTO {in_schema(schema, EMAIL_MESSAGES)} ({names})\n"
        f"SELECT {names} FROM part RETURNING 1)\n"
        "SELECT (SELECT count(*) FROM part), (SELECT count(*) FROM added)"
    )
