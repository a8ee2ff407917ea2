"""Segment track calls -> events; and the odd payloads of both forms, one file each."""

from pathlib import Path
from typing import Any

import pytest
from forms.reading import Event, dotted, moment
from forms.reading import parse as parse_event

from loader.normalize.event import Reject, content_id
from loader.normalize.jsontext import parse_json

PAYLOADS = Path(__file__).parent / "payloads"


def call(**values: Any) -> dict[str, Any]:
    """A track call; a value of ... takes its key away."""
    defaults: dict[str, Any] = {
        "type": "track",
        "event": "Email Opened",
        "messageId": "m-1",
        "userId": "u_1",
        "timestamp": "2026-09-15T08:23:32.000Z",
        "context": {},
        "properties": {},
    }
    return {key: value for key, value in (defaults | values).items() if value is not ...}


def parse(**values: Any) -> Event:
    event = parse_event(call(**values))
    assert isinstance(event, Event)
    return event


def expected(**values: Any) -> Event:
    names = ("received_at", "sent_at", "original_timestamp", "timestamp")
    times = {name: moment(values.pop(name)) for name in names if name in values}
    groups = {name: dotted(values.pop(name, {})) for name in ("context", "properties")}
    return Event(times=times, **groups, **values)


EVENTS = {
    "segment_email_opened": expected(
        id="m-opened",
        event="email_opened",
        event_text="Email Opened",
        user_id="u_7",
        timestamp="2026-09-15T08:23:32.000Z",
        original_timestamp="2026-09-15T08:23:31.000Z",
        sent_at="2026-09-15T08:23:33.000Z",
        received_at="2026-09-15T08:23:34.000Z",
        context={
            "integration": {"name": "customer.io", "version": "2.1"},
            "traits": {"email": "lin@example.com"},
        },
        properties={"action_id": 12, "delivery_id": "dg9aBwUB-_==", "proxied": True},
    ),
    "segment_snake_case_envelope": expected(
        id="m-snake",
        event="email_opened",
        event_text="Email Opened",
        user_id="u_8",
        anonymous_id="anon-8",
        timestamp="2026-09-15T08:23:32Z",
        original_timestamp="2026-09-15T08:23:31Z",
        sent_at="2026-09-15T08:23:33Z",
        received_at="2026-09-15T08:23:34Z",
        extra={"shard": 3},
    ),
    "segment_anonymous_without_id": expected(
        id="m-anon",
        event="email_bounced",
        event_text="Email Bounced",
        anonymous_id="kim@example.com",
        timestamp="2026-09-15T08:23:32Z",
        context={"traits": {"email": "kim@example.com"}},
        properties={"customer_id": "", "failure_message": "550 no such user"},
    ),
    "segment_ids_as_numbers": expected(
        id="901",
        event="email_delivered",
        event_text="Email Delivered",
        user_id="0",
        anonymous_id="12345678901234567890123",
        timestamp=1789460612,
        extra={},
    ),
    "webhook_person_deleted": expected(
        id="01J8DELETED",
        event="email_delivered",
        event_text="Email Delivered",
        anonymous_id="gone@example.com",
        timestamp=1789460612,
        original_timestamp=1789460612,
        context={"traits": {"email": "gone@example.com"}},
        properties={
            "customer_id": "",
            "delivery_id": "dg9aBwUB-_==",
            "recipient": "gone@example.com",
            "subject": "Hello",
            "newsletter_id": 8,
            "object_type": "email",
            "metric": "delivered",
        },
    ),
    "webhook_opened_with_flags": expected(
        id="01J8OPENED",
        event="email_opened",
        event_text="Email Opened",
        user_id="u_7",
        timestamp=1789460612,
        original_timestamp=1789460612,
        context={"traits": {"email": "lin@example.com"}},
        properties={
            "customer_id": "old_7",
            "delivery_id": "dg9aBwUB-_==",
            "recipient": "lin+news@example.com",
            "proxied": True,
            "prefetched": False,
            "campaign_id": None,
            "cio_id": "c10",
            "object_type": "email",
            "metric": "opened",
        },
    ),
    "legacy_clicked_with_variables": expected(
        id="5b77ab",
        event="email_link_clicked",
        event_text="Email Link Clicked",
        user_id="u_7",
        timestamp=1352005930,
        original_timestamp=1352005930,
        context={"traits": {"email": "lin@example.com"}},
        properties={
            "customer_id": "u_7",
            "email_address": "lin@example.com",
            "href": "https://example.com/x",
            "link_id": "4",
            "campaign_id": "33",
            "campaign_name": "Welcome",
            "email_id": "34",
            "variables": {"campaign": {"type": "behavioral"}, "attachments": []},
            "event_type": "email_clicked",
        },
    ),
}

