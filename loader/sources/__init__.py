"""Where events come from: files, the records in them, and the forms that senders use."""

from loader.normalize.event import Event, Object, Reject
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
