"""What all forms of events share: identity, values that lost their name, why there is none."""

import hashlib
import json
from decimal import Decimal
from typing import Literal, TypeVar, get_args

import msgspec

from loader.normalize.numbers import LongNumber, as_json, number_text, written

# A value as JSON has it, with every fraction as Decimal, so that no digit is lost.
JSON = dict[str, "JSON"] | list["JSON"] | str | int | Decimal | LongNumber | bool | None
Object = dict[str, JSON]
T = TypeVar("T")

# PostgreSQL cannot index a text of more than about 2,700 bytes; Segment's own limit for an id is
# 1,024 characters, and four bytes each would not fit either.
MAX_ID_BYTES = 1024


# Why a record cannot be loaded. A code is stable once it is released: people count and alert by it.
Reason = Literal[
    "invalid_json",
    "invalid_utf8",
    "too_deep",
    "not_an_object",
    "record_too_large",
    "not_a_track_call",
    "no_event_name",
    "event_not_string",
    "context_not_object",
    "properties_not_object",
    "data_not_object",
    "batch_not_array",
    "empty_batch",
    "unknown_form",
    "defect",
]
REASONS: tuple[str, ...] = get_args(Reason)

# Why a record is left out on purpose, in the order in which the rules are asked. Stable, too.
IgnoreReason = Literal["ignored_type", "ignored_event", "out_of_range"]
IGNORE_REASONS: tuple[IgnoreReason, ...] = get_args(IgnoreReason)


class Reject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that cannot be loaded."""

    reason: Reason
    detail: str  # what is wrong, in the same words each time; never a value of the payload
    place: str = ""  # where in the record, if that is one place


_canonical = msgspec.json.Encoder(order="deterministic", decimal_format="number", enc_hook=as_json)

# Keys that differ from one sending of a record to the next.
_TRANSPORT = frozenset({"sentAt", "receivedAt", "sent_at", "received_at"})


def content_id(record: Object) -> str:
    """An id for a record that brings none: the same content gives the same id.

    The stamps of transport change when a record is sent again, so they do not count where the
    record has a time of its own.
    """
    if record.get("timestamp") is not None or record.get("originalTimestamp") is not None:
        record = {k: v for k, v in record.items() if k not in _TRANSPORT}
    return _hash(_encode(record))


def usable_id(value: str) -> str:
    """`value`, or its hash where PostgreSQL could not index it."""
    if len(value) <= MAX_ID_BYTES // 4 or len(value.encode("utf-8", "replace")) <= MAX_ID_BYTES:
        return value
    return _hash(value.encode("utf-8", "surrogatepass"))


def put_extra(extra: dict[str, T], key: str, value: T) -> None:
    """Keep `value` under `key`, or under a free one of `key#2`, `key#3`, ...: the first, mostly."""
    free = key
    if key in extra:
        # By halves: one key may stand a hundred thousand times in a record.
        first, behind = 2, 4
        while f"{key}#{behind - 1}" in extra:
            first, behind = behind, 2 * behind
        while first < behind - 1:
            middle = (first + behind) // 2
            first, behind = (middle, behind) if f"{key}#{middle - 1}" in extra else (first, middle)
        free = f"{key}#{first}"
    extra[free] = value


def _encode(record: Object) -> bytes:
    try:
        return _canonical.encode(record)
    except (ValueError, RecursionError):  # lone surrogates, long integers, deep nesting
        return json_text(record, ordered=True).encode("utf-8", "surrogatepass")


class _Raw(str):
    """A piece of JSON that is written already."""


def json_text(value: object, *, ordered: bool = False) -> str:
    """`value` as JSON, however deep it is nested, with every digit; `ordered` sorts the keys."""
    written: list[str] = []
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is _Raw:
            written.append(item)
        elif type(item) is dict:
            keys = sorted(item) if ordered else list(item)
            parts: list[object] = [_Raw("{")]
            for number, key in enumerate(keys):
                parts += [_Raw(("," if number else "") + json.dumps(key) + ":"), item[key]]
            waiting += reversed([*parts, _Raw("}")])
        elif type(item) is list:
            parts = [_Raw("[")]
            for number, element in enumerate(item):
                parts += [_Raw(","), element] if number else [element]
            waiting += reversed([*parts, _Raw("]")])
        else:
            written.append(_scalar_text(item))
    return "".join(written)


def _scalar_text(value: object) -> str:
    if type(value) is Decimal:
        return str(value)
    if type(value) is int or type(value) is LongNumber:
        return written(value) if type(value) is LongNumber else number_text(value)
    return json.dumps(value)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
