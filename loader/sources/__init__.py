"""Where events come from: files, the records in them, and the forms that senders use."""

from collections.abc import Sequence

from loader.normalize.event import Event, Events, Object, Reject
from loader.sources import segment, webhook


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


def parse_events(records: Sequence[Object]) -> tuple[Events, dict[int, Reject]]:
    """The events in `records`, and by place why there is none."""
    plain = segment.parse_plain(records)
    if plain is not None:
        return plain, {}
    events: list[Event] = []
    rejects: dict[int, Reject] = {}
    for place, record in enumerate(records):
        event = parse_event(record)
        if type(event) is Event:
            events.append(event)
        elif type(event) is Reject:
            rejects[place] = event
    return Events.of(events), rejects
