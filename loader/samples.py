"""Sample events: an invented month of Customer.io e-mail, for trying things out and for measuring.

`mixed` tells the story of a small workspace in every form in which events arrive, with the
troubles of real inputs; `segment` is plain bulk for benchmarks. The same arguments give the same
bytes everywhere, so only arithmetic that no platform rounds differently is used: no `**`, no
`math`, and of the random generator only `random()` and `getrandbits()`.
"""

import argparse
import base64
import gzip
import heapq
import json
import os
import random
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeVar, cast, get_args

__all__ = ["Shape", "generate", "main"]

Shape = Literal["mixed", "segment"]
Form = Literal["track", "webhook", "specification", "legacy"]
Json = dict[str, object]
T = TypeVar("T")

SECOND, DAY = 1_000, 86_400_000
MONTH = 30 * DAY
START_SECONDS = 1_788_220_800  # 2026-09-01T00:00:00Z; all times below count milliseconds from it
# October is there for what is planned near the month's end, though little of it is ever written.
DATES = [f"2026-09-{day:02}" for day in range(1, 31)] + [f"2026-10-{d:02}" for d in range(1, 32)]
MINUTES = [f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(1440)]

LONGEST_WAIT = 3 * 86_400  # seconds from a delivery to the last first open
WINDOW = 10_000  # lines that may wait for their time: what bounds the memory of a large sample
RECENT = 1_000  # lines that a duplicate is taken from
DEFAULT_DUPLICATES = {"mixed": 0.01, "segment": 0.0}
DEFAULT_BROKEN = {"mixed": 1 / 400, "segment": 0.0}


class Mailing(NamedTuple):
    """One campaign, newsletter, broadcast or transactional message."""

    name: str
    subject: str
    opened: float  # share of delivered e-mails that a person opens
    clicked: float  # share of opened ones that get a click
    ids: dict[str, int]  # the ids that its events carry, by property name


# fmt: off
CAMPAIGNS = (
    Mailing("Welcome", "Thanks for joining!", 0.72, 0.34, {"action_id": 36, "campaign_id": 6}),
    Mailing("Basket", "You left something behind", 0.48, 0.41,
            {"action_id": 41, "campaign_id": 11, "parent_action_id": 40}),
    Mailing("Renewal", "Your plan renews soon", 0.57, 0.22, {"action_id": 58, "campaign_id": 21}),
    Mailing("Win back", "We miss you", 0.19, 0.09, {"action_id": 47, "campaign_id": 14}),
    Mailing("Receipt", "Your receipt", 0.83, 0.06, {"transactional_message_id": 2}),
)
DATED = {  # newsletters and a broadcast, by the day of the month on which they go out
    3: Mailing("Harvest", "What to harvest now", 0.38, 0.15,
               {"newsletter_id": 736, "content_id": 1146}),
    10: Mailing("Bulb sale", "20 % off all bulbs", 0.29, 0.27,
                {"newsletter_id": 741, "content_id": 1152}),
    15: Mailing("Prices", "Our prices from October", 0.66, 0.11,
                {"action_id": 37, "broadcast_id": 9, "trigger_id": 1}),
    17: Mailing("Stories", "Grüße aus dem Garten", 0.44, 0.12,
                {"newsletter_id": 748, "content_id": 1160}),
    24: Mailing("Frost alert", "First frost? ❄ Be ready", 0.53, 0.18,
                {"newsletter_id": 755, "content_id": 1171}),
}
FORMS: tuple[Form, ...] = ("track", "webhook", "specification", "legacy")
FORM_SHARES = (0.50, 0.80, 0.92, 1.0)  # cumulative, in the order of FORMS
EVENT_NAMES = {
    "delivered": "Email Delivered", "opened": "Email Opened", "clicked": "Email Link Clicked",
    "unsubscribed": "Email Unsubscribed", "bounced": "Email Bounced",
    "spammed": "Email Marked as Spam"}
