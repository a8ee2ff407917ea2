"""A Customer.io reporting webhook, new or legacy -> Event.

The event is the one that Customer.io's Segment integration would have sent: same name, same
properties (they are the keys of `data`), same rule for the person. Source: Customer.io's
reporting-webhook specification and its message metrics source.
"""

from decimal import Decimal
from typing import Any

from loader.normalize.event import (
    Event,
    Object,
    Reject,
    content_id,
    identity,
    put_extra,
    usable_id,
)
from loader.normalize.names import table_name
from loader.normalize.numbers import number_text

# (channel, metric) -> event name, where it is not "<Channel> <Metric>".
_NAMES = {
    ("email", "clicked"): "Email Link Clicked",
    ("email", "spammed"): "Email Marked as Spam",
    ("email", "dropped"): "Email Suppressed",
}
_CHANNELS = {"sms": "SMS", "in_app": "In-App"}
# A change of the person's subscription; any channel can have triggered it.
_SUBSCRIPTION = {
    "subscribed": "Subscribed",
    "unsubscribed": "Unsubscribed",
    "cio_subscription_preferences_changed": "Subscription Preferences Changed",
}

_ENVELOPE = frozenset({"event_id", "object_type", "metric", "event_type", "timestamp", "data"})
_ARRIVAL = ("received_at", "receivedAt")  # what a receiver may have added


def recognizes(record: Object) -> bool:
    """Whether `record` is a webhook: new (`object_type`, `metric`) or legacy (`event_type`)."""
    return "data" in record and ("metric" in record or "event_type" in record)


def parse(record: Object) -> Event | Reject:
    """The event of one webhook."""
    data = record["data"]
    if type(data) is not dict:
        return Reject(reason="data_not_object", detail="data is not an object")
    channel, metric = _channel_and_metric(record)
    if not channel or not metric:
        return Reject(
            reason="no_event_name",
            detail="object_type and metric (or event_type) do not name an event",
        )
    extra: Object = {}
    for key, value in record.items():
        if key not in _ENVELOPE and key not in _ARRIVAL and value is not None:
            extra[key] = value
    properties = _properties(record, data, extra)
    # A legacy webhook is always about a message, and never has a delivery.
    about_a_message = bool(data.get("delivery_id")) or "event_type" in record
    name = event_name(channel, metric, about_a_message=about_a_message)
    identifiers = data.get("identifiers")
    identifiers = identifiers if type(identifiers) is dict else {}
    user_id = _first_text(identifiers.get("id"), data.get("customer_id"))
    email = _first_text(
        identifiers.get("email"),
        data.get("recipient") if channel == "email" and is_address(data.get("recipient")) else None,
        data.get("email_address"),
    )
    event_id = identity(record.get("event_id"), "event_id", extra)
    used_id = usable_id(event_id) if event_id else content_id(record)
    if event_id and used_id is not event_id:
        put_extra(extra, "id", event_id)
    happened = record.get("timestamp")
    return Event(
        id=used_id,
        event=table_name(name),
        event_text=name,
        user_id=user_id,
        anonymous_id=None if user_id else email,
        received_at=next((record[k] for k in _ARRIVAL if record.get(k) is not None), None),
        sent_at=None,
        original_timestamp=happened,
        timestamp=happened,
        context={"traits": {"email": email}} if email else {},
        properties=properties,
        extra=extra or None,
    )


def event_name(channel: str, metric: str, *, about_a_message: bool) -> str:
    """The name under which Customer.io's Segment integration sends this metric.

    `unsubscribed` about a message has its delivery; without one it is a change of the person's
    subscription. A metric without a documented name follows the pattern: `Email Undeliverable`.
    """
    if metric in _SUBSCRIPTION and (
        channel == "customer" or metric != "unsubscribed" or not about_a_message
    ):
        return _SUBSCRIPTION[metric]
    words = metric.replace("_", " ").title()
    title = _CHANNELS.get(channel) or channel.replace("_", " ").title()
    return _NAMES.get((channel, metric)) or f"{title} {words}"


def _channel_and_metric(record: Object) -> tuple[str, str]:
    channel, metric = record.get("object_type"), record.get("metric")
    if metric is None and type(record.get("event_type")) is str:
        channel, _, metric = record["event_type"].partition("_")
    if type(channel) is not str or type(metric) is not str:
        return "", ""
    return channel.strip().lower(), metric.strip().lower()


def _properties(record: Object, data: Object, extra: Object) -> Object:
    """The keys of `data`, the `cio_id`, and the envelope's `object_type` and `metric`."""
    properties = {k: v for k, v in data.items() if k != "identifiers"}
    added = {k: record.get(k) for k in ("object_type", "metric", "event_type")}
    identifiers = data.get("identifiers")
    if type(identifiers) is dict:
        added["cio_id"] = identifiers.get("cio_id")
        others = {k: v for k, v in identifiers.items() if k not in ("id", "email", "cio_id")}
        kept = {k: v for k in ("id", "email") if not _is_text(v := identifiers.get(k))}
        if others or any(v is not None and v != "" for v in kept.values()):
            added["identifiers"] = others | kept
    elif identifiers is not None:
        added["identifiers"] = identifiers
    if "event_type" in record and type(data.get("variables")) is dict:
        _lift_variables(properties)
    for key, value in added.items():
        if value is None:
            continue
        if properties.get(key) is None:
            properties[key] = value
        else:
            put_extra(extra, key, value)
    return properties


def _lift_variables(properties: Object) -> None:
    """Legacy webhooks may hold the campaign and the e-mail inside `variables`."""
    variables = dict(properties["variables"])
    campaign = variables.get("campaign")
    campaign = dict(campaign) if type(campaign) is dict else {}
    for key, holder, inner in (
        ("campaign_id", campaign, "id"),
        ("campaign_name", campaign, "name"),
        ("email_id", variables, "email_id"),
    ):
        if properties.get(key) is None and holder.get(inner) is not None:
            properties[key] = holder.pop(inner)
    if type(variables.get("campaign")) is dict:
        variables["campaign"] = campaign
    properties["variables"] = variables


def _is_text(value: Any) -> bool:
    return type(value) in (str, int, Decimal)


def _first_text(*values: Any) -> str | None:
    """The first value that counts; a deleted person's blank id must not hide the ones behind."""
    for value in values:
        if _is_text(value) and value != "":
            return value if type(value) is str else number_text(value)
    return None


def is_address(value: Any) -> bool:
    """Whether `value` is one plain address: several of them, or a template, identify nobody."""
    if type(value) is not str or value.count("@") != 1:
        return False
    return not any(c.isspace() or c in ",;<>{}" for c in value)
