"""Kinds of destinations: how calls are sent, and what of them.

- `segment`: Tracking APIs: Segment, and what speaks its language;
- `webhook`: signed as https://www.standardwebhooks.com says; the body is an array.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_PREFIX = "whsec_"
_Request = tuple[dict[str, str], bytes]  # headers, body


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How calls are sent, and what of them is not."""

    # (calls, id of the batch, key, seconds since 1970)
    request: Callable[[Sequence[bytes], str, str, int], _Request]
    check_key: Callable[[str], bool]  # whether a key can be one
    left_out: frozenset[str] = frozenset()  # keys of a call


def _check_user(key: str) -> bool:
    """Whether a key can be a user name of Basic authentication."""
    return key.isascii() and key.isprintable() and ":" not in key


def _batch(calls: Sequence[bytes], _id: str, key: str, now: int) -> _Request:
    sent_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    head = b'{"sentAt":"' + sent_at.replace("+00:00", "Z").encode() + b'","batch":['
    user = base64.b64encode(f"{key}:".encode()).decode()
    return {"Authorization": f"Basic {user}"}, head + b",".join(calls) + b"]}"


def _check_secret(key: str) -> bool:
    """Whether a key is one of Standard Webhooks."""
    try:
        return bool(_secret(key))
    except ValueError:
        return False


def _signed(calls: Sequence[bytes], id: str, key: str, now: int) -> _Request:
    body = b"[" + b",".join(calls) + b"]"
    signed = hmac.digest(_secret(key), f"{id}.{now}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(signed).decode()}"
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return dict(zip(names, (id, str(now), signature), strict=True)), body


def _secret(key: str) -> bytes:
    encoded = key.removeprefix(_PREFIX).rstrip("=")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


KINDS = {
    # Stamps of the transport that brought a call here. The next one sets its own: with an old
    # `sentAt` Segment would take the time in between for a wrong clock, and move the event by it.
    "segment": Kind(
        request=_batch,
        check_key=_check_user,
        left_out=frozenset({"receivedAt", "sentAt", "writeKey"}),
    ),
    "webhook": Kind(request=_signed, check_key=_check_secret),
}
