"""`email_messages`: what a message is."""

from pathlib import Path

import pytest
from acceptance.harness import Database, track, webhook
from warehouse.folded import Place, at, messages

from loader.normalize.collections import declared_tables
from loader.warehouse.marts.definition import USED, uses
from loader.warehouse.marts.messages import SOURCES


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Place:
    return Place(db, tmp_path)


# what a message is


def test_a_message_is_told_by_its_delivery_its_email_id_or_its_template_and_person(
    place: Place,
) -> None:
    legacy = {"event_type": "email_opened", "email_id": "7", "campaign_id": 3}
    place.load(
        track("Email Delivered", delivery_id="D1", email_id="7"),
        track("Email Opened", delivery_id="D1", email_id="8"),
        track("Email Delivered", email_id="E1"),
        track("Email Opened", email_id="E1"),
        track("Email Opened", userId="u", **legacy),
        track("Email Opened", userId="u", **legacy),
        track("Email Opened", userId="other", **legacy),
        track("Email Opened", userId="u", messageId="a", event_type="email_opened"),
        track("Email Opened", userId=..., anonymousId=..., messageId="b", **legacy),
        track("Email Opened", userId="u", messageId="c"),
    )
    kinds = place.db.rows(
        "SELECT key_kind, array_agg(opens ORDER BY opens) FROM email_messages GROUP BY 1 ORDER BY 1"
    )
    assert kinds == [
        ("delivery_id", [1]),
        ("email_id", [1]),
        ("event", [1, 1, 1]),
        ("person", [1, 2]),
    ]
    place.agree()


def test_a_person_that_is_null_is_not_one_with_the_same_words(place: Place) -> None:
    """Joined without nulls, the key of one person's campaign was that of another's template."""
    place.load(
        track("Email Opened", userId="1", event_type="x", campaign_id=2),
        track("Email Opened", userId="1", event_type="x", email_id="2"),
        track("Email Opened", userId="NULL", event_type="x", campaign_id=2),
        track("Email Opened", userId=..., anonymousId="n", event_type="x", campaign_id=2),
    )
    assert place.db.value("SELECT count(*) FROM email_messages") == 4
    place.agree()


def test_no_id_passes_for_another_kind_and_none_is_too_long_for_an_index(place: Place) -> None:
    long = "x" * 5_000 + "é" * 5_000
    place.load(
        track("Email Delivered", email_id="1"),
        track("Email Delivered", delivery_id="e:1"),
        track("Email Delivered", delivery_id="d:e:1"),
        track("Email Delivered", delivery_id=""),
        track("Email Delivered", delivery_id=long),
        track("Email Opened", delivery_id=long),
        track("Email Opened", email_id=long),
        track("Email Opened", messageId="m" * 2_600),
    )
    assert place.db.rows("SELECT key_kind, count(*) FROM email_messages GROUP BY 1 ORDER BY 1") == [
        ("delivery_id", 3),
        ("email_id", 2),
        ("event", 2),
    ]
    place.agree()


def test_times_counts_and_flags_of_a_message(place: Place) -> None:
    one = {"delivery_id": "D"}
    place.load(
        track("Email Opened", timestamp=at(3), machine=True, **one),
        track("Email Delivered", timestamp=at(2), **one),
        track("Email Delivered", timestamp=at(1), **one),
        track("Email Opened", timestamp=at(2), prefetched=True, **one),
        track("Email Opened", timestamp=at(9), synthetic=True, **one),
        track("Email Opened", timestamp=at(8), machine=False, prefetched=False, **one),
        track("Email Opened", timestamp=at(7), **one),
        track("Email Link Clicked", timestamp=at(4), machine=True, **one),
        track("Email Link Clicked", timestamp=at(9), **one),
        track("Email Converted", timestamp=at(9), **one),
        track("Email Delivered", delivery_id="quiet"),
        track("Email Link Clicked", delivery_id="clicked"),
        track("Email Bounced", delivery_id="bounced", failure_message="gone"),
        track("Email Unsubscribed", delivery_id="left"),
        track("Email Marked As Spam", delivery_id="spam"),
    )
    facts = [
        f"to_char({name}, 'MI')"
        for name in ("delivered_at", "first_opened_at", "first_human_opened_at", "first_clicked_at")
    ]
    counts = ("opens", "human_opens", "clicks", "conversions")
    assert messages(place.db, *facts, *counts)["D"] == ("01", "02", "07", "09", 5, 2, 1, 1)
    flags = (
        *("is_delivered", "is_opened", "is_human_opened", "is_clicked"),
        *("is_unsubscribed", "is_bounced", "is_spam", "is_converted"),
    )
    found = messages(place.db, *flags)
    shown = {key: "".join("-x"[one] for one in values) for key, values in found.items()}
    assert shown == {
        "D": "xxxx---x",
        "quiet": "x-------",
        "clicked": "--xx----",  # who clicked has opened
        "bounced": "-----x--",
        "left": "----x---",
        "spam": "------x-",
    }
    place.agree()


def test_names_ids_and_addresses_of_a_message(place: Place) -> None:
    """Ids were shown as 6.0; blank ones counted as ids."""
    place.load(
        track("Email Delivered", delivery_id="A", campaign_id=6, campaign_name="", subject="Hi"),
        track("Email Opened", delivery_id="A", campaign_name="Welcome", email_subject="Ho"),
        track("Email Delivered", delivery_id="B", newsletter_id=10, recipient=" X@Y.org, b@c.de"),
        track("Email Delivered", delivery_id="C", anonymousId="P@Q.com", userId=...),
        track("Email Delivered", delivery_id="D", anonymousId="8c1e", userId=..., broadcast_id=1),
        webhook("email", "delivered", delivery_id="E", transactional_message_id=4),
    )
    columns = ("message_kind", "message_source_id", "campaign_name", "subject", "email_domain")
    assert messages(place.db, *columns) == {
        "A": ("campaign", "6", "Welcome", "Ho", None),
        "B": ("newsletter", "10", None, None, "y.org"),
        "C": ("unknown", None, None, None, "q.com"),
        "D": ("broadcast", "1", None, None, None),
        "E": ("transactional", "4", None, None, "example.com"),
    }
    assert messages(place.db, "email", "person")["B"][0] == "x@y.org"
    assert messages(place.db, "person")["C"] == ("p@q.com",)
    place.agree()


def test_the_first_time_of_both_is_what_tools_plot_by(db: Database) -> None:
    for mart in ("email_messages", "email_messages_now"):
        assert next(iter(db.types(mart).items())) == ("delivered_at", "timestamp with time zone")
    assert db.types("email_messages") == db.types("email_messages_now")


def test_what_changes_messages_is_known_to_be_so() -> None:
    """A column that a message is made of and that is not in USED would go stale unseen."""
    columns = {column for table in declared_tables().values() for column in table}
    assert USED - columns == set()
    assert all(uses(table, "delivery_id") for table in SOURCES)
    assert not uses("tracks", "context_traits_email")
