"""Clicks on links, from the table of clicks."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, literal_column, or_, select

from loader.report.numbers import Link, Top
from loader.report.period import Period
from loader.report.top import is_of_several, select_top
from loader.warehouse.marts import definition, texts
from loader.warehouse.tables import metadata, select_tables

# How many a page shows.
LINKS = 15

_LONGEST_ADDRESS = 1_000  # characters; a longer one is cut
_CLICKS = "email_link_clicked"


def select_links(connection: Connection, schema: str, period: Period) -> Top[Link]:
    """Clicks by people in a period, by what stands before the query of the address."""
    columns = select_tables(connection, schema, [_CLICKS]).get(_CLICKS)
    if columns is None:  # somebody has removed the table
        return Top(shown=(), others=0)
    event = metadata.tables[_CLICKS].alias("e").c

    def text_of(column: str) -> ColumnElement[str]:
        return literal_column(texts.text_of(columns, column))

    sent = func.coalesce(text_of("href"), text_of("link_url"))
    address = func.nullif(func.split_part(func.split_part(sent, "#", 1), "?", 1), "")
    # Who clicks may stand in it.
    bare = func.regexp_replace(func.left(address, _LONGEST_ADDRESS), r"^(\w+:)?//[^/]*@", r"\1//")
    link = func.regexp_replace(bare, r"[^/:\s]*(@|%40)[^/\s]*", "…", "gi").label("link")
    email: ColumnElement[str] = literal_column(texts.address_of(columns))
    groups = (
        select(
            link,
            or_(link.is_(None), is_of_several(text_of("user_id"), email)).label("may_be_shown"),
            func.count().label("clicks"),
            func.count(literal_column(definition.key_sql(columns, "e")).distinct()).label(
                "messages"
            ),
        )
        .where(
            event.timestamp >= period.start,
            event.timestamp < period.end,
            literal_column(f"NOT ({texts.flag_of(columns, 'machine')})"),
        )
        .group_by(literal_column("1"))
    )
    found = select_top(connection, groups, [link], by=["clicks"], limit=LINKS)
    return Top(
        shown=tuple(_link(key[0], row) for key, row in found.shown),
        others=found.others,
        rest=found.rest and _link(None, found.rest[1]),
    )


def _link(address: str | None, row: Row[Any]) -> Link:
    return Link(address=address, clicks=int(row.clicks), messages=int(row.messages))
