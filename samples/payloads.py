"""One event in each form in which events arrive."""

import random
from collections.abc import Callable
from typing import Literal, NamedTuple, cast

from samples.values import (
    EVENT_NAMES,
    LIBRARY,
    USER_AGENTS,
    Json,
    Mailing,
    Person,
    choose,
    identifiers_of,
    iso,
    seconds,
    ulid,
    uuid,
)

Form = Literal["track", "webhook", "specification", "legacy"]
# fmt: off
OTHER_WEBHOOKS = (
    ("sms", "sent"), ("push", "delivered"), ("customer", "unsubscribed"), ("sms", "delivered"),
    ("push", "opened"), ("customer", "subscribed"),
    ("customer", "cio_subscription_preferences_changed"))
# fmt: on


class Delivery(NamedTuple):
    """One e-mail to one person; all its events arrive in one form."""

    mailing: Mailing
    person: Person
    form: Form
    flagged: bool  # whether its opens and clicks say if a machine made them
    details: Json  # what generation B and the webhook say alike about it


class Event(NamedTuple):
    """One thing that happened to a delivery."""

    delivery: Delivery
    metric: str
    at: int  # when it happened
    arrival: int  # when it reached the receiver
    more: Json  # properties that only this metric has


class Extras(NamedTuple):
    """What a caller wants in the events beyond the ordinary."""

    properties: int  # distinct further properties; each event carries two of them
    conflicts: float  # share of events with a value of a type that does not fit


def _track(event: Event, rng: random.Random) -> Json:
    """A Segment track call of generation B, as a line of Segment's archive."""
    person = event.delivery.person
    return {
        "anonymousId": None if person.id else person.email,
        "channel": "server",
        "context": LIBRARY | {"traits": {"email": person.email}},
        "event": EVENT_NAMES[event.metric],
        "integrations": {},
        "messageId": uuid(f"{rng.getrandbits(128):032x}"),
        "originalTimestamp": iso(event.at),
        "projectId": "sampleProject",
        "properties": event.delivery.details | event.more,
        "receivedAt": iso(event.arrival),
        "sentAt": iso(event.arrival - 118),
        "timestamp": iso(event.at),
        "type": "track",
        "userId": person.id,
        "version": 2,
    }


def _specification(event: Event, rng: random.Random) -> Json:
    """A Segment track call of generation A: the Email specification, where ids are words."""
    mailing, person = event.delivery.mailing, event.delivery.person
    metric, name = event.metric, EVENT_NAMES[event.metric]
    context: Json = {"traits": {"email": person.email}}
    email_id = str(event.delivery.details["delivery_id"])[-9:]
    properties: Json = {"email_id": email_id, "email_subject": mailing.subject}
    properties |= {"campaign_id": str(mailing.ids["campaign_id"]), "campaign_name": mailing.name}
    if metric not in ("delivered", "bounced"):
        context["ip"] = f"192.0.2.{1 + person.number % 250}"
        context["user_agent"] = USER_AGENTS[person.number % len(USER_AGENTS)]
    if metric == "clicked":
        link = event.more["link_id"]
        properties |= {"link_id": f"link-{link}", "link_url": event.more["href"]}
    if metric == "unsubscribed":
        properties |= {"list_id": "12", "list_name": "Garden news"}
        name = "Unsubscribed"  # the specification's own name
    call: Json = {"type": "track", "event": name, "messageId": f"ajs-{rng.getrandbits(64):016x}"}
    call |= {"userId": person.id} if person.id else {"anonymousId": person.email}
    call |= {"timestamp": iso(event.at), "receivedAt": iso(event.arrival)}
    return call | {"context": context, "properties": properties}


def _webhook(event: Event, rng: random.Random) -> Json:
    """A reporting webhook; it has no time of arrival of its own."""
    identifiers: Json = {"identifiers": identifiers_of(event.delivery.person)}
    data = event.delivery.details | identifiers | event.more
    return _envelope("email", event.metric, event.at, data, rng)


def _legacy(event: Event, rng: random.Random) -> Json:
    """A webhook of the first version: every id is a string, and email_id is not a delivery."""
    mailing, person = event.delivery.mailing, event.delivery.person
    data: Json = {"customer_id": person.id or "", "email_address": person.email}
    data |= {"email_id": str(mailing.ids["action_id"]), "subject": mailing.subject}
    data |= {"campaign_id": str(mailing.ids["campaign_id"]), "campaign_name": mailing.name}
    if event.metric == "clicked":
        data |= {"href": event.more["href"], "link_id": str(event.more["link_id"])}
    envelope: Json = {"event_type": f"email_{event.metric}"}
    envelope |= {"event_id": f"{rng.getrandbits(80):020x}", "timestamp": seconds(event.at)}
    return envelope | {"data": data}


RENDER: dict[Form, Callable[[Event, random.Random], Json]] = {
    "track": _track,
    "webhook": _webhook,
    "specification": _specification,
    "legacy": _legacy,
}


def other_webhook(at: int, person: Person, rng: random.Random) -> Json:
    """A webhook about something other than e-mail."""
    channel, metric = choose(OTHER_WEBHOOKS, rng)
    data: Json = {"customer_id": person.id or "", "identifiers": identifiers_of(person)}
    if channel == "customer":
        data["email_address"] = person.email
        if metric.endswith("changed"):
            data["content"] = '{"topics":{"topic_1":true,"topic_2":false}}'
        return _envelope(channel, metric, at, data, rng)
    data |= {"action_id": 71, "campaign_id": 25, "delivery_id": f"RPIL{rng.getrandbits(96):024x}"}
    if channel == "sms":
        data["recipient"] = f"+1555010{person.number % 10}"
    else:
        token = f"fcm-token-{person.number:06}"
        data["recipients"] = [{"device_id": token, "device_platform": "android"}]
    return _envelope(channel, metric, at, data, rng)


def _envelope(channel: str, metric: str, at: int, data: Json, rng: random.Random) -> Json:
    envelope: Json = {"data": data, "event_id": ulid(at, rng), "object_type": channel}
    return envelope | {"metric": metric, "timestamp": seconds(at)}


def batch_envelope(group: list[Delivery], now: int, rng: random.Random, extras: Extras) -> Json:
    """Several calls in one request, before Segment has stamped them with a time of arrival."""
    calls = []
    for delivery in group:
        call = _track(Event(delivery, "delivered", now, now, {}), rng)
        call = add_extras(call, rng, extras)
        call["context"] = {"traits": {"email": delivery.person.email}}
        kept = ("type", "event", "messageId", "timestamp", "context", "properties")
        who = "userId" if delivery.person.id else "anonymousId"
        calls.append({key: call[key] for key in (*kept, who)})
    return {"batch": calls, "context": LIBRARY, "integrations": {}, "sentAt": iso(now + 2_400)}


def add_extras(record: Json, rng: random.Random, extras: Extras) -> Json:
    """Put the caller's extra properties and unfitting values into a record's properties."""
    data = cast(Json, record["properties" if "properties" in record else "data"])
    if extras.properties > 0:
        bits = rng.getrandbits(32)
        for number in (bits, bits + 1 + (bits >> 16) % max(1, extras.properties - 1)):
            number %= extras.properties
            value = bits >> 12
            # Integer, text, boolean, fraction in turn: a property keeps its type.
            data[f"extra_{number}"] = (value, f"v{value}", value % 2 == 0, value + 0.25)[number % 4]
    if extras.conflicts and rng.random() < extras.conflicts:
        data |= choose(({"campaign_id": "n/a"}, {"action_id": 1.5}), rng)
    return record
