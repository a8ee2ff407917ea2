"""Writes `ids.json`, with the code of commit 263a158: see the README beside this file."""

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from loader.chunk import parse_chunk

from loader.sources.records import read_chunks
from loader.warehouse.batch import reject_row

CALL: dict[str, Any] = {
    "type": "track",
    "event": "Email Opened",
    "userId": "u_1",
    "timestamp": "2026-09-15T08:23:32.000Z",
    "context": {"traits": {"email": "lin@example.com"}, "ip": "192.0.2.1"},
    "properties": {"campaign_id": 33, "subject": "Hello", "price": 1.5},
}
WEBHOOK: dict[str, Any] = {
    "object_type": "email",
    "metric": "opened",
    "timestamp": 1789460612,
    "data": {"identifiers": {"id": "u_1"}, "delivery_id": "dg9", "campaign_id": 33},
}
LEGACY: dict[str, Any] = {
    "event_type": "email_clicked",
    "timestamp": 1352005930,
    "data": {"customer_id": "u_1", "variables": {"campaign": {"id": "33"}}},
}
STAMPS = {
    "receivedAt": "2026-09-15T08:23:33.000Z",
    "received_at": "2026-09-15T08:23:34Z",
    "sentAt": 1789460612,
    "sent_at": "2026-09-15T08:23:35.000001Z",
    "originalTimestamp": "2026-09-15T08:23:31.000Z",
    "original_timestamp": 1789460611,
}
KEYS = [
    "a",
    "b c",
    "\u00e9",
    "\u65e5\u672c",
    "Z",
    "_",
    "",
    "k" * 70,
    "\0",
    "\ud800",
    "a.b",
    '"',
    "\\",
]
RAW = {  # as they stand in a text
    "0": ["0", "-0", "0.0", "-0.0", "0e5", "0E-7"],
    "1": ["1", "1.0", "1.10", "1e0", "1E+2", "1e-2", "100e-2", "-1.5e3", "1e30", "1E-300"],
    "long": ["1234567890" * 9, "0." + "3" * 60, "-" + "9" * 40 + ".5", "1e999", "9" * 500],
    "text": [r'"\u00e9"', r'"\/"', r'"\ud83d\ude42"', r'"\u0000"', r'"\ud800"', r'"a\tb\n"', '""'],
    "more": [
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "[1,[2.50,{}],null]",
        '{"b":1,"a":{"d":2,"c":3}}',
    ],
    "deep": ["[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70],
}


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def pairs(record: dict[str, Any], *more: tuple[str, str]) -> bytes:
    """A text with pairs that stand as they are."""
    text = json.dumps(record)[:-1]
    return (text + "".join(f", {json.dumps(key)}: {raw}" for key, raw in more) + "}").encode()


def records() -> Iterator[tuple[str, bytes]]:
    """Records without an id."""
    for name, record in {"call": CALL, "webhook": WEBHOOK, "legacy webhook": LEGACY}.items():
        yield name, json.dumps(record).encode()
        yield f"{name}, compact", json.dumps(record, separators=(",", ":")).encode()
        yield f"{name}, other order", json.dumps(dict(reversed(record.items()))).encode()
        yield f"{name}, its id is blank", pairs(record, ("messageId", '""'), ("event_id", '""'))
        yield f"{name}, its id is null", pairs(record, ("messageId", "null"), ("event_id", "null"))
        yield f"{name}, its id is a list", pairs(record, ("messageId", "[1]"), ("event_id", "[1]"))
        for key, value in STAMPS.items():
            yield f"{name} with {key}", json.dumps(record | {key: value}).encode()
            timeless = without(record, "timestamp")
            yield f"{name} with {key}, no time", json.dumps(timeless | {key: value}).encode()
            yield f"{name}, {key} is null", json.dumps(record | {key: None}).encode()
        for kind, raws in RAW.items():
            for number, raw in enumerate(raws):
                yield f"{name}, {kind} {number}", pairs(record, ("more", raw))
                inner = "data" if "data" in record else "properties"
                below = pairs(record[inner], ("more", raw)).decode()
                yield (
                    f"{name}, {kind} {number} below",
                    pairs(without(record, inner), (inner, below)),
                )
        for number, key in enumerate(KEYS):
            yield f"{name}, key {number}", pairs(record, (key, "1"))
            yield f"{name}, key {number} twice", pairs(record, (key, "1"), (key, '"2"'))
        yield f"{name}, timestamp twice", pairs(record, ("timestamp", "null"), ("timestamp", "5"))
    for first, other in (("userId", "user_id"), ("messageId", "message_id"), ("sentAt", "sent_at")):
        for one, two in (("1", "2"), ("null", "2"), ('""', '"x"')):
            yield (
                f"both spellings of {first}: {one}, {two}",
                pairs(without(CALL, first), (first, one), (other, two)),
            )
        yield f"{other} alone", pairs(without(CALL, first), (other, '"x"'))
    yield "snake case and nulls", pairs(CALL, ("anonymous_id", '"a"'), ("more", "null"))
    rng = random.Random(5)
    every = [raw for raws in RAW.values() for raw in raws if len(raw) < 100]
    for number in range(100):
        record = rng.choice((CALL, WEBHOOK, LEGACY))
        more = [(rng.choice([*KEYS, *STAMPS]), rng.choice(every)) for _ in range(rng.randrange(5))]
        yield f"some keys {number}", pairs(without(record, *STAMPS), *more)


def ids() -> Iterator[tuple[str, bytes]]:
    """Records with ids that need care."""
    for number, raw in enumerate(
        [
            *(
                "7",
                "0",
                "-1.50",
                "1e5",
                "1E+400",
                "9" * 30,
                "true",
                "{}",
                r'"\u0000"',
                r'"a\ud800"',
            ),
            *(
                json.dumps(n * c)
                for n in (256, 257, 341, 342, 512, 513, 1024, 1025)
                for c in "x\u00e9"
            ),
            *(f'"{n * code}"' for n in (300, 400, 1024, 1025) for code in (r"\u0000", r"\ud800")),
        ]
    ):
        yield f"messageId {number}", pairs(CALL, ("messageId", raw))
        yield f"event_id {number}", pairs(WEBHOOK, ("event_id", raw))
        yield f"message_id {number}", pairs(CALL, ("message_id", raw))


def repeats_keys(text: bytes) -> bool:
    found: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    return any(found)


def containers() -> Iterator[tuple[str, bytes]]:
    # A key twice in an item of an envelope was kept in another way than on a line.
    every = [text for _, text in records() if len(text) < 600 and not repeats_keys(text)]
    for number in range(0, len(every), 18):
        some = every[number : number + 9]
        array = b"[" + b", ".join(some) + b"]"
        yield f"array over lines {number}", b"[\n" + b",\n".join(some) + b"\n]\n"
        yield f"envelope {number}", b'[{"batch": %b, "sentAt": "2026-09-15T08:23:40Z"}]' % array
        yield (
            f"envelope that says more {number}",
            b'{"writeKey": "k", "context": {"ip": "192.0.2.9", "app": {"build": 1.50}},'
            b' "batch": %b, "receivedAt": 1789460699, "who": [1e2, "\\u00e9"]}' % array,
        )
        yield (
            f"envelope in an envelope {number}",
            (
                b'{"batch": [{"batch": %b, "context": {"a": 1}}], "context": {"a": 2, "b": 3}}'
                % array
            ),
        )
    yield "envelope with a key twice", b'{"batch": [%b], "x": 1, "x": 2}' % every[0]
    yield "envelope with NUL", b'{"batch": [%b], "x": "\\u0000", "\\u0000": 1}' % every[0]


def rejects() -> Iterator[tuple[str, bytes]]:
    good = json.dumps(CALL | {"messageId": "m1"}).encode()
    bad = {
        "invalid_json": [
            b"{",
            b'{"a": 1',
            b'{"a": 01}',
            b"{'a': 1}",
            b'{"a": NaN}',
            b"x",
            b'{"a":1}}',
        ],
        "invalid_utf8": [b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}'],
        "not_an_object": [b"1", b'"x"', b"null", b"true", b"[1, null]", b'{"batch": [1, "x"]}'],
        "too_deep": [b"[" * 7 + b"{}" + b"]" * 7, b'{"a":' * 3000 + b"1" + b"}" * 3000],
        "record_too_large": [b'{"event": "X", "x": "' + b"y" * 3_000 + b'"}'],
        "empty_batch": [b'{"batch": []}'],
        "batch_not_array": [b'{"batch": {}}', b'{"batch": null}', b'{"batch": "x"}'],
        "unknown_form": [b"{}", b'{"a": 1}', b'{"data": {}}'],
        "not_a_track_call": [b'{"type": "identify", "userId": "u"}', b'{"type": 5}'],
        "no_event_name": [
            *(b'{"type": "track"}', b'{"event": " "}', b'{"event": null}'),
            *(b'{"data": {}, "metric": "m"}', b'{"data": {}, "event_type": "x"}'),
        ],
        "event_not_string": [b'{"event": 5}', b'{"event": {"a": 1}}'],
        "context_not_object": [b'{"event": "X", "context": []}', b'{"event": "X", "context": "x"}'],
        "properties_not_object": [b'{"event": "X", "properties": 1}'],
        "data_not_object": [b'{"data": null, "metric": "m", "object_type": "email"}'],
    }
    for reason, texts in bad.items():
        for number, text in enumerate(texts):
            yield f"{reason} {number}", good + b"\n" + text + b"\n" + good + b"\n"
            yield f"{reason} {number}, CRLF", text + b"\r\n" + good
            if reason not in ("invalid_json", "invalid_utf8", "too_deep"):
                yield f"{reason} {number} in an array", b"[%b,\n %b]" % (good, text)
                yield f"{reason} {number} in a batch", b'{"batch": [%b, %b], "x": 1}' % (text, good)
    yield "NUL in a reject", b'{"type": "page", "\\u0000": "\\ud800"}'
    yield "a key twice in a reject", b'{"type": "page", "a": 1, "a": 2}'


LIMIT = 2_500


def main() -> None:
    found = {}
    for name, data in (*records(), *ids(), *containers(), *rejects()):
        assert name not in found, name
        ids_, rejects_ = [], []
        for chunk in read_chunks([data], max_record_bytes=100_000 if "too_deep" in name else LIMIT):
            parsed = parse_chunk(chunk)
            ids_ += parsed.ids
            for position, reject, raw in parsed.rejects:
                row = reject_row("golden", position, reject, raw)
                rejects_.append([position, reject.reason, row.id])
        found[name] = {"data": data.decode("latin-1"), "ids": ids_, "rejects": sorted(rejects_)}
    json.dump(found, sys.stdout, indent=0)
    sys.stdout.write("\n")


main()