SEGMENT_SHARES = (0.50, 0.80, 0.90, 0.93, 0.98, 1.0)  # cumulative, in the order of EVENT_NAMES
OTHER_WEBHOOKS = (
    ("sms", "sent"), ("push", "delivered"), ("customer", "unsubscribed"), ("sms", "delivered"),
    ("push", "opened"), ("customer", "subscribed"),
    ("customer", "cio_subscription_preferences_changed"))
LINKS = ("https://example.com/offer?utm_source=cio", "https://example.com/account",
         "https://shop.example.org/bulbs?list=autumn&page=2", "https://example.net/blog/first-frost")
FAILURES = ("550 5.1.1 mailbox unavailable", "552 5.2.2 mailbox full", "554 5.7.1 message refused")
USER_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Macintosh)", "SampleMail/7.2")
FIRST_NAMES = ("ada", "bruno", "chiara", "dmitri", "elif", "femi", "greta", "hugo", "ines", "jonas",
               "kofi", "lena", "mateo", "nora", "oscar", "priya", "quinn", "rosa", "sven", "tala")
LAST_NAMES = ("sample", "fielding", "marsh", "oakes", "pine", "rivers", "stone", "thorne", "vale")
# fmt: on
# Newsletter days are the busy ones, and little goes out on a weekend (the 1st is a Tuesday).
DAY_WEIGHTS = [8 if d in DATED else 1 if d % 7 in (5, 6) else 2 for d in range(1, 31)]
DAY_ENDS = list(accumulate(DAY_WEIGHTS))

LIBRARY: Json = {
    "integration": {"name": "customer.io", "version": "1.0.0"},
    "library": {"name": "analytics-go", "version": "3.0.0"},
}


class Person(NamedTuple):
    """Somebody who gets e-mail; everything about them follows from their number."""

    number: int
    id: str | None  # None: only the e-mail address is known
    email: str


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


def generate(
    events: int,
    *,
    seed: int = 1,
    shape: Shape = "mixed",
    extra_properties: int = 0,
    conflicts: float = 0.0,
    duplicates: float | None = None,
    broken: float | None = None,
) -> Iterator[bytes]:
    """Yield `events` lines of NDJSON, in memory that does not depend on how many.

    `conflicts`, `duplicates` and `broken` are shares of the lines from 0 to 1; None means the
    shape's own default. In `mixed` a line now and then is a batch envelope of three calls.
    """
    duplicates = DEFAULT_DUPLICATES[shape] if duplicates is None else duplicates
    broken = DEFAULT_BROKEN[shape] if broken is None else broken
    extras = Extras(extra_properties, conflicts)
    make = _mixed if shape == "mixed" else _segment
    lines = make(events, random.Random(seed), extras)
    if not duplicates and not broken:
        return lines
    return _with_trouble(lines, events, random.Random(f"trouble {seed}"), duplicates, broken)


# --- the month: mixed ------------------------------------------------------------------------


def _mixed(events: int, rng: random.Random, extras: Extras) -> Iterator[bytes]:
    """Give each line a moment of the month: what is due then goes first, else a new e-mail."""
    people = _people(events)
    # Opens come days later. In a large sample those days hold too many lines to keep waiting,
    # so people get quicker there.
    pace = min(1.0, WINDOW * (MONTH / SECOND) / LONGEST_WAIT / max(events, 1))
    waiting: list[tuple[int, int, bytes]] = []
    serial = 0
    for slot in range(events):
        now = _moment(slot / events)
        if not waiting or waiting[0][0] > now:
            for due, line in _begin(now, people, pace, rng, extras):
                serial += 1  # so that two lines of one moment are never compared by content
                heapq.heappush(waiting, (due, serial, line))
        yield heapq.heappop(waiting)[2]


def _moment(share: float) -> int:
    """Return when that share of the month's lines has been written: busy days, quiet nights."""
    done = share * DAY_ENDS[-1]
    day = bisect_right(DAY_ENDS, done)
    within = (done - DAY_ENDS[day]) / DAY_WEIGHTS[day] + 1.0
    return day * DAY + 6 * DAY // 24 + int(within * 16 / 24 * DAY)


