"""One record as the rules read it: its event, or its reject."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from loader.columns.times import time_text
from loader.columns.tokens import Text
from loader.forms.events import Events
from loader.forms.read import Reader
from loader.normalize.event import Reject, put_extra
from loader.normalize.jsontext import encode_json
from loader.normalize.times import parse_time

LIMIT = 1 << 20


@dataclass(kw_only=True)
class Event:
    """An event by what it says; a value that it has not is not there."""

    id: str
    event: str
    event_text: str
    user_id: str | None = None
    anonymous_id: str | None = None
    times: dict[str, datetime] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)  # by key, nested ones with dots
    properties: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    lost: dict[str, Any] = field(default_factory=dict)  # properties without their column
    replaced: int = 0


def parse(record: dict[str, Any] | bytes, *, limit: int = LIMIT) -> Event | Reject:
    """What is read of one record."""
    (found,) = parse_all(record, limit=limit)
    return found


def parse_all(
    *records: dict[str, Any] | bytes, limit: int = LIMIT, reader: Reader | None = None
) -> list[Event | Reject]:
    """What is read of some records together, in their order."""
    texts = [each if isinstance(each, bytes) else encode_json(each) for each in records]
    ends = np.cumsum([len(text) for text in texts])
    starts = np.append(0, ends[:-1])
    reader = reader or Reader(max_record_bytes=limit)
    found: dict[int, Event | Reject] = {}
    for read in reader.read(Text(texts), starts, ends):
        found |= {read.first + one.record: one.reject for one in read.refused}
        free = (read.first + n for n in range(len(texts)) if read.first + n not in found)
        found |= dict(zip(free, events_of(read.events), strict=False))
    assert len(found) == len(records)
    return [found[number] for number in range(len(records))]


def events_of(events: Events) -> Iterator[Event]:
    """Events in columns, one by one."""
    is_context = events.columns.is_context
    for at in range(len(events)):
        named = events.names[events.name[at]]
        texts = {
            name: events.tokens.texts(each[at : at + 1])[0] if each[at] else None
            for name, each in events.texts.items()
        }
        found = Event(
            id=events.ids[at],
            event=named.table,
            event_text=named.text,
            user_id=texts["user_id"],
            anonymous_id=texts["anonymous_id"],
            times={
                name: datetime.fromisoformat(time_text(each.microseconds[at]))
                for name, each in events.times.items()
                if each.is_given[at]
            },
            replaced=events.replaced.get(at, 0),
        )
        assert texts["id"] == found.id
        for n in np.flatnonzero(events.values.event == at):
            column, value = events.values.column[n], events.tokens.value(events.values.token[n])
            group = found.context if is_context[column] else found.properties
            assert events.columns.first_key(column) not in group
            group[events.columns.first_key(column)] = value
        for n in np.flatnonzero(events.extra.event == at):
            name, value = events.extra_names[events.extra.name[n]], events.extra.token[n]
            put_extra(
                found.lost if events.extra.is_own[n] else found.extra,
                name,
                events.tokens.value(value),
            )
        yield found


def dotted(value: dict[str, Any], above: str = "") -> dict[str, Any]:
    """The values of nested objects by their keys; nulls and empty objects are none."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= dotted(inner, f"{above}{key}.")
        elif inner is not None:
            found[above + key] = inner
    return found


def moment(value: Any) -> datetime:
    """The time that a value means."""
    text = parse_time(value)
    assert text is not None
    return datetime.fromisoformat(text)
