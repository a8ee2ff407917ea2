"""Generated records: what JSON allows and people do."""

import json
import os
from typing import Any

from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "10"))

KEYS = ["a", "A", "b", "a_b", "a b", "a.b", "aB", "id", "_id", "user", "select", "", "_", "\u00e9"]
KEYS += ["e\u0301", "\0", "\ud800", "\u0645", "k" * 80, "context_ip", "timestamp", "campaign_id"]
KEYS += ["subject", "proxied", "link_id", "list", "1", "tracks", "_extra", "k" * 80 + "2"]
TEXTS = [
    "",
    "x",
    "33",
    "033",
    "-0.5",
    "true",
    "a\tb\\N\r\n\\.",
    "\0",
    "\ud800",
    "\udc00x",
    "e\u0301",
]
TEXTS += ["\u202eabc", "\U0001f642", "2026-09-15", "null", "NaN", "x" * 3_000, " "]
NUMBERS = [
    "0",
    "-0",
    "7",
    "-0.0",
    "1.50",
    "1e5",
    "1e999",
    "1e-400",
    "9223372036854775808",
    "1E+131072",
]
NUMBERS += ["1234567890" * 40, "-9223372036854775808", "0.1234567890123456789012345", "1e-16384"]
TIMES = ["2026-03-04T05:06:07.000Z", "2026-03-04T05:06:07.123456+05:30", "0001-01-01T00:00:00Z"]
TIMES += ["0000-01-01T00:00:00Z", "294277-01-01", "2016-12-31T23:59:60Z", "2026-02-30", "soon", ""]
EVENTS = [
    "Email Opened",
    "Email Bounced",
    "tracks",
    "_loads",
    "alembic_version",
    "pg_x",
    "Cart Seen",
]
EVENTS += [
    '"; drop schema',
    "cart-seen",
    "cart seen",
    "Unsubscribed",
    "n" * 300,
    "\u65e5\u672c",
    "Odd\0",
]


class Raw(str):
    """A JSON text of its own, as a number with more digits than Python's would keep."""


raw_numbers = st.sampled_from(NUMBERS).map(Raw)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), raw_numbers, st.sampled_from(TEXTS)
)
scalars = scalars | st.text(max_size=4)
keys = st.sampled_from(KEYS) | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
deep = st.sampled_from([70, 130, 170]).map(lambda n: Raw("[" * n + "7" + "]" * n))
deep |= st.sampled_from([70, 130, 170]).map(lambda n: Raw('{"a":' * n + "7" + "}" * n))
objects = st.dictionaries(keys, values | deep, max_size=5)
times = st.sampled_from(TIMES) | st.sampled_from([None, 0, 1_772_600_767, True]) | raw_numbers
# The same in every record, so that a column's type does not depend on who comes first.
typed = st.fixed_dictionaries(
    {},
    optional={
        "a": st.sampled_from(TEXTS),
        "b": st.integers(-(2**60), 2**60),
        "yes": st.booleans(),
        "list": st.lists(scalars, max_size=2),
        "inner": st.fixed_dictionaries({}, optional={"text": st.sampled_from(TEXTS)}),
        # Bigint where it is declared, which some of these fit; text anywhere else.
        "campaign_id": st.sampled_from(TEXTS),
    },
)


