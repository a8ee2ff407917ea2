"""The rules in plain Python, one record at a time: slow, and easy to compare with what they say.

Nothing here comes from the tables of `loader.forms`; names, ids and times are those of
`loader.normalize`, which has tests of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from forms.reading import Event, moment

from loader.columns.regular import make_regular
from loader.normalize.collections import DECLARED_NAMES
from loader.normalize.event import MAX_ID_BYTES, content_id, put_extra, usable_id
from loader.normalize.jsontext import parse_json, parse_repeated
from loader.normalize.names import context_column, property_column, snake_case, table_name
from loader.normalize.times import parse_times

MOST_CONTEXT, MOST_PROPERTIES, MOST_DEPTH = 40, 230, 64
TIMES = {
    "received_at": "receivedAt",
    "sent_at": "sentAt",
    "original_timestamp": "originalTimestamp",
    "timestamp": "timestamp",
}
SPELLINGS = {
    "messageId": "message_id",
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp",
}
USED = {"event", *SPELLINGS, "timestamp", "context", "properties"}
TRANSPORT = {"type", "channel", "integrations", "projectId", "version", "_metadata", "writeKey"}
Object = dict[str, Any]


@dataclass(kw_only=True)
class Rules:
    """What is left out on purpose."""

    types: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()  # as somebody may write them
    after: datetime | None = None
    before: datetime | None = None
    started: datetime  # the time of events that bring none


def read(raw: bytes, rules: Rules | None = None) -> Event | str:
    """The event in a text, by its columns; or why there is none."""
    regular = make_regular(raw)
    if regular.reject is not None:
        return regular.reject.reason
    record, _ = parse_json(regular.text)
    if type(record) is not dict:
        return "not_an_object"
    if "batch" in record and "event" not in record:
        return "empty_batch" if record["batch"] == [] else "batch_not_array"
    hashed, _ = parse_repeated(raw)
    is_webhook = "data" in record and ("metric" in record or "event_type" in record)
    is_webhook = is_webhook and record.get("type") != "track"
    if not is_webhook and "event" not in record and "type" not in record:
        return "unknown_form"
    why = why_ignored(record, is_webhook, rules) if rules is not None else None
    if why is not None:
        return why
    found = webhook(record, hashed) if is_webhook else call(record, hashed)
    if isinstance(found, Event):
        found.replaced = regular.replaced
        for path, value in regular.repeated:
            above, _, below = path.partition(".")
            is_opened = below and above in ("context", "properties", "data")
            put_extra(found.extra, below if is_opened else path, value)
    return found


def why_ignored(record: Object, is_webhook: bool, rules: Rules) -> str | None:
    kind = record.get("type")
    if not is_webhook and type(kind) is str and kind in rules.types:
        return "ignored_type"
    table = hook_table(record) if is_webhook else call_table(record)
    if table is not None and table in map(table_name, rules.names):
        return "ignored_event"
    happened = when_it_happened(record, is_webhook, rules.started)
    is_early = rules.after is not None and happened < rules.after
    is_late = rules.before is not None and happened >= rules.before
    return "out_of_range" if is_early or is_late else None


def when_it_happened(record: Object, is_webhook: bool, started: datetime) -> datetime:
    sent = hook_times(record)
    if not is_webhook:
        sent = {column: _spelled(record, key) for column, key in TIMES.items()}
    texts = {column: parse_times([value])[0][0] for column, value in sent.items()}
    times = {column: moment(text) for column, text in texts.items() if text is not None}
    if "timestamp" in times:
        return times["timestamp"]
    if times.keys() >= {"received_at", "sent_at", "original_timestamp"}:
        try:
            return times["received_at"] - (times["sent_at"] - times["original_timestamp"])
        except OverflowError:
            pass
    return times.get("original_timestamp", times.get("received_at", started))


def _spelled(record: Object, key: str) -> Any:
    value = record.get(key)
    return record.get(SPELLINGS[key]) if value is None and key in SPELLINGS else value


def call_table(record: Object) -> str | None:
    name, properties = record.get("event"), record.get("properties")
    if type(name) is not str or not name.strip():
        return None
    table = table_name(name)
    evidence = {"email_id", "list_id", "delivery_id"}
    properties = properties if type(properties) is dict else {}
    if table in ("unsubscribe", "unsubscribed") and any(
        snake_case(k) in evidence and is_evidence(v) for k, v in properties.items()
    ):
        return "email_unsubscribed"
    return table


def call(record: Object, hashed: Object) -> Event | str:
    if record.get("type") not in (None, "track"):
        return "not_a_track_call"
    if not set(record) <= USED | TRANSPORT:
        record, hashed = renamed(record), renamed(hashed)
    name = record.get("event")
    if name is not None and type(name) is not str:
        return "event_not_string"
    if name is None or not name.strip():
        return "no_event_name"
    for key in ("context", "properties"):
        if type(record.get(key)) not in (dict, type(None)):
            return f"{key}_not_object"
    context, properties = record.get("context") or {}, record.get("properties") or {}
    extra: Object = {}
    ids = [_id(record, key, extra) for key in ("messageId", "userId", "anonymousId")]
    extra |= {k: v for k, v in record.items() if k not in USED | TRANSPORT and v is not None}
    traits = context.get("traits")
    email = traits.get("email") if type(traits) is dict else None
    if not ids[1] and not ids[2] and type(email) is str:
        ids[2] = email
    table = call_table(record)
    assert table is not None
    times = {column: record.get(key) for column, key in TIMES.items()}
    return _event(ids, hashed, table, name, times, context, properties, extra)


def renamed(record: Object) -> Object:
    """Other spellings of the keys count where the first one says nothing."""
    first = {other: key for key, other in SPELLINGS.items()}
    return {
        (first[key] if key in first and record.get(first[key]) is None else key): value
        for key, value in record.items()
        if value is not None
    }


def hook_table(record: Object) -> str | None:
    name = hook_name(record)[0]
    return table_name(name) if name is not None else None


def hook_name(record: Object) -> tuple[str | None, str]:
    """The name of the event, and its channel."""
    channel, metric = record.get("object_type"), record.get("metric")
    is_legacy = "metric" not in record
    if is_legacy and type(record["event_type"]) is str:
        channel, _, metric = record["event_type"].partition("_")
    if type(channel) is not str or type(metric) is not str:
        return None, ""
    channel, metric = channel.strip().lower(), metric.strip().lower()
    if not channel or not metric:
        return None, ""
    data = record["data"] if type(record["data"]) is dict else {}
    is_about_a_message = is_legacy or is_evidence(data.get("delivery_id"))
    return metric_name(channel, metric, is_about_a_message), channel


def webhook(record: Object, hashed: Object) -> Event | str:
    data = record["data"]
    if type(data) is not dict:
        return "data_not_object"
    is_legacy = "metric" not in record
    name, channel = hook_name(record)
    if name is None:
        return "no_event_name"
    properties = dict(data)
    used = {"event_id", "timestamp", "data", "received_at", "receivedAt"}
    keys = ("event_type",) if is_legacy else ("object_type", "metric", "event_type")
    extra: Object = {}
    event_id = _id(record, "event_id", extra)
    extra |= {k: v for k, v in record.items() if k not in (*used, *keys) and v is not None}
    person = properties.pop("identifiers", None)
    user = email = None
    if type(person) is dict:
        user, email = _text(person.get("id")), person.get("email")
        properties["identifiers"] = others = dict(person)
        if _text(person.get("id")) is not None or person.get("id") == "":
            del others["id"]
        if type(email) is str:
            del others["email"]
        if properties.get("cio_id") is None and type(others.get("cio_id")) is not dict:
            properties["cio_id"] = others.pop("cio_id", None)
    else:
        properties["identifiers"] = person
    for key in keys:
        value = record.get(key)
        if properties.get(key) is None:
            properties[key] = value
        elif value is not None:
            put_extra(extra, key, value)
    if is_legacy and type(data.get("variables")) is dict:
        properties |= _lifted(properties, data["variables"])
    user = user or _text(data.get("customer_id"))
    recipient = data.get("recipient")
    is_usable = channel == "email" and type(recipient) is str and is_one_address(recipient)
    addresses = (email, recipient if is_usable else None, data.get("email_address"))
    email = next((each for each in addresses if type(each) is str and each), None)
    times = hook_times(record)
    context = {"traits": {"email": email}} if email else {}
    ids = [event_id, user, None if user else email]
    return _event(ids, hashed, table_name(name), name, times, context, properties, extra)


def hook_times(record: Object) -> Object:
    arrival = record.get("received_at")
    return {
        "received_at": record.get("receivedAt") if arrival is None else arrival,
        "original_timestamp": record.get("timestamp"),
        "timestamp": record.get("timestamp"),
    }


def metric_name(channel: str, metric: str, is_about_a_message: bool) -> str:
    person = {
        "subscribed": "Subscribed",
        "unsubscribed": "Unsubscribed",
        "cio_subscription_preferences_changed": "Subscription Preferences Changed",
    }
    is_of_person = channel == "customer" or metric != "unsubscribed" or not is_about_a_message
    if metric in person and is_of_person:
        return person[metric]
    mail = {"clicked": "Link Clicked", "spammed": "Marked as Spam", "dropped": "Suppressed"}
    if channel == "email" and metric in mail:
        return f"Email {mail[metric]}"
    title = {"sms": "SMS", "in_app": "In-App"}.get(channel, channel.replace("_", " ").title())
    return f"{title} {metric.replace('_', ' ').title()}"


def is_evidence(value: Any) -> bool:
    return type(value) is not dict and value not in (None, "")


def is_one_address(text: str) -> bool:
    return text.count("@") == 1 and not any(c.isspace() or c in ",;<>{}" for c in text)


def _lifted(properties: Object, variables: Object) -> Object:
    variables = dict(variables)
    campaign = variables.get("campaign")
    campaign = dict(campaign) if type(campaign) is dict else {}
    found: Object = {}
    for key, holder, inner in (
        ("campaign_id", campaign, "id"),
        ("campaign_name", campaign, "name"),
        ("email_id", variables, "email_id"),
    ):
        if properties.get(key) is None and holder.get(inner) is not None:
            found[key] = holder.pop(inner)
    if type(variables.get("campaign")) is dict:
        variables["campaign"] = campaign
    return found | {"variables": variables}


def _text(value: Any) -> str | None:
    return str(value) if type(value) in (str, int, Decimal) and value != "" else None


def _id(record: Object, key: str, extra: Object) -> str | None:
    value = record.get(key)
    if type(value) in (dict, list, bool):
        extra[key] = value
        return None
    return None if value in (None, "") else str(value)


def _event(
    ids: list[str | None],
    hashed: Object,
    table: str,
    name: str,
    sent: Object,
    context: Object,
    properties: Object,
    extra: Object,
) -> Event:
    key, user, anonymous = ids
    times, left = {}, {}
    for column, value in sent.items():
        (text,), inexact = parse_times([value])
        if text is not None:
            times[column] = moment(text)
        if inexact:
            left[column] = value
    for each, value in extra.items():
        put_extra(left, each, value)
    if key is not None and len(key.encode()) > MAX_ID_BYTES:
        put_extra(left, "id", key)
    lost: Object = {}
    event = Event(
        id=usable_id(key) if key else content_id(hashed),
        event=table,
        event_text=name,
        user_id=user,
        anonymous_id=anonymous,
        times=times,
        context=columns(context, context_column, MOST_CONTEXT, left),
        properties=columns(properties, property_column, MOST_PROPERTIES, lost),
        extra=left,
        lost=lost,
    )
    return event


def columns(record: Object, name_of: Callable[[str], str], most: int, lost: Object) -> Object:
    """The values of an object by column; those that get none go to `lost`."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for key, value in leaves(record, "", 1):
        found.setdefault(name_of(key), []).append((key, value))
    kept: Object = {}
    for name, values in found.items():
        winner = next((one for one in values if name in (one[0], f"context_{one[0]}")), values[0])
        kept[name] = winner[1]
        for one in values:
            if one is not winner:
                put_extra(lost, *one)
    for name in sorted(kept, key=lambda name: name not in DECLARED_NAMES)[most:]:
        put_extra(lost, name, kept.pop(name))
    return kept


def leaves(record: Object, above: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if type(value) is dict and depth < MOST_DEPTH:
            yield from leaves(value, f"{above}{key}.", depth + 1)
        elif value is not None:
            yield above + key, value
