"""Each count and each rate, computed by hand on a small set of payloads of all kinds."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, track, webhook
from warehouse.folded import Place

from loader.warehouse.marts.metrics import COUNTS, RATES, rate_sql


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Place:
    place = Place(db, tmp_path)
    place.load(*EVENTS)
    return place


# payloads


def at(day: int, hour: int = 12) -> dict[str, str]:
    return {"timestamp": f"2026-03-{day:02}T{hour:02}:00:00.000Z"}


def seconds(day: int, hour: int = 12) -> dict[str, int]:
    return {"timestamp": 1_772_323_200 + (day - 1) * 86_400 + hour * 3_600}


def new(metric: str, delivery: str, when: dict[str, str], **more: Any) -> dict[str, Any]:
    """A track call of the newer generation, of campaign 6."""
    ids = {"delivery_id": delivery, "campaign_id": 6, "action_id": 36, "subject": f"Hi {delivery}"}
    return track(f"Email {metric}", **when, **ids, **more)


def old(metric: str, email: str, when: dict[str, str], **more: Any) -> dict[str, Any]:
    """A track call of the older generation: the message is its `email_id`."""
    names = {"campaign_id": "123", "campaign_name": "Welcome", "email_subject": "Thanks"}
    return track(f"Email {metric}", **when, email_id=email, **names, **more)


def hook(metric: str, delivery: str, when: dict[str, int], **more: Any) -> dict[str, Any]:
    """A reporting webhook, of newsletter 10."""
    ids = {"delivery_id": delivery, "newsletter_id": 10, "content_id": 1, "subject": "News"}
    return webhook("email", metric, **when, **ids, **more)


_legacy = iter(range(1_000))


def legacy(metric: str, person: str, when: dict[str, int]) -> dict[str, Any]:
    """A webhook of the first version: `email_id` is a template, and all ids are texts."""
    data = {"customer_id": person, "email_id": "34", "campaign_id": "33", "campaign_name": "Old"}
    return {
        "event_type": f"email_{metric}",
        "event_id": f"legacy-{next(_legacy)}",
        **when,
        "data": data,
    }


EVENTS = (
    # Campaign 6: A is opened by a machine alone, B twice by a person, C is prefetched and clicked,
    # D has no flags, E is clicked by a machine, F bounces after its delivery.
    new("Delivered", "A", at(1)),
    new("Opened", "A", at(1, 13), machine=True, prefetched=False),
    new("Delivered", "B", at(1)),
    new("Delivered", "B", at(2)),  # sent again under the same id
    new("Opened", "B", at(1, 14), machine=False, prefetched=False, proxied=True),
    new("Opened", "B", at(3), machine=False),
    new("Delivered", "C", at(1, 23)),
    new("Opened", "C", at(2), prefetched=True, proxied=True),
    new("Link Clicked", "C", at(2, 1), href="https://example.com/offer?utm_source=cio"),
    new("Link Clicked", "C", at(2, 2), href="https://example.com/offer#top"),
    new("Converted", "C", at(9)),
    new("Delivered", "D", at(2)),
    new("Opened", "D", at(2, 13)),
    new("Unsubscribed", "D", at(2, 14)),
    new("Delivered", "E", at(2)),
    new("Link Clicked", "E", at(2, 13), machine=True, href="https://example.com/offer"),
    new("Delivered", "F", at(2)),
    new("Bounced", "F", at(4), failure_message="452 4.2.2 mailbox full"),
    # Opened, clicked and left, but nobody knows of a delivery: counted nowhere by day.
    new("Opened", "G", at(2)),
    new("Link Clicked", "G", at(2), href="https://example.com/offer"),
    new("Unsubscribed", "G", at(2)),
    # Campaign 123: the older generation, one opened and one bounced without a text.
    old("Delivered", "18v", at(1)),
    old("Opened", "18v", at(1, 13)),
    old("Bounced", "19v", at(1)),
    # Newsletter 10: a click without an open, an open that stands for a click, a mark as spam.
    hook("delivered", "N1", seconds(1)),
    hook("clicked", "N1", seconds(1, 13), href="https://example.com/?utm_source=News%20Letter"),
    hook("delivered", "N2", seconds(1)),
    hook("opened", "N2", seconds(1, 13), synthetic=True),
    hook("spammed", "N2", seconds(1, 14)),
    hook("bounced", "N3", seconds(2), failure_message="550 5.1.1 <p3@example.com>: no such user"),
    # Campaign 33: two sends of one template to one person are one message.
    legacy("delivered", "u_1", seconds(1)),
    legacy("delivered", "u_1", seconds(2)),
    legacy("opened", "u_1", seconds(2, 13)),
    legacy("delivered", "u_2", seconds(1)),
)

# By what was sent: attempted, delivered, bounced, opened, human_opened, clicked, unsubscribed,
# marked_as_spam, converted; opens, human opens and clicks in all.
EXPECTED = {
    ("campaign", "6"): (6, 6, 1, 4, 3, 1, 1, 0, 1, 5, 3, 2),
    ("campaign", "123"): (2, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0),
    ("newsletter", "10"): (3, 2, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1),
    ("campaign", "33"): (2, 2, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0),
}
RATES_EXPECTED = {
    "open_rate": Decimal(7) / 11,
    "human_open_rate": Decimal(6) / 11,
    "click_rate": Decimal(2) / 11,
    "click_to_open_rate": Decimal(2) / 6,
    "unsubscribe_rate": Decimal(1) / 11,
    "spam_rate": Decimal(1) / 11,
    "bounce_rate": Decimal(3) / 13,
    "conversion_rate": Decimal(1) / 11,
}


def test_each_count_is_what_was_counted_by_hand(place: Place) -> None:
    sums = ", ".join(f"sum({count.name})::int" for count in COUNTS)
    rows = place.db.rows(
        f"SELECT message_kind, message_source_id, {sums} FROM campaign_performance GROUP BY 1, 2"
    )
    assert {(kind, id_): counts for kind, id_, *counts in rows} == {
        key: list(counts) for key, counts in EXPECTED.items()
    }


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
def test_each_rate_is_what_was_computed_by_hand(place: Place, rate: Any) -> None:
    found = place.db.value(f"SELECT {rate_sql(rate)} FROM campaign_performance")
    assert found == pytest.approx(RATES_EXPECTED[rate.name])
    nothing = place.db.value(f"SELECT {rate_sql(rate)} FROM campaign_performance WHERE false")
    assert nothing is None


def test_every_rate_has_its_literal() -> None:
    assert RATES_EXPECTED.keys() == {rate.name for rate in RATES}
    assert all(len(counts) == len(COUNTS) for counts in EXPECTED.values())


def test_what_follows_counts_on_the_day_of_the_delivery(place: Place) -> None:
    """The click on C came on the 2nd, its conversion on the 9th; F bounced on the 4th."""
    rows = place.db.rows(
        "SELECT day::text, message_name, delivered, bounced, human_opened, clicked, converted "
        "FROM campaign_performance WHERE message_source_id = '6' ORDER BY day"
    )
    assert rows == [
        ("2026-03-01", "campaign 6", 3, 0, 2, 1, 1),
        ("2026-03-02", "campaign 6", 3, 1, 1, 0, 0),
    ]


def test_the_funnel_is_in_rows(place: Place) -> None:
    rows = place.db.rows(
        "SELECT stage_number, stage, sum(messages)::int FROM email_funnel GROUP BY 1, 2 ORDER BY 1"
    )
    assert rows == [
        (1, "Delivered", 11),
        (2, "Opened by people", 6),
        (3, "Clicked", 2),
        (4, "Converted", 1),
    ]


def test_links_are_told_without_their_query_and_machines_do_not_click(place: Place) -> None:
    rows = place.db.rows(
        "SELECT day::text, message_kind, message_source_id, link, utm_source, clicks, messages "
        "FROM email_links ORDER BY 1, 2, 4, 5"
    )
    offer = "https://example.com/offer"
    assert rows == [
        ("2026-03-01", "newsletter", "10", "https://example.com/", "News Letter", 1, 1),
        ("2026-03-02", "campaign", "6", offer, "cio", 1, 1),
        ("2026-03-02", "campaign", "6", offer, None, 2, 2),
    ]


def test_bounces_are_told_by_their_code(place: Place) -> None:
    rows = place.db.rows(
        "SELECT day::text, bounce_code, bounce_class, attempted, delivered, bounced, "
        "marked_as_spam FROM deliverability WHERE bounced > 0 ORDER BY 1, 2"
    )
    assert rows == [
        ("2026-03-01", "unknown", "unknown", 1, 0, 1, 0),
        ("2026-03-02", "4.2.2", "soft", 1, 1, 1, 0),
        ("2026-03-02", "5.1.1", "hard", 1, 0, 1, 0),
    ]
    totals = "sum(attempted)::int, sum(delivered)::int, sum(bounced)::int, sum(marked_as_spam)::int"
    assert place.db.rows(f"SELECT {totals} FROM deliverability") == [(13, 11, 3, 1)]


def test_names_come_from_the_customer_the_events_the_subject_or_the_id(place: Place) -> None:
    names = "SELECT message_source_id, message_name, messages FROM messages ORDER BY 1"
    assert place.db.rows(names) == [
        ("10", "News", 3),
        ("123", "Welcome", 2),
        ("33", "Old", 2),
        ("6", "campaign 6", 6),
    ]
    place.db.execute(
        "INSERT INTO dim_messages VALUES ('campaign', '6', 'Spring'), ('newsletter', '6', 'No'), "
        "('newsletter', '10', ''), ('campaign', '33', 'Older')"
    )
    assert [row[1] for row in place.db.rows(names)] == ["News", "Welcome", "Older", "Spring"]
    for view in ("campaign_performance", "email_funnel"):
        shown = f"SELECT DISTINCT message_name FROM {view} WHERE message_source_id = '6'"
        assert place.db.rows(shown) == [("Spring",)]


def test_people_and_how_they_answer(db: Database, tmp_path: Path) -> None:
    place = Place(db, tmp_path)
    known = {"userId": "a", "context": {"traits": {"email": "A@x.org"}}}
    place.load(
        new("Delivered", "1", at(2), **known),
        new("Opened", "1", at(3), **known),
        new("Opened", "1", at(8), **known),
        new("Delivered", "2", at(4), **known),
        new("Link Clicked", "2", at(5), **known),
        new("Unsubscribed", "2", at(6), **known),
        new("Delivered", "3", at(9), **known),
        new("Opened", "3", at(9, 13), machine=True, **known),
        new("Delivered", "4", at(2), userId=..., anonymousId="b@y.org"),
        new("Marked As Spam", "4", at(2, 13), userId=..., anonymousId="b@y.org"),
        new("Bounced", "5", at(2), userId=..., anonymousId="c@y.org"),
        new("Delivered", "6", at(2), userId=..., anonymousId=...),
        webhook("email", "delivered", **seconds(2), delivery_id="7", transactional_message_id=1),
    )
    shown = ", ".join(
        f"to_char({name}, 'DD')"
        for name in (
            *("last_engaged_at", "first_delivered_at", "last_delivered_at"),
            *("unsubscribed_at", "bounced_at", "spam_at"),
        )
    )
    rows = db.rows(
        f"SELECT person, email_domain, delivered, human_opened, clicked, {shown} "
        "FROM people_engagement WHERE email_domain <> 'example.com' ORDER BY person"
    )
    assert rows == [
        ("a", "x.org", 3, 2, 1, "05", "02", "09", "06", None, None),
        ("b@y.org", "y.org", 1, 0, 0, None, "02", "02", None, None, "02"),
        ("c@y.org", "y.org", 0, 0, 0, None, None, None, None, "02", None),
    ]
    # 2 March 2026 is a Monday. Nobody knows whose the sixth message is, and the last is a receipt.
    assert db.rows("SELECT week::text, * FROM marketing_pressure ORDER BY 1, 3") == [
        ("2026-03-02", date(2026, 3, 2), 1, 1, 1, 0, 1),
        ("2026-03-02", date(2026, 3, 2), 2, 1, 2, 1, 0),
        ("2026-03-09", date(2026, 3, 9), 1, 1, 1, 0, 0),
    ]


def test_who_is_who(db: Database, tmp_path: Path) -> None:
    def seen(day: int, email: str | None, user: Any) -> dict[str, Any]:
        traits = {"context": {"traits": {"email": email}}} if email else {}
        return track("Email Opened", **at(day), userId=user, **traits)

    Place(db, tmp_path).load(
        seen(1, "P@x.org", "old"),
        seen(2, "p@X.org ", "new"),
        seen(3, "p@x.org", "new"),
        seen(4, "p@x.org", ...),
        seen(5, "q@x.org", ...),
        seen(6, None, "unknown"),
        track("Cart Seen", **at(7), userId=..., anonymousId="Q@x.org"),
        track("Cart Seen", **at(8), userId=..., anonymousId="8c1e"),
    )
    rows = db.rows(
        "SELECT email, user_id, to_char(first_seen_at, 'DD'), to_char(last_seen_at, 'DD'), events, "
        "user_ids_of_email, is_current FROM identities ORDER BY email, last_seen_at"
    )
    assert rows == [
        ("p@x.org", "old", "01", "01", 1, 2, False),
        ("p@x.org", "new", "02", "03", 2, 2, True),
        ("p@x.org", None, "04", "04", 1, 2, False),
        ("q@x.org", None, "05", "07", 2, 0, True),
    ]


def test_loads_and_what_they_rejected(db: Database, tmp_path: Path) -> None:
    place = Place(db, tmp_path)
    first = track("Email Opened", colour="red")
    place.load(first, "{broken", "{worse", {"type": "identify", "userId": "u"})
    place.load(first, track("Sofa Seen"))
    shown = "records_read, rows_loaded, duplicates, rejects, ignored, extra_values, schema_changes"
    found = db.rows(
        f"SELECT status, {shown}, reject_ratio, seconds >= 0 FROM load_health ORDER BY 1"
    )
    assert ("success", 4, 1, 0, 2, 1, 0, 1, Decimal("0.666667"), True) in found
    assert ("success", 2, 1, 1, 0, 0, 0, 1, Decimal(0), True) in found
    changes = "change, table_name, column_name, type"
    assert db.rows(f"SELECT {changes} FROM schema_changes ORDER BY load_id, 1") == [
        ("add column", "email_opened", "colour", "text"),
        ("create table", "sofa_seen", None, None),
    ]
    db.execute("UPDATE _rejects SET outcome = 'loaded' WHERE raw = '{worse'")
    rows = db.rows(
        "SELECT day = (now() AT TIME ZONE 'UTC')::date, reason, rejects, waiting "
        "FROM rejects_by_reason"
    )
    assert [row[2:] for row in rows] == [(2, 1)]
