"""The tables as an analyst reads them: queries like those of docs/sql.md."""

from decimal import Decimal
from typing import Any

from acceptance.harness import Database, Run, ndjson, track, webhook

OPENS = """
    SELECT d.campaign_id, count(DISTINCT d.delivery_id) AS delivered,
        count(DISTINCT o.delivery_id) AS opened,
        round(100.0 * count(DISTINCT o.delivery_id) / count(DISTINCT d.delivery_id), 1) AS percent
    FROM email_delivered d
    LEFT JOIN email_opened o ON o.delivery_id = d.delivery_id
        AND o.prefetched IS NOT TRUE AND o.machine IS NOT TRUE
    WHERE d.campaign_id IS NOT NULL
    GROUP BY d.campaign_id
    ORDER BY d.campaign_id
"""
REVENUE = """
    SELECT c.campaign_id, count(DISTINCT c.user_id) AS clickers,
        count(DISTINCT o.id) AS orders, coalesce(sum(o.amount), 0) AS revenue
    FROM (
        SELECT user_id, campaign_id, min("timestamp") AS first_click
        FROM email_link_clicked
        WHERE machine IS NOT TRUE AND user_id IS NOT NULL
        GROUP BY user_id, campaign_id
    ) c
    LEFT JOIN orders o ON o.user_id = c.user_id
        AND o.ordered_at BETWEEN c.first_click AND c.first_click + interval '7 days'
    GROUP BY c.campaign_id
    ORDER BY c.campaign_id
"""


def delivery(number: int, campaign: int, *what: dict[str, Any]) -> list[dict[str, Any]]:
    """A delivered message and what happened to it, in one of the two forms."""
    shared = {"delivery_id": f"d{number}", "campaign_id": campaign}
    records = []
    for overrides in ({}, *what):
        overrides = dict(overrides)
        metric = overrides.pop("metric", "delivered")
        name = {"delivered": "Delivered", "opened": "Opened", "clicked": "Link Clicked"}[metric]
        if number % 2:
            records.append(track(f"Email {name}", userId=f"u{number}", **shared, **overrides))
        else:
            person = {"id": f"u{number}", "email": None}
            records.append(webhook("email", metric, identifiers=person, **shared, **overrides))
    return records


def test_an_analyst_finds_opens_by_campaign_and_revenue_after_clicks(
    run: Run, db: Database
) -> None:
    opened, clicked = {"metric": "opened"}, {"metric": "clicked", "href": "https://example.com"}
    records = [
        *delivery(1, 10, opened, opened, clicked),
        *delivery(2, 10, opened | {"prefetched": True}),
        *delivery(3, 10, opened | {"prefetched": False}, opened | {"machine": True}),
        *delivery(4, 10, clicked | {"machine": True}),
        *delivery(5, 20, opened | {"prefetched": True, "proxied": True}),
        *delivery(6, 20, clicked, clicked),
        webhook("email", "delivered", newsletter_id=10, campaign_id=None),
    ]
    assert run("load", "-", stdin=ndjson(*records)).code == 0
    assert db.rows(OPENS) == [(10, 4, 2, Decimal("50.0")), (20, 2, 0, Decimal("0.0"))]
    db.execute(
        """
        CREATE TABLE orders (id int, user_id text, ordered_at timestamptz, amount numeric);
        INSERT INTO orders VALUES
            (1, 'u1', '2026-03-05T00:00:00Z', 10.50),
            (2, 'u1', '2026-03-06T00:00:00Z', 20),
            (3, 'u1', '2026-03-01T00:00:00Z', 99),
            (4, 'u4', '2026-03-05T00:00:00Z', 99),
            (5, 'u6', '2026-03-20T00:00:00Z', 99),
            (6, 'u6', '2026-03-05T00:00:00Z', 7)
        """
    )
    assert db.rows(REVENUE) == [(10, 1, 2, Decimal("30.50")), (20, 1, 1, Decimal(7))]
