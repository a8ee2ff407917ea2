"""`load` and `plan`."""

import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import read_settings, running_server, sources_and_inputs
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
    WarehouseUrl,
    examples,
)
from loader.cli.printing import facts, print_hints, print_load, print_plan
from loader.cli.progress import show_progress
from loader.cli.signals import stop_on_signals
from loader.cli.text import out_json

if TYPE_CHECKING:
    from loader.config import Settings, Source
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

    def show(result: "LoadResult") -> int:
        changes = len(result.counts.schema_changes)
        record("load.finished", **facts(result) | {"schema_changes": changes})
        if as_json:
            out_json(facts(result))
        elif not quiet:
            print_load(result)
            if result.is_first and result.counts.rows_loaded and settings.url() is None:
                print_hints(result.schema)
        return _judge(result, settings)

    work = sources_and_inputs(settings, source, paths, new=new_source, labels=label)
    run = partial(
        recipe.load,
        settings=settings,
        wait=wait,
        force=force,
        is_by_hand=bool(paths),
        full_listing=full_listing,
    )
    return _each(work, settings, run, show, event="load.failed", quiet=quiet)


def plan(
    paths: Paths = None,
    source: SourceName = None,
    label: Labels = None,
    new_source: NewSource = False,
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

    work = sources_and_inputs(settings, source, paths, new=new_source, labels=label)
    run = partial(recipe.plan, settings=settings, force=force)
    return _each(work, settings, run, show, event="plan.failed", quiet=as_json)


def _each(
    work: "list[tuple[Source, list[str]]]",
    settings: "Settings",
    run: "Callable[..., LoadResult]",
    show: "Callable[[LoadResult], int]",
    *,
    event: str,
    quiet: bool,
) -> int:
    """Run a load or a plan for each source, and show what it came to; the exit code of all."""
    outcomes = Outcomes()
    with running_server(settings) as url:
        for source, inputs in work:
            with outcomes.of(source.name, event):
                with stop_on_signals(), show_progress(source.name, quiet=quiet) as progress:
                    result = run(inputs, source=source, url=url, progress=progress)
                outcomes.add(show(result))
    return outcomes.code()


def _judge(result: "LoadResult", settings: "Settings | None") -> int:
    """The exit code of a load, or of the plan of one, with a line on stderr for what is wrong."""
    for message in result.warnings:
        warn(message)
    for event, message in result.notices():
        complain(message, event, source=result.source)
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
    complain(
        f"{counts.rejects:,} of {counts.wanted:,} records were rejected "
        f"({result.reject_ratio:.3g}), above max_reject_ratio ({settings.max_reject_ratio:g}); "
        f"see `customerio-loader rejects list --load {result.load_id}{of_source}`",
        "load.too_many_rejects",
        source=result.source,
    )