def _begin(
    now: int, people: int, pace: float, rng: random.Random, extras: Extras
) -> Iterator[tuple[int, bytes]]:
    """Yield what follows from one new message, as lines with the time of their arrival."""
    roll = rng.random()
    now -= now % SECOND  # Customer.io's clock ticks in seconds
    if roll < 0.02:
        person = _person(int(rng.random() * people))
        yield now + 2 * SECOND, _line(_other_webhook(now, person, rng))
        return
    mailing = _mailing(now, rng)
    form = FORMS[bisect_right(FORM_SHARES, rng.random())]
    if "campaign_id" not in mailing.ids and form in ("specification", "legacy"):
        form = "track"  # the old forms can only say campaign_id
    batched = form == "track" and roll > 0.99
    group = [_delivery(mailing, form, people, rng) for _ in range(3 if batched else 1)]
    if batched:
        yield now + 3 * SECOND, _line(_batch_envelope(group, now, rng, extras))
    for delivery in group:
        for wait, metric, more in _story(delivery, pace, batched, rng):
            at = now + wait * SECOND
            arrival = at + 1_000 + int(rng.random() * 3_000)
            if form == "webhook" and rng.random() < 0.01:
                arrival += int(rng.random() * pace * DAY / 4)  # the endpoint was down for a while
            record = RENDER[form](Event(delivery, metric, at, arrival, more), rng)
            yield arrival, _line(_add_extras(record, rng, extras))


