"""Webhooks that are signed as https://www.standardwebhooks.com says; the body is an array."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"


def check_key(key: str) -> bool:
    """Whether a key is one of Standard Webhooks."""
    try:
        return bool(_secret(key))
    except ValueError:
        return False


def request(calls: Sequence[bytes], id: str, key: str, now: int) -> tuple[dict[str, str], bytes]:
    """Headers and body for some calls."""
    body = b"[" + b",".join(calls) + b"]"
    signed = hmac.digest(_secret(key), f"{id}.{now}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(signed).decode()}"
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return dict(zip(names, (id, str(now), signature), strict=True)), body


def _secret(key: str) -> bytes:
    encoded = key.removeprefix(_PREFIX).rstrip("=")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
