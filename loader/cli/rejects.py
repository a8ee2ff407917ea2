"""`rejects list` and `rejects replay`."""

import json
from typing import Annotated

import typer

from loader.cli.context import existing_schema, read_settings, running_server
from loader.cli.exits import EXIT_CODES
from loader.cli.options import AsJson, SourceName, WarehouseUrl
from loader.cli.printing import facts, print_load, print_table
from loader.cli.signals import stop_on_signals

app = typer.Typer(
    help="Records that could not be loaded.", no_args_is_help=True, rich_markup_mode=None
)

OfLoad = Annotated[int | None, typer.Option("--load", metavar="ID", help="Of one load.")]
OfFile = Annotated[str | None, typer.Option("--file", metavar="PATH", help="Of one file.")]
OfReason = Annotated[
    str | None, typer.Option("--reason", metavar="CODE", help="With one reason code.")
]


@app.command("list")
def rejects_list(
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    load: OfLoad = None,
    file: OfFile = None,
    reason: OfReason = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that a replay has loaded.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the records, each on a line, for `load -`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show rejected records: where they stood, why they were rejected."""
    from loader.sources.jsontext import one_line
    from loader.warehouse import ledger

    with existing_schema(source, warehouse_url) as (_, connection):
        found = ledger.select_rejects(
            connection, load=load, file=file, reason=reason, everything=everything
        )
    if raw:
        for one in found:
            print(one_line(one["raw"]))
    elif as_json:
        print(json.dumps(found, default=str))
    elif found:
        names = ("load_id", "file", "position", "reason", "detail", "outcome")
        print_table(names, [[one[name] or "" for name in names] for one in found])
    else:
        print("no rejects")


@app.command("replay", epilog=EXIT_CODES)
def rejects_replay(
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    load: OfLoad = None,
    file: OfFile = None,
    reason: OfReason = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a running load to end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try rejected records again, after a fix or with other settings; never loads one twice."""
    from loader import pipeline

    settings = read_settings(warehouse_url=warehouse_url)
    with running_server(settings) as url, stop_on_signals():
        result = pipeline.replay(
            source=settings.find_source(source),
            settings=settings,
            url=url,
            wait=wait,
            load=load,
            file=file,
            reason=reason,
        )
    print(json.dumps(facts(result))) if as_json else print_load(result)
