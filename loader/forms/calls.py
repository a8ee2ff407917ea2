"""Events in columns -> track calls that give the same rows."""

from collections.abc import Iterator

import numpy as np

from loader.columns.times import time_text
from loader.columns.tokens import Longs
from loader.forms.events import Events, Read
from loader.normalize.event import JSON, Object


def calls_of(read: Read) -> Iterator[tuple[list[int], Object]]:
    """The track call of each event, with its record and those around it, from the inside out."""
    events = read.events
    values = _by_event(events.values.event, len(events))
    extras = _by_event(events.extra.event, len(events))
    for at in range(len(events)):
        call: Object = {"type": "track", "event": events.names[events.name[at]].text}
        call["messageId"] = events.ids[at]
        for column, key in (("user_id", "userId"), ("anonymous_id", "anonymousId")):
            if token := events.texts[column][at]:
                call[key] = events.tokens.texts(np.array([token]))[0]
        call |= _times_of(events, at)
        context: Object = {}
        properties: Object = {}
        for n in values[at].tolist():
            column_number = int(events.values.column[n])
            is_context = events.columns.is_context[column_number]
            key = events.columns.first_key(column_number)
            value = events.tokens.value(int(events.values.token[n]))
            _put(context if is_context else properties, key, value)
        for n in extras[at].tolist():
            extra = events.extra_names[events.extra.name[n]]
            value = events.tokens.value(int(events.extra.token[n]))
            (properties if events.extra.is_own[n] else call).setdefault(extra, value)
        call |= {"context": context, "properties": properties}
        yield events.records.around(int(events.record[at])), call


def _by_event(numbers: Longs, count: int) -> list[Longs]:
    """The places of values for each of so many events, by the number of its event at each place."""
    places = np.argsort(numbers, kind="stable")
    return np.split(places, np.searchsorted(numbers[places], np.arange(1, count)))


def _times_of(events: Events, at: int) -> Object:
    """The times of an event, as far as it has them."""
    found: Object = {}
    names = ("receivedAt", "sentAt", "originalTimestamp", "timestamp")
    for (_, times), key in zip(events.times.items(), names, strict=True):
        if times.is_given[at]:
            found[key] = time_text(times.microseconds[at])
    return found


def _put(group: Object, path: str, value: JSON) -> None:
    """Put a value at a path of keys, which stays one key where something else stands above."""
    *above, key = path.split(".")
    inner = group
    for name in above:
        below = inner.setdefault(name, {})
        if not isinstance(below, dict):
            group[path] = value
            return
        inner = below
    inner[key] = value