def _mailing(now: int, rng: random.Random) -> Mailing:
    """Choose what is sent: on the day of a newsletter mostly that."""
    dated = DATED.get(now // DAY + 1)
    if dated and rng.random() < 0.75:
        return dated
    return _choose(CAMPAIGNS, rng)


def _delivery(mailing: Mailing, form: Form, people: int, rng: random.Random) -> Delivery:
    person = _person(int(rng.random() * people))
    size = 25 if "newsletter_id" in mailing.ids else 21  # newsletters have the longer, padded ids
    raw = rng.getrandbits(8 * (size - 4)).to_bytes(size - 4, "big")
    delivery_id = base64.urlsafe_b64encode(b"D\xf2\x0b\x02" + raw).decode()
    details: Json = {**mailing.ids, "customer_id": person.id or "", "delivery_id": delivery_id}
    if "action_id" in mailing.ids:
        details["journey_id"] = _ulid(0, rng)
    if "campaign_id" in mailing.ids:
        details["trigger_event_id"] = _ulid(0, rng) if rng.random() < 0.7 else None
    others = ", team@example.org" if rng.random() < 0.01 else ""
    details |= {"recipient": person.email + others, "subject": mailing.subject}
    return Delivery(mailing, person, form, rng.random() < 0.6, details)


def _story(
    delivery: Delivery, pace: float, batched: bool, rng: random.Random
) -> Iterator[tuple[int, str, Json]]:
    """Yield what happens to an e-mail: seconds since it was sent, metric, further properties.

    `batched`: a batch envelope has said already that it was delivered.
    """

    def after(earlier: int, longest: int) -> int:
        chance = rng.random()  # its cube: most people react soon
        return earlier + 1 + int(chance * chance * chance * longest * pace)

    mailing, number = delivery.mailing, delivery.person.number
    if delivery.form == "webhook":
        roll = rng.random()
        if roll < 0.03:
            why = ("dropped", "suppressed") if roll < 0.015 else ("undeliverable", "message limit")
            yield 0, why[0], {"failure_message": why[1]}
            return
        if roll < 0.4:
            body: Json = {"content": "<p>Hello!</p>", "headers": {"X-Tag": [mailing.name]}}
            yield 0, "sent", body if roll < 0.1 else {}
    delivered = after(0, 30)
    if not batched and rng.random() < 0.04:
        yield delivered, "bounced", {"failure_message": _choose(FAILURES, rng)}
        return
    if not batched:
        yield delivered, "delivered", {}

    if number % 3 == 0 and rng.random() < 0.6:  # a mail client or a scanner that fetches at once
        fetched = after(delivered, 120)
        yield fetched, "opened", {"proxied": True, "prefetched": True}
        if rng.random() < 0.1:
            yield after(fetched, 5), "clicked", _link(rng) | {"machine": True}
    if number % 5 == 4 or rng.random() >= mailing.opened:
        return  # some people never look

    opened = after(delivered, LONGEST_WAIT)
    if rng.random() < 0.04:  # pictures are blocked: the open is inferred, in the click's second
        yield opened, "clicked", _link(rng)
        yield opened, "opened", {"synthetic": True}
        return
    flags: Json = {"proxied": rng.random() < 0.3, "prefetched": False} if delivery.flagged else {}
    yield opened, "opened", flags
    if rng.random() < 0.25:
        yield after(opened, 86_400), "opened", flags
    if rng.random() < mailing.clicked:
        clicked = after(opened, 600)
        yield clicked, "clicked", _link(rng) | ({"machine": False} if delivery.flagged else {})
        if delivery.form == "webhook" and rng.random() < 0.3:
            yield after(clicked, 43_200), "converted", {}
    leaves = rng.random()
    if leaves < 0.05:
        yield after(opened, 300), "unsubscribed" if leaves < 0.035 else "spammed", {}


def _track(event: Event, rng: random.Random) -> Json:
    """A Segment track call of generation B, as a line of Segment's archive."""
    person = event.delivery.person
    return {
        "anonymousId": None if person.id else person.email,
        "channel": "server",
        "context": LIBRARY | {"traits": {"email": person.email}},
        "event": EVENT_NAMES[event.metric],
        "integrations": {},
        "messageId": _uuid(f"{rng.getrandbits(128):032x}"),
        "originalTimestamp": _iso(event.at),
        "projectId": "sampleProject",
        "properties": event.delivery.details | event.more,
        "receivedAt": _iso(event.arrival),
        "sentAt": _iso(event.arrival - 118),
        "timestamp": _iso(event.at),
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
    call |= {"timestamp": _iso(event.at), "receivedAt": _iso(event.arrival)}
    return call | {"context": context, "properties": properties}


def _webhook(event: Event, rng: random.Random) -> Json:
    """A reporting webhook; it has no time of arrival of its own."""
    identifiers: Json = {"identifiers": _identifiers(event.delivery.person)}
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
    envelope |= {"event_id": f"{rng.getrandbits(80):020x}", "timestamp": _seconds(event.at)}
    return envelope | {"data": data}


RENDER: dict[Form, Callable[[Event, random.Random], Json]] = {
    "track": _track,
    "webhook": _webhook,
    "specification": _specification,
    "legacy": _legacy,
}


def _other_webhook(at: int, person: Person, rng: random.Random) -> Json:
    """A webhook about something other than e-mail."""
    channel, metric = _choose(OTHER_WEBHOOKS, rng)
    data: Json = {"customer_id": person.id or "", "identifiers": _identifiers(person)}
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
    envelope: Json = {"data": data, "event_id": _ulid(at, rng), "object_type": channel}
    return envelope | {"metric": metric, "timestamp": _seconds(at)}


def _batch_envelope(group: list[Delivery], now: int, rng: random.Random, extras: Extras) -> Json:
    """Several calls in one request, before Segment has stamped them with a time of arrival."""
    calls = []
    for delivery in group:
        call = _track(Event(delivery, "delivered", now, now, {}), rng)
        call = _add_extras(call, rng, extras)
        call["context"] = {"traits": {"email": delivery.person.email}}
        kept = ("type", "event", "messageId", "timestamp", "context", "properties")
        who = "userId" if delivery.person.id else "anonymousId"
        calls.append({key: call[key] for key in (*kept, who)})
    return {"batch": calls, "context": LIBRARY, "integrations": {}, "sentAt": _iso(now + 2_400)}


# --- bulk: segment ---------------------------------------------------------------------------


def _segment(events: int, rng: random.Random, extras: Extras) -> Iterator[bytes]:
    """Fill one template with the bits of one random number per event: json.dumps is too slow."""
    people = _people(events)
    names = [_name_at(n / 1024) for n in range(1024)]
    tails = _segment_tails()
    mailings = [(_fragment(m.ids), m) for m in (*CAMPAIGNS, *DATED.values())]
    context = _fragment(LIBRARY)
    special = bool(extras.properties or extras.conflicts)
    for number in range(events):
        bits = rng.getrandbits(256)
        digits = f"{bits:064x}"  # 50 hexadecimal digits for ids; the other 56 bits for choices
        bits &= 0xFFFFFFFFFFFFFF
        name = names[bits & 1023]
        choices = tails[name]
        tail = choices[(bits >> 10 & 1023) % len(choices)]
        person = (bits >> 20 & 0xFFFFF) % people
        ids, mailing = mailings[(bits >> 40 & 63) % len(mailings)]
        lag = bits >> 46
        anonymous = '"anonymousId":null,' if lag & 3 else ""  # null or absent: Segment has both
        at = number * MONTH // events + lag
        time, sent, received = _iso(at), _iso(at + 900 + lag), _iso(at + 1_018 + lag)
        if special:
            properties: Json = {**mailing.ids}
            _add_extras({"properties": properties}, rng, extras)
            ids = _fragment(properties)
        yield (
            f'{{{anonymous}"channel":"server","context":{{{context},'
            f'"traits":{{"email":"person.{person}@example.com"}}}},"event":"{name}",'
            f'"integrations":{{}},"messageId":"{_uuid(digits)}","originalTimestamp":"{time}",'
            f'"projectId":"sampleProject","properties":{{{ids},"customer_id":"u_{person}",'
            f'"delivery_id":"RPILAgUBcR{digits[32:50]}",'
            f'"journey_id":"01K4GW20GXAAXBKZD8{person:08}",'
            f'"trigger_event_id":"01K4C3CT6YDC7Y4N7F{person % 997:08}",'
            f'"recipient":"person.{person}@example.com","subject":"{mailing.subject}"{tail}}},'
            f'"receivedAt":"{received}","sentAt":"{sent}","timestamp":"{time}","type":"track",'
            f'"userId":"u_{person}","version":2}}\n'
        ).encode()


def _name_at(share: float) -> str:
    return list(EVENT_NAMES.values())[bisect_right(SEGMENT_SHARES, share)]


def _segment_tails() -> dict[str, list[str]]:
    """Return the ready-made endings that a collection's properties may have, one to be drawn."""
    flags = (False, False, True)
    tails: dict[str, list[Json]] = {name: [{}] for name in EVENT_NAMES.values()}
    tails["Email Opened"] = [{"proxied": p, "prefetched": f} for p in flags for f in flags]
    tails["Email Opened"].append({"synthetic": True})
    tails["Email Link Clicked"] = [
        {"href": href, "link_id": n, "machine": machine}
        for n, href in enumerate(LINKS, 1)
        for machine in flags
    ]
    tails["Email Bounced"] = [{"failure_message": failure} for failure in FAILURES]
    return {name: ["," + _fragment(j) if j else "" for j in some] for name, some in tails.items()}


def _fragment(value: Mapping[str, object]) -> str:
    """Return an object's JSON without its braces, to go into a larger object."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))[1:-1]


# --- trouble ---------------------------------------------------------------------------------


def _with_trouble(
    lines: Iterator[bytes], events: int, rng: random.Random, duplicates: float, broken: float
) -> Iterator[bytes]:
    """Put copies of earlier lines and lines that cannot be loaded between the good ones."""
    recent: list[bytes] = []
    good = kind = 0
    for _ in range(events):
        roll = rng.random()
        if roll < broken:
            yield _broken_line(kind, recent[-1] if recent else b'{"type":"track","event":"Email')
            kind += 1  # in turn, so that even a small sample has each kind
            continue
        if roll < broken + duplicates and recent:
            yield recent[int(rng.random() * len(recent))]
            continue
        line = next(lines)
        if len(recent) < RECENT:
            recent.append(line)
        else:
            recent[good % RECENT] = line
        good += 1
        yield line


def _broken_line(kind: int, good: bytes) -> bytes:
    """Return a line of the next kind: cut, not an object, not a track call, not UTF-8."""
    what = kind % 6
    if what == 0:
        return good.rstrip(b"\n")[: len(good) // 2] + b"\n"
    if what == 1:
        return b"[1, 2, 3]\n"
    if what == 2:
        return b'"Email Opened"\n'
    call = f'"messageId":"broken-{kind}","userId":"u_1000","timestamp":"2026-09-15T08:00:00.000Z"'
    if what == 3:
        return f'{{"type":"identify",{call},"traits":{{"plan":"basic"}}}}\n'.encode()
    if what == 4:
        return f'{{"type":"track",{call},"properties":{{"campaign_id":6}}}}\n'.encode()
    text = f'{{"type":"track","event":"Email Opened",{call},"properties":{{"subject":"Grüße"}}}}\n'
    return text.encode("latin-1")  # from a tool that does not know of UTF-8


def _add_extras(record: Json, rng: random.Random, extras: Extras) -> Json:
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
        data |= _choose(({"campaign_id": "n/a"}, {"action_id": 1.5}), rng)
    return record


# --- people, ids, times ----------------------------------------------------------------------


def _people(events: int) -> int:
    return min(50_000, max(200, events // 10))


def _person(number: int) -> Person:
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number // len(FIRST_NAMES) % len(LAST_NAMES)]
    domain = ("example.com", "example.org", "example.net")[number % 7 % 3]
    user_id = None if number % 8 == 7 else f"u_{1000 + number}"
    return Person(number=number, id=user_id, email=f"{first}.{last}{number}@{domain}")


def _identifiers(person: Person) -> Json:
    return {"id": person.id, "email": person.email, "cio_id": f"d9c106{person.number:06x}"}


def _link(rng: random.Random) -> Json:
    number = int(rng.random() * len(LINKS))
    return {"href": LINKS[number], "link_id": number + 1}


def _choose(values: Sequence[T], rng: random.Random) -> T:
    return values[int(rng.random() * len(values))]


def _uuid(digits: str) -> str:
    """Shape 32 hexadecimal digits as a random UUID, which the version and the variant mark."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def _ulid(at: int, rng: random.Random) -> str:
    """Return 26 characters of Crockford's base 32: a time, then chance."""
    value = (START_SECONDS * SECOND + at) << 80 | rng.getrandbits(80)
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> s & 31] for s in range(125, -5, -5))


