"""The commands. The only room that exits; what is more than a line, `printing.py` prints.

Results go to stdout, logs and progress to stderr. What is heavy to import waits until a command
needs it, so that `--help` is quick.
"""

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from loader._version import __version__
from loader.errors import OUT_OF_MEMORY, LoaderError, LockHeld, UsageError, is_out_of_memory
from loader.printing import facts, number, print_hints, print_load, print_status, print_table
from loader.signals import signal_of, stop_on_signals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from loader.config import Settings, Source
    from loader.pipeline import LoadResult
    from loader.reading import Progress

# numpy's library for matrices, of which there are none here, would start a thread for each core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

EXIT_TOO_MANY_REJECTS = 3

_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong use or settings, 3 too many rejects, "
    "4 schema not at head, 75 another load runs, 130 and 143 stopped by a signal."
)

app = typer.Typer(
    name="customerio-loader",
    help="Load Customer.io events into PostgreSQL: one table per event, plus tracks.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
embedded_app = typer.Typer(
    help="The embedded PostgreSQL, used where no URL is set.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
rejects_app = typer.Typer(
    help="Records that could not be loaded.", no_args_is_help=True, rich_markup_mode=None
)
columns_app = typer.Typer(
    help="Columns of the event tables.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(rejects_app, name="rejects")
app.add_typer(columns_app, name="columns")
app.add_typer(embedded_app, name="warehouse")

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Files, folders, globs, or - for stdin; default: the inputs of the sources.",
        show_default=False,
    ),
]
SourceName = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Name of the source; default: Customer.io."),
]
WarehouseUrl = Annotated[
    str | None,
    typer.Option(
        "--warehouse-url",
        metavar="URL",
        help="postgresql://USER@HOST/DATABASE [LOADER_WAREHOUSE_URL, DATABASE_URL]; "
        "default: the embedded server. Keep passwords out of it: PGPASSWORD, ~/.pgpass.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")
]
Force = Annotated[bool, typer.Option("--force", help="Read finished files again.")]
LogFormat = Annotated[
    str | None,
    typer.Option("--log-format", metavar="text|json", help="Form of the log [LOADER_LOG_FORMAT]."),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        done = int(app(args=argv, standalone_mode=False) or 0)
        sys.stdout.flush()
        return done
    except LoaderError as error:
        print(f"customerio-loader: {error}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 130
    except OSError as error:
        if is_out_of_memory(error):
            _leave_without_memory()
        if error.errno != errno.EPIPE:
            print(f"customerio-loader: cannot write the result: {error.strerror}", file=sys.stderr)
            return 1
        # The reader of our stdout had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        code = signal_of(error)
        if code is not None:
            # Without waiting for threads: one may hang on a server or a pipe that is silent.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + code)
        if is_out_of_memory(error):
            _leave_without_memory()
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # a usage error of typer's
            error.show()
            return int(error.exit_code)
        raise


def _leave_without_memory() -> NoReturn:
    print(f"customerio-loader: {OUT_OF_MEMORY}", file=sys.stderr, flush=True)
    os._exit(1)  # the way out of Python takes memory too


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"customerio-loader {__version__}")
        raise typer.Exit


# load and plan


@app.command(epilog=_EXIT_CODES)
def load(
    paths: Paths = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a running load to end.")] = False,
    force: Force = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Processes that parse and normalize [LOADER_WORKERS]."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    log_format: LogFormat = None,
) -> int:
    """Load events: read, normalize, write. Safe to run again: nothing is loaded twice."""
    from loader import pipeline

    settings = _settings(warehouse_url=warehouse_url, log_format=log_format, workers=workers)
    log = _json_log(settings)
    code = 0
    with _server(settings) as url:
        for chosen, inputs in _work(settings, source, paths):
            try:
                with stop_on_signals(), _progress(inputs, quiet=quiet) as progress:
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
                _complain(log, "load.failed", chosen, str(error))
                code = code or error.exit_code
                continue
            for message in result.errors:
                _complain(log, "input.unreadable", chosen, message)
            if log is not None:
                changes = len(result.counts.schema_changes)
                log.info("load.finished", **facts(result) | {"schema_changes": changes})
            code = code or _exit_code(result, settings)
            if as_json:
                print(json.dumps(facts(result)))
            elif not quiet:
                print_load(result)
                if settings.url() is None and result.counts.rows_loaded:
                    print_hints(chosen.schema_)
    return code


@app.command()
def plan(
    paths: Paths = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Show what `load` would do, and the SQL of its schema changes. Writes nothing."""
    from loader import pipeline

    settings = _settings(warehouse_url=warehouse_url)
    code = 0
    with _server(settings) as url:
        for chosen, inputs in _work(settings, source, paths):
            with stop_on_signals(), _progress(inputs, quiet=as_json) as progress:
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
                _complain(None, "input.unreadable", chosen, message)
                code = 1
    return code


def _complain(log: Any, event: str, source: "Source", message: str) -> None:
    """A sentence for people, or a line for machines where the log is for them."""
    if log is None:
        print(f"customerio-loader: {message}", file=sys.stderr)
    else:
        log.error(event, source=source.name, error=message)


def _work(
    settings: "Settings", source: str | None, paths: list[str] | None
) -> list[tuple["Source", list[str]]]:
    """The sources to load, each with its inputs."""
    if paths:
        return [(settings.find_source(source), paths)]
    chosen = [settings.find_source(source)] if source else list(settings.sources())
    for one in chosen:
        if not one.inputs:
            raise UsageError(
                f"no PATH was given and the source {one.name!r} has no `inputs`: "
                "name a file, a folder or a glob"
            )
    return [(one, list(one.inputs)) for one in chosen]


def _exit_code(result: "LoadResult", settings: "Settings") -> int:
    if result.status != "success":
        return 1
    return EXIT_TOO_MANY_REJECTS if result.reject_ratio > settings.max_reject_ratio else 0


# the schema


@app.command()
def migrate(
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, run nothing.")] = False,
) -> None:
    """Bring the schema of a source, or of all configured ones, to head."""
    from loader.warehouse import engine, migrate

    settings = _settings(warehouse_url=warehouse_url)
    with _server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        for chosen in _sources(settings, source):
            with connection.begin():
                state = migrate.read_state(connection, chosen.schema_)
            migrate.check_state(state, chosen, auto_migrate=True)
            if sql:
                print(migrate.upgrade_sql(chosen, state.revision) if state.kind != "head" else "")
            elif state.kind == "head":
                print(f"{chosen.schema_}: at head, revision {state.revision}")
            else:
                migrate.upgrade(connection, chosen)
                before = state.revision or "nothing"
                print(f"{chosen.schema_}: from {before} to revision {migrate.head_revision()}")


def _sources(settings: "Settings", name: str | None) -> list["Source"]:
    return [settings.find_source(name)] if name else list(settings.sources())


# looking


@app.command()
def check(
    paths: Paths = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> int:
    """Can this configuration work: connection, version, rights, inputs. Changes nothing."""
    from loader.sources.files import list_inputs
    from loader.warehouse import engine, inspect

    settings = _settings(warehouse_url=warehouse_url)
    found: list[tuple[str, inspect.Finding]] = []
    with _server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        for chosen in _sources(settings, source):
            for finding in inspect.check_warehouse(connection, chosen):
                found.append((chosen.name, finding))
            for path in paths or chosen.inputs:
                try:
                    count = len(list_inputs([path]))
                    finding = inspect.Finding(True, f"input {path}: {number(count, 'file')}")
                except LoaderError as error:
                    finding = inspect.Finding(False, f"input {path}", str(error))
                found.append((chosen.name, finding))
            found += [(chosen.name, finding) for finding in inspect.check_compiled()]
    if as_json:
        shown = [{"source": name} | finding._asdict() for name, finding in found]
        print(json.dumps([one | {"advice": ""} if one["ok"] else one for one in shown]))
    else:
        for name, finding in found:
            advice = "" if finding.ok else f"\n        {finding.advice}"
            print(f"{'ok  ' if finding.ok else 'NOT '}  {name}: {finding.what}{advice}")
    return 0 if all(finding.ok for _, finding in found) else 1


@app.command()
def status(
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    loads: Annotated[int, typer.Option(min=1, help="How many loads to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """The last loads, rows and freshness per table, rejects, values in _extra."""
    from loader.warehouse import engine, inspect, ledger, migrate

    settings = _settings(warehouse_url=warehouse_url)
    with _server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        for chosen in _sources(settings, source):
            state = migrate.read_state(connection, chosen.schema_)
            if state.revision is None and len(settings.sources()) > 1 and source is None:
                if not as_json:
                    print(f"{chosen.name} -> schema {chosen.schema_}: nothing was loaded yet")
                continue
            _require_loads(state.revision, chosen)
            named = connection.execution_options(schema_translate_map={None: chosen.schema_})
            shown = {
                "source": chosen.name,
                "schema": chosen.schema_,
                "loads": ledger.select_loads(named, loads),
                "tables": [t._asdict() for t in inspect.table_status(named, chosen.schema_)],
                "rejects": ledger.count_rejects(named),
            }
            print(json.dumps(shown, default=str)) if as_json else print_status(shown)


# rejects

OfLoad = Annotated[int | None, typer.Option("--load", metavar="ID", help="Of one load.")]
OfFile = Annotated[str | None, typer.Option("--file", metavar="PATH", help="Of one file.")]
OfReason = Annotated[
    str | None, typer.Option("--reason", metavar="CODE", help="With one reason code.")
]


@rejects_app.command("list")
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

    with _existing_schema(source, warehouse_url) as (_, connection):
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


@rejects_app.command("replay", epilog=_EXIT_CODES)
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

    settings = _settings(warehouse_url=warehouse_url)
    with _server(settings) as url, stop_on_signals():
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


# columns


@columns_app.command("list")
def columns_list(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show every column: type, key as sent, when it was added, nulls, values in _extra."""
    from loader.warehouse import widen

    with _existing_schema(source, warehouse_url) as (chosen, connection):
        found = widen.list_columns(connection, chosen.schema_, table)
    if as_json:
        print(json.dumps([one._asdict() for one in found]))
        return
    print_table(
        ("table", "column", "type", "key", "added", "null", "in _extra"),
        [
            (
                one.table,
                one.column,
                one.type,
                one.key,
                one.added_at or "declared",
                "-" if one.null_share is None else f"{one.null_share:.1%}",
                f"{one.in_extra:,}",
            )
            for one in found
        ],
    )


@columns_app.command("widen")
def columns_widen(
    table: Annotated[str, typer.Argument(help="Table of the column.")],
    column: Annotated[str, typer.Argument(help="Column to widen.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="numeric, text or jsonb.")],
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
) -> None:
    """Give a column a wider type, and move the values that wait in _extra into it."""
    from loader.warehouse import engine, widen

    settings = _settings(warehouse_url=warehouse_url)
    chosen = settings.find_source(source)
    with _server(settings) as url:
        session = engine.Session(
            engine.make_engine(url), chosen.schema_, lock_timeout=settings.lock_timeout
        )
        try:
            if not session.open():
                raise LockHeld(f"a load of {chosen.name!r} is running: widen when it has ended")
            with engine.translate(session.engine.url), session.connection.begin():
                moved = widen.widen(
                    session.connection, chosen, table, column, type_, version=__version__
                )
        finally:
            session.close()
    for name, count in moved.items():
        print(f"{name}.{column} is {type_} now; {number(count, 'value')} moved from _extra")


@contextmanager
def _existing_schema(
    source: str | None, warehouse_url: str | None
) -> Iterator[tuple["Source", "Connection"]]:
    """A source and a connection to its schema, which must be there."""
    from loader.warehouse import engine, migrate

    settings = _settings(warehouse_url=warehouse_url)
    chosen = settings.find_source(source)
    with _server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        _require_loads(migrate.read_state(connection, chosen.schema_).revision, chosen)
        yield (
            chosen,
            connection.execution_options(schema_translate_map={None: chosen.schema_}),
        )


def _require_loads(revision: str | None, source: "Source") -> None:
    if revision is None:
        raise UsageError(
            f"nothing was loaded into {source.schema_!r} yet: run `customerio-loader load`"
        )


# the embedded server


@embedded_app.command("start")
def warehouse_start() -> None:
    """Start it and leave it running; prints its URL."""
    from loader.warehouse import embedded

    print(embedded.start(_embedded_folder()))


@embedded_app.command("stop")
def warehouse_stop() -> None:
    """Stop it."""
    from loader.warehouse import embedded

    print("stopped" if embedded.stop(_embedded_folder()) else "it was not running")


@embedded_app.command("url")
def warehouse_url() -> None:
    """Print its URL, of use while it runs (`warehouse start`)."""
    from loader.warehouse import embedded

    folder = _embedded_folder()
    running = embedded.is_running(folder)
    with embedded.running(folder) as url:
        print(url)
    if not running:
        print("it is not running: `customerio-loader warehouse start`", file=sys.stderr)


@embedded_app.command("psql", context_settings={"ignore_unknown_options": True})
def warehouse_psql(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]", help="Arguments of psql.")
    ] = None,
) -> int:
    """Open psql on it; it runs at least as long as psql does."""
    from loader.warehouse import embedded

    with embedded.running(_embedded_folder()) as url:
        return embedded.run_psql(url, arguments or [])


def _embedded_folder() -> Path:
    settings = _settings()
    if settings.url() is not None:
        raise UsageError("a warehouse URL is set, so the embedded server is not used: unset it")
    return settings.warehouse_dir


# around a command


def _settings(**flags: Any) -> "Settings":
    from loader.config import load_settings

    return load_settings(**flags)


@contextmanager
def _server(settings: "Settings") -> Iterator[str]:
    """The URL of the warehouse, which runs as long as the context."""
    from loader.warehouse import embedded

    url = settings.url()
    with nullcontext(url) if url else embedded.running(settings.warehouse_dir) as found:
        yield found


@contextmanager
def _progress(inputs: Sequence[str], *, quiet: bool) -> Iterator["Progress | None"]:
    """A bar on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from loader.sources.files import list_inputs

    total = sum(file.size or 0 for file in list_inputs(inputs)) or None
    columns = (
        TextColumn("{task.fields[records]:,} records"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, records=0)
        yield lambda stored, records: bar.update(task, completed=stored, records=records)


def _json_log(settings: "Settings") -> Any:
    """The log on stderr for machines, or None where sentences do."""
    if settings.log_format != "json":
        return None
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    return structlog.get_logger()


if __name__ == "__main__":
    sys.exit(main())
