"""Events as rows for the peers: a plain generator, as one writes it for such a tool.

It gives the peers less work than the job has: names and types are known before, nothing is
checked, nothing is left over, and the samples have one form only.
"""

import gzip
from collections.abc import Callable, Iterator
from typing import Any

Row = dict[str, Any]
# Column types by table; from the loader's catalogue, which the peers' environments do not have.
Tables = dict[str, dict[str, str]]


def read_rows(path: str, parse: Callable[[bytes], Row]) -> Iterator[tuple[str, Row, Row]]:
    """Yield, for each event, its table, its row in `tracks` and its row in that table."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            event = parse(line)
            name = event["event"]
            table = name.lower().replace(" ", "_")
            shared: Row = {
                "id": event["messageId"],
                "received_at": event["receivedAt"],
                "sent_at": event["sentAt"],
                "original_timestamp": event["originalTimestamp"],
                "timestamp": event["timestamp"],
                "anonymous_id": event.get("anonymousId"),
                "user_id": event.get("userId"),
                "event": table,
                "event_text": name,
            }
            _flatten("context", event["context"], shared)
            properties = event["properties"]
            if "trigger_id" in properties:  # text in the tables, a number in the events
                properties["trigger_id"] = str(properties["trigger_id"])
            if "link_id" in properties:
                properties["link_id"] = str(properties["link_id"])
            yield table, shared, shared | properties


def _flatten(prefix: str, value: Row, row: Row) -> None:
    for key, inner in value.items():
        name = f"{prefix}_{key}"
        if isinstance(inner, dict):
            _flatten(name, inner, row)
        else:
            row[name] = inner
