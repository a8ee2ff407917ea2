"""The page: well-formed, alone, for everybody, and right whatever names are like."""

import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest
from acceptance.harness import Database
from report.reporting import BERLIN, Page, few, mail, report_of
from warehouse.folded import Place

from loader.report.numbers import to_document
from loader.report.page import render_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ report.source }} {% raw %}",
    "</style></title><!-- ",
    "\u202eevil \u2066 \u05d0\u05d1\u05d2 \U0001f600",
    "\x01\x1b[31m\x7f\x85 tab\tand\nline",
    "\U0001f9d1\u200d\U0001f33e" * 2_500,
    "&lt;b&gt; &amp;",
    "",
]


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Place:
    return Place(db, tmp_path)


def page_of(db: Database, **options: object) -> tuple[str, Page]:
    text = render_page(report_of(db, **options))  # type: ignore[arg-type]
    check(text)
    return text, Page(text)


def check(text: str) -> None:
    """What holds for every page."""
    assert text.isascii()
    assert len(text) < 200_000
    assert "<script" not in text.lower()
    assert not re.search(r"\bon\w+\s*=\s*[\"']", re.sub(r"&#\d+;|&\w+;", " ", text))
    assert not re.search(r"url\(|@import|<(?:link|img|iframe|base|form)\b", text)
    page = Page(text)
    # What is fetched without being asked for would need one of these.
    assert not [
        name for _, attributes in page.elements for name in attributes if name in ("src", "style")
    ]
    assert all(re.match("https?://", a["href"] or "", re.IGNORECASE) for a in page.named("a"))
    assert all("scope" in th for th in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))
    for svg in page.named("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-labelledby"])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert set((attributes.get("aria-labelledby") or "").split()) <= set(ids)
    assert [len(page.named(one)) for one in ("main", "header", "footer", "h1")] == [1, 1, 1, 1]
    assert page.named("html") == [{"lang": "en"}]


def test_a_page_says_what_it_is_about(place: Place) -> None:
    place.load(*few())
    text, page = page_of(place.db)
    for words in (
        "4 March to 5 March 2026",
        "2 days of the timezone Europe/Berlin",
        "Newest event: 6 Mar 2026 00:30",
        "from the schema customerio .",
        "Delivered 3",
        "Human open rate 66.7%",
        "down 33.3 points",
        "Spring campaign 1",
        "Newsletter 7",
        "address not known",
        "1 other domain",
        "5.1.1 hard",
        "1 other link",
        "Of 1 more message an open",
    ):
        assert words in page.text, words
    # Nothing that belongs to one person.
    for words in ("@", "Dear", "solo.example", "T0KEN", "gone.example", "dora"):
        assert words not in page.text
    assert [a["href"] for a in page.named("a")] == ["https://shop.example.com/a"]
    for label in ("light dark", "prefers-color-scheme: dark", "@media print", "no-referrer"):
        assert label in text


def test_a_page_of_nothing(place: Place) -> None:
    _, page = page_of(place.db, until=None)
    for words in (
        "No event that says when it happened is there.",
        "No message was delivered or bounced in these days.",
        "No click by a person",
        "Nothing was loaded yet.",
        "No record was ever rejected.",
        "No load has changed the schema.",
    ):
        assert words in page.text, words


def test_a_page_of_days_without_messages(place: Place) -> None:
    place.load(*few())
    _, page = page_of(place.db, until=date(2026, 3, 9))
    assert "in the 2 days before them 1 was delivered" in page.text


def test_a_page_of_one_message(place: Place) -> None:
    place.load(mail("Delivered", "A", "1", "04T12:00"))
    for days in (1, 2, 366):
        _, page = page_of(place.db, until=None, days=days)
        assert "Delivered 1 Human open rate" in page.text
        assert "Not known which message" in page.text
        assert "None" not in page.text


def test_a_page_where_the_mart_is_off(place: Place) -> None:
    place.load(*few(), mart="off")
    _, page = page_of(place.db)
    assert "Note: There are no figures about messages" in page.text
    assert "Key figures" not in page.text


