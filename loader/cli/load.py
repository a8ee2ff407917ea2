"""`load` and `plan`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import complain, json_log, read_settings, running_server, sources_and_inputs
from loader.cli.exits import EXIT_TOO_MANY_REJECTS
from loader.cli.options import AsJson, Force, LogFormat, Paths, Quiet, SourceName, WarehouseUrl
from loader.cli.printing import facts, print_hints, print_load
from loader.cli.progress import show_progress
from loader.cli.signals import stop_on_signals
from loader.errors import LoaderError

if TYPE_CHECKING:
    from loader.config import Settings
    from loader.pipeline import LoadResult


def load(
    paths: Paths = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a running load to end.")] = False,
    force: Force = False,
    workers: Annotated[str | None, typer.Option("--workers", hidden=True)] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> int:
    """Load events: read, normalize, write. Safe to run again: nothing is loaded twice."""
    from loader import pipeline

    settings = read_settings(warehouse_url=warehouse_url, log_format=log_format, workers=workers)
    log = json_log(settings)
    code = 0
    with running_server(settings) as url:
        for chosen, inputs in sources_and_inputs(settings, source, paths):
            try:
                with stop_on_signals(), show_progress(inputs, quiet=quiet) as progress:
                    result = pipeline.load(
                        inputs,
                        source=chosen,
                        settings=settings,
                        url=url,
                        wait=wait,
                        force=force,
                        progress=progress,
                    )
            except LoaderError as error:
                # The other sources are loaded all the same.
                complain(log, "load.failed", chosen, str(error))
                code = code or error.exit_code
                continue
            for message in result.errors:
                complain(log, "input.unreadable", chosen, message)
            if log is not None:
                changes = len(result.counts.schema_changes)
                log.info("load.finished", **facts(result) | {"schema_changes": changes})
            code = code or exit_code_of(result, settings)
            if as_json:
                print(json.dumps(facts(result)))
            elif not quiet:
                print_load(result)
                if settings.url() is None and result.counts.rows_loaded:
                    print_hints(chosen.schema_)
    return code


def plan(
    paths: Paths = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Show what `load` would do, and the SQL of its schema changes. Writes nothing."""
    from loader import pipeline

    settings = read_settings(warehouse_url=warehouse_url)
    code = 0
    with running_server(settings) as url:
        for chosen, inputs in sources_and_inputs(settings, source, paths):
            with stop_on_signals(), show_progress(inputs, quiet=as_json) as progress:
                result = pipeline.plan(
                    inputs,
                    source=chosen,
                    settings=settings,
                    url=url,
                    force=force,
                    progress=progress,
                )
            if as_json:
                print(json.dumps(facts(result) | {"pending_sql": result.pending_sql}))
            else:
                print("Nothing was written. A load would do this:\n")
                print_load(result)
                print(f"\n{result.pending_sql.strip() or '-- No schema change.'}")
            for message in result.errors:
                complain(None, "input.unreadable", chosen, message)
                code = 1
    return code


def exit_code_of(result: "LoadResult", settings: "Settings") -> int:
    if result.status != "success":
        return 1
    return EXIT_TOO_MANY_REJECTS if result.reject_ratio > settings.max_reject_ratio else 0
