"""Which tables and columns the events of a batch need, and with which types."""

from collections.abc import Callable, Collection, Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from loader.columns.tokens import DECIMAL, FALSE, INTEGER, JSON, STRING, TIME, TRUE, Flags, Longs
from loader.errors import SchemaDrift
from loader.forms.events import Events
from loader.load.context import LoadContext
from loader.normalize.collections import TRACKS, Type
from loader.normalize.names import is_context_column
from loader.normalize.types import cover, infer
from loader.warehouse.batch import Waiting
from loader.warehouse.evolve import AddColumn, Change, CreateTable, column_comment, table_comment

# PostgreSQL's limit of columns, less some for migrations to come.
MAX_SLOTS = 1_580

# What stands for the values of a kind where a type is inferred.
_EXAMPLES = {STRING: "", TIME: "", TRUE: True, FALSE: True, INTEGER: 0}


# Makes changes of tables, all of one table or none; returns the columns that have to wait. Raises
# TablesDiffer if a table is not as it was planned for.
MakeChanges = Callable[[Sequence[Change]], list[Waiting]]


@dataclass(kw_only=True)
class Part:
    """The events of one block in a batch, and where their values belong."""

    events: Events
    tables: list[str]  # tables of their own
    table: Longs  # by event: index in `tables`; -1 for none
    # By value: its table (0 is `tracks`, which has the context; others begin at 1; -1 for none).
    value_table: Longs
    given: dict[str, Flags]  # by table and column of the block: whether it has values there

    @classmethod
    def of(cls, events: Events, tables: Set[str]) -> "Part":
        """The part for some events, of which those in `tables` have tables of their own."""
        counts = np.bincount(events.name, minlength=len(events.names))
        names = {name for name, count in zip(events.names, counts, strict=True) if count}
        own_tables = list(dict.fromkeys(n.table for n in events.names if n in names))
        own_tables = [table for table in own_tables if table in tables]
        number = {table: at for at, table in enumerate(own_tables)}
        table_of = np.array([number.get(name.table, -1) for name in events.names], np.int64)
        table = table_of[events.name]
        values, is_context = events.values, events.columns.is_context
        columns = len(is_context)
        own = table.take(values.event) + 1
        value_table = np.where(is_context.take(values.column), 0, np.where(own, own, -1))
        # A context value also belongs to the event's own table.
        code = np.where(own, own, value_table) * columns + values.column
        given = np.zeros((len(own_tables) + 1, columns), bool)
        given.reshape(-1)[code[code >= 0]] = True
        given[0] |= is_context & given.any(axis=0)
        return cls(
            events=events,
            tables=own_tables,
            table=table,
            value_table=value_table,
            given=dict(zip((TRACKS, *own_tables), given, strict=True)),
        )

    def columns_of(self, table: str, names: Collection[str]) -> list[int]:
        """The columns with values in a table that have one of some names, as they were met."""
        given, columns = self.given[table], self.events.columns
        if np.count_nonzero(given) < len(names):
            return [one for one in np.flatnonzero(given).tolist() if columns.names[one] in names]
        found = (columns.number.get(name, 0) for name in names)  # later blocks have more columns
        return sorted(one for one in found if one < len(given) and given[one])

    def in_order(self, table: str, columns: Sequence[int]) -> list[int]:
        """Some columns of a table in the order in which its events have them."""
        values = self.events.values
        number = self.tables.index(table) if table != TRACKS else -1
        is_own = self.value_table == number + 1
        is_context = (self.value_table == 0) & (self.table.take(values.event) == number)
        at = np.flatnonzero((is_own | is_context) & np.isin(values.column, columns))
        at = at[np.lexsort((values.token[at], values.event[at]))]
        found, firsts = np.unique(values.column[at], return_index=True)
        return [int(one) for one in found[np.argsort(firsts)]]


class _New:
    """A column that does not exist yet."""

    def __init__(self, key: str, *, is_context: bool) -> None:
        self.key = key
        self.is_context = is_context
        self.found: list[tuple[Part, int]] = []  # part, column of the block

    @property
    def comment(self) -> str:
        """The comment of the column."""
        return column_comment("Context key" if self.is_context else "Property", self.key)

    def infer(self, table: str) -> Type:
        """The narrowest type that holds all of its values."""
        examples: list[object] = []
        for part, column in self.found:
            values, tokens = part.events.values, part.events.tokens
            number = 0 if self.is_context else part.tables.index(table) + 1
            token = values.token[(values.column == column) & (part.value_table == number)]
            kinds = tokens.kind.take(token)
            for kind in np.flatnonzero(np.bincount(kinds)).tolist():
                if kind in _EXAMPLES:
                    examples.append(_EXAMPLES[kind])
                elif kind == DECIMAL:
                    examples.append(tokens.value(int(token[kinds == DECIMAL][0])))
                else:
                    assert kind == JSON
                    examples += map(tokens.value, token[kinds == JSON].tolist())
        return infer(examples)