def _seconds(at: int) -> int:
    return START_SECONDS + at // SECOND


def _iso(at: int) -> str:
    day, rest = divmod(at, DAY)
    minute, rest = divmod(rest, 60_000)
    return f"{DATES[day]}{MINUTES[minute]}{rest // 1000:02}.{rest % 1000:03}Z"


def _line(event: Json) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# --- the command -----------------------------------------------------------------------------


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loader.samples", description="Write invented Customer.io events as NDJSON."
    )
    add = parser.add_argument
    add("--events", type=int, default=5000, help="number of lines (default 5000)")
    add("--seed", type=int, default=1, help="another seed, another sample (default 1)")
    add("--shape", choices=get_args(Shape), default="mixed", help="mixed: all forms; segment: bulk")
    add("--extra-properties", type=int, default=0, metavar="N", help="distinct ones to spread")
    add("--conflicts", type=_fraction, default=0.0, metavar="F", help="share of unfitting values")
    add("--duplicates", type=_fraction, metavar="F", help="share of repeated lines")
    add("--broken", type=_fraction, metavar="F", help="share of lines that cannot be loaded")
    add("--gzip", action="store_true", help="compress; the same bytes each time")
    add("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    return parser.parse_args(argv)


def _write(lines: Iterator[bytes], out: BinaryIO, *, compress: bool) -> None:
    """Write all lines; a gzip header gets neither name nor time, or no two would be alike."""
    if compress:
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0) as packed:
            _write(lines, cast(BinaryIO, packed), compress=False)
        return
    while chunk := b"".join(islice(lines, 1000)):
        out.write(chunk)


def main(argv: Sequence[str] | None = None) -> int:
    """Write a sample to a file or to standard output; a file appears only when it is whole."""
    args = vars(_arguments(argv))
    output, compress = args.pop("output"), args.pop("gzip")
    lines = generate(args.pop("events"), **args)
    if output is None:
        try:
            _write(lines, sys.stdout.buffer, compress=compress)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough; Python must not flush again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as out:
            _write(lines, out, compress=compress)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
