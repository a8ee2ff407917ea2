"""A database to report on, and reports of it."""

from datetime import date
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

from acceptance.harness import SCHEMA, Database, track

from loader.report.numbers import Report
from loader.report.queries import select_report
from loader.warehouse.engine import connect, make_engine

UNTIL = date(2026, 3, 5)
BERLIN = "Europe/Berlin"
_VOID = {"meta", "br", "hr", "img", "input", "link"}


def report_of(
    db: Database, *, zone: str = BERLIN, days: int = 2, until: date | None = UNTIL
) -> Report:
    with connect(make_engine(db.url)) as connection:
        return select_report(
            connection.execution_options(schema_translate_map={None: SCHEMA}),
            source="Customer.io",
            schema=SCHEMA,
            warehouse=None,
            zone=ZoneInfo(zone),
            days=days,
            until=until,
        )


def mail(what: str, delivery: str, person: str, at: str, **more: Any) -> dict[str, Any]:
    """An event of a message; a person with an `@` has an address besides the id."""
    context = {"traits": {"email": person}} if "@" in person else {}
    return track(
        f"Email {what}",
        delivery_id=delivery,
        userId=person.partition("@")[0],
        timestamp=f"2026-03-{at}:00Z",
        context=context,
        **more,
    )


def few() -> list[dict[str, Any]]:
    """Two days of Berlin, 4 and 5 March, and a little around them."""
    spring: dict[str, Any] = {"campaign_id": 1, "campaign_name": "Spring"}
    letter: dict[str, Any] = {"newsletter_id": 7}
    shop = "https://shop.example.com"
    return [
        # The 4th has begun in Berlin.
        mail("Delivered", "A", "a@example.com", "03T23:30", **spring),
        mail("Opened", "A", "a@example.com", "04T08:00", **spring),
        mail("Opened", "A", "a@example.com", "04T09:00", **spring),
        mail("Link Clicked", "A", "a@example.com", "04T09:01", href=f"{shop}/a?x=1", **spring),
        mail("Delivered", "B", "b@example.com", "04T12:00", **spring),
        mail("Opened", "B", "b@example.com", "04T12:01", machine=True, **spring),
        mail("Link Clicked", "B", "b@example.com", "04T12:01", machine=True, href=shop, **spring),
        mail("Delivered", "C", "c@solo.example", "05T10:00", subject="Dear Carla", **letter),
        mail("Link Clicked", "C", "c@solo.example", "05T10:05", href=f"{shop}/a#top", **letter),
        mail("Link Clicked", "C", "c@solo.example", "05T10:06", href=f"{shop}/my/T0KEN", **letter),
        mail("Unsubscribed", "C", "c@solo.example", "05T10:07", **letter),
        mail("Converted", "C", "c@solo.example", "05T11:00", **letter),
        mail("Bounced", "D", "d", "05T12:00", subject="Dear Dora",
             failure_message="550 5.1.1 <dora@gone.example>: no such user", **letter),
        # The days before.
        mail("Delivered", "E", "a@example.com", "03T12:00", **spring),
        mail("Opened", "E", "a@example.com", "03T12:30", **spring),
        # The 6th has begun in Berlin.
        mail("Delivered", "F", "a@example.com", "05T23:30", **spring),
        # Nothing but an open, and a record that does not say when.
        mail("Opened", "G", "g", "04T12:00"),
        track("Email Delivered", delivery_id="H", timestamp=..., originalTimestamp=...,
              sentAt=..., receivedAt=...),
    ]  # fmt: skip


class Page(HTMLParser):
    """A page, taken apart; every element that begins must end, in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open or tag in _VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], ["title"], ["desc"]):
            self.words.append(data)
