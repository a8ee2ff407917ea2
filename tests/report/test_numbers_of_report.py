"""The numbers of a report, against what is counted by hand; no HTML."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, track
from report.reporting import few, mail, report_of
from warehouse.folded import Place

from loader.report.mails import DOMAINS, MESSAGES
from loader.report.numbers import Bounce, Figures, KeyFigure, Link, Mails, Rejects, Stage
from loader.report.numbers import Report as Numbers

NOTHING = dict.fromkeys(
    (
        *("attempted", "delivered", "bounced", "opened", "human_opened", "clicked"),
        *("unsubscribed", "marked_as_spam", "converted"),
        *("total_opens", "total_human_opens", "total_clicks"),
    ),
    0,
)


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Place:
    return Place(db, tmp_path)


@pytest.fixture
def found(place: Place) -> Numbers:
    place.load(*few())
    return report_of(place.db)


@pytest.fixture
def mails(found: Numbers) -> Mails:
    assert found.mails is not None
    return found.mails


def counts(figures: Figures) -> dict[str, int]:
    """Those that are not nothing."""
    return {name: count for name, count in figures.counts.items() if count}


def test_counts_and_rates_of_both_periods(mails: Mails) -> None:
    assert mails.total.counts == NOTHING | {
        "attempted": 4,
        "delivered": 3,
        "bounced": 1,
        "opened": 2,
        "human_opened": 2,
        "clicked": 2,
        "unsubscribed": 1,
        "converted": 1,
        "total_opens": 3,
        "total_human_opens": 2,
        "total_clicks": 3,
    }
    assert mails.total.rates == {
        "open_rate": 2 / 3,
        "human_open_rate": 2 / 3,
        "click_rate": 2 / 3,
        "click_to_open_rate": 1.0,
        "unsubscribe_rate": 1 / 3,
        "spam_rate": 0.0,
        "bounce_rate": 0.25,
        "conversion_rate": 1 / 3,
    }
    assert counts(mails.before) == {
        "attempted": 1,
        "delivered": 1,
        "opened": 1,
        "human_opened": 1,
        "total_opens": 1,
        "total_human_opens": 1,
    }
    assert mails.without_delivery == 1


def test_key_figures_with_their_change(mails: Mails) -> None:
    changes = {figure.name: figure.change for figure in mails.key_figures}
    assert changes == {
        "delivered": 2.0,
        "human_open_rate": 2 / 3 - 1,
        "click_rate": 2 / 3,
        "click_to_open_rate": 1.0,
        "conversion_rate": 1 / 3,
        "bounce_rate": 0.25,
        "unsubscribe_rate": 1 / 3,
        "spam_rate": 0.0,
    }
    assert KeyFigure(name="delivered", now=5, before=0).change is None
    assert KeyFigure(name="click_rate", now=None, before=0.5).change is None


def test_the_funnel_is_of_what_was_delivered(mails: Mails) -> None:
    assert mails.funnel == (
        Stage(name="delivered", messages=3, share=1.0),
        Stage(name="human_opened", messages=2, share=2 / 3),
        Stage(name="clicked", messages=2, share=2 / 3),
        Stage(name="converted", messages=1, share=1 / 3),
    )


def test_days_are_those_of_the_timezone(place: Place, mails: Mails) -> None:
    by_day = {one.day.day: one.figures.counts["delivered"] for one in mails.days}
    assert by_day == {4: 2, 5: 1}
    in_utc = report_of(place.db, zone="UTC").mails
    assert in_utc is not None
    by_day = {one.day.day: one.figures.counts["delivered"] for one in in_utc.days}
    assert by_day == {4: 1, 5: 2}
    assert in_utc.before.counts["delivered"] == 2


def test_a_message_has_a_name_that_several_people_have_got(mails: Mails) -> None:
    """A subject that differs from person to person is nobody else's business."""
    assert [
        (one.kind, one.id, one.name, one.figures.counts["attempted"])
        for one in mails.messages.shown
    ] == [("campaign", "1", "Spring", 2), ("newsletter", "7", None, 2)]
    assert (mails.messages.others, mails.messages.rest) == (0, None)


