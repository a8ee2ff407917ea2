"""One chunk on its way: records -> events -> rows -> lines."""

from collections.abc import Set
from dataclasses import dataclass, field
from functools import partial

from loader.normalize.batch import SpanOf, normalize_events, span_without
from loader.normalize.collections import Type
from loader.normalize.columns import clean, unstorable_in
from loader.normalize.event import Events, Reject
from loader.sources import parse_events
from loader.sources.records import Chunk
from loader.warehouse.encode import Layouts, Segment, encode


@dataclass(kw_only=True)
class Parsed:
    """The events of a chunk, before anything is known of the tables."""

    chunk: Chunk
    events: Events
    rejects: list[tuple[str, Reject, bytes]]  # position, why, the record as it stood

    @property
    def ids(self) -> list[str]:
        """The ids of the events as the tables hold them, for asking which are there."""
        return clean(self.events.id).texts  # type: ignore[arg-type, return-value]


@dataclass(kw_only=True)
class Work:
    """A chunk, ready for its batch."""

    records: int  # read for it
    size: int  # bytes read for it
    ids: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    rejects: list[tuple[str, Reject, bytes]] = field(default_factory=list)
    # of the events' `timestamp` and `received_at`
    spans: dict[str, SpanOf] = field(default_factory=dict)
    known: int = 0  # events dropped because their id was there
    replaced_characters: int = 0


def parse_chunk(chunk: Chunk) -> Parsed:
    """Records -> events."""
    events, refused = parse_events(chunk.records, chunk.repeated)
    rejects = [(bad.position, bad.reject, bad.raw) for bad in chunk.bad]
    for place, reject in refused.items():
        rejects.append((chunk.position(place), reject, chunk.raws[place]))
    return Parsed(chunk=chunk, events=events, rejects=rejects)


def process_chunk(
    parsed: Parsed,
    *,
    tables: dict[str, dict[str, Type]],
    layouts: Layouts,
    load_started_at: str,
    only: frozenset[str] | None,
    taken: frozenset[str] = frozenset(),
    there: Set[str] = frozenset(),
) -> Work:
    """Events -> rows -> lines; events whose id is in `there` are known and dropped first."""
    events = parsed.events
    if there:
        events = events.without({i for i, key in enumerate(parsed.ids) if key in there})
    normalized = normalize_events(
        events, tables, load_started_at=load_started_at, only=only, taken=taken
    )
    rows = (normalized.shared, *normalized.collections.values())
    replaced = sum(column.replaced for one in rows for column in one.columns.values())
    return Work(
        records=len(parsed.chunk),
        size=parsed.chunk.size,
        ids=normalized.ids,
        segments=encode(normalized, layouts, tables),
        rejects=parsed.rejects,
        spans={name: partial(span_without, texts) for name, texts in normalized.times.items()},
        known=len(parsed.events.id) - len(normalized.ids),
        replaced_characters=replaced
        + sum(unstorable_in(values) for one in rows for values in one.extra.values()),
    )
