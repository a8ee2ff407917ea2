"""Which tables and columns the events of a batch need, and with which types."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from loader.columns.tokens import DECIMAL, FALSE, INTEGER, JSON, STRING, TIME, TRUE, Longs
from loader.forms.events import Events
from loader.load.context import LoadContext
from loader.normalize.collections import EXTRA, SHARED, TRACKS, Type
from loader.normalize.names import property_column
from loader.normalize.types import infer
from loader.warehouse.evolve import AddColumn, Change, CreateTable, column_comment, table_comment

# The shared columns of a table that does not exist yet.
DECLARED_SHARED = {column.name: column.type for column in (*SHARED, EXTRA)}
# PostgreSQL's limit of columns, less some for migrations to come.
MAX_SLOTS = 1_580

# What stands for the values of a kind where a type is inferred.
_EXAMPLES = {STRING: "", TIME: "", TRUE: True, FALSE: True, INTEGER: 0}


@dataclass(kw_only=True)
class Part:
    """The events of one block in a batch, and where their values belong."""

    events: Events
    tables: list[str]  # tables of their own
    table: Longs  # by event: index in `tables`; -1 for none
    # By value: its table (0 is `tracks`, which has the context; others begin at 1; -1 for none).
    place: Longs
    # Columns of the block that have values, by table. Once it is planned: those that exist.
    used: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Events, tables: Set[str]) -> "Part":
        """The part for some events, of which those in `tables` have tables of their own."""
        names = {events.names[one] for one in np.unique(events.name).tolist()}
        own_tables = list(dict.fromkeys(n.table for n in events.names if n in names))
        own_tables = [table for table in own_tables if table in tables]
        number = {table: at for at, table in enumerate(own_tables)}
        table_of = np.array([number.get(name.table, -1) for name in events.names], np.int64)
        table = table_of[events.name]
        values, columns = events.values, len(events.columns.names)
        own = table.take(values.event) + 1
        is_context = np.array(events.columns.is_context).take(values.column)
        place = np.where(is_context, 0, np.where(own, own, -1))
        # A context value also belongs to the event's own table.
        code = np.where(own, own, place) * columns + values.column
        count = np.bincount(code[code >= 0], minlength=columns * (len(own_tables) + 1))
        used = count.reshape(-1, columns) > 0
        used[0] |= np.array(events.columns.is_context) & used.any(axis=0)
        return cls(
            events=events,
            tables=own_tables,
            table=table,
            place=place,
            used={
                name: np.flatnonzero(row).tolist()
                for name, row in zip((TRACKS, *own_tables), used, strict=True)
            },
        )


class _New:
    """A column that does not exist yet."""

    def __init__(self, key: str, *, is_context: bool) -> None:
        self.key = key
        self.is_context = is_context
        self.found: list[tuple[Part, int]] = []  # part, column of the block

    def infer(self, table: str) -> Type:
        """The narrowest type that holds all of its values."""
        examples: list[object] = []
        for part, column in self.found:
            values, tokens = part.events.values, part.events.tokens
            place = 0 if self.is_context else part.tables.index(table) + 1
            token = values.token[(values.column == column) & (part.place == place)]
            kinds = tokens.kind.take(token)
            for kind in np.unique(kinds).tolist():
                if kind in _EXAMPLES:
                    examples.append(_EXAMPLES[kind])
                elif kind == DECIMAL:
                    examples.append(tokens.value(int(token[kinds == DECIMAL][0])))
                else:
                    assert kind == JSON
                    examples += map(tokens.value, token[kinds == JSON].tolist())
        return infer(examples)


def plan_changes(parts: Sequence[Part], context: LoadContext) -> list[Change]:
    """The changes that the events of a batch need, which `context.tables` has from here on.

    Columns come in the order in which they are met.
    """
    changes: list[Change] = []
    json_names = set(map(property_column, context.json_columns))
    for part in parts:
        changes += _new_tables(part, context)
    for table in sorted({t for part in parts for t in part.used}, key=lambda t: (t != TRACKS, t)):
        for name, wanted in _new_columns(parts, table, context):
            type_ = context.tables[TRACKS].get(name) if wanted.is_context else None
            if wanted.is_context and table != TRACKS and type_ in (None, "other"):
                continue  # it has the same type in every table, or is in none
            if not wanted.is_context and name in json_names:
                type_ = "jsonb"
            changes.append(_add(table, name, type_ or wanted.infer(table), wanted, context))
    for part in parts:
        names = part.events.columns.names
        for table, columns in part.used.items():
            types = context.tables[table]
            part.used[table] = [column for column in columns if names[column] in types]
    return changes


def _new_tables(part: Part, context: LoadContext) -> Iterator[CreateTable]:
    for number, table in enumerate(part.tables):
        if table not in context.tables:
            first = part.events.name[np.flatnonzero(part.table == number)[0]]
            comment = table_comment(part.events.names[int(first)].text)
            context.tables[table] = dict(DECLARED_SHARED)
            yield CreateTable(table=table, comment=comment)


def _new_columns(
    parts: Sequence[Part], table: str, context: LoadContext
) -> Iterator[tuple[str, _New]]:
    """The columns that a table lacks and has room for, those of the context first."""
    room = _room(table, context)
    types = context.tables[table]
    found: dict[str, _New] = {}
    for part in parts:
        columns = part.events.columns
        for column in part.used.get(table, ()) if room else ():
            name = columns.names[column]
            if name in types or (len(found) == room and name not in found):
                continue
            if name not in found:
                is_context = columns.is_context[column]
                found[name] = _New(columns.keys[column], is_context=is_context)
            found[name].found.append((part, column))
    yield from sorted(found.items(), key=lambda item: not item[1].is_context)


def _room(table: str, context: LoadContext) -> int:
    """How many columns a table may still get."""
    columns = len(context.tables[table])
    left = min(context.max_columns - columns, MAX_SLOTS - context.slots.get(table, columns))
    return max(left, 0) if context.evolve else 0


def _add(table: str, name: str, type_: Type, wanted: _New, context: LoadContext) -> AddColumn:
    columns = context.tables[table]
    context.slots[table] = max(context.slots.get(table, 0), len(columns)) + 1
    columns[name] = type_
    comment = column_comment("Context key" if wanted.is_context else "Property", wanted.key)
    return AddColumn(table=table, column=name, type=type_, comment=comment)
