"""One chunk on its way: records -> events -> rows -> lines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loader.normalize.batch import normalize_events
from loader.normalize.collections import Type
from loader.normalize.columns import clean, unstorable_in
from loader.normalize.event import Event, Reject
from loader.sources import parse_event
from loader.sources.records import Chunk
from loader.warehouse.encode import Layouts, Segment, encode


@dataclass(kw_only=True)
class Work:
    """A chunk, ready for its batch."""

    ids: list[str]
    segments: list[Segment]
    rejects: list[tuple[str, Reject, bytes]]
    times: dict[str, list[str]]  # `timestamp` and `received_at` of each event
    known: int  # events dropped because their id was there
    replaced_characters: int


def process_chunk(
    chunk: Chunk,
    *,
    tables: dict[str, dict[str, Type]],
    layouts: Layouts,
    load_started_at: str,
    only: frozenset[str] | None,
    existing: Callable[[Sequence[str]], set[str]] | None,
) -> Work:
    """Records -> events -> rows -> lines: what happens to every record.

    With `existing`, events whose ids are there already are not normalized at all.
    """
    rejects = [(bad.position, bad.reject, bad.raw) for bad in chunk.bad]
    events: list[Event] = []
    for index, record in enumerate(chunk.records):
        event = parse_event(record)
        if type(event) is Event:
            events.append(event)
        elif type(event) is Reject:
            rejects.append((chunk.position(index), event, chunk.raws[index]))
    found = len(events)
    if existing is not None and events:
        ids = clean([event.id for event in events]).texts
        there = existing(ids)  # type: ignore[arg-type]  # every event has an id
        if there:
            events = [event for event, key in zip(events, ids, strict=True) if key not in there]
    normalized = normalize_events(events, tables, load_started_at=load_started_at, only=only)
    rows = (normalized.shared, *normalized.collections.values())
    replaced = sum(column.replaced for one in rows for column in one.columns.values())
    return Work(
        ids=normalized.ids,
        segments=encode(normalized, layouts),
        rejects=rejects,
        times=normalized.times,
        known=found - len(events),
        replaced_characters=replaced
        + sum(unstorable_in(values) for one in rows for values in one.extra.values()),
    )