def test_a_subject_is_a_name_where_all_have_the_same(place: Place) -> None:
    subject = "Spring is here @ ada@example.com <x@y.example>"
    shared, alone = {"newsletter_id": 1}, {"newsletter_id": 2}
    place.load(
        mail("Delivered", "a", "1", "04T10:00", subject=subject, **shared),
        mail("Delivered", "b", "2", "04T10:00", subject=subject, **shared),
        mail("Delivered", "c", "3", "04T10:00", subject="For you, Ada", **alone),
        mail("Delivered", "d", "3", "04T11:00", subject="For you, Ada", **alone),
        # The name of one person's campaign, too, and the last one of two that are shared.
        mail("Delivered", "e", "1", "04T10:00", campaign_id=3, campaign_name="For Bea"),
        *(
            mail("Delivered", f"f{n}", f"{n}", "04T10:00", campaign_id=4, campaign_name=name)
            for n, name in enumerate(["Old", "Old", "New", "New", "Zoe"])
        ),
    )
    found = report_of(place.db).mails
    assert found is not None
    names = {(one.kind, one.id): one.name for one in found.messages.shown}
    assert names == {
        ("newsletter", "1"): "Spring is here @ … …",
        ("newsletter", "2"): None,
        ("campaign", "3"): None,
        ("campaign", "4"): "Old",
    }


def test_a_name_that_the_customer_has_given_comes_first(place: Place) -> None:
    place.load(*few())
    place.db.execute(
        "INSERT INTO dim_messages VALUES ('newsletter', '7', 'For Ada'), ('campaign', '1', ''), "
        "('campaign', '7', 'Other')"
    )
    found = report_of(place.db).mails
    assert found is not None
    assert [one.name for one in found.messages.shown] == ["Spring", "For Ada"]


def test_domains_of_one_person_are_among_the_others(mails: Mails) -> None:
    shown = [(one.domain, counts(one.figures)["attempted"]) for one in mails.domains.shown]
    assert shown == [("example.com", 2), (None, 1)]
    assert mails.domains.others == 1
    assert mails.domains.rest is not None
    assert mails.domains.rest.figures.counts["delivered"] == 1


def test_bounces_by_what_the_server_said(place: Place, mails: Mails) -> None:
    assert mails.bounces.shown == (Bounce(code="5.1.1", kind="hard", bounced=1),)


@pytest.mark.parametrize(
    ("reason", "code", "kind"),
    [
        ("552 5.2.2 mailbox full", "5.2.2", "hard"),
        ("smtp; 550-no such user", "550", "hard"),
        ("421 try again later", "421", "soft"),
        ("(4.7.12) delayed", "4.7.12", "soft"),
        ("mail from 5.1.1.9 refused", "unknown", "unknown"),
        ("host 10.5.1.1 said 554", "554", "hard"),
        ("ticket 45012 and 550abc, person550@example.com", "unknown", "unknown"),
        ("", "unknown", "unknown"),
        (None, "unknown", "unknown"),
    ],
)
def test_codes_of_bounces(place: Place, reason: str | None, code: str, kind: str) -> None:
    place.load(mail("Bounced", "x", "1", "04T10:00", failure_message=reason))
    found = report_of(place.db).mails
    assert found is not None
    assert found.bounces.shown == (Bounce(code=code, kind=kind, bounced=1),)


def test_links_that_one_person_has_clicked_are_among_the_others(found: Numbers) -> None:
    shop = "https://shop.example.com/a"
    assert found.links.shown == (Link(address=shop, clicks=2, messages=2),)
    assert found.links.others == 1
    assert found.links.rest == Link(address=None, clicks=1, messages=1)


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://example.com/a?email=ada@example.com#x", "https://example.com/a"),
        ("https://ada:secret@example.com/a", "https://example.com/a"),
        ("//ada@example.com/a", "//example.com/a"),
        ("mailto:ada@example.com?subject=x", "mailto:…"),
        ("https://example.com/of/ada@example.com/1", "https://example.com/of/…/1"),
        ("https://example.com/of/ada%40example.com", "https://example.com/of/…"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("https://example.com/" + "x" * 5_000, "https://example.com/" + "x" * 980),
        ("@" * 3_000, "…"),
        ("?only", None),
        ("", None),
        (None, None),
    ],
    ids=lambda text: str(text)[:40],
)
def test_links_are_shown_without_what_tells_who_clicked(
    place: Place, href: str | None, shown: str | None
) -> None:
    place.load(
        *(
            mail(
                "Link Clicked",
                person,
                person,
                "04T10:00",
                **({} if href is None else {"href": href}),
            )
            for person in ("1", "2")
        )
    )
    assert report_of(place.db).links.shown == (Link(address=shown, clicks=2, messages=2),)


def test_links_are_found_in_columns_that_were_widened(place: Place) -> None:
    place.load(*few())
    before = report_of(place.db).links
    for column in ("href", "machine", "context_traits_email"):
        place.run("columns", "widen", "email_link_clicked", column, "jsonb", "--yes")
    assert report_of(place.db).links == before


