"""Customer.io's reporting webhooks, new and legacy -> events."""

from copy import deepcopy
from typing import Any

import pytest
from forms.reading import Event, dotted, moment
from forms.reading import parse as parse_event

from loader.normalize.event import Reject


def webhook(metric: Any = "delivered", channel: Any = "email", **values: Any) -> dict[str, Any]:
    """A webhook; `data` is merged, and a value of ... takes its key away."""
    data = {"identifiers": {"id": "u_1"}, "delivery_id": "dg9aBwUB-_=="} | values.pop("data", {})
    record = {
        "event_id": "01J8AAAA",
        "object_type": channel,
        "metric": metric,
        "timestamp": 1789460612,
        "data": {key: value for key, value in data.items() if value is not ...},
    } | values
    return {key: value for key, value in record.items() if value is not ...}


def legacy(event_type: str, **data: Any) -> dict[str, Any]:
    person = {"customer_id": "u_1", "email_address": "kim@example.com", "email_id": "34"}
    return {
        "event_type": event_type,
        "event_id": "5b77aa",
        "timestamp": 1352005930,
        "data": person | data,
    }


def parse(record: dict[str, Any]) -> Event:
    event = parse_event(record)
    assert isinstance(event, Event)
    return event


# names


@pytest.mark.parametrize(
    ("metric", "name", "table"),
    [
        ("drafted", "Email Drafted", "email_drafted"),
        ("attempted", "Email Attempted", "email_attempted"),
        ("sent", "Email Sent", "email_sent"),
        ("delivered", "Email Delivered", "email_delivered"),
        ("opened", "Email Opened", "email_opened"),
        ("clicked", "Email Link Clicked", "email_link_clicked"),
        ("converted", "Email Converted", "email_converted"),
        ("unsubscribed", "Email Unsubscribed", "email_unsubscribed"),
        ("bounced", "Email Bounced", "email_bounced"),
        ("dropped", "Email Suppressed", "email_suppressed"),
        ("spammed", "Email Marked as Spam", "email_marked_as_spam"),
        ("failed", "Email Failed", "email_failed"),
        ("undeliverable", "Email Undeliverable", "email_undeliverable"),
        ("deferred", "Email Deferred", "email_deferred"),
        ("some_new_metric", "Email Some New Metric", "email_some_new_metric"),
        ("subscribed", "Subscribed", "subscribed"),
        (
            "cio_subscription_preferences_changed",
            "Subscription Preferences Changed",
            "subscription_preferences_changed",
        ),
    ],
)
def test_every_email_metric_has_its_event(metric: str, name: str, table: str) -> None:
    event = parse(webhook(metric))
    assert (name, table) == (event.event_text, event.event)


@pytest.mark.parametrize(
    ("channel", "metric", "table"),
    [
        ("customer", "subscribed", "subscribed"),
        ("customer", "unsubscribed", "unsubscribed"),
        ("customer", "cio_subscription_preferences_changed", "subscription_preferences_changed"),
        ("sms", "delivered", "sms_delivered"),
        ("sms", "clicked", "sms_clicked"),
        ("sms", "replied", "sms_replied"),
        ("push", "sent", "push_sent"),
        ("push", "opened", "push_opened"),
        ("push", "dropped", "push_dropped"),
        ("in_app", "opened", "in_app_opened"),
        ("in_app", "clicked", "in_app_clicked"),
        ("slack", "sent", "slack_sent"),
        ("webhook", "failed", "webhook_failed"),
        ("whatsapp", "delivered", "whatsapp_delivered"),
        ("Email", "Opened", "email_opened"),
        (" email ", " opened ", "email_opened"),
        ("carrier_pigeon", "released", "carrier_pigeon_released"),
    ],
)
def test_every_channel_has_its_own_tables(channel: str, metric: str, table: str) -> None:
    assert table == parse(webhook(metric, channel)).event


