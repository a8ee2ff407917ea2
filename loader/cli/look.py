"""`check` and `status`: they look and change nothing."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import pairs_of, read_settings, require_loads
from loader.cli.exits import EXIT_CODES, FAILED, Outcomes
from loader.cli.log import in_warehouse
from loader.cli.options import AsJson, Paths, SourceName, WarehouseName, WarehouseUrl, examples
from loader.cli.printing import heading, print_status
from loader.cli.text import number, out, out_json
from loader.errors import InputUnreadable, LoaderError

if TYPE_CHECKING:
    from loader.config import Settings, Source
    from loader.warehouse.inspect import Finding

CHECK_EPILOG = examples(
    "customerio-loader check", "customerio-loader check /data/customerio", after=EXIT_CODES
)
STATUS_EPILOG = examples(
    "customerio-loader status",
    "customerio-loader status --loads 20",
    "customerio-loader status --check --load-age 2",
    after=EXIT_CODES,
)

_MOST_HOURS = 876_600  # a century; more, and "inf", are no time ago


def check(
    paths: Paths = None,
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> int:
    """Say whether a load can work. Looks at connection, version, rights and inputs."""
    from loader.load.pairs import running_servers
    from loader.warehouse import engine, inspect

    settings = read_settings(warehouse_url=warehouse_url)
    outcomes = Outcomes()
    found: list[tuple[str, str | None, Finding]] = []
    looked_at: list[Source] = []
    pairs = pairs_of(settings, source, warehouse)
    with running_servers(pairs) as url_of:
        for chosen, place, _ in pairs:
            with (
                outcomes.of(chosen.name, "check.failed", place.name),
                engine.connect(engine.make_engine(url_of(place))) as connection,
            ):
                for finding in inspect.check_warehouse(connection, chosen):
                    found.append((chosen.name, place.name, finding))
                if chosen not in looked_at:  # the rest is the same whatever it is loaded into
                    looked_at.append(chosen)
                    for finding in _findings(settings, chosen, paths):
                        found.append((chosen.name, None, finding))
    if as_json:
        shown = [{"source": one, "warehouse": place} | f._asdict() for one, place, f in found]
        out_json([one | {"advice": ""} if one["ok"] else one for one in shown])
    else:
        for name, where, finding in found:
            what = f"{name}: {in_warehouse(where)}{finding.what}"
            if finding.ok:
                out(f"ok    {what}")
            else:
                out(f"NOT   {what}", fg="red")
                out(f"        {finding.advice}")
    outcomes.add(0 if all(finding.ok for _, _, finding in found) else FAILED)
    return outcomes.code()


def _findings(
    settings: "Settings", source: "Source", paths: list[str] | None
) -> "Iterator[Finding]":
    from loader.warehouse import inspect

    for doubt in source.doubts():
        yield inspect.Finding(False, "collections", doubt)
    for path in paths or settings.inputs_of(source):
        try:
            yield inspect.Finding(True, f"input {path}: {_look_at(path, settings, source)}")
        except LoaderError as error:
            yield inspect.Finding(False, f"input {path}", str(error))
    yield from inspect.check_compiled()


def _look_at(path: str, settings: "Settings", source: "Source") -> str:
    """How many files an input has, and what the first one looks like; of a bucket the first page.

    Raises InputUnreadable where it cannot be listed, or that file not be read.
    """
    from loader.load.todo import inputs_of
    from loader.sources.kinds import START_BYTES, describe, no_events
    from loader.sources.urls import is_url

    inputs = inputs_of([path], source, settings)
    count, more, first = 0, "", None
    for listed in inputs.list():
        for error in filter(None, (listed.error, listed.page.failure)):
            raise InputUnreadable(str(error))
        files = [file for file in listed.page.files if not file.skipped]
        count += len(files)
        first = first or next((file for file in files if not file.is_stream), None)
        if count and is_url(path):
            more = "at least " * (not first or not first.is_named)
            break
    if first is None:
        return number(count, "file")
    with inputs.open(first) as opened:
        start = next(opened.blocks, b"")[:START_BYTES]
    what = describe(start)
    if what and first.is_named:
        raise InputUnreadable(no_events(first.uri, what))
    return f"{more}{number(count, 'file')}; the first one looks like {what or 'events'}"


def status(
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    loads: Annotated[int, typer.Option(min=1, help="How many loads to show.")] = 5,
    alerts: Annotated[
        bool, typer.Option("--check", help="Only say what is wrong; exit 1 if anything is.")
    ] = False,
    load_age: Annotated[
        float,
        typer.Option(min=0, max=_MOST_HOURS, help="With --check: hours without a good load."),
    ] = 26,
    event_age: Annotated[
        float,
        typer.Option(min=0, max=_MOST_HOURS, help="With --check: hours without a new event."),
    ] = 48,
    as_json: AsJson = False,
) -> int:
    """Show the last loads and how fresh the tables are. Also rejects and values in _extra.

    With --check it is silent unless something is wrong: no good load or no event for too long, a
    failed load since, or more rejects than max_reject_ratio since the last good load with records.
    """
    from loader.load.pairs import running_servers
    from loader.warehouse import engine, inspect, ledger, migrate, rejects
    from loader.warehouse.alerts import find_alerts
    from loader.warehouse.marts import fold

    settings = read_settings(warehouse_url=warehouse_url)
    outcomes = Outcomes()
    pairs = pairs_of(settings, source, warehouse)
    with running_servers(pairs) as url_of:
        for chosen, place, _ in pairs:
            with (
                outcomes.of(chosen.name, "status.failed", place.name),
                engine.connect(engine.make_engine(url_of(place))) as connection,
            ):
                state = migrate.read_state(connection, chosen.schema_)
                if state.revision is None and len(pairs) > 1 and not alerts:
                    if not as_json:
                        where = heading(chosen.name, place.name, chosen.schema_)
                        out(f"{where}: nothing was loaded yet")
                    continue
                require_loads(state, chosen)
                named = connection.execution_options(schema_translate_map={None: chosen.schema_})
                if alerts:
                    wrong = find_alerts(
                        named,
                        chosen.schema_,
                        load_age=timedelta(hours=load_age),
                        event_age=timedelta(hours=event_age),
                        reject_ratio=settings.max_reject_ratio,
                    )
                    _tell(wrong, chosen.name, place.name, as_json=as_json)
                    outcomes.add(FAILED if wrong else 0)
                    continue
                shown = {
                    "source": chosen.name,
                    "schema": chosen.schema_,
                    "warehouse": place.name,
                    "loads": ledger.select_loads(named, loads),
                    "tables": [t._asdict() for t in inspect.table_status(named, chosen.schema_)],
                    "marts": [fold.select_status(named, chosen.schema_)._asdict()],
                    "waiting_columns": [one._asdict() for one in ledger.select_waiting(named)],
                    "rejects": rejects.count_rejects(named),
                }
                out_json(shown) if as_json else print_status(shown)
    return outcomes.code()


def _tell(wrong: list[str], source: str, warehouse: str | None, *, as_json: bool) -> None:
    if as_json:
        out_json({"source": source, "warehouse": warehouse, "alerts": wrong})
    else:
        for alert in wrong:
            out(f"{source}: {in_warehouse(warehouse)}{alert}")
