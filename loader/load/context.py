"""The facts of a load that do not change while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from loader.columns.times import microseconds_of
from loader.config import Settings, Source
from loader.normalize.collections import EXTRA, SHARED, Type
from loader.normalize.ignoring import NOTHING_IGNORED, Ignore
from loader.normalize.names import property_column
from loader.warehouse.batch import Waiting
from loader.warehouse.evolve import AddColumn, Change, CreateTable

# The shared columns of a table that does not exist yet.
DECLARED_SHARED = {column.name: column.type for column in (*SHARED, EXTRA)}

Tables = dict[str, dict[str, Type]]


@dataclass(frozen=True, kw_only=True)
class LoadContext:
    """What every part of a load has to know."""

    started_at: str  # by the server's clock, ISO 8601; arrival of events that bring none
    tables: Tables  # column types by table; each batch adds what it makes
    only: frozenset[str] | None = None  # tables that events may have; None: any
    reserved: frozenset[str] = frozenset()  # names of views and the like, which no table can have
    evolve: bool = True  # new properties get columns
    max_columns: int = 500  # of one table
    max_tables: int = 1_000
    json_columns: frozenset[str] = frozenset()  # paths of properties that stay one value each
    ignore: Ignore = NOTHING_IGNORED  # which records are left out
    # Columns that a table ever had: dropped ones count for PostgreSQL's limit too.
    slots: dict[str, int] = field(default_factory=dict)
    # Columns that a table needs and could not get, because somebody held it; their values are in
    # `_extra` meanwhile. By table and name.
    waiting: dict[str, dict[str, AddColumn]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, source: Source, settings: Settings, *, waiting: Sequence[Waiting] = (), **found: Any
    ) -> "LoadContext":
        """What a source, the settings and the server say; `found` are fields."""
        columns: dict[str, dict[str, AddColumn]] = {}
        for column, _ in waiting:
            columns.setdefault(column.table, {})[column.column] = column
        return cls(
            only=source.only_tables,
            json_columns=source.whole,
            ignore=_ignore(source, found["started_at"]),
            evolve=settings.schema_contract == "evolve",
            max_columns=settings.max_columns,
            max_tables=settings.max_tables,
            waiting=columns,
            **found,
        )

    @cached_property
    def json_names(self) -> frozenset[str]:
        """The columns of `json_columns`."""
        return frozenset(map(property_column, self.json_columns))

    @property
    def started(self) -> int:
        """The start in microseconds since 2000."""
        return microseconds_of(self.started_at)

    def may_have_table(self, table: str) -> bool:
        """Whether events of that name get a table of their own, if there is room for it."""
        return table not in self.reserved and (self.only is None or table in self.only)

    def take(self, change: Change) -> None:
        """Know of a change that is planned."""
        if isinstance(change, CreateTable):
            self.tables[change.table] = dict(DECLARED_SHARED)
        elif isinstance(change, AddColumn):
            columns = self.tables[change.table]
            self.slots[change.table] = max(self.slots.get(change.table, 0), len(columns)) + 1
            columns[change.column] = change.type

    def undo(self, changes: Sequence[Change]) -> None:
        """Forget changes that were planned and not made."""
        for change in reversed(changes):
            if isinstance(change, CreateTable):
                del self.tables[change.table]
                self.slots.pop(change.table, None)
            elif isinstance(change, AddColumn):
                self.slots[change.table] -= 1
                del self.tables[change.table][change.column]

    def wait_for(self, column: AddColumn) -> None:
        """Know of a planned column that its table cannot get yet."""
        self.undo([column])
        self.waiting.setdefault(column.table, {})[column.column] = column

    def has_got(self, column: AddColumn) -> None:
        """Know of a planned column that its table has got."""
        self.waiting.get(column.table, {}).pop(column.column, None)

    def adopt(self, there: Mapping[str, dict[str, Type]]) -> bool:
        """Know tables as they were found to be; False if they are known so already."""
        known = {table: self.tables.get(table, {}) for table in there}
        for table, columns in there.items():
            self.tables[table] = dict(columns)
            if not columns:
                del self.tables[table]
        return known != there

    def copy(self) -> "LoadContext":
        """The same, of which the tables can be changed by themselves."""
        tables = {name: dict(columns) for name, columns in self.tables.items()}
        waiting = {name: dict(columns) for name, columns in self.waiting.items()}
        return replace(self, tables=tables, slots=dict(self.slots), waiting=waiting)


def _ignore(source: Source, started_at: str) -> Ignore:
    """The rules of a source, in a load that began then."""
    return Ignore(
        types=frozenset(source.ignore_types),
        tables=source.ignored_tables,
        after=_microseconds(source.after),
        before=_microseconds(source.before),
        started=microseconds_of(started_at),
    )


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds_of(moment.isoformat())
