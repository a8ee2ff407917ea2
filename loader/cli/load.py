"""`load` and `plan`."""

import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import (
    pairs_to_load,
    read_settings,
    require_one_warehouse,
    tell_unfinished,
)
from loader.cli.exits import EXIT_CODES, FAILED, TOO_MANY_REJECTS, Outcomes
from loader.cli.log import complain, record, warn
from loader.cli.options import (
    AsJson,
    Force,
    Labels,
    LogFormat,
    NewSource,
    Paths,
    Quiet,
    SourceName,
    Wait,
    WarehouseName,
    WarehouseUrl,
    examples,
)
from loader.cli.printing import facts, print_hints, print_load, print_plan
from loader.cli.progress import show_progress
from loader.cli.signals import stop_on_signals
from loader.cli.text import out_json

if TYPE_CHECKING:
    from loader.config import Settings
    from loader.load.pairs import Pair
    from loader.load.result import LoadResult

LOAD_EPILOG = examples(
    "customerio-loader load /data/customerio",
    "customerio-loader load '/data/**/*.gz' --source 'Customer.io EU'",
    "zcat events.gz | customerio-loader load -",
    after=EXIT_CODES,
)
PLAN_EPILOG = examples(
    "customerio-loader plan /data/customerio",
    "customerio-loader plan --sql /data/customerio > changes.sql",
)


def load(
    paths: Paths = None,
    source: SourceName = None,
    label: Labels = None,
    new_source: NewSource = False,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    wait: Wait = False,
    force: Force = False,
    full_listing: Annotated[
        bool, typer.Option("--full-listing", help="List old folders of buckets, too.")
    ] = False,
    workers: Annotated[str | None, typer.Option("--workers", hidden=True)] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> int:
    """Load events: read, normalize, write. Safe to run again: nothing is loaded twice."""
    from loader.load import recipe

    settings = read_settings(warehouse_url=warehouse_url, log_format=log_format, workers=workers)

    pairs = pairs_to_load(settings, source, warehouse, paths, new=new_source, labels=label)

    def show(result: "LoadResult") -> int:
        changes = len(result.counts.schema_changes)
        record("load.finished", **facts(result) | {"schema_changes": changes})
        if as_json:
            out_json(facts(result))
        elif not quiet:
            print_load(result)
            if not (paths or result.counts.records_read or result.errors):
                tell_unfinished(settings, [result.schema])
            is_embedded = pairs[0].warehouse.is_embedded  # then it is the only one
            if result.is_first and result.counts.rows_loaded and is_embedded:
                print_hints(result.schema)
        return _judge(result, settings)

    run = partial(
        recipe.load,
        settings=settings,
        wait=wait,
        force=force,
        is_by_hand=bool(paths),
        full_listing=full_listing,
    )
    return _each(pairs, run, show, event="load.failed", quiet=quiet)


def plan(
    paths: Paths = None,
    source: SourceName = None,
    label: Labels = None,
    new_source: NewSource = False,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    force: Force = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL of the schema changes, too.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show what `load` would do: rows, new tables, new columns. Writes nothing."""
    from loader.load import recipe

    settings = read_settings(warehouse_url=warehouse_url)

    def show(result: "LoadResult") -> int:
        if as_json:
            out_json(facts(result) | {"pending_sql": result.pending_sql})
        else:
            print_plan(result, sql=sql)
        return _judge(result, None)

    pairs = pairs_to_load(settings, source, warehouse, paths, new=new_source, labels=label)
    if sql:
        require_one_warehouse(pairs)
    run = partial(recipe.plan, settings=settings, force=force)
    return _each(pairs, run, show, event="plan.failed", quiet=as_json)


def _each(
    pairs: "list[Pair]",
    run: "Callable[..., LoadResult]",
    show: "Callable[[LoadResult], int]",
    *,
    event: str,
    quiet: bool,
) -> int:
    """Run a load or a plan for each pair, and show what it came to; the exit code of all."""
    from loader.load.pairs import Away, running_servers

    outcomes, away = Outcomes(), Away()
    with running_servers(pairs) as url_of:
        for source, place, inputs in pairs:
            with outcomes.of(source.name, event, place.name):
                url = url_of(place)
                name = source.name if place.name is None else f"{place.name}: {source.name}"
                with (
                    stop_on_signals(),
                    show_progress(name, quiet=quiet) as progress,
                    away.noticed(place, url),
                ):
                    result = run(inputs, source=source, url=url, progress=progress)
                result.warehouse = place.name
                outcomes.add(show(result))
    return outcomes.code()


def _judge(result: "LoadResult", settings: "Settings | None") -> int:
    """The exit code of a load, or of the plan of one, with a line on stderr for what is wrong."""
    for message in result.warnings:
        warn(message, result.warehouse)
    for event, message in result.notices():
        complain(message, event, source=result.source, warehouse=result.warehouse)
    if result.errors:
        return FAILED
    if settings is not None and result.reject_ratio > settings.max_reject_ratio:
        _complain_of_rejects(result, settings)
        return TOO_MANY_REJECTS
    return 0


def _complain_of_rejects(result: "LoadResult", settings: "Settings") -> None:
    """Say that too many records were rejected, and where to look."""
    counts = result.counts
    of_source = f" --source {shlex.quote(result.source)}" if len(settings.sources()) > 1 else ""
    if result.warehouse is not None:
        of_source += f" --warehouse {shlex.quote(result.warehouse)}"
    complain(
        f"{counts.rejects:,} of {counts.wanted:,} records were rejected "
        f"({result.reject_ratio:.3g}), above max_reject_ratio ({settings.max_reject_ratio:g}); "
        f"see `customerio-loader rejects list --load {result.load_id}{of_source}`",
        "load.too_many_rejects",
        source=result.source,
        warehouse=result.warehouse,
    )
