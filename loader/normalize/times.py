"""Times: what counts as one, and which of an event's times is when it happened."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"-?\d{1,17}(\.\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-", re.ASCII)
_ZONE = re.compile(r"\s*(?:UTC|GMT|z)$")
_SPACED_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?(?:\d\d)?$)", re.ASCII)

# Epoch numbers from here on are milliseconds: as seconds they would lie past the year 5138.
_MILLISECONDS_FROM = 100_000_000_000


def parse_time(value: Any) -> str | None:
    """`value` as a text that PostgreSQL reads as timestamptz, or None if it is not a time.

    ISO 8601 with or without a zone (then UTC), epoch seconds or milliseconds as a number or as
    digits. Nothing is rolled over: 31 February is not a time.
    """
    if type(value) is str:
        # The usual form goes through as it stands, once it is known to be a real date.
        if value[-1:] == "Z" and value[10:11] == "T" and len(value) in (20, 24, 27):
            try:
                datetime.fromisoformat(value)
            except ValueError:
                return None
            return value if _DATE.match(value) else None
        if _DIGITS.fullmatch(value):
            return _from_epoch(Decimal(value))
        return _from_iso(value.strip())
    if type(value) is int or type(value) is Decimal:
        return _from_epoch(value)
    return None


def is_exact(value: Any) -> bool:
    """False if a time has finer parts than PostgreSQL's microseconds."""
    return not (isinstance(value, str) and re.search(r"[.,]\d{6}0*[1-9]", value))


def event_time(received_at: str, sent_at: str | None, original_timestamp: str | None) -> str:
    """When an event without its own `timestamp` happened (Segment's rule for clock skew)."""
    if original_timestamp is None:
        return received_at
    if sent_at is None:
        return original_timestamp
    received, sent, original = map(
        datetime.fromisoformat, (received_at, sent_at, original_timestamp)
    )
    try:
        return (received - (sent - original)).isoformat()
    except OverflowError:
        return original_timestamp


def _from_iso(text: str) -> str | None:
    if not _DATE.match(text):
        return None
    text = _SPACED_OFFSET.sub("", _ZONE.sub("Z", text))
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None


def _from_epoch(number: Any) -> str | None:
    try:
        scale = 1_000 if abs(number) >= _MILLISECONDS_FROM else 1_000_000
        return (_EPOCH + timedelta(microseconds=int(number * scale))).isoformat()
    except (OverflowError, ArithmeticError):
        return None
