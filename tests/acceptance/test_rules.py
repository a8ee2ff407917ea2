"""The rules for unsubscribes, people and times, as they end in tables."""

from datetime import UTC, datetime
from typing import Any

import pytest
from acceptance.harness import Database, Run, ndjson, track, webhook


def load(run: Run, *records: dict[str, Any] | str) -> Any:
    result = run("load", "-", "--json", stdin=ndjson(*records))
    assert result.code == 0, result.err
    return result.json


def test_an_unsubscribe_is_about_a_message_or_about_a_person(run: Run, db: Database) -> None:
    load(
        run,
        track("Unsubscribed", messageId="track with email_id", email_id="e"),
        track("Unsubscribed", messageId="track with list_id", list_id=7),
        track("Unsubscribed", messageId="track with delivery_id", delivery_id="d"),
        track("Unsubscribe", messageId="the other alias", email_id="e"),
        track("Email Unsubscribed", messageId="plain"),
        track("Unsubscribed", messageId="track without", reason="bored"),
        track("Unsubscribed", messageId="track with blanks", email_id="", delivery_id=None),
        webhook("email", "unsubscribed", event_id="hook with delivery", delivery_id="d"),
        webhook("email", "unsubscribed", event_id="hook without delivery", delivery_id=...),
        webhook("customer", "unsubscribed", event_id="customer", delivery_id=...),
        webhook("sms", "unsubscribed", event_id="sms", delivery_id=...),
        webhook("customer", "subscribed", event_id="subscribed", delivery_id=...),
    )
    by_table: dict[str, list[str]] = {}
    for event, key in db.rows("SELECT event, id FROM tracks ORDER BY 1, 2"):
        by_table.setdefault(event, []).append(key)
    assert by_table == {
        "email_unsubscribed": [
            "hook with delivery",
            "plain",
            "the other alias",
            "track with delivery_id",
            "track with email_id",
            "track with list_id",
        ],
        "unsubscribed": [
            "customer",
            "hook without delivery",
            "sms",
            "track with blanks",
            "track without",
        ],
        "subscribed": ["subscribed"],
    }
    for table, keys in by_table.items():
        assert db.rows(f"SELECT id FROM {table} ORDER BY id") == [(key,) for key in keys]
    assert db.rows(
        "SELECT event_text, list_id FROM email_unsubscribed WHERE id = 'track with list_id'"
    ) == [("Unsubscribed", "7")]


