"""`segment`: plain bulk for benchmarks, track calls that differ in their ids and choices."""

import json
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping

from samples.payloads import Extras, add_extras
from samples.values import (
    CAMPAIGNS,
    DATED,
    EVENT_NAMES,
    FAILURES,
    LIBRARY,
    LINKS,
    MONTH,
    Json,
    count_people,
    iso,
    uuid,
)

SEGMENT_SHARES = (0.50, 0.80, 0.90, 0.93, 0.98, 1.0)  # cumulative, in the order of EVENT_NAMES


def segment(events: int, rng: random.Random, extras: Extras) -> Iterator[bytes]:
    """Fill one template with the bits of one random number per event: json.dumps is too slow."""
    people = count_people(events)
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
        time, sent, received = iso(at), iso(at + 900 + lag), iso(at + 1_018 + lag)
        if special:
            properties: Json = {**mailing.ids}
            add_extras({"properties": properties}, rng, extras)
            ids = _fragment(properties)
        yield (
            f'{{{anonymous}"channel":"server","context":{{{context},'
            f'"traits":{{"email":"person.{person}@example.com"}}}},"event":"{name}",'
            f'"integrations":{{}},"messageId":"{uuid(digits)}","originalTimestamp":"{time}",'
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