def test_a_record_without_time_is_no_news(place: Place) -> None:
    """It has the time of its load, which moved the newest event to now."""
    place.load(track("Email Opened", timestamp="2026-03-01T12:00:00Z"))
    assert report_of(place.db).newest_event_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    place.load(*few())
    assert report_of(place.db).newest_event_at == datetime(2026, 3, 5, 23, 30, tzinfo=UTC)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    place.load(track("Email Opened", timestamp=tomorrow.isoformat()))
    assert report_of(place.db).newest_event_at == datetime(2026, 3, 5, 23, 30, tzinfo=UTC)
    place.load(track("Order Placed", timestamp="2026-03-07T12:00:00Z"))
    found = report_of(place.db, until=None)
    assert (found.period.first, found.period.last) == (date(2026, 3, 6), date(2026, 3, 7))


def test_a_schema_without_events_has_a_report(place: Place) -> None:
    found = report_of(place.db, until=None, days=366)
    assert found.newest_event_at is None
    assert found.period.last == found.made_at.date()
    assert found.mails is not None
    assert found.mails.total.counts == NOTHING
    assert set(found.mails.total.rates.values()) == {None}
    assert found.mails.funnel[0] == Stage(name="delivered", messages=0, share=None)
    assert (found.mails.messages.shown, found.mails.messages.rest) == ((), None)
    assert (found.links.shown, found.loads.shown, found.rejects) == ((), (), ())
    assert found.notices() == []


def insert_messages(db: Database, what: str, values: str, count: int) -> None:
    db.execute(
        f"INSERT INTO email_messages (message_key, delivered_at, {what}) "
        f"SELECT 'm' || n, '2026-03-04 12:00Z', {values} FROM generate_series(1, {count}) n"
    )


def test_of_many_campaigns_the_others_are_summed(place: Place) -> None:
    insert_messages(
        place.db,
        "campaign_id, user_id, email, first_clicked_at",
        "(n % 5000)::text, 'u' || n, 'u' || n || '@d' || n % 400 || '.example', "
        "CASE WHEN n % 10 = 0 THEN now() END",
        20_000,
    )
    found = report_of(place.db).mails
    assert found is not None
    for top, groups, limit in ((found.messages, 5_000, MESSAGES), (found.domains, 400, DOMAINS)):
        assert (len(top.shown), top.others) == (limit, groups - limit)
        everything: list[Any] = [*top.shown, top.rest]
        assert sum(one.figures.counts["delivered"] for one in everything) == 20_000
        assert sum(one.figures.counts["clicked"] for one in everything) == 2_000
        places = [one.figures.counts["delivered"] for one in top.shown]
        assert places == sorted(places, reverse=True)


def test_loads_rejects_and_changes(place: Place) -> None:
    place.load(*few())
    place.load(mail("Opened", "A", "a@example.com", "04T10:00", extra=1, more="x"), {"type": 1})
    found = report_of(place.db)
    newest, first = found.loads.shown
    assert (newest.id, newest.status, newest.records_read, newest.rejects) == (2, "success", 2, 1)
    assert (first.records_read, first.rows_loaded) == (18, 18)
    assert found.loads.others == 0
    [reject] = found.rejects
    assert isinstance(reject, Rejects)
    assert (reject.rejects, reject.waiting) == (1, 1)
    changes = [
        (one.load_id, one.table, one.is_new, one.new_columns, one.wider_columns)
        for one in found.schema_changes.shown
    ]
    assert changes[0] == (2, "email_opened", False, 2, 0)
    assert (1, "email_converted", True) in [change[:3] for change in changes]


def test_a_mart_that_is_off_or_behind_is_told(place: Place) -> None:
    place.load(*few(), mart="off")
    found = report_of(place.db)
    assert found.mails is None
    assert found.links.shown
    assert "the setting mart is off" in found.notices()[0]
    place.load(mail("Opened", "A", "a@example.com", "04T11:00"))
    assert report_of(place.db).mails is not None
    place.db.execute("UPDATE _batches SET folded = false WHERE number = 1")
    found = report_of(place.db)
    assert found.mails is not None
    assert f"lacks 2 of {found.mart.batches} batches" in found.notices()[0]
    place.db.execute("UPDATE _batches SET folded = true; INSERT INTO _stale_messages VALUES ('A')")
    assert "1 of them have to be made anew" in report_of(place.db).notices()[0]


def test_what_older_loads_brought_is_behind_from_the_migration_on(place: Place) -> None:
    place.load(*few())
    place.migrate("0004")
    found = report_of(place.db)
    assert found.mart.batches > 0
    assert f"lacks {found.mart.batches} of {found.mart.batches} batches" in found.notices()[0]


def test_old_events_and_a_failed_load_are_told(place: Place) -> None:
    place.load(*few())
    found = report_of(place.db)
    days = (found.made_at - datetime(2026, 3, 5, 23, 30, tzinfo=UTC)).days
    assert found.notices() == [f"No event has come for a while: the newest one is {days} days old."]
    place.db.execute("UPDATE _loads SET status = 'failure'")
    assert "The last load ended as failure" in report_of(place.db).notices()[1]
