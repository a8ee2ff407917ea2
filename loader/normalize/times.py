"""Times: what counts as one, and which of an event's times is when it happened."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"-?\d{1,17}(\.\d+)?", re.ASCII)
# A day without dashes; as epoch seconds it would lie before 1973.
_BASIC_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])[0-3]\d", re.ASCII)
_DATE = re.compile(r"\d{4}-", re.ASCII)
_ZONE = re.compile(r"\s*(?:UTC|GMT|z)$")
_SPACED_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?(?:\d\d)?$)", re.ASCII)

# No form of a time is longer; what searches them is not made for long texts.
_LONGEST = 100

# Epoch numbers from here on are milliseconds: as seconds they would lie past the year 5138.
_MILLISECONDS_FROM = 100_000_000_000


def parse_time(value: Any) -> str | None:
    """`value` as a text that PostgreSQL reads as timestamptz, or None if it is not a time.

    ISO 8601 with or without a zone (then UTC), epoch seconds or milliseconds as a number or as
    digits. Nothing is rolled over: 31 February is not a time.
    """
    if type(value) is str:
        if _DIGITS.fullmatch(value) and not _BASIC_DATE.fullmatch(value):
            return _from_epoch(Decimal(value))
        return _from_iso(value.strip()) if len(value) <= _LONGEST else None
    if type(value) is int or type(value) is Decimal:
        return _from_epoch(value)
    return None


def parse_times(values: list[Any]) -> tuple[list[str | None], list[int]]:
    """`parse_time` of each value; and the places of those that a time cannot hold as they are.

    Those are values that are no time, and times finer than PostgreSQL's microseconds.
    """
    if are_usual(values):
        return list(values), []
    texts: list[str | None] = []
    inexact = []
    for place, value in enumerate(values):
        text = parse_time(value)
        texts.append(text)
        if value is not None and (text is None or _is_finer(value)):
            inexact.append(place)
    return texts, inexact


def _is_finer(value: Any) -> bool:
    """Whether a time has parts below a microsecond."""
    if type(value) is str and (not _DIGITS.fullmatch(value) or _BASIC_DATE.fullmatch(value)):
        return _FINER.search(value) is not None
    # By its digits: arithmetic would round a long number.
    _, digits, exponent = Decimal(value).as_tuple()
    written = "".join(map(str, digits))
    kept = written.rstrip("0")
    places = -(int(exponent) + len(written) - len(kept))
    return bool(kept) and places > (3 if _scale(value) == 1_000 else 6)


# How most senders write a time, by the place of each separator.
_USUAL = "2026-09-15T08:23:32.000Z"
_SEPARATORS = [(at, mark) for at, mark in enumerate(_USUAL) if not mark.isdigit()]
_FINER = re.compile(r"\d[.,]\d{6}0*[1-9]", re.ASCII)


def are_usual(values: list[Any]) -> bool:
    """Whether all of `values` are real times in the usual form, which PostgreSQL reads as it is."""
    size = len(_USUAL)
    if set(map(type, values)) != {str} or set(map(len, values)) != {size}:
        return False
    joined = "".join(values)
    if any(joined[at::size] != mark * len(values) for at, mark in _SEPARATORS):
        return False
    try:
        list(map(datetime.fromisoformat, values))
    except ValueError:
        return False
    return True


def event_time(
    received_at: str | None, sent_at: str | None, original_timestamp: str | None
) -> str | None:
    """When an event without its own `timestamp` happened (Segment's rule for clock skew).

    Only a recorded arrival is a clock to correct by; the start of a load is none.
    """
    if original_timestamp is None:
        return received_at
    if sent_at is None or received_at is None:
        return original_timestamp
    received, sent, original = map(
        datetime.fromisoformat, (received_at, sent_at, original_timestamp)
    )
    try:
        return (received - (sent - original)).isoformat()
    except OverflowError:
        return original_timestamp


def _from_iso(text: str) -> str | None:
    if not _DATE.match(text) and not _BASIC_DATE.fullmatch(text):
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
        return (_EPOCH + timedelta(microseconds=int(number * _scale(number)))).isoformat()
    except (OverflowError, ArithmeticError):
        return None


def _scale(number: Any) -> int:
    """Microseconds in the unit of an epoch number."""
    return 1_000 if abs(Decimal(number)) >= _MILLISECONDS_FROM else 1_000_000


def widest(known: tuple[str, str] | None, more: tuple[str, str]) -> tuple[str, str]:
    """The span of times (ISO 8601) that covers both."""
    texts = [*(known or ()), *more]
    return min(texts, key=datetime.fromisoformat), max(texts, key=datetime.fromisoformat)
