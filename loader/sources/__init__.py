"""Where events come from: files, the records in them, and the forms that senders use."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from loader.defects import defect
from loader.normalize.event import (
    MAX_ID_BYTES,
    Event,
    Events,
    Object,
    Reject,
    put_extra,
)
from loader.sources import segment, webhook

# Records are parsed one by one where more than one of so many needs a decision.
_ODD = 16


def parse_event(record: Object) -> Event | Reject:
    """The event in `record`, whichever documented form it has, or why there is none."""
    if record.get("type") == "track":  # by far the most
        return segment.parse(record)
    if webhook.recognizes(record):
        return webhook.parse(record)
    if segment.recognizes(record):
        return segment.parse(record)
    return Reject(
        reason="unknown_form",
        detail="neither a Segment track call (type, event) nor a Customer.io reporting webhook "
        "(object_type, metric, data)",
    )


def parse_each(
    records: Sequence[Object], repeated: Mapping[int, Object]
) -> tuple[Events, dict[int, Reject]]:
    """The same as `parse_events`, if that fails: what a record brings to light is its reject."""
    found: list[Event] = []
    rejects: dict[int, Reject] = {}
    for place, record in enumerate(records):
        try:
            event = parse_event(record)
            if type(event) is Event:
                found.append(_with_repeated(event, repeated.get(place, {})))
        except Exception as error:
            event = defect(error)
        if type(event) is Reject:
            rejects[place] = event
    return Events.of(found), rejects


def parse_events(
    records: Sequence[Object], repeated: Mapping[int, Object] = MappingProxyType({})
) -> tuple[Events, dict[int, Reject]]:
    """The events in `records`, and by place why there is none.

    `repeated` are by place the values that lost their key to another one of the same object.
    """
    plain = None if repeated else segment.parse_plain(records)
    if plain is not None:
        return plain, {}
    odd = [p for p, record in enumerate(records) if p in repeated or not segment.is_plain(record)]
    if len(odd) <= len(records) // _ODD:
        left = set(odd)
        plain = segment.parse_plain([r for p, r in enumerate(records) if p not in left])
    places = odd if plain is not None else range(len(records))
    parsed = {place: parse_event(records[place]) for place in places}
    rejects = {place: event for place, event in parsed.items() if type(event) is Reject}
    found = {
        place: _with_repeated(event, repeated.get(place, {}))
        for place, event in parsed.items()
        if type(event) is Event
    }
    if plain is None:
        return Events.of(list(found.values())), rejects
    for place, event in found.items():
        plain.insert(place - sum(one < place for one in rejects), event)
    return plain, rejects


# The keys of ids, most frequent first.
_ID_KEYS = (b'"messageId"', b'"event_id"')


def likely_ids(lines: bytes) -> str:
    """What is likely the id of an event in some lines of JSON, with line feeds between.

    None of them has to be one, and some may be missing.
    """
    import numpy as np

    from loader import native

    letters = np.empty(len(lines), np.uint8)
    for key in _ID_KEYS:
        count = native.find_ids(lines, len(lines), key, len(key), MAX_ID_BYTES, letters.ctypes.data)
        if count:
            return letters[: count - 1].tobytes().decode("utf-8", "replace")
    return ""


# The objects whose keys become columns by themselves.
_OPENED = ("properties.", "context.", "data.")


def _with_repeated(event: Event, repeated: Object) -> Event:
    if not repeated:
        return event
    extra = dict(event.extra or {})
    for path, value in repeated.items():
        opened = path.startswith(_OPENED)
        put_extra(extra, path.partition(".")[2] if opened else path, value)
    return msgspec.structs.replace(event, extra=extra)
