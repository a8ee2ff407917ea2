"""`rejects list` and `rejects replay`."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import existing_schema, one_pair, read_settings, schema_at
from loader.cli.exits import EXIT_CODES, TOO_MANY_REJECTS
from loader.cli.log import complain
from loader.cli.options import AsJson, SourceName, Wait, WarehouseName, WarehouseUrl, examples
from loader.cli.printing import facts, print_load, print_rejects
from loader.cli.signals import stop_on_signals
from loader.cli.text import number, out, out_exactly, out_json, out_json_array
from loader.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from loader.warehouse.rejects import RejectFilter

app = typer.Typer(
    help="Records that could not be loaded.", no_args_is_help=True, rich_markup_mode=None
)

OfLoad = Annotated[int | None, typer.Option("--load", metavar="ID", help="Of one load.")]
OfFile = Annotated[str | None, typer.Option("--file", metavar="PATH", help="Of one file.")]
OfReason = Annotated[
    str | None, typer.Option("--reason", metavar="CODE", help="With one reason code.")
]
_LIST_EPILOG = examples(
    "customerio-loader rejects list --reason invalid_json",
    "customerio-loader rejects list --raw > mend.ndjson",
)
_REPLAY_EPILOG = examples(
    "customerio-loader rejects replay",
    "LOADER_MAX_RECORD_BYTES=4194304 customerio-loader rejects replay --reason record_too_large",
    after=EXIT_CODES,
)


@app.command("list", epilog=_LIST_EPILOG)
def rejects_list(
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    load: OfLoad = None,
    file: OfFile = None,
    reason: OfReason = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that a replay has loaded or ignored.")
    ] = False,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", min=1, metavar="N", help="How many to show; --raw and --json give all."
        ),
    ] = 100,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the records, each on a line, for `load -`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show rejected records: where they stood, why they were rejected."""
    from loader.normalize.jsontext import one_line
    from loader.warehouse import rejects

    settings = read_settings(warehouse_url=warehouse_url)
    filters: RejectFilter = {"load": load, "file": file, "reason": reason, "everything": everything}
    with existing_schema(one_pair(settings, source, warehouse)) as connection:
        _check_reason(connection, reason)
        if raw:
            for one in rejects.select_all_rejects(connection, **filters):
                out_exactly(one_line(one["raw"]))
            return
        if as_json:
            out_json_array(rejects.select_all_rejects(connection, **filters))
            return
        shown, count = rejects.select_first_rejects(connection, limit=limit, **filters)
    if shown:
        print_rejects(shown)
        if count > len(shown):
            out(f"and {count - len(shown):,} more: --limit {count}", dim=True)
    else:
        out("no rejects")


@app.command("replay", epilog=_REPLAY_EPILOG)
def rejects_replay(
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    load: OfLoad = None,
    file: OfFile = None,
    reason: OfReason = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> int:
    """Try rejected records again, after a fix or with other settings; never loads one twice."""
    from loader.load import recipe
    from loader.warehouse import embedded

    settings = read_settings(warehouse_url=warehouse_url)
    chosen, place, _ = one_pair(settings, source, warehouse)
    with embedded.server_of(place) as url, stop_on_signals():
        # A load, which a replay is, would make the schema of a source that was never loaded.
        with schema_at(url, chosen) as connection:
            _check_reason(connection, reason)
        result = recipe.replay(
            source=chosen,
            settings=settings,
            url=url,
            wait=wait,
            load=load,
            file=file,
            reason=reason,
        )
    result.warehouse = place.name
    out_json(facts(result)) if as_json else print_load(result)
    counts = result.counts
    where = "" if place.name is None else f" --warehouse {shlex.quote(place.name)}"
    if counts.records_read and counts.rejects == counts.records_read:
        complain(
            f"all {number(counts.rejects, 'record')} were rejected again; "
            f"see `customerio-loader rejects list{where}`",
            "replay.all_rejected",
            source=chosen.name,
            warehouse=place.name,
        )
        return TOO_MANY_REJECTS
    return 0


def _check_reason(connection: "Connection", reason: str | None) -> None:
    """Refuse a code that neither this version knows nor a reject of an earlier one has."""
    from loader.normalize.event import REASONS
    from loader.warehouse import rejects

    if reason is None or reason in REASONS:
        return
    counts = rejects.count_rejects(connection, everything=True)
    if reason not in counts:
        near = did_you_mean(reason, {*counts, *REASONS})
        there = ", ".join(f"{code} {count:,}" for code, count in counts.items())
        raise UsageError(
            f"{reason!r} is no reason code{near}" + (f" (There are {there}.)" if there else "")
        )
