"""One chunk on its way: records -> events -> rows -> lines."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loader.defects import defect
from loader.normalize.batch import Rooms, SpanOf, normalize_events, span_without
from loader.normalize.collections import Type
from loader.normalize.columns import clean, unstorable_in
from loader.normalize.event import Events, Reject
from loader.sources import parse_each, parse_events
from loader.sources.records import Chunk
from loader.warehouse.encode import Layouts, Segment, encode


@dataclass(kw_only=True)
class Parsed:
    """The events of a chunk, before anything is known of the tables."""

    chunk: Chunk
    events: Events
    places: Sequence[int]  # in the chunk's records, of each event
    rejects: list[tuple[str, Reject, bytes]]  # position, why, the record as it stood

    @property
    def ids(self) -> list[str]:
        """The ids of the events as the tables hold them, for asking which are there."""
        return clean(self.events.id).texts  # type: ignore[arg-type, return-value]


@dataclass(kw_only=True)
class Work:
    """A chunk, ready for its batch."""

    records: int = 0  # read for it
    size: int = 0  # bytes read for it
    ids: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    rejects: list[tuple[str, Reject, bytes]] = field(default_factory=list)
    # of the events' `timestamp` and `received_at`
    spans: dict[str, SpanOf] = field(default_factory=dict)
    known: int = 0  # events dropped because their id was there
    without_table: int = 0  # events for whose table `max_tables` left no room
    replaced_characters: int = 0
    # By place among the ids the record's position, and the record as it stood there.
    origin: Callable[[int], tuple[str, bytes]] | None = None


def parse_chunk(chunk: Chunk) -> Parsed:
    """Records -> events. A record that brings a defect to light is a reject."""
    try:
        events, refused = parse_events(chunk.records, chunk.repeated)
    except Exception as error:
        defect(error)
        events, refused = parse_each(chunk.records, chunk.repeated)
    rejects = [(bad.position, bad.reject, bad.raw) for bad in chunk.bad]
    for place, reject in refused.items():
        rejects.append((chunk.position(place), reject, chunk.raws[place]))
    places: Sequence[int] = range(len(chunk.records))
    if refused:
        places = [place for place in places if place not in refused]
    return Parsed(chunk=chunk, events=events, places=places, rejects=rejects)


def process_chunk(parsed: Parsed, *, there: Set[str] = frozenset(), **options: Any) -> list[Work]:
    """Events -> rows -> lines, in one piece; events whose id is in `there` are dropped first.

    Where that fails, each event is processed by itself, and what brings a defect to light is a
    reject. The `options` are those of `_process`.
    """
    events, places = parsed.events, parsed.places
    if there:
        known = {i for i, key in enumerate(parsed.ids) if key in there}
        events = events.without(known)
        places = [place for i, place in enumerate(places) if i not in known]
    chunk = parsed.chunk

    def origin(at: int, *, first: int = 0) -> tuple[str, bytes]:
        return chunk.position(places[first + at]), chunk.raws[places[first + at]]

    try:
        works = [_process(events, **options)]
        works[0].origin = origin
    except Exception as error:
        defect(error)
        works = []
        for i in range(len(places)):
            try:
                works.append(_process(events.only(i), **options))
                works[-1].origin = partial(origin, first=i)
            except Exception as one:
                where, raw = origin(i)
                parsed.rejects.append((where, defect(one), raw))
    first = works[0] if works else Work()
    first.records, first.size = len(chunk), chunk.size
    first.rejects = parsed.rejects
    first.known = len(parsed.places) - len(places)
    return works or [first]


def _process(
    events: Events,
    *,
    tables: dict[str, dict[str, Type]],
    layouts: Layouts,
    load_started_at: str,
    only: frozenset[str] | None,
    taken: frozenset[str] = frozenset(),
    rooms: Rooms | None = None,
    whole: frozenset[str] = frozenset(),
) -> Work:
    normalized = normalize_events(
        events,
        tables,
        load_started_at=load_started_at,
        only=only,
        taken=taken,
        rooms=rooms,
        whole=whole,
    )
    rows = (normalized.shared, *normalized.collections.values())
    replaced = sum(column.replaced for one in rows for column in one.columns.values())
    return Work(
        ids=normalized.ids,
        segments=encode(normalized, layouts, tables),
        spans={name: partial(span_without, texts) for name, texts in normalized.times.items()},
        without_table=normalized.without_table,
        replaced_characters=replaced
        + sum(unstorable_in(values) for one in rows for values in one.extra.values()),
    )
