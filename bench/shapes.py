"""The same events in each shape that senders use: what a record costs the job beside a clean line.

The figure is the processor time of the job's own process, start-up subtracted; for the shapes in
PER_BYTE that for a byte of input.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

Call = dict[str, Any]
_CALLS_PER_ENVELOPE = 20
_METRICS = {
    "Email Delivered": "delivered",
    "Email Opened": "opened",
    "Email Link Clicked": "clicked",
    "Email Bounced": "bounced",
    "Email Marked as Spam": "spammed",
    "Email Unsubscribed": "unsubscribed",
}
_KEYS, _KEYS_PER_RECORD = 3_000, 20


def _lines(change: Callable[[Call, int], object]) -> Callable[[Iterable[Call]], Iterator[str]]:
    def lines(calls: Iterable[Call]) -> Iterator[str]:
        return (_text(change(call, number)) for number, call in enumerate(calls))

    return lines


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _webhook(call: Call, _number: int) -> Call:
    return {
        "data": call["properties"],
        "event_id": call["messageId"],
        "metric": _METRICS[call["event"]],
        "object_type": "email",
        "timestamp": 1_788_220_800,
    }


def _legacy(call: Call, _number: int) -> Call:
    return {
        "data": call["properties"],
        "event_id": call["messageId"],
        "event_type": f"email_{_METRICS[call['event']]}",
        "timestamp": 1_788_220_800,
    }


def _with_times(change: Callable[[str], str]) -> Callable[[Iterable[Call]], Iterator[str]]:
    names = ("originalTimestamp", "receivedAt", "sentAt", "timestamp")
    return _lines(lambda call, _: call | {name: change(call[name]) for name in names})


def _without(*names: str) -> Callable[[Iterable[Call]], Iterator[str]]:
    return _lines(lambda call, _: {name: call[name] for name in call if name not in names})


def _snake_case(call: Call, _number: int) -> Call:
    from loader.forms.tables import CALL  # here, because it imports numpy: see measure.run

    names = CALL.spellings
    return {names.get(name, name): value for name, value in call.items()}


def _many_paths(call: Call, number: int) -> Call:
    first = number * _KEYS_PER_RECORD
    keys = {f"key_{(first + n) % _KEYS}": "a value" for n in range(_KEYS_PER_RECORD)}
    return call | {"context": call["context"] | {"traits": keys}}


def _new_column(call: Call, number: int) -> Call:
    return call | {"properties": call["properties"] | {"seat": number}}


def _array(calls: Iterable[Call]) -> Iterator[str]:
    texts = map(_text, calls)
    yield "[" + next(texts)
    yield from (f",{text}" for text in texts)
    yield "]"


def _envelopes(calls: Iterable[Call]) -> Iterator[str]:
    calls = iter(calls)
    while some := list(islice(calls, _CALLS_PER_ENVELOPE)):
        yield _text({"batch": some, "sentAt": some[0]["sentAt"]})


# By shape how its lines are made of calls, and how much a record may cost, a clean line being 1.
SHAPES: dict[str, tuple[Callable[[Iterable[Call]], Iterator[str]], float]] = {
    "clean": (_lines(lambda call, _: call), 1),
    "webhooks": (_lines(_webhook), 1.5),
    "stamped": (_lines(lambda call, n: _webhook(call, n) | {"received_at": call["sentAt"]}), 1.5),
    "legacy": (_lines(_legacy), 1.5),
    "array": (_array, 1.5),
    "envelopes": (_envelopes, 1.5),
    "no type": (_without("type"), 1.5),
    "no receivedAt": (_without("receivedAt"), 1.5),
    "no timestamp": (_without("timestamp", "originalTimestamp"), 1.5),
    "snake case": (_lines(_snake_case), 1.5),
    "more keys": (_lines(lambda call, n: call | {"region": "eu", "shard": n % 7}), 1.5),
    "seconds": (_with_times(lambda time: f"{time[:19]}Z"), 1.5),
    "microseconds": (_with_times(lambda time: f"{time[:-1]}123Z"), 1.5),
    "offsets": (_with_times(lambda time: f"{time[:-1]}+02:00"), 1.5),
    "no id": (_without("messageId"), 2.5),
    "repeated key": (_lines(lambda call, _: _text(call)[:-1] + ',"version":2}'), 15),
    "NUL": (_lines(lambda call, _: _text(call | {"projectId": "a\0b"})), 15),
    "3,000 paths": (_lines(_many_paths), 2),
    "new column": (_lines(_new_column), 1.5),
}  # fmt: skip
PER_BYTE = frozenset({"3,000 paths"})


def write(path: Path, shape: str, calls: Path) -> int:
    """Write the events of a file of calls in a shape; returns the bytes."""
    lines, _ = SHAPES[shape]
    with gzip.open(calls, "rb") as file, path.open("w") as out:
        out.writelines(chain.from_iterable((line, "\n") for line in lines(map(json.loads, file))))
    return path.stat().st_size
