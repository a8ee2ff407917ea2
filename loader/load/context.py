"""The facts of a load that do not change while it runs."""

from dataclasses import dataclass, field, replace

from loader.columns.binary import microseconds_of
from loader.normalize.collections import Type

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
    # Columns that a table ever had: dropped ones count for PostgreSQL's limit too.
    slots: dict[str, int] = field(default_factory=dict)

    @property
    def started(self) -> int:
        """The start in microseconds since 2000."""
        return microseconds_of(self.started_at)

    def may_have_table(self, table: str) -> bool:
        """Whether events of that name get a table of their own, if there is room for it."""
        return table not in self.reserved and (self.only is None or table in self.only)

    def copy(self) -> "LoadContext":
        """The same, of which the tables can be changed by themselves."""
        tables = {name: dict(columns) for name, columns in self.tables.items()}
        return replace(self, tables=tables, slots=dict(self.slots))