REJECTS = {
    "event_without_name": "no_event_name",
    "event_name_blank": "no_event_name",
    "event_name_number": "event_not_string",
    "identify_call": "not_a_track_call",
    "properties_as_text": "properties_not_object",
    "context_as_array": "context_not_object",
    "neither_form": "unknown_form",
    "webhook_without_metric": "no_event_name",
    "webhook_metric_number": "no_event_name",
    "webhook_data_null": "data_not_object",
    "legacy_event_type_without_metric": "no_event_name",
}


def load(name: str) -> dict[str, Any]:
    value, reject = parse_json((PAYLOADS / f"{name}.json").read_bytes())
    assert reject is None
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", EVENTS)
def test_a_payload_becomes_its_event(name: str) -> None:
    actual = parse_event(load(name))
    assert EVENTS[name] == actual


@pytest.mark.parametrize("name", REJECTS)
def test_a_payload_that_is_no_event_is_rejected_with_its_reason(name: str) -> None:
    actual = parse_event(load(name))
    assert isinstance(actual, Reject)
    assert REJECTS[name] == actual.reason


def test_every_payload_has_its_line_in_a_table() -> None:
    assert {path.stem for path in PAYLOADS.iterdir()} == {*EVENTS, *REJECTS}


def test_a_reject_says_nothing_of_the_payload() -> None:
    actual = parse_event(call(event={"secret": "lin@example.com"}))
    assert isinstance(actual, Reject)
    assert "lin" not in actual.detail


@pytest.mark.parametrize(
    "kind", ["identify", "page", "screen", "group", "alias", "TRACK", "", 5, [], {}], ids=repr
)
def test_only_track_calls_are_loaded(kind: Any) -> None:
    actual = parse_event(call(type=kind))
    assert isinstance(actual, Reject)
    assert actual.reason == "not_a_track_call"


def test_a_track_call_may_leave_out_its_type() -> None:
    assert parse(type=...).event == "email_opened"


def test_a_null_type_is_a_missing_one() -> None:
    assert parse(type=None).event == "email_opened"


@pytest.mark.parametrize("name", [None, "", " ", "\t\n", ...], ids=repr)
def test_a_call_without_a_name_is_rejected(name: Any) -> None:
    actual = parse_event(call(event=name))
    assert isinstance(actual, Reject)
    assert actual.reason == "no_event_name"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("Email Opened", "email_opened"),
        ("EMAIL-OPENED", "email_opened"),
        ("Email Link Clicked", "email_link_clicked"),
        ("Email Marked As Spam", "email_marked_as_spam"),
        ("SMS Delivered", "sms_delivered"),
        ("Tracks", "_tracks"),
        ("Order", "_order"),
        (" Padded ", "padded"),
    ],
)
def test_the_slug_is_made_and_the_name_is_kept_as_sent(name: str, table: str) -> None:
    event = parse(event=name)
    assert (table, name) == (event.event, event.event_text)


@pytest.mark.parametrize(
    ("name", "properties", "table"),
    [
        ("Unsubscribed", {"email_id": "18v"}, "email_unsubscribed"),
        ("Unsubscribed", {"list_id": "5"}, "email_unsubscribed"),
        ("Unsubscribed", {"delivery_id": "dg9"}, "email_unsubscribed"),
        ("Unsubscribed", {"deliveryId": "dg9"}, "email_unsubscribed"),
        ("Unsubscribe", {"email_id": 18}, "email_unsubscribed"),
        ("unsubscribed", {"email_id": 0}, "email_unsubscribed"),
        ("Unsubscribed", {}, "unsubscribed"),
        ("Unsubscribed", {"email_id": None, "list_id": "", "subject": "x"}, "unsubscribed"),
        ("Unsubscribe", {"customer_id": "u_1"}, "unsubscribe"),
        ("Email Unsubscribed", {}, "email_unsubscribed"),
        ("Subscribed", {"email_id": "18v"}, "subscribed"),
    ],
    ids=repr,
)
def test_unsubscribed_is_about_a_message_only_with_evidence(
    name: str, properties: dict[str, Any], table: str
) -> None:
    event = parse(event=name, properties=properties)
    assert (table, name) == (event.event, event.event_text)


