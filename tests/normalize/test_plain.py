"""The short way for plain lines gives the rows of the long one."""

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warehouse.test_generated import (
    EXAMPLES,
    KEYS,
    NUMBERS,
    TEXTS,
    Raw,
    calls,
    junk,
    objects,
    text_of,
)

from loader import plain
from loader.chunk import Work, parse_chunk, process_chunk
from loader.normalize.batch import span
from loader.normalize.collections import declared_tables
from loader.normalize.names import context_column, property_column
from loader.plain import NotPlain, Plain
from loader.sources import records
from loader.sources.records import WholeLines, read_chunks, read_lines
from loader.warehouse.binary import BINARY, EPOCH
from loader.warehouse.encode import DECLARED_SHARED
from loader.warehouse.forms import TEXT, Form, unescape

TABLES = declared_tables()
TABLES["cart_seen"] = DECLARED_SHARED | {
    "a": "bigint",
    "b": "text",
    "a_b": "numeric",
    "list": "jsonb",
    "user": "boolean",
    "a_at": "timestamptz",
    "other": "other",
}
TABLES["tracks"] |= {"context_a": "text", "context_b": "bigint"}
TABLES["email_opened"] |= {"context_a": "text"}
LIMIT = 1 << 20
OPTIONS: dict[str, Any] = {
    "load_started_at": "2026-01-01T00:00:00.000Z",
    "only": None,
    "taken": frozenset({"taken"}),
}


@pytest.fixture(autouse=True)
def few_lines_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_ENOUGH_BYTES", 0)
    monkeypatch.setattr(records, "_ODD", 1)
    monkeypatch.setattr(plain, "_ODD", 1)
    monkeypatch.setattr(plain, "_LEAVES", (NotPlain,))  # nothing else is to be expected


def short_way(lines: Sequence[bytes], there: Set[str] = frozenset()) -> list[Work]:
    """The works of all lines, or NotPlain."""
    way = Plain(tables=TABLES, layouts={}, max_record_bytes=LIMIT, **OPTIONS)
    works: list[Work] = []
    for block in read_lines([b"".join(line + b"\n" for line in lines)], max_record_bytes=LIMIT):
        if not isinstance(block, WholeLines):
            raise NotPlain
        assert block.lines == block.data.count(b"\n") + 1
        got = way.process(block, way.read(block), there)
        if got is None:
            raise NotPlain
        works += got
    return works


def block(line: bytes) -> WholeLines:
    return WholeLines(line, 1, 1, [], np.array([len(line)]))


def long_way(lines: Sequence[bytes], there: Set[str] = frozenset()) -> list[Work]:
    data = b"".join(line + b"\n" for line in lines)
    return [
        process_chunk(parse_chunk(chunk), tables=TABLES, layouts={}, there=there, **OPTIONS)
        for chunk in read_chunks([data], max_record_bytes=LIMIT)
    ]


def rows(works: Sequence[Work]) -> Counter[str]:
    """Each row with all that belongs to it, as text."""
    return Counter(row for work in works for row in _rows(work))


def _rows(work: Work) -> Iterator[str]:
    for one in work.segments:
        lines = one.lines if one.form is TEXT else one.lines.every()
        for place, line in zip(one.members, lines, strict=True):
            sent = dict(zip(one.columns, fields_of(one.form, line), strict=True))
            types = TABLES.get(one.table, DECLARED_SHARED)
            settled = {
                name: MEANING[one.form, types[name]](field)
                for name, field in sent.items()
                if field is not None
            }
            late = {
                name: by_place[place]
                for name, by_place in (*one.new.items(), *one.new_shared.items())
                if place in by_place
            }
            # Of two spellings for one column, either may name it.
            keys = {name: name in _columns(one.keys[name]) for name in late}
            extra = one.extra.get(place, {})
            yield repr([one.table, *map(sorted, (settled.items(), late.items(), keys.items()))])
            yield repr((settled["id"], sorted(extra.items())))


def _columns(key: str) -> tuple[str, str, str]:
    """The columns that a key may be meant for; a context key may be a column's name already."""
    return key, property_column(key), context_column(key)


