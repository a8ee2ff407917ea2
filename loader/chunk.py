"""One chunk on its way: records -> events -> rows -> lines."""

from collections.abc import Set
from dataclasses import dataclass

from loader.normalize.batch import normalize_events
from loader.normalize.collections import Type
from loader.normalize.columns import clean, unstorable_in
from loader.normalize.event import Event, Reject
from loader.sources import parse_event
from loader.sources.records import Chunk
from loader.warehouse.encode import Layouts, Segment, encode


@dataclass(kw_only=True)
class Parsed:
    """The events of a chunk, before anything is known of the tables."""

    chunk: Chunk
    events: list[Event]
    ids: list[str]  # of the events, as the tables hold them
    rejects: list[tuple[str, Reject, bytes]]  # position, why, the record as it stood


@dataclass(kw_only=True)
class Work:
    """A chunk, ready for its batch."""

    ids: list[str]
    segments: list[Segment]
    rejects: list[tuple[str, Reject, bytes]]
    times: dict[str, list[str]]  # `timestamp` and `received_at` of each event
    known: int  # events dropped because their id was there
    replaced_characters: int


def parse_chunk(chunk: Chunk) -> Parsed:
    """Records -> events."""
    rejects = [(bad.position, bad.reject, bad.raw) for bad in chunk.bad]
    events: list[Event] = []
    for index, record in enumerate(chunk.records):
        event = parse_event(record)
        if type(event) is Event:
            events.append(event)
        elif type(event) is Reject:
            rejects.append((chunk.position(index), event, chunk.raws[index]))
    ids: list[str] = clean([event.id for event in events]).texts  # type: ignore[assignment]
    return Parsed(chunk=chunk, events=events, ids=ids, rejects=rejects)


def process_chunk(
    parsed: Parsed,
    *,
    tables: dict[str, dict[str, Type]],
    layouts: Layouts,
    load_started_at: str,
    only: frozenset[str] | None,
    taken: frozenset[str] = frozenset(),
    there: Set[str],
) -> Work:
    """Events -> rows -> lines; events whose id is in `there` are known and dropped first."""
    events = parsed.events
    if there:
        events = [e for e, key in zip(events, parsed.ids, strict=True) if key not in there]
    normalized = normalize_events(
        events, tables, load_started_at=load_started_at, only=only, taken=taken
    )
    rows = (normalized.shared, *normalized.collections.values())
    replaced = sum(column.replaced for one in rows for column in one.columns.values())
    return Work(
        ids=normalized.ids,
        segments=encode(normalized, layouts, tables),
        rejects=parsed.rejects,
        times=normalized.times,
        known=len(parsed.events) - len(events),
        replaced_characters=replaced
        + sum(unstorable_in(values) for one in rows for values in one.extra.values()),
    )
