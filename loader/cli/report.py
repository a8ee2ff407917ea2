"""`report`: the numbers of some days, as a page or as JSON."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import existing_schema, one_pair, read_settings
from loader.cli.exits import EXIT_CODES
from loader.cli.log import warn
from loader.cli.options import AsJson, SourceName, WarehouseName, WarehouseUrl, examples
from loader.cli.text import number, out, out_exactly
from loader.cli.writing import require_file, write_file

if TYPE_CHECKING:
    from loader.report.numbers import Report

EPILOG = examples(
    "customerio-loader report",
    "customerio-loader report --days 7 --timezone Europe/Berlin -o week.html",
    "customerio-loader report --days 30 --until 2026-09-30 --json",
    after=EXIT_CODES,
)

_STDOUT = "-"


def report(
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it, or - for stdout; default: report.html, of JSON -.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days.")] = 30,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="The last day; default: that of the newest event.",
        ),
    ] = None,
    timezone: Annotated[
        str, typer.Option(metavar="NAME", help="Whose days, as Europe/Berlin.")
    ] = "UTC",
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a page about the e-mail of some days: one file, for people without SQL.

    Key figures against the days before, funnel, rates by day, campaigns, deliverability, links,
    and the health of the loads. It has no script, fetches nothing, and names no person.
    """
    from loader.report.numbers import about_mart, to_document
    from loader.report.period import find_zone
    from loader.report.queries import select_report

    settings = read_settings(warehouse_url=warehouse_url)
    zone = find_zone(timezone)
    target = output or (_STDOUT if as_json else "report.html")
    require_file(target)
    pair = one_pair(settings, source, warehouse)
    with existing_schema(pair) as connection:
        found = select_report(
            connection,
            source=pair.source.name,
            schema=pair.source.schema_,
            warehouse=pair.warehouse.name,
            zone=zone,
            days=days,
            until=None if until is None else until.date(),
        )
    if as_json:
        import json

        made = json.dumps(to_document(found)) + "\n" * (target != _STDOUT)
    else:
        from loader.report.page import render_page

        made = render_page(found)
    for notice in about_mart(found.mart):
        warn(notice, found.warehouse)
    if target == _STDOUT:
        out_exactly(made)
    else:
        write_file(target, made.encode())
        out(f"{target}: {_told(found)}")


def _told(found: "Report") -> str:
    """What is in it, in a line."""
    span = f"{found.period.first} to {found.period.last}"
    if found.mails is None:
        return f"{span}, without figures about messages"
    return f"{span}, {number(found.mails.total.counts['delivered'], 'message')} delivered"