def fields_of(form: Form, line: bytes) -> list[bytes | None]:
    """The fields of a line, None for null."""
    if form is TEXT:
        return [None if field == b"\\N" else field for field in line.split(b"\t")]
    found: list[bytes | None] = []
    count, line = int.from_bytes(line[:2], "big"), line[2:]
    while line:
        size = int.from_bytes(line[:4], "big", signed=True)
        assert size >= -1
        assert len(line) >= 4 + size
        found.append(None if size < 0 else line[4 : 4 + size])
        line = line[4 + max(size, 0) :]
    assert len(found) == count
    return found


def _number(field: bytes) -> Decimal:
    """A binary numeric as the manual has it: groups of four digits."""
    count, weight, sign, places = struct.unpack_from(">HhHH", field)
    groups = struct.unpack_from(f">{count}h", field, 8)
    assert len(field) == 8 + 2 * count
    with localcontext(prec=10_000):
        value = sum((Decimal(g).scaleb(4 * (weight - n)) for n, g in enumerate(groups)), Decimal(0))
        value = value.quantize(Decimal(1).scaleb(-places))
    return -value if sign == 0x4000 else value


def _written(field: bytes) -> Decimal:
    value = Decimal(field.decode())
    value = value if value else abs(value)  # PostgreSQL has no negative zero
    with localcontext(prec=10_000):
        return value if value.as_tuple().exponent <= 0 else value.quantize(Decimal(1))  # type: ignore[operator]


# What a field means: there are several ways to write the same value.
MEANING: dict[tuple[Form, str], Callable[[bytes], Any]] = {
    (TEXT, "text"): lambda field: unescape(field.decode()),
    (TEXT, "bigint"): int,
    (TEXT, "numeric"): _written,
    (TEXT, "boolean"): lambda field: field == b"true",
    (TEXT, "jsonb"): lambda field: unescape(field.decode()),
    (TEXT, "timestamptz"): lambda field: datetime.fromisoformat(field.decode()),
    (BINARY, "text"): bytes.decode,
    (BINARY, "bigint"): lambda field: struct.unpack(">q", field)[0],
    (BINARY, "numeric"): _number,
    (BINARY, "boolean"): lambda field: {b"\0": False, b"\1": True}[field],
    (BINARY, "jsonb"): lambda field: field.decode().removeprefix("\1"),
    (BINARY, "timestamptz"): lambda field: (
        EPOCH + timedelta(microseconds=struct.unpack(">q", field)[0])
    ),
}


def rest(works: Sequence[Work]) -> Any:
    """All that is not a row."""
    spans = [span(found) for name in ("timestamp", "received_at") if (found := _times(works, name))]
    times = [[datetime.fromisoformat(text) for text in both] for both in spans]
    return (
        sum(work.records for work in works),
        sorted(key for work in works for key in work.ids),
        sorted((at, reject.reason, raw) for work in works for at, reject, raw in work.rejects),
        sum(work.known for work in works),
        sum(work.replaced_characters for work in works),
        times,
    )


def _times(works: Sequence[Work], name: str) -> list[str]:
    found = [work.spans[name](set()) for work in works if name in work.spans]
    return [text for both in found if both for text in both]


def check(lines: Sequence[bytes]) -> None:
    short, long = short_way(lines), long_way(lines)
    assert rows(short) == rows(long)
    assert rest(short) == rest(long)