def calls(properties: st.SearchStrategy[Any], contexts: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries(
        {"type": st.just("track"), "event": st.sampled_from(EVENTS)},
        optional={
            "messageId": st.sampled_from([f"m{n}" for n in range(8)]) | st.sampled_from(TEXTS),
            "userId": st.sampled_from(["u", "", "\0", 7, None]),
            "anonymousId": st.sampled_from(["a", None]),
            "timestamp": times,
            "sentAt": times,
            "receivedAt": times,
            "originalTimestamp": times,
            "properties": properties,
            "context": contexts,
            "more": scalars,
        },
    )


webhooks = st.fixed_dictionaries(
    {
        "object_type": st.sampled_from(["email", "sms", "customer"]),
        "metric": st.sampled_from(["opened", "clicked", "unsubscribed", "undeliverable"]),
        "data": objects,
    },
    optional={"event_id": st.sampled_from(["w1", "w2", ""]), "timestamp": times},
)
junk = st.sampled_from(
    [b"{", b"null", b"[1,2]", b'{"type":"identify"}', b"\xff", b'{"a":NaN}', b"x", b'{"event":"E"']
)
junk |= st.sampled_from([b'{"type":"track"}', b'{"data":1,"metric":"m"}', b"[" * 5_000, b'"'])


def dump(value: Any) -> str:
    """JSON, with the numbers that are texts already."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def text_of(record: Any) -> bytes:
    return record if isinstance(record, bytes) else dump(record).encode()


anything = st.lists(st.one_of(calls(objects, objects), webhooks, junk).map(text_of), max_size=12)
agreeing = st.lists(calls(typed, typed.map(lambda one: {"c": one})).map(text_of), max_size=12)


# calls and webhooks as a sender has them, with one kind of value under each key


def call(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A track call."""
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
    """The text of each record."""
    return [text_of(one) for one in found]


def hook(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A webhook; a value of ... takes its key away."""
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


ANY_VALUES = ["", " ", "x", 7, 0, -1, Raw("1.5"), True, None, [], ["a"], {}, {"a": 1}, 2**63]

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
            *("cio_id", "metric", "object_type", "timestamp", "event_type", "variables"),
            *("campaign_id", "email_id"),
        )
    },
)


CALL_KEYS = ("messageId", "message_id", "userId", "user_id", "anonymousId", "anonymous_id", "more")
CALL_KEYS += ("channel", "_metadata", "properties.x", "context")
TIME_KEYS = ("sentAt", "sent_at", "receivedAt", "received_at", "originalTimestamp", "timestamp")
TIME_KEYS += ("original_timestamp",)


def legacy_hook(number: int, data: dict[str, Any]) -> dict[str, Any]:
    """A webhook of the version before."""
    person = {"customer_id": f"u{number}", "email_address": "a@example.com"}
    variables = {"campaign": {"id": number, "name": "Welcome"}, "email_id": 34, "x": [1]}
    return {
        "event_type": "email_opened",
        "event_id": f"l{number}",
        "timestamp": 1_352_005_930,
        "data": person | {"variables": variables} | data,
    }


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
                "userId": st.sampled_from(["u", "\u00e9", "", None]),
                "anonymousId": st.sampled_from(["a", None]),
            }
            | {key: st.sampled_from(ANY_VALUES) for key in CALL_KEYS}
            | dict.fromkeys(TIME_KEYS, times),
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
                "event_type": st.sampled_from([None, "email_opened", 7]),
                "received_at": times,
                "receivedAt": times,
                "timestamp": times,
                "more": st.sampled_from(ANY_VALUES),
            },
        ),
    )
    legacy = st.builds(
        lambda number, data, rare, more: legacy_hook(number, data | rare) | more,
        st.integers(0, 40),
        values,
        rare,
        st.fixed_dictionaries(
            {},
            optional={
                "event_type": st.sampled_from(
                    ["email_clicked", "customer_unsubscribed", "_x", "email_", " Email_Sent", 7]
                ),
                "event_id": st.sampled_from(["m1", "", None, 7, "m" * 1_025]),
                "object_type": st.sampled_from(ANY_VALUES),
                "more": st.sampled_from(ANY_VALUES),
            },
        ),
    )
    other = st.one_of(calls(objects, objects), junk)
    forms = [[plain_call], [plain_hook], [plain_call, plain_hook], [legacy, plain_hook, legacy]]
    return (
        st.sampled_from(forms)
        .flatmap(lambda form: st.lists(st.one_of(*(9 * form), other)))
        .map(lambda found: lines(*found))
    )


senders = st.dictionaries(
    st.sampled_from(KEYS) | st.text(max_size=3), st.sampled_from(KINDS), max_size=4
).flatmap(sender)
