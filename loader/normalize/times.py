"""Times: what counts as one."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"-?\d{1,17}(\.\d+)?", re.ASCII)
# A day without dashes; as epoch seconds it would lie before 1973.
_BASIC_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])[0-3]\d", re.ASCII)
_DATE = re.compile(r"\d{4}-", re.ASCII)
_ZONE = re.compile(r"\s*(?:UTC|GMT|z)$")
_FINER = re.compile(r"\d[.,]\d{6}0*[1-9]", re.ASCII)
_SPACED_OFFSET = re.compile(r"\s+(?=[+-]\d\d:?(?:\d\d)?$)", re.ASCII)

# No form of a time is longer; what searches them is not made for long texts.
_LONGEST = 100

# Epoch numbers from here on are milliseconds: as seconds they would lie past the year 5138.
MILLISECONDS_FROM = 100_000_000_000


_MICROSECOND = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - _EPOCH) // _MICROSECOND


# What Python and PostgreSQL have in any zone.
_FIRST = microseconds(datetime(1, 1, 3, tzinfo=UTC))
_LAST = microseconds(datetime(9999, 12, 29, tzinfo=UTC))


def from_microseconds(count: int) -> datetime:
    """The time so many microseconds after 1970; a file may claim one that no calendar has."""
    return _EPOCH + min(max(count, _FIRST), _LAST) * _MICROSECOND


def parse_time(value: object) -> str | None:
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


def parse_times(values: Sequence[object]) -> tuple[list[str | None], list[int]]:
    """`parse_time` of each value; and the indexes of those that a time cannot hold as they are.

    Those are values that are no time, and times finer than PostgreSQL's microseconds.
    """
    texts = list(map(parse_time, values))
    inexact = [
        index
        for index, (value, text) in enumerate(zip(values, texts, strict=True))
        if value is not None and (text is None or _is_finer(value))
    ]
    return texts, inexact


def _is_finer(value: object) -> bool:
    """Whether a time has parts below a microsecond."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value) or _BASIC_DATE.fullmatch(value):
            return _FINER.search(value) is not None
        value = Decimal(value)
    if not isinstance(value, Decimal):
        return False
    # By its digits: arithmetic would round a long number.
    _, digits, exponent = value.as_tuple()
    written = "".join(map(str, digits))
    kept = written.rstrip("0")
    scale = -(int(exponent) + len(written) - len(kept))
    return bool(kept) and scale > (3 if _unit(value) == 1_000 else 6)


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


def _from_epoch(number: int | Decimal) -> str | None:
    try:
        return (_EPOCH + timedelta(microseconds=int(number * _unit(number)))).isoformat()
    except (OverflowError, ArithmeticError):
        return None


def _unit(number: int | Decimal) -> int:
    """Microseconds in the unit of an epoch number."""
    return 1_000 if abs(Decimal(number)) >= MILLISECONDS_FROM else 1_000_000


def widest(known: tuple[str, str] | None, more: tuple[str, str]) -> tuple[str, str]:
    """The span of times (ISO 8601) that covers both."""
    texts = [*(known or ()), *more]
    return min(texts, key=datetime.fromisoformat), max(texts, key=datetime.fromisoformat)
