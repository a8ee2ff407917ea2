"""`mixed`: the month of a small workspace, in every form in which events arrive."""

import base64
import heapq
import json
import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from samples.payloads import (
    RENDER,
    Delivery,
    Event,
    Extras,
    Form,
    add_extras,
    batch_envelope,
    other_webhook,
)
from samples.values import (
    CAMPAIGNS,
    DATED,
    DAY,
    FAILURES,
    MONTH,
    SECOND,
    Json,
    Mailing,
    choose,
    count_people,
    draw_link,
    make_person,
    ulid,
)

FORMS: tuple[Form, ...] = ("track", "webhook", "specification", "legacy")
FORM_SHARES = (0.50, 0.80, 0.92, 1.0)  # cumulative, in the order of FORMS
LONGEST_WAIT = 3 * 86_400  # seconds from a delivery to the last first open
WINDOW = 10_000  # lines that may wait for their time: what bounds the memory of a large sample
# Newsletter days are the busy ones, and little goes out on a weekend (the 1st is a Tuesday).
DAY_WEIGHTS = [8 if d in DATED else 1 if d % 7 in (5, 6) else 2 for d in range(1, 31)]
DAY_ENDS = list(accumulate(DAY_WEIGHTS))


def mixed(events: int, rng: random.Random, extras: Extras) -> Iterator[bytes]:
    """Give each line a moment of the month: what is due then goes first, else a new e-mail."""
    people = count_people(events)
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
        person = make_person(int(rng.random() * people))
        yield now + 2 * SECOND, _line(other_webhook(now, person, rng))
        return
    mailing = _mailing(now, rng)
    form = FORMS[bisect_right(FORM_SHARES, rng.random())]
    if "campaign_id" not in mailing.ids and form in ("specification", "legacy"):
        form = "track"  # the old forms can only say campaign_id
    batched = form == "track" and roll > 0.99
    group = [_delivery(mailing, form, people, rng) for _ in range(3 if batched else 1)]
    if batched:
        yield now + 3 * SECOND, _line(batch_envelope(group, now, rng, extras))
    for delivery in group:
        for wait, metric, more in _story(delivery, pace, batched, rng):
            at = now + wait * SECOND
            arrival = at + 1_000 + int(rng.random() * 3_000)
            if form == "webhook" and rng.random() < 0.01:
                arrival += int(rng.random() * pace * DAY / 4)  # the endpoint was down for a while
            record = RENDER[form](Event(delivery, metric, at, arrival, more), rng)
            yield arrival, _line(add_extras(record, rng, extras))


def _mailing(now: int, rng: random.Random) -> Mailing:
    """Choose what is sent: on the day of a newsletter mostly that."""
    dated = DATED.get(now // DAY + 1)
    if dated and rng.random() < 0.75:
        return dated
    return choose(CAMPAIGNS, rng)


def _delivery(mailing: Mailing, form: Form, people: int, rng: random.Random) -> Delivery:
    person = make_person(int(rng.random() * people))
    size = 25 if "newsletter_id" in mailing.ids else 21  # newsletters have the longer, padded ids
    raw = rng.getrandbits(8 * (size - 4)).to_bytes(size - 4, "big")
    delivery_id = base64.urlsafe_b64encode(b"D\xf2\x0b\x02" + raw).decode()
    details: Json = {**mailing.ids, "customer_id": person.id or "", "delivery_id": delivery_id}
    if "action_id" in mailing.ids:
        details["journey_id"] = ulid(0, rng)
    if "campaign_id" in mailing.ids:
        details["trigger_event_id"] = ulid(0, rng) if rng.random() < 0.7 else None
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
        yield delivered, "bounced", {"failure_message": choose(FAILURES, rng)}
        return
    if not batched:
        yield delivered, "delivered", {}

    if number % 3 == 0 and rng.random() < 0.6:  # a mail client or a scanner that fetches at once
        fetched = after(delivered, 120)
        yield fetched, "opened", {"proxied": True, "prefetched": True}
        if rng.random() < 0.1:
            yield after(fetched, 5), "clicked", draw_link(rng) | {"machine": True}
    if number % 5 == 4 or rng.random() >= mailing.opened:
        return  # some people never look

    opened = after(delivered, LONGEST_WAIT)
    if rng.random() < 0.04:  # pictures are blocked: the open is inferred, in the click's second
        yield opened, "clicked", draw_link(rng)
        yield opened, "opened", {"synthetic": True}
        return
    flags: Json = {"proxied": rng.random() < 0.3, "prefetched": False} if delivery.flagged else {}
    yield opened, "opened", flags
    if rng.random() < 0.25:
        yield after(opened, 86_400), "opened", flags
    if rng.random() < mailing.clicked:
        clicked = after(opened, 600)
        yield clicked, "clicked", draw_link(rng) | ({"machine": False} if delivery.flagged else {})
        if delivery.form == "webhook" and rng.random() < 0.3:
            yield after(clicked, 43_200), "converted", {}
    leaves = rng.random()
    if leaves < 0.05:
        yield after(opened, 300), "unsubscribed" if leaves < 0.035 else "spammed", {}


def _line(event: Json) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