def call(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A plain track call."""
    time = f"2026-03-04T05:06:{number % 60:02}.007Z"
    return {
        "type": "track",
        "event": "Email Opened",
        "messageId": f"m{number}",
        "userId": f"u{number}",
        "timestamp": time,
        "receivedAt": time,
        "sentAt": time,
        "originalTimestamp": time,
        "context": {"traits": {"email": "a@example.com"}, "ip": "192.0.2.1"},
        "properties": {"campaign_id": number, "subject": f"S{number}", "proxied": True},
    } | changes


def lines(*found: Any) -> list[bytes]:
    return [text_of(one) for one in found]


def between(changes: Iterable[tuple[bytes, bytes]]) -> list[Any]:
    """Calls in which something is replaced once, each behind one in which nothing is."""
    return [
        part
        for n, (old, new) in enumerate(changes)
        for part in (call(n), text_of(call(n + 30)).replace(old, new, 1))
    ]


PLAIN: dict[str, list[Any]] = {
    "one event": [call(1)],
    "several events": [call(1), call(2, event="Email Bounced"), call(3, event="Cart Seen")],
    "two names of one table": [call(1, event="Cart Seen"), call(2, event="cart-seen")],
    "characters to escape": [call(1, properties={"subject": 'a\tb\\N\r\n\\."x"'})],
    "characters of all scripts": [call(1, properties={"subject": "Grüße 🙂 \u202eabc\u0645"})],
    "a new table": [call(1, event="Seat Taken", properties={"row": 7, "where": "left"})],
    "new columns": [call(1, properties={"x": {"y": 1}, "z": [1, "a"][:1], "b": False})],
    "a new context column": [call(1, context={"page": {"path": "/"}})],
    "a context column that a collection lacks, without values in it": [
        call(1, context={"a": "x"}),
        call(2, event="Cart Seen", context={}),
    ],
    "nobody but an address": [call(1, userId=None), call(2, userId=None, anonymousId="a")],
    "no context and no properties": [call(1, context=None), call(2, properties=None)],
    "texts that look like times": [call(1, properties={"at": "2026-03-04T05:06:07Z"})],
    "texts for a time": [call(1, event="Cart Seen", properties={"a_at": "2026-03-04 05:06Z"})],
    "values that do not fit": [
        call(1, event="Cart Seen", properties={"a": True, "b": 7, "list": "x", "other": 1})
    ],
    "texts that are numbers": [call(1, event="Cart Seen", properties={"a": "33", "a_b": "-0"})],
    "a line that is cut": [call(1), b'{"type":"track","event', call(2)],
    "a line that is not UTF-8": [
        call(1),
        text_of(call(2)).replace(b'"S2"', b'"Gr\xfc\xdfe"'),
        call(3),
    ],
    "lines that are no records": [call(1), b"[1,2]", call(2), b'"x"', call(3), b"", call(4)],
    "an array of calls in a line": [call(1), b"[%b]" % text_of(call(7)), call(2)],
    "another call": [call(1), call(2, type="identify", traits={"a": 1}), call(3)],
    "no event": [call(1), call(2, event=None), call(3, event=" "), call(4)],
    "no id": [call(1), call(2, messageId=None), call(3, messageId=""), call(4)],
    "a value of another type": [call(1), call(2, properties={"campaign_id": "x"}), call(3)],
    "a key of its own": [call(1), call(2, more=1), call(3)],
    "a time without milliseconds": [call(1), call(2, timestamp="2026-03-04T05:06:07Z")],
    "an alias": [call(1), call(2, event="Unsubscribed", properties={"list_id": "7"}), call(3)],
    "a table that cannot be made": [call(1), call(2, event="Taken"), call(3)],
    "a key that stands twice": [
        call(1),
        text_of(call(2)).replace(b'"proxied"', b'"subject":"S0","proxied"'),
        call(3),
    ],
    "fractions": [
        call(n, event=event, properties={"a_b": Raw(number), "b": Raw(number)})
        for event in ("Cart Seen", "New")
        for n, number in enumerate(
            ["1.50", "0.5", "-0.50", "1e3", "1E-3", "12345678.1234567", "9" * 30 + ".1", "0.0"]
        )
    ],
    "integers": [
        call(n, event=event, properties={"a": number, "a_b": number, "b": number})
        for event in ("Cart Seen", "New")
        for n, number in enumerate([0, -1, 7, 10**7, 10**8, 10**15, 10**16, 2**63 - 1, 2**63])
    ],
    "objects in a list": [call(1, properties={"items": [{"a": [1]}, {"b": "]"}], "n": []})],
    "lists in any place": [call(1, integrations=[{}], properties={"a": [[]], "list": ["\u00e9"]})],
    "blanks between the tokens": [
        json.dumps(call(n, properties={"a b": " , ", "n": 1, "x": {}, "y": {"z": None}})).encode()
        for n in range(3)
    ],
    "blanks in lists": [
        json.dumps(call(n, properties={"a": ["b c", '" , "'], "list": [{"d e": [" "]}]})).encode()
        for n in range(3)
    ],
    "blanks and lines that need decisions": [
        json.dumps(call(1)).encode(),
        text_of(call(2)).replace(b",", b"\t , "),
        b'{"type": "track", "event": "E mail',
        json.dumps(call(3, properties={"subject": "a b"})).encode(),
    ],
    "a key that stands twice in a list": between(
        (b'"proxied":true', b'"list":' + text)
        for text in (b'[{"a" :1,"b":2,"b":3}]', b'[{"a\\\\":1,"b":2,"b":3}]', b'[{"b":2,"b" :3}]')
    ),
    "lists at any depth": [
        text_of(call(n, properties={})).replace(
            b'"properties":{}', b'"properties":' + b'{"a":' * 9 + begin * n + end * n + b"}" * 9
        )
        for begin, end in ((b"[", b"]"), (b'[{"a":', b"1}]"))
        for n in (1, 40, 60, 99, 100, 101, 400)
    ],
    "carriage returns at the ends of lines": [
        *(text_of(call(n)) + b"\r" for n in range(3)),
        *(b"\r", b'{"type":"track"}\r', b"{\r", call(4), text_of(call(5)) + b"\r\r"),
    ],
    "a quote too many": [call(1), text_of(call(2)).replace(b"}", b'"}', 1), call(3)],
    "a bracket too many": [call(1), text_of(call(2)).replace(b"}", b"]}", 1), call(3)],
    "a brace too many": [call(1), text_of(call(2)) + b"}", text_of(call(3))[:-1] + b"}}", call(4)],
    "two spellings of one key": [call(1, properties={"A": "x"}), call(2, properties={"a": "y"})],
    "keys of any length": [call(1, properties={"k" * n: n for n in range(40)})],
    "objects in objects": [call(1, properties={"a": {"b": {"c": {"d": [1]}, "e": {}}}, "f": 1})],
    "nothing but a name": [call(1, context={}, properties={})],
    "escapes of all kinds": [
        text_of(call(1)).replace(b'"S1"', rb'"\u00e9\ud83d\ude42\/\b\f\n\r\t\\\" \\\\"')
    ],
    "no arrival": [call(1), call(2, receivedAt=None)],
    "properties that are no object": [call(1), call(2, properties=[]), call(3, properties="x")],
    "ids of any length": [call(n, messageId="m" * n) for n in (1, 255, 256, 257, 5_000)],
    "escapes in an id and a name": [call(1, messageId='m"\n1', event='Cart\t"Seen"'), call(2)],
    "escapes in a key": [call(1), call(2, properties={'a"b': 1, "c\n": 2}), call(3)],
    "keys of all scripts": [call(1, properties={"größe": 1, "länge": 2, "": 3, "🙂": {"": 4}})],
    "signs that are not UTF-8": between(
        (b'"S', b'"' + text)
        for text in (
            *(b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xe2\x82"),
            *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\x80", b"\xe2\x82\xc3"),
        )
    ),
    "the first and last signs of each size": [
        call(
            1, properties={"subject": "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"}
        )
    ],
    "broken escapes": between(
        (b'"S', b'"\\' + text)
        for text in (
            *(b"ud800", b"udc00", b"ud800\\ud800", b"ud800x", b"u0000", b"u12", b"u12g4"),
            *(b"x", b"", b"ud83d\\u", b"ud83d\\ude4", b"U0041", b"'"),
        )
    ),
    "control characters": between(
        (b'"S', b'"' + text) for text in (b"\0", b"\x01", b"\t", b"\x1f", b"\r")
    ),
    "values that are none": between(
        (b"true", text)
        for text in (
            *(b"01", b"-", b"1.", b".5", b"1e", b"+1", b"tru", b"nulll", b"NaN", b"-01", b"1.e1"),
            *(b"", b"True", b"0x1", b"1 2", b"{", b"[", b"]", b"}", b"[1", b'"', b"\0", b"1e+"),
            *(b"--1", b"[1,]", b"[01]", b'["\\x"]', b'["\xff"]', b"{,}", b"'x'"),
        )
    ),
    "numbers of all forms": [
        text_of(call(n, event=event, properties={})).replace(
            b'"properties":{}', b'"properties":{"a":%b,"b":%b,"a_b":%b}' % (text, text, text)
        )
        for event in ("Cart Seen", "New")
        for n, text in enumerate(
            (
                *(b"-0", b"0e0", b"-0.0", b"1E5", b"1e-7", b"1.0", b"9007199254740993", b"-7.5"),
                *(b"9" * 16, b"9" * 17, b"9" * 16 + b".9999999", b"1.2345678"),
            )
        )
    ],
    "objects at any depth": [
        text_of(call(depth, properties={})).replace(
            b'"properties":{}', b'"properties":' + b'{"a":' * depth + b"1" + b"}" * depth
        )
        for depth in (1, 2, 17, 18, 19, 20, 21, 40)
    ],
    "a record in a record": [text_of(call(1)), b'{"a":' + text_of(call(2)) + b"}", call(3)],
    "commas and colons in wrong places": between(
        [(b",", b",,"), (b":", b"::"), (b":", b","), (b",", b":"), (b"{", b"{,"), (b"}", b",}")]
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_short_way_gives_the_rows_of_the_long_one(name: str) -> None:
    check(lines(*PLAIN[name]))


def hook(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A plain webhook; a value of ... takes its key away."""
    data = {
        "identifiers": {"id": f"u{number}", "email": "a@example.com", "cio_id": f"c{number}"},
        "customer_id": f"u{number}",
        "delivery_id": f"d{number}",
        "recipient": "a@example.com",
        "campaign_id": number,
        "subject": f"S{number}",
    } | changes.pop("data", {})
    record = {
        "event_id": f"h{number}",
        "object_type": "email",
        "metric": "opened",
        "timestamp": 1_789_460_612 + number,
        "data": {key: value for key, value in data.items() if value is not ...},
    } | changes
    return {key: value for key, value in record.items() if value is not ...}


def hooks(key: str, values: Iterable[Any]) -> list[Any]:
    """Webhooks with one value each under a key of `data`, each behind one that is plain."""
    return [
        part
        for n, value in enumerate(values)
        for part in (hook(n), hook(n + 30, data={key: value}))
    ]


def people(*found: Any) -> list[Any]:
    return hooks("identifiers", found)


ANY_VALUES = ["", " ", "x", 7, 0, -1, Raw("1.5"), True, None, [], ["a"], {}, {"a": 1}, 2**63]
PLAIN_WEBHOOKS: dict[str, list[Any]] = {
    "one webhook": [hook(1)],
    "all metrics of some channels": [
        hook(n, object_type=channel, metric=metric)
        for n, (channel, metric) in enumerate(
            (channel, metric)
            for channel in ("email", "sms", "in_app", "customer", " Push ", "slack_message")
            for metric in ("sent", "clicked", "spammed", "unsubscribed", "subscribed", " Opened ")
        )
    ],
    "an unsubscription that is about no message": [
        hook(1, metric="unsubscribed", data={"delivery_id": delivery})
        for delivery in (..., None, "", "d")
    ],
    "channels and metrics that name nothing": [
        hook(1),
        *(hook(2, object_type=value) for value in ("", " ", None, 7, ...)),
        hook(3),
        *(hook(4, metric=value) for value in ("", " ", None, 7, ["x"])),
        *(hook(n) for n in range(5, 9)),
    ],
    "a legacy webhook": [hook(1), hook(2, event_type="email_opened", metric=...), hook(3)],
    "keys of other forms without a value": [
        *(hook(1), hook(2, event_type=None), hook(3), hook(4, batch=None), hook(5), hook(6))
    ],
    **{
        f"a rival of any kind: {key}": hooks(key, [*ANY_VALUES, {"a": None}])
        for key in ("object_type", "metric", "cio_id")
    },
    "a cio_id that is an object beside another one": [
        hook(1),
        hook(2, data={"cio_id": "x", "identifiers": {"id": "1", "cio_id": {}}}),
        hook(3),
    ],
    "a person without an id": people({"email": "b@example.com"}, {"id": None}, {"id": ""}, {}),
    "people with ids of any kind": people(*({"id": value} for value in ANY_VALUES)),
    "people with addresses of any kind": people(*({"email": value} for value in ANY_VALUES)),
    "people with a cio_id of any kind": people(*({"cio_id": value} for value in ANY_VALUES)),
    "people with keys of their own": people(*({"id": "u", "x": value} for value in ANY_VALUES)),
    "people that are no objects": people(*ANY_VALUES),
    "no identifiers": hooks("identifiers", [...]),
    "customer ids of any kind": [
        hook(n, data={"identifiers": {}, "customer_id": value})
        for n, value in enumerate([*ANY_VALUES, ...])
    ],
    "recipients of any kind": [
        hook(n, object_type=channel, data={"identifiers": {}, "recipient": value, **other})
        for n, (channel, other, value) in enumerate(
            (channel, other, value)
            for channel in ("email", "sms")
            for other in ({}, {"email_address": "c@example.com"}, {"email_address": 7})
            for value in (
                *(*ANY_VALUES, ..., "a@b", "a@b,c@d", "a@@b", "<a@b>", "a @b"),
                *("{{a@b}}", "é@b"),
            )
        )
    ],
    "deliveries of any kind": hooks("delivery_id", [*ANY_VALUES, ...]),
    "data of any kind": [
        part
        for n, value in enumerate(ANY_VALUES)
        for part in (hook(n), hook(n + 30) | {"data": value})
    ],
    "times of any kind": [
        part
        for n, value in enumerate(
            [
                *ANY_VALUES,
                10**9,
                10**9 - 1,
                10**10 - 1,
                10**10,
                1_789_460_612_345,
                "1789460612",
                ...,
            ]
        )
        for part in (hook(n), hook(n + 30, timestamp=value))
    ],
    "ids of any kind": [
        part
        for n, value in enumerate([*ANY_VALUES, ..., "h" * 256, "h" * 257, "h" * 5_000, "h\n"])
        for part in (hook(n), hook(n, event_id=value))
    ],
    "keys of the envelope in data": [
        hook(1),
        hook(2, data={"metric": "x"}),
        hook(3, data={"objectType": "x"}),
        hook(4, data={"cio_id": "x"}),
        hook(5, data={"metric": None, "object_type": None, "cio_id": None}),
        hook(6, data={"event_type": "x", "timestamp": 7, "event_id": "y", "data": {"data": 1}}),
        *(hook(n) for n in range(7, 12)),
    ],
    "keys of an envelope of its own": [
        hook(1),
        *(
            hook(n, **{key: value})
            for n, (key, value) in enumerate(
                [
                    ("more", 1),
                    ("more", None),
                    ("type", "x"),
                    ("type", "track"),
                    ("messageId", "m"),
                    ("received_at", "2026-03-04T05:06:07Z"),
                    ("receivedAt", 1_789_460_612),
                    ("event", "E"),
                    ("properties", {"a": 1}),
                    ("identifiers", {"id": "x"}),
                ],
                2,
            )
        ),
        *(hook(n) for n in range(20, 30)),
    ],
    "new properties": [hook(1, data={"x": {"y": 1}, "z z": [1], "href": "h", "proxied": False})],
    "a new table": [hook(1, object_type="webhook", metric="sent", data={"n": 1})],
    "a table that webhooks cannot make": [
        hook(1),
        hook(2, object_type="taken", metric=""),
        hook(3),
    ],
    "the same id twice": [hook(1), hook(1, data={"subject": "other"}), hook(2)],
    "calls and webhooks": [part for n in range(8) for part in (call(n), hook(n))],
    "calls, webhooks and others": [
        *({"type": "identify"}, b'{"data":', hook(50)),
        *(part for n in range(8) for part in (call(n), hook(n), hook(n + 30, more=1))),
    ],
    "context columns beside calls": [
        *(call(n, context={"a": "x", "page": {"path": "/"}}) for n in range(3)),
        *(hook(n) for n in range(3)),
    ],
}


@pytest.mark.parametrize("name", PLAIN_WEBHOOKS)
def test_the_short_way_gives_the_webhooks_of_the_long_one(name: str) -> None:
    check(lines(*PLAIN_WEBHOOKS[name]))


def test_blocks_of_either_form_are_read_at_once_after_the_other() -> None:
    """Which reader tries first is learnt from the block before."""
    way = Plain(tables=TABLES, layouts={}, max_record_bytes=LIMIT, **OPTIONS)
    for one in (call(1), hook(1), hook(2), call(2)):
        line = block(text_of(one))
        (work,) = way.process(line, way.read(line)) or []
        assert work.segments[1].table == "email_opened"


LEFT: dict[str, list[Any]] = {
    "an id that a call and a webhook have": [call(1), hook(1, event_id="m1")],
    "two keys for one column": [call(1, properties={"linkId": "1", "link_id": "2"})],
    "a character that PostgreSQL cannot store": [call(1, properties={"subject": "a\0"})],
    "31 February": [call(1, timestamp="2026-02-31T00:00:00.000Z")],
    "the year 0": [call(1, timestamp="0000-01-01T00:00:00.000Z")],
    "a leap second": [call(1, timestamp="2016-12-31T23:59:60.000Z")],
    "the same id in a line that is left out": [call(1), call(1, more=1), call(2)],
    "a context column that a collection lacks, with a value in it": [
        call(1, event="Cart Seen", context={"a": "x"})
    ],
    "ids that are numbers": [call(1, messageId=1)],
    "a context that is a text": [call(1, context="x")],
    "lines without a text": [b"null", b"{}", b"1"],
    "a document over two lines": [b'{"type":"track"', b',"event":"E"}', call(1)],
}


@pytest.mark.parametrize("name", LEFT)
def test_a_block_that_needs_decisions_is_left_to_the_long_way(name: str) -> None:
    with pytest.raises(NotPlain):
        short_way(lines(*LEFT[name]))


def test_a_block_that_is_not_plain_spares_the_next_ones_the_attempt() -> None:
    way = Plain(tables=TABLES, layouts={}, max_record_bytes=LIMIT, **OPTIONS)
    bad, good = block(text_of(call(1, messageId=1))), block(text_of(call(1)))
    for skipped in (1, 3, 7):
        assert way.is_worth_trying()
        assert way.read(bad) is None
        assert way.process(bad, None) is None
        assert [way.is_worth_trying() for _ in range(skipped)] == [False] * skipped
    assert way.is_worth_trying()
    assert way.process(good, way.read(good))
    assert way.is_worth_trying()


def test_a_shared_column_of_another_type_is_left_to_the_long_way() -> None:
    tables = TABLES | {"email_opened": TABLES["email_opened"] | {"user_id": "bigint"}}
    way = Plain(tables=tables, layouts={}, max_record_bytes=LIMIT, **OPTIONS)
    assert not way.is_worth_trying()


# any senders

KINDS: list[st.SearchStrategy[Any]] = [
    st.sampled_from(TEXTS),
    st.text(max_size=4),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.lists(st.sampled_from(TEXTS) | st.integers(0, 9), max_size=2),
    st.just("2026-03-04T05:06:07Z") | st.just("2026-03-04"),
    st.sampled_from(NUMBERS).map(Raw),
    st.fixed_dictionaries({}, optional={"a": st.text(max_size=2), "b c": st.integers()}),
]
some = st.none()
# What the rules for webhooks look at.
rare = st.fixed_dictionaries(
    {},
    optional={
        key: st.sampled_from([*ANY_VALUES, "a@b", {"id": "u"}, {"email": 7}, {"cio_id": "c"}])
        for key in (
            *("identifiers", "customer_id", "recipient", "delivery_id", "email_address"),
            *("cio_id", "metric", "object_type", "timestamp"),
        )
    },
)


def sender(kinds: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[bytes]]:
    """Lines of someone who sends a value of one kind under each key, and some lines of others."""
    values = st.fixed_dictionaries({}, optional={key: kind | some for key, kind in kinds.items()})
    plain_call = st.builds(
        lambda number, changes: call(number) | changes,
        st.integers(0, 40),
        st.fixed_dictionaries(
            {"properties": values},
            optional={
                "event": st.sampled_from(["Email Opened", "Cart Seen", "cart seen", "New One"]),
                "context": values,
                "userId": st.sampled_from(["u", "\u00e9", None]),
                "anonymousId": st.sampled_from(["a", None]),
            },
        ),
    )
    plain_hook = st.builds(
        lambda number, data, rare, changes: hook(number, data=data | rare, **changes),
        st.integers(0, 40),
        values,
        rare,
        st.fixed_dictionaries(
            {},
            optional={
                "object_type": st.sampled_from(["email", "sms", "Cart"]),
                "metric": st.sampled_from(["delivered", "seen", "unsubscribed"]),
                "event_id": st.integers(0, 12).map("m{}".format),
                "batch": st.none(),
                "event_type": st.none(),
                "more": st.sampled_from(ANY_VALUES),
            },
        ),
    )
    other = st.one_of(calls(objects, objects), junk)
    forms = [[plain_call], [plain_hook], [plain_call, plain_hook]]
    return (
        st.sampled_from(forms)
        .flatmap(lambda form: st.lists(st.one_of(*(9 * form), other)))
        .map(lambda found: lines(*found))
    )


senders = st.dictionaries(
    st.sampled_from(KEYS) | st.text(max_size=3), st.sampled_from(KINDS), max_size=4
).flatmap(sender)
generated = settings(
    max_examples=15 * EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_whoever_sends_the_short_way_gives_the_rows_of_the_long_one() -> None:
    went: Counter[str] = Counter()

    @generated
    @given(senders, st.sets(st.sampled_from([f"m{n}" for n in range(12)]), max_size=4))
    def go_both_ways(found: list[bytes], there: set[str]) -> None:
        try:
            short = short_way(found, there)
        except NotPlain:
            went["the long way"] += 1
            return
        went["the short way"] += 1
        long = long_way(found, there)
        assert rows(short) == rows(long)
        assert rest(short) == rest(long)

    go_both_ways()
    assert went["the short way"] > went["the long way"] / 4, went


SIGNS = [bytes([sign]) for sign in b'"\\{}[]:, \t0-.et\x00\x1f\x80\xc3\xff']
harms = st.tuples(st.integers(0, 2_000), st.sampled_from([0, 1, 2]), st.sampled_from([b"", *SIGNS]))


def test_a_harmed_line_gives_what_the_long_way_makes_of_it() -> None:
    """Signs are put in, taken out or replaced, so that what is nearly JSON must be told from it."""
    went: Counter[str] = Counter()
    whole = lines(
        call(1, properties={"a": {"b": [1, "x]"]}, "c": {}, "n": -1.5, "t": 'q"\\'}),
        call(2, event="Cart Seen", context={"page": {"n": None}}, properties={"a": 7, "b": "y"}),
        call(3, properties=None),
        hook(4, data={"identifiers": {"id": None, "email": "é"}, "variables": {"a": [1]}}),
    )

    @settings(generated, max_examples=80 * EXAMPLES)
    @given(st.integers(0, 3), st.lists(harms, min_size=1, max_size=3))
    def harm(which: int, found: list[tuple[int, int, bytes]]) -> None:
        line = whole[which]
        for place, taken, put in found:
            at = place % (len(line) + 1)
            line = line[:at] + put + line[at + taken :]
        changed = [*whole[:which], line, *whole[which + 1 :]]
        try:
            short = short_way(changed)
        except NotPlain:
            went["the long way"] += 1
            return
        went["the short way"] += 1
        long = long_way(changed)
        assert rows(short) == rows(long)
        assert rest(short) == rest(long)

    harm()
    assert went["the short way"] > went["the long way"], went