def test_hostile_names_are_texts(place: Place) -> None:
    place.load(
        *(
            mail("Delivered", f"{number}-{person}", f"{person}@{number}<b>.example", "04T12:00",
                 campaign_id=number, campaign_name=name)
            for number, name in enumerate(HOSTILE)
            for person in "ab"
        ),
        *(
            mail("Link Clicked", f"0-{person}", person, "04T12:00", href=href)
            for href in (
                "javascript:alert(1)",
                "JaVaScRiPt://x.example/%0aalert(1)",
                "data:text/html,<script>alert(1)</script>",
                'https://x.example/"onmouseover="alert(1)',
                "https://x.example/<script>",
                "HTTPS://X.EXAMPLE",
                "https:evil",
                "https://\u202ex.example/\x01",
                "//x.example/a",
            )
            for person in "ab"
        ),
    )  # fmt: skip
    text, page = page_of(place.db, zone=BERLIN)
    for name in HOSTILE[:5]:
        assert " ".join(name.split()) in page.text
    assert "\x1b" not in text
    hrefs = [a["href"] or "" for a in page.named("a")]
    assert sorted(hrefs) == [
        "HTTPS://X.EXAMPLE",
        'https://x.example/"onmouseover="alert(1)',
        "https://x.example/<script>",
    ]


def test_a_page_of_many_and_long_things_is_small(place: Place) -> None:
    place.db.execute(
        """
        INSERT INTO email_messages
            (message_key, delivered_at, campaign_id, campaign_name, user_id, email)
        SELECT 'm' || n, timestamptz '2026-03-05 12:00Z' - n % 366 * interval '1 day',
            (n % 5000)::text, repeat('\U0001f600', 2500) || n % 5000, 'u' || n,
            'x@' || repeat('d', 250) || n % 300
        FROM generate_series(1, 20000) n
        """
    )
    place.db.execute(
        """
        INSERT INTO email_link_clicked (id, received_at, "timestamp", user_id, href)
        SELECT 'c' || n, now(), '2026-03-04 12:00Z', 'u' || n,
            'https://x.example/' || repeat('p', 5000) || n % 40
        FROM generate_series(1, 1000) n
        """
    )
    for days in (2, 366):
        _text, page = page_of(place.db, days=days)
        assert "4,980 other messages" in page.text or days == 2
        assert "290 other domains" in page.text or days == 2
        assert "…" in page.text


def test_json_has_the_numbers(place: Place) -> None:
    place.load(*few())
    found = report_of(place.db)
    shown = json.loads(json.dumps(to_document(found)))
    assert shown["period"] == {"first": "2026-03-04", "last": "2026-03-05", "days": 2}
    assert shown["timezone"] == "Europe/Berlin"
    assert shown["newest_event_at"] == "2026-03-06T00:30:00+01:00"
    assert shown["notices"] == found.notices()
    mails = shown["mails"]
    assert found.mails is not None
    assert mails["total"].items() >= found.mails.total.counts.items()
    assert mails["total"]["bounce_rate"] == 0.25
    assert mails["key_figures"][0] == {"name": "delivered", "now": 3, "before": 1, "change": 2.0}
    assert mails["messages"]["shown"][0]["name"] == "Spring"
    assert mails["domains"]["others"] == 1
    assert shown["links"]["rest"] == {"address": None, "clicks": 1, "messages": 1}


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
@pytest.mark.parametrize("size", ["1100,2400", "500,2400"])
def test_a_browser_shows_the_page(place: Place, tmp_path: Path, size: str) -> None:
    place.load(*few())
    path = tmp_path / "report.html"
    path.write_text(page_of(place.db)[0], encoding="utf-8")
    shot = tmp_path / "report.png"
    assert BROWSER is not None
    subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={tmp_path / 'browser'}", "--hide-scrollbars"),
            *(f"--screenshot={shot}", f"--window-size={size}", path.as_uri()),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert shot.stat().st_size > 20_000  # an empty page is smaller
