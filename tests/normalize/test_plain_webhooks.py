"""The short way for plain lines gives the rows of the long one: webhooks."""

from collections.abc import Iterable
from typing import Any

import pytest
from normalize.ways import (
    ANY_VALUES,
    LIMIT,
    OPTIONS,
    TABLES,
    block,
    call,
    check,
    hook,
    lines,
)
from warehouse.test_generated import (
    text_of,
)

from loader.plain import Plain

pytestmark = pytest.mark.usefixtures("few_lines_are_enough")


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
