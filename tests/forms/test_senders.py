"""What senders send, as the rules in plain Python read it: calls and webhooks of many kinds."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from forms.generated import ANY_VALUES, Raw, call, hook, lines, text_of
from forms.test_model import check
from load.loading import load
from load.test_same_rows import facts


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
    "bytes that are not UTF-8": between(
        (b'"S', b'"' + text)
        for text in (
            *(b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xe2\x82"),
            *(b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\x80", b"\xe2\x82\xc3"),
        )
    ),
    "the first and last code points of each size": [
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


MORE: dict[str, list[Any]] = {
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


def hooks(key: str, values: Iterable[Any]) -> list[Any]:
    """Webhooks with one value each under a key of `data`, each behind one that is plain."""
    return [
        part
        for n, value in enumerate(values)
        for part in (hook(n), hook(n + 30, data={key: value}))
    ]


def people(*found: Any) -> list[Any]:
    return hooks("identifiers", found)


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

CASES = PLAIN | MORE | PLAIN_WEBHOOKS


@pytest.mark.parametrize("name", CASES)
def test_the_tables_give_what_the_rules_say(name: str) -> None:
    found = lines(*CASES[name])
    check([line.rstrip(b"\r") for line in found if line.strip() and line[:1] in b"{"])


@pytest.mark.parametrize("name", CASES)
def test_records_are_read_together_as_alone(name: str) -> None:
    found = lines(*CASES[name])
    data = b"".join(line + b"\n" for line in found)
    whole = load(data)
    for size in (1, 7):
        small = load(data, most_records=size, tables=whole.tables)
        assert facts(small) == facts(load(data, tables=whole.tables))
        assert small.rejects == whole.rejects
