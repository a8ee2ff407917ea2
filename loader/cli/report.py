"""`report`: the numbers of some days, as a page or as JSON."""

import errno
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import existing_schema, one_pair, read_settings
from loader.cli.exits import EXIT_CODES
from loader.cli.log import warn
from loader.cli.options import AsJson, SourceName, WarehouseName, WarehouseUrl, examples
from loader.cli.text import number, out, out_exactly
from loader.errors import LoaderError, UsageError

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
    _require_file(target)
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
        _write(target, made)
        out(f"{target}: {_told(found)}")


def _require_file(target: str) -> None:
    """Refuse what cannot be written to before anything is asked of the server."""
    path = Path(target)
    if target != _STDOUT and (path.is_dir() or not path.parent.is_dir()):
        why = "it is a folder: name a file in it" if path.is_dir() else "its folder is not there"
        raise UsageError(f"-o {target} cannot be written: {why}")


def _write(target: str, text: str) -> None:
    """A file appears as a whole or not at all; a pipe or a device is written to."""
    from loader.config.editing import replace_file

    try:
        _refuse_planted(Path(target))
        path = Path(os.path.realpath(target))
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            replace_file(path, text)
    except OSError as error:
        raise LoaderError(f"{target} cannot be written ({error.strerror})") from None


def _refuse_planted(path: Path) -> None:
    """Refuse a link of another user's in a folder such as /tmp, as the system does for opening."""
    if path.is_symlink():
        folder, link = path.parent.stat(), path.lstat()
        if folder.st_mode & 0o1002 == 0o1002 and link.st_uid not in (os.geteuid(), folder.st_uid):
            raise PermissionError(errno.EACCES, "it is a link that another user has made")


def _told(found: "Report") -> str:
    """What is in it, in a line."""
    span = f"{found.period.first} to {found.period.last}"
    if found.mails is None:
        return f"{span}, without figures about messages"
    return f"{span}, {number(found.mails.total.counts['delivered'], 'message')} delivered"