@pytest.mark.parametrize(
    ("channel", "delivery_id", "table"),
    [
        ("email", "dg9", "email_unsubscribed"),
        ("email", ..., "unsubscribed"),
        ("email", None, "unsubscribed"),
        ("email", "", "unsubscribed"),
        ("customer", "dg9", "unsubscribed"),
        ("sms", "dg9", "sms_unsubscribed"),
        ("sms", ..., "unsubscribed"),
    ],
    ids=repr,
)
def test_unsubscribed_is_about_a_message_only_with_its_delivery(
    channel: str, delivery_id: Any, table: str
) -> None:
    """So that one act is not counted twice."""
    assert table == parse(webhook("unsubscribed", channel, data={"delivery_id": delivery_id})).event


@pytest.mark.parametrize(
    ("event_type", "table"),
    [
        ("email_drafted", "email_drafted"),
        ("email_sent", "email_sent"),
        ("email_delivered", "email_delivered"),
        ("email_opened", "email_opened"),
        ("email_clicked", "email_link_clicked"),
        ("email_bounced", "email_bounced"),
        ("email_spammed", "email_marked_as_spam"),
        ("email_dropped", "email_suppressed"),
        ("customer_subscribed", "subscribed"),
        ("customer_unsubscribed", "unsubscribed"),
        ("email_unsubscribed", "email_unsubscribed"),
    ],
)
def test_every_legacy_event_has_its_table(event_type: str, table: str) -> None:
    """A legacy email_unsubscribed has no delivery_id, and is about a message all the same."""
    assert table == parse(legacy(event_type)).event


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (webhook(None), "no_event_name"),
        (webhook(""), "no_event_name"),
        (webhook(" "), "no_event_name"),
        (webhook(5), "no_event_name"),
        (webhook(["opened"]), "no_event_name"),
        (webhook("opened", None), "no_event_name"),
        (webhook("opened", {}), "no_event_name"),
        (webhook("opened", object_type=...), "no_event_name"),
        (legacy("opened"), "no_event_name"),
        (legacy("email_"), "no_event_name"),
        (legacy("_opened"), "no_event_name"),
        (legacy(""), "no_event_name"),
        (webhook() | {"data": None}, "data_not_object"),
        (webhook() | {"data": []}, "data_not_object"),
        (webhook() | {"data": "{}"}, "data_not_object"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_webhook_that_names_no_event_is_rejected(record: dict[str, Any], reason: str) -> None:
    actual = parse_event(record)
    assert isinstance(actual, Reject)
    assert reason == actual.reason


# the person


PERSONS: list[Any] = [
    # data, user_id, anonymous_id, e-mail
    pytest.param({"identifiers": {"id": "u_1"}}, "u_1", None, None, id="id only"),
    pytest.param(
        {"identifiers": {"id": "u_1"}, "customer_id": "u_2"},
        "u_1",
        None,
        None,
        id="identifiers first",
    ),
    pytest.param(
        {"identifiers": {"id": None}, "customer_id": "u_2"}, "u_2", None, None, id="null, then id"
    ),
    pytest.param(
        {"identifiers": {"id": ""}, "customer_id": "u_2"}, "u_2", None, None, id="blank, then id"
    ),
    pytest.param({"identifiers": {"id": 7}}, "7", None, None, id="a number"),
    pytest.param({"identifiers": {"id": 0}}, "0", None, None, id="zero"),
    pytest.param({"identifiers": ..., "customer_id": "u_2"}, "u_2", None, None, id="old form"),
    pytest.param({"identifiers": [], "customer_id": "u_2"}, "u_2", None, None, id="an array"),
    pytest.param(
        {"identifiers": {"id": "u_1", "email": "kim@example.com"}, "recipient": "x@example.com"},
        "u_1",
        None,
        "kim@example.com",
        id="id and e-mail",
    ),
    pytest.param(
        {"identifiers": {"id": "u_1"}, "recipient": "kim@example.com"},
        "u_1",
        None,
        "kim@example.com",
        id="id, e-mail from the recipient",
    ),
    pytest.param(
        {"identifiers": {"id": "", "email": "kim@example.com"}, "customer_id": ""},
        None,
        "kim@example.com",
        "kim@example.com",
        id="e-mail only",
    ),
    pytest.param(
        {"identifiers": {"id": None, "cio_id": "c_1"}}, None, None, None, id="never the cio_id"
    ),
    pytest.param(
        {"identifiers": {"id": None}, "customer_id": "", "recipient": "kim@example.com"},
        None,
        "kim@example.com",
        "kim@example.com",
        id="a deleted person's recipient",
    ),
    pytest.param(
        {"identifiers": {"id": None, "email": ""}, "email_address": "kim@example.com"},
        None,
        "kim@example.com",
        "kim@example.com",
        id="email_address last",
    ),
    pytest.param(
        {"identifiers": {}, "recipient": "a@example.com", "email_address": "b@example.com"},
        None,
        "a@example.com",
        "a@example.com",
        id="recipient before email_address",
    ),
    pytest.param(
        {"identifiers": {}, "recipient": "a@x.example, b@x.example", "email_address": None},
        None,
        None,
        None,
        id="several recipients",
    ),
    pytest.param(
        {"identifiers": {}, "recipient": "a@x.example,b", "email_address": "c@x.example"},
        None,
        "c@x.example",
        "c@x.example",
        id="several recipients, then email_address",
    ),
    *(
        pytest.param({"identifiers": {}, "recipient": value}, None, None, None, id=repr(value))
        for value in (
            "{{customer.email}}",
            "{{customer.name}}@example.com",
            "Kim <kim@example.com>",
            "kim@example.com;lin@example.com",
            "kim @example.com",
            "+15550100",
            "#general",
            "https://example.com/hook",
            "kim",
            "",
            None,
            ["kim@example.com"],
            5,
        )
    ),
    pytest.param({"identifiers": {"id": True}}, None, None, None, id="true is no id"),
    pytest.param({"identifiers": {"id": ["u"]}}, None, None, None, id="an array is no id"),
]


@pytest.mark.parametrize(("data", "user_id", "anonymous_id", "email"), PERSONS)
def test_who_it_was(
    data: dict[str, Any], user_id: str | None, anonymous_id: str | None, email: str | None
) -> None:
    event = parse(webhook(data=data))
    assert (user_id, anonymous_id) == (event.user_id, event.anonymous_id)
    assert ({"traits.email": email} if email else {}) == event.context


@pytest.mark.parametrize("channel", ["sms", "push", "slack", "webhook", "whatsapp", "in_app"])
def test_the_recipient_of_another_channel_is_no_email_address(channel: str) -> None:
    """Not even if it looks like one."""
    data = {"identifiers": {"id": None}, "recipient": "hook@example.com"}
    event = parse(webhook("sent", channel, data=data))
    assert (event.anonymous_id, event.context) == (None, {})
    assert event.properties["recipient"] == "hook@example.com"


def test_a_recipient_is_stored_as_sent() -> None:
    data = {"identifiers": {}, "recipient": "a@x.example, b@x.example"}
    assert parse(webhook(data=data)).properties["recipient"] == "a@x.example, b@x.example"


@pytest.mark.parametrize(
    ("data", "user_id", "anonymous_id"),
    [
        ({"customer_id": "u_1"}, "u_1", None),
        ({"customer_id": ""}, None, "kim@example.com"),
        ({"customer_id": None}, None, "kim@example.com"),
        ({"customer_id": "", "email_address": ""}, None, None),
    ],
    ids=repr,
)
def test_who_it_was_in_a_legacy_webhook(
    data: dict[str, Any], user_id: str | None, anonymous_id: str | None
) -> None:
    event = parse(legacy("email_opened", **data))
    assert (user_id, anonymous_id) == (event.user_id, event.anonymous_id)


# time and identity


def test_a_webhook_happened_when_it_says() -> None:
    event = parse(webhook())
    assert dict.fromkeys(("timestamp", "original_timestamp"), moment(1789460612)) == event.times


@pytest.mark.parametrize(
    ("stamps", "received_at"),
    [
        ({"received_at": 1}, 1),
        ({"receivedAt": 2}, 2),
        ({"received_at": None, "receivedAt": 2}, 2),
    ],
    ids=repr,
)
def test_a_receiver_may_have_stamped_it(stamps: dict[str, Any], received_at: int) -> None:
    event = parse(webhook() | stamps)
    assert moment(received_at) == event.times["received_at"]
    assert event.extra == {}


def test_a_repeated_webhook_has_the_same_id() -> None:
    assert parse(webhook()).id == "01J8AAAA"
    assert parse(webhook(event_id=7)).id == "7"


@pytest.mark.parametrize("event_id", [..., None, ""], ids=repr)
def test_a_webhook_without_an_id_gets_one_from_its_content(event_id: Any) -> None:
    record = webhook(event_id=event_id)
    assert parse(record).id == parse(deepcopy(record)).id
    assert len(parse(record).id) == 32


def test_a_webhook_without_an_id_may_be_received_twice() -> None:
    record = webhook(event_id=...)
    assert parse(record | {"received_at": 1}).id == parse(record | {"received_at": 2}).id


@pytest.mark.parametrize("event_id", [["01J8"], {"id": "01J8"}, True], ids=repr)
def test_an_id_that_cannot_be_one_is_kept(event_id: Any) -> None:
    event = parse(webhook(event_id=event_id))
    assert event_id in event.extra.values()


def test_an_id_too_long_for_an_index_is_hashed_and_kept() -> None:
    event = parse(webhook(event_id="m" * 2000))
    assert len(event.id) == 32
    assert event.extra == {"id": "m" * 2000}


# properties


def test_the_keys_of_data_are_the_properties() -> None:
    data = {"subject": "Hi", "campaign_id": None, "headers": {"X-A": ["1"]}, "proxied": False}
    actual = parse(webhook("opened", data=data)).properties
    assert actual == actual | dotted(data)
    assert (actual["object_type"], actual["metric"]) == ("email", "opened")
    assert not any(key.startswith("identifiers") for key in actual)


def test_identifiers_that_have_no_column_are_kept() -> None:
    data = {"identifiers": {"id": ["u"], "email": True, "cio_id": "c_1", "phone": "+1555"}}
    actual = parse(webhook(data=data)).properties
    assert actual["cio_id"] == "c_1"
    others = {"id": ["u"], "email": True, "phone": "+1555"}
    assert actual == actual | dotted({"identifiers": others})


@pytest.mark.parametrize("identifiers", ["u_1", ["u_1"], 5], ids=repr)
def test_identifiers_in_another_form_are_kept(identifiers: Any) -> None:
    assert (
        identifiers == parse(webhook(data={"identifiers": identifiers})).properties["identifiers"]
    )


def test_what_data_and_envelope_both_have_is_kept_twice() -> None:
    event = parse(webhook("sent", data={"metric": "mine", "object_type": "y", "cio_id": "z"}))
    assert event.properties["metric"] == "mine"
    assert event.extra == {"object_type": "email", "metric": "sent"}


def test_what_stands_beside_data_is_kept() -> None:
    event = parse(webhook(workspace="eu", nothing=None, data={"workspace": "us"}))
    assert event.extra == {"workspace": "eu"}
    assert event.properties["workspace"] == "us"


def of_variables(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key.startswith("variables")}


def test_the_variables_of_a_legacy_webhook_fill_what_is_missing() -> None:
    record = legacy(
        "email_opened",
        campaign_name="Own",
        email_id=None,
        variables={"campaign": {"id": "33", "name": "Theirs"}, "email_id": "34", "x": {}},
    )
    actual = parse(record).properties
    assert tuple(actual[key] for key in ("campaign_id", "campaign_name", "email_id")) == (
        "33",
        "Own",
        "34",
    )
    assert of_variables(actual) == {"variables.campaign.name": "Theirs"}


@pytest.mark.parametrize(
    "variables", [None, "x", [], {}, {"campaign": None}, {"campaign": "Welcome"}], ids=repr
)
def test_odd_variables_are_left_as_they_are(variables: Any) -> None:
    actual = parse(legacy("email_opened", variables=variables)).properties
    assert dotted({"variables": variables}) == of_variables(actual)


def test_variables_of_a_new_webhook_are_properties_like_others() -> None:
    data = {"variables": {"campaign": {"id": 3}}}
    actual = parse(webhook(data=data)).properties
    assert dotted(data) == of_variables(actual)
    assert "campaign_id" not in actual


def test_a_campaign_is_never_made_from_a_newsletter_or_broadcast() -> None:
    actual = parse(webhook(data={"newsletter_id": 8, "broadcast_id": 9})).properties
    assert actual.get("campaign_id") is None
