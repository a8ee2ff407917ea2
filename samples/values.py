"""The invented workspace: its mailings and people, and how ids and times are written.

Only arithmetic that no platform rounds differently is used: no `**`, no `math`, and of the random
generator only `random()` and `getrandbits()`.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

Json = dict[str, object]
T = TypeVar("T")

SECOND, DAY = 1_000, 86_400_000
MONTH = 30 * DAY
START_SECONDS = 1_788_220_800  # 2026-09-01T00:00:00Z; all times below count milliseconds from it
# October is there for what is planned near the month's end, though little of it is ever written.
DATES = [f"2026-09-{day:02}" for day in range(1, 31)] + [f"2026-10-{d:02}" for d in range(1, 32)]
MINUTES = [f"T{minute // 60:02}:{minute % 60:02}:" for minute in range(1440)]


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
EVENT_NAMES = {
    "delivered": "Email Delivered", "opened": "Email Opened", "clicked": "Email Link Clicked",
    "unsubscribed": "Email Unsubscribed", "bounced": "Email Bounced",
    "spammed": "Email Marked as Spam"}
LINKS = ("https://example.com/offer?utm_source=cio", "https://example.com/account",
         "https://shop.example.org/bulbs?list=autumn&page=2", "https://example.net/blog/first-frost")
FAILURES = ("550 5.1.1 mailbox unavailable", "552 5.2.2 mailbox full", "554 5.7.1 message refused")
USER_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Macintosh)", "SampleMail/7.2")
FIRST_NAMES = ("ada", "bruno", "chiara", "dmitri", "elif", "femi", "greta", "hugo", "ines", "jonas",
               "kofi", "lena", "mateo", "nora", "oscar", "priya", "quinn", "rosa", "sven", "tala")
LAST_NAMES = ("sample", "fielding", "marsh", "oakes", "pine", "rivers", "stone", "thorne", "vale")
# fmt: on

LIBRARY: Json = {
    "integration": {"name": "customer.io", "version": "1.0.0"},
    "library": {"name": "analytics-go", "version": "3.0.0"},
}


class Person(NamedTuple):
    """Somebody who gets e-mail; everything about them follows from their number."""

    number: int
    id: str | None  # None: only the e-mail address is known
    email: str


def count_people(events: int) -> int:
    return min(50_000, max(200, events // 10))


def make_person(number: int) -> Person:
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number // len(FIRST_NAMES) % len(LAST_NAMES)]
    domain = ("example.com", "example.org", "example.net")[number % 7 % 3]
    user_id = None if number % 8 == 7 else f"u_{1000 + number}"
    return Person(number=number, id=user_id, email=f"{first}.{last}{number}@{domain}")


def identifiers_of(person: Person) -> Json:
    return {"id": person.id, "email": person.email, "cio_id": f"d9c106{person.number:06x}"}


def draw_link(rng: random.Random) -> Json:
    number = int(rng.random() * len(LINKS))
    return {"href": LINKS[number], "link_id": number + 1}


def choose(values: Sequence[T], rng: random.Random) -> T:
    return values[int(rng.random() * len(values))]


def uuid(digits: str) -> str:
    """Shape 32 hexadecimal digits as a random UUID, which the version and the variant mark."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def ulid(at: int, rng: random.Random) -> str:
    """Return 26 characters of Crockford's base 32: a time, then chance."""
    value = (START_SECONDS * SECOND + at) << 80 | rng.getrandbits(80)
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> s & 31] for s in range(125, -5, -5))


def seconds(at: int) -> int:
    return START_SECONDS + at // SECOND


def iso(at: int) -> str:
    day, rest = divmod(at, DAY)
    minute, rest = divmod(rest, 60_000)
    return f"{DATES[day]}{MINUTES[minute]}{rest // 1000:02}.{rest % 1000:03}Z"