def plan_changes(parts: Sequence[Part], context: LoadContext) -> list[Change]:
    """The changes that the events of a batch need, which `context` has from here on.

    Columns come in the order in which they are met, behind those that wait for a lock on their
    table.
    """
    changes: list[Change] = []
    try:
        for change in _needed(parts, context):
            context.take(change)
            changes.append(change)
    except BaseException:
        context.undo(changes)
        raise
    return changes


def change_tables(parts: Sequence[Part], context: LoadContext, make: MakeChanges) -> list[Waiting]:
    """Have the changes made that events need; returns the columns that have to wait."""
    if TRACKS not in context.tables:  # no event is to blame for that
        raise SchemaDrift(
            f"the table {TRACKS!r} is not there any more: give it its name again, or restore it; "
            "`alembic check` shows what else differs"
        )
    changes = plan_changes(parts, context)
    try:
        waiting = make(changes) if changes else []
    except BaseException:
        context.undo(changes)  # what was made nevertheless is found when it is planned again
        raise
    for change in changes:
        if isinstance(change, AddColumn):
            context.has_got(change)
    for one in waiting:
        context.wait_for(one.column)
    return waiting


def _needed(parts: Sequence[Part], context: LoadContext) -> Iterator[Change]:
    """One change after the other; each may depend on those before it."""
    for part in parts:
        yield from _new_tables(part, context)
    tables = {table for part in parts for table in part.given} | context.waiting.keys()
    for table in sorted(tables & context.tables.keys(), key=lambda t: (t != TRACKS, t)):
        yield from _new_columns(parts, table, context)


def _new_tables(part: Part, context: LoadContext) -> Iterator[CreateTable]:
    for number, table in enumerate(part.tables):
        if table not in context.tables:
            first = part.events.name[np.flatnonzero(part.table == number)[0]]
            comment = table_comment(part.events.names[int(first)].text)
            yield CreateTable(table=table, comment=comment)


def _new_columns(parts: Sequence[Part], table: str, context: LoadContext) -> Iterator[AddColumn]:
    """The columns that a table lacks and has room for."""
    waiting = {
        name: column
        for name, column in context.waiting.get(table, {}).items()
        if context.evolve and _may_get(table, name, context)
    }
    found = _missing(parts, table, context, waiting.keys())
    for name in dict.fromkeys([*waiting, *found]):
        type_ = _given_type(table, name, context)
        before, wanted = waiting.get(name), found.get(name)
        if type_ is None:
            # What waits has values in `_extra`, which it has to hold too.
            types: list[Type] = [before.type] if before is not None else []
            if wanted is not None:
                types.append(wanted.infer(table))
            type_ = cover(types[0], types[-1])
        if before is not None:
            yield replace(before, type=type_)
        elif wanted is not None:
            yield AddColumn(table=table, column=name, type=type_, comment=wanted.comment)


def _may_get(table: str, name: str, context: LoadContext) -> bool:
    """Whether a table lacks a column that can be made."""
    return name not in context.tables[table] and _given_type(table, name, context) != "other"


def _given_type(table: str, name: str, context: LoadContext) -> Type | None:
    """The type of a new column, if its values do not decide it; `other` if it cannot be made."""
    if is_context_column(name):
        # It has the same type in every table, or is in none.
        return None if table == TRACKS else context.tables[TRACKS].get(name, "other")
    return "jsonb" if name in context.json_names else None


def _missing(
    parts: Sequence[Part], table: str, context: LoadContext, waiting: Set[str]
) -> dict[str, _New]:
    """The columns that a table lacks, the context's first.

    Where it has not room for all, those that are met first in the input, however it is read.
    """
    room = _room(table, context, len(waiting))
    found: dict[str, _New] = {}
    for part in parts if room or waiting else ():
        if table not in part.given:
            continue
        columns = part.events.columns
        if room:
            every = np.flatnonzero(part.given[table]).tolist()
            lacking = [one for one in every if _may_get(table, columns.names[one], context)]
            if len(lacking) > room:
                lacking = part.in_order(table, lacking)
        else:
            lacking = part.columns_of(table, found.keys() | waiting)
        for column in lacking:
            name = columns.names[column]
            if name not in found:
                if name not in waiting:
                    if not room:
                        continue
                    room -= 1
                found[name] = _New(
                    columns.first_key(column), is_context=bool(columns.is_context[column])
                )
            found[name].found.append((part, column))
    return dict(sorted(found.items(), key=lambda item: not item[1].is_context))


def _room(table: str, context: LoadContext, waiting: int) -> int:
    """How many columns a table may still get, besides those that wait."""
    columns = len(context.tables[table])
    left = min(context.max_columns - columns, MAX_SLOTS - context.slots.get(table, columns))
    return max(left - waiting, 0) if context.evolve else 0