def test_a_person_is_their_id_or_else_their_address(run: Run, db: Database) -> None:
    mail = {"traits": {"email": "a@example.com"}}
    one = {"id": None, "email": "b@example.com", "cio_id": "c1"}
    load(
        run,
        track("Email Opened", messageId="01", userId="u", anonymousId="anon", context=mail),
        track("Email Opened", messageId="02", userId="", anonymousId="anon", context=mail),
        track("Email Opened", messageId="03", userId=None, context=mail, customer_id="no"),
        track("Email Opened", messageId="04", userId=...),
        track("Email Opened", messageId="05", userId=17),
        track("Email Opened", messageId="06", userId={"no": "id"}, context=mail),
        webhook("email", "opened", event_id="11", identifiers=one | {"id": "i"}, customer_id="c"),
        webhook("email", "opened", event_id="12", identifiers=one | {"id": ""}, customer_id="c"),
        webhook("email", "opened", event_id="13", identifiers=one, customer_id=""),
        webhook("email", "opened", event_id="14", identifiers={"id": None, "email": None},
                customer_id="", recipient="plain@example.com"),
        webhook("email", "opened", event_id="15", identifiers={"id": None, "email": None},
                customer_id="", recipient="two@example.com, more@example.com"),
        webhook("email", "opened", event_id="16", identifiers={"id": None, "email": None},
                customer_id="", recipient="{{customer.email}}"),
        webhook("sms", "delivered", event_id="17", identifiers={"id": None, "email": None},
                customer_id=..., recipient="+4915112345"),
        webhook("customer", "unsubscribed", event_id="18", identifiers={"id": None, "email": None},
                customer_id=..., delivery_id=..., email_address="e@example.com"),
    )  # fmt: skip
    people = "SELECT id, user_id, anonymous_id, context_traits_email FROM tracks ORDER BY id"
    assert db.rows(people) == [
        ("01", "u", "anon", "a@example.com"),
        ("02", None, "anon", "a@example.com"),
        ("03", None, "a@example.com", "a@example.com"),
        ("04", None, None, None),
        ("05", "17", None, None),
        ("06", None, "a@example.com", "a@example.com"),
        ("11", "i", None, "b@example.com"),
        ("12", "c", None, "b@example.com"),
        ("13", None, "b@example.com", "b@example.com"),
        ("14", None, "plain@example.com", "plain@example.com"),
        ("15", None, None, None),
        ("16", None, None, None),
        ("17", None, None, None),
        ("18", None, "e@example.com", "e@example.com"),
    ]
    assert db.rows("SELECT _extra FROM tracks WHERE id = '06'") == [({"userId": {"no": "id"}},)]
    assert db.rows("SELECT cio_id FROM email_opened WHERE id = '13'") == [("c1",)]


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def test_an_event_happened_when_it_says_or_else_when_its_other_times_say(
    run: Run, db: Database
) -> None:
    none: dict[str, Any] = dict.fromkeys(
        ("timestamp", "originalTimestamp", "sentAt", "receivedAt"), ...
    )
    clocks = {
        "originalTimestamp": "2026-01-01T10:00:00Z",
        "sentAt": "2026-01-01T10:00:05Z",
        "receivedAt": "2026-01-01T12:00:05.5Z",
    }
    load(
        run,
        track(
            "E", messageId="1", **none | clocks | {"timestamp": "2026-02-03T04:05:06.123456+02:00"}
        ),
        track("E", messageId="2", **none | clocks),
        track("E", messageId="3", **none | {"originalTimestamp": "2026-01-01 10:00:00"}),
        track("E", messageId="4", **none | {"receivedAt": "2026-01-01T12:00:00Z"}),
        track("E", messageId="5", **none),
        track("E", messageId="6", **none | {"timestamp": 1_770_000_000}),
        track("E", messageId="7", **none | {"timestamp": 1_770_000_000_123}),
        track("E", messageId="8", **none | {"timestamp": "1770000000"}),
        webhook("email", "opened", event_id="9", timestamp="1770000000"),
    )
    [(started,)] = db.rows("SELECT started_at FROM _loads")
    assert db.rows("SELECT id, timestamp, received_at FROM tracks ORDER BY id") == [
        ("1", moment(2026, 2, 3, 2, 5, 6, 123456), moment(2026, 1, 1, 12, 0, 5, 500000)),
        ("2", moment(2026, 1, 1, 12, 0, 0, 500000), moment(2026, 1, 1, 12, 0, 5, 500000)),
        ("3", moment(2026, 1, 1, 10), started),
        ("4", moment(2026, 1, 1, 12), moment(2026, 1, 1, 12)),
        ("5", started, started),
        ("6", moment(2026, 2, 2, 2, 40), started),
        ("7", moment(2026, 2, 2, 2, 40, 0, 123000), started),
        ("8", moment(2026, 2, 2, 2, 40), started),
        ("9", moment(2026, 2, 2, 2, 40), started),
    ]
    assert db.value("SELECT count(*) FROM tracks WHERE _extra IS NOT NULL") == 0


def test_what_is_no_time_goes_to_extra_and_the_next_time_counts(run: Run, db: Database) -> None:
    odd = ["2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "yesterday", "", True, {"a": 1}, [1],
           10**300, -(10**20), "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z"]  # fmt: skip
    load(
        run,
        *[
            track(
                "E",
                messageId=f"{i:02}",
                timestamp=value,
                originalTimestamp="2026-01-01T10:00:00Z",
                sentAt=...,
                receivedAt=value,
            )
            for i, value in enumerate(odd)
        ],
        webhook("email", "opened", event_id="hook", timestamp="a word"),
    )
    [(started,)] = db.rows("SELECT started_at FROM _loads")
    found = db.rows(
        "SELECT timestamp, received_at, _extra FROM tracks WHERE event = 'e' ORDER BY id"
    )
    for value, (happened, received, extra) in zip(odd, found, strict=True):
        assert (happened, received) == (moment(2026, 1, 1, 10), started), value
        assert extra == {"timestamp": value, "received_at": value}
    assert db.rows("SELECT timestamp, original_timestamp, _extra FROM email_opened") == [
        (started, None, {"timestamp": "a word", "original_timestamp": "a word"})
    ]


@pytest.mark.parametrize(
    "value",
    [
        "2026-W05-1T00:00:00Z",
        "2026-02-03T04:05:06,789Z",
        "2026-02-03T040506.12345Z",
        "2026-02-03T04:05:06.123456789Z",
        "2026-02-03T04:05:06+14:30",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "2026-02-03T24:00:00Z",
    ],
)
def test_odd_forms_of_a_time_never_stop_a_load(run: Run, db: Database, value: str) -> None:
    assert load(run, track("E", timestamp=value))["rows_loaded"] == 1
