"""What a load, a replay or a plan tells those who asked for it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from loader.config import Source
from loader.load.defects import DEFECT
from loader.normalize.collections import TRACKS
from loader.normalize.event import IgnoreReason
from loader.warehouse.ledger import Counts


@dataclass(kw_only=True)
class Tally:
    """What one pass over the inputs counts and notes beside the ledger."""

    files: int = 0  # read
    files_skipped: int = 0  # finished before
    files_without_events: int = 0  # of those, known to hold no events
    files_gone: int = 0  # objects that were listed, and gone when they were to be read
    bytes_read: int = 0
    rewritten: int = 0  # irregular records
    without_table: int = 0  # events for whose table `max_tables` left no room
    defects: Counter[str] = field(default_factory=Counter)  # what failed: how often
    not_events: dict[str, str] = field(default_factory=dict)  # files without events: what they are
    waited_for_input: float = 0.0  # seconds
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class LoadResult:
    """What a load, or the plan of one, did."""

    source: str
    schema: str
    warehouse: str | None = None  # None: the only one, which has no name
    load_id: int | None  # None for a plan
    status: str  # success, partial; anything else is raised
    counts: Counts = field(default_factory=Counts)
    ignored: dict[IgnoreReason, int] = field(default_factory=dict)  # left out on purpose, by reason
    files: int = 0  # read by this load
    files_skipped: int = 0  # finished before
    files_without_events: int = 0  # of those, known to hold no events
    files_gone: int = 0  # objects that were listed, and gone when they were to be read
    bytes_read: int = 0  # decompressed
    seconds: float = 0.0
    waited_for_input: float = 0.0  # seconds
    waited_for_server: float = 0.0  # seconds
    errors: list[str] = field(default_factory=list)  # inputs that could not be read to their end
    warnings: list[str] = field(default_factory=list)  # what is probably not meant, or was left out
    rewritten: int = 0  # irregular records, which take longer to read
    without_table: int = 0  # events of names for which `max_tables` left no room
    defects: dict[str, int] = field(default_factory=dict)  # what failed: how often
    not_events: dict[str, str] = field(default_factory=dict)  # files without events: what they are
    is_first: bool = False  # the schema had no events before
    # Columns that wait for a lock, as `table.column`, and who held their table.
    waiting: dict[str, str] = field(default_factory=dict)
    mart_behind: str = ""  # why `email_messages` lacks events that are loaded
    migration: str = ""  # plan only: what a migration would do
    pending_sql: str = ""  # plan only: migrations and changes, as SQL

    @property
    def reject_ratio(self) -> float:
        """Rejects as a share of the records that were to be loaded."""
        return self.counts.rejects / self.counts.wanted if self.counts.wanted else 0.0

    def notices(self) -> Iterator[tuple[str, str]]:
        """What has to be told although the load went on: an event of the log, and a sentence."""
        for message in self.errors:
            yield "input.unreadable", message
        for what, count in self.defects.items():
            yield (
                "record.defect",
                f"{what}; {count} times. Please report it. Rejects with the reason {DEFECT!r} "
                "can be replayed with a version that has it repaired",
            )
        if self.waiting:
            first, who = next(iter(self.waiting.items()))
            more = f" and {len(self.waiting) - 1:,} more columns" if len(self.waiting) > 1 else ""
            yield (
                "columns.waiting",
                f"{first}{more} could not be added, because somebody held the table: {who}. Their "
                "values are in _extra until a later load adds them; see `customerio-loader status`",
            )
        if self.mart_behind:
            yield (
                "mart.behind",
                f"email_messages lacks events that are loaded: {self.mart_behind}; see "
                "`customerio-loader status`",
            )
        if self.without_table:
            yield (
                "tables.full",
                f"{self.without_table:,} events went to {TRACKS} alone, because the schema has "
                "max_tables tables: raise it, or name the events that count in `collections`",
            )


def result_of(
    tally: Tally, *, source: Source, tables: Iterable[str], counts: Counts, **facts: Any
) -> LoadResult:
    """What one pass over the inputs has done; `tables` are those of the schema, `facts` fields."""
    return LoadResult(
        source=source.name,
        schema=source.schema_,
        counts=counts,
        files=tally.files,
        files_skipped=tally.files_skipped,
        files_without_events=tally.files_without_events,
        files_gone=tally.files_gone,
        bytes_read=tally.bytes_read,
        waited_for_input=tally.waited_for_input,
        status="partial" if tally.errors else "success",
        errors=tally.errors,
        rewritten=tally.rewritten,
        without_table=tally.without_table,
        defects=dict(tally.defects),
        not_events=tally.not_events,
        warnings=[*source.doubts(tables), *tally.warnings],
        **facts,
    )