EMAIL = {"traits": {"email": "kim@example.com"}}


@pytest.mark.parametrize(
    ("values", "user_id", "anonymous_id"),
    [
        ({"userId": "u_1"}, "u_1", None),
        ({"userId": "u_1", "anonymousId": "a_1"}, "u_1", "a_1"),
        ({"userId": "u_1", "context": EMAIL}, "u_1", None),
        ({"userId": 7}, "7", None),
        ({"userId": 0}, "0", None),
        ({"userId": "", "anonymousId": "a_1", "context": EMAIL}, None, "a_1"),
        ({"userId": None, "anonymousId": "", "context": EMAIL}, None, "kim@example.com"),
        ({"userId": ..., "context": EMAIL}, None, "kim@example.com"),
        ({"userId": ..., "context": {"traits": {"email": ""}}}, None, None),
        ({"userId": ..., "context": {"traits": {"email": ["kim@example.com"]}}}, None, None),
        ({"userId": ..., "context": {"traits": "kim@example.com"}}, None, None),
        ({"userId": ..., "properties": {"customer_id": "u_2"}}, None, None),
        ({"userId": ..., "properties": {"cio_id": "c_2"}}, None, None),
        ({"userId": ...}, None, None),
        ({"userId": True, "context": EMAIL}, None, "kim@example.com"),
        ({"userId": {"id": "u"}, "anonymousId": ["a"]}, None, None),
        ({"userId": None, "user_id": "u_3"}, "u_3", None),
    ],
    ids=repr,
)
def test_who_it_was(values: dict[str, Any], user_id: str | None, anonymous_id: str | None) -> None:
    event = parse(**values)
    assert (user_id, anonymous_id) == (event.user_id, event.anonymous_id)


def test_an_id_that_cannot_be_one_is_kept() -> None:
    event = parse(messageId=[1], userId={"id": "u"}, anonymousId=True)
    assert event.extra == {"messageId": [1], "userId": {"id": "u"}, "anonymousId": True}


def test_both_spellings_of_a_key_are_kept() -> None:
    event = parse(userId="u_1", user_id="u_2", sentAt=1, sent_at=2)
    assert (event.user_id, event.times["sent_at"]) == ("u_1", moment(1))
    assert event.extra == {"user_id": "u_2", "sent_at": 2}


def test_what_has_no_column_is_kept_and_transport_is_not() -> None:
    event = parse(shard=3, nothing=None, channel="server", integrations={}, writeKey="k")
    assert event.extra == {"shard": 3}


@pytest.mark.parametrize("message_id", ["", None, ..., [], True], ids=repr)
def test_a_call_without_an_id_gets_one_from_its_content(message_id: Any) -> None:
    record = call(messageId=message_id)
    assert content_id(record) == parse(messageId=message_id).id
    assert parse(messageId=message_id).id != parse(messageId=message_id, userId="u_2").id


def test_a_call_sent_again_has_the_same_id_in_both_spellings() -> None:
    first = parse(messageId=..., sentAt="2026-09-15T08:23:33Z")
    again = parse(messageId=..., sent_at="2026-09-15T09:00:00Z", receivedAt=1789460612)
    assert first.id == again.id


def test_an_id_too_long_for_an_index_is_hashed_and_kept() -> None:
    event = parse(messageId="m" * 2000)
    assert len(event.id) == 32
    assert event.extra == {"id": "m" * 2000}


@pytest.mark.parametrize("value", [None, ...], ids=repr)
def test_missing_context_and_properties_are_empty(value: Any) -> None:
    event = parse(context=value, properties=value)
    assert (event.context, event.properties) == ({}, {})


@pytest.mark.parametrize("value", ["x", [], 5, True], ids=repr)
@pytest.mark.parametrize("key", ["context", "properties"])
def test_context_and_properties_must_be_objects(key: str, value: Any) -> None:
    actual = parse_event(call(**{key: value}))
    assert isinstance(actual, Reject)
    assert actual.reason == f"{key}_not_object"
