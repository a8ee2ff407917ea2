"""Tracking APIs: Segment, and what speaks its language."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

# Stamps of the transport that brought a call here. The next one sets its own: with an old `sentAt`
# Segment would take the time in between for a wrong clock, and move the event by it.
LEFT_OUT = frozenset({"receivedAt", "sentAt", "writeKey"})


def check_key(key: str) -> bool:
    """Whether a key can be a user name of Basic authentication."""
    return key.isascii() and key.isprintable() and ":" not in key


def request(calls: Sequence[bytes], _id: str, key: str, now: int) -> tuple[dict[str, str], bytes]:
    """Headers and body for some calls."""
    sent_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    head = b'{"sentAt":"' + sent_at.replace("+00:00", "Z").encode() + b'","batch":['
    user = base64.b64encode(f"{key}:".encode()).decode()
    return {"Authorization": f"Basic {user}"}, head + b",".join(calls) + b"]}"
