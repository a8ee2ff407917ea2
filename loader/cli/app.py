"""The program: its commands, and how it ends. The only place that exits."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from loader import __version__
from loader.cli import (
    columns,
    config,
    dashboards,
    destinations,
    forward,
    inputs,
    load,
    look,
    marts,
    receive,
    rejects,
    report,
    schema,
    sources,
    spool,
    warehouse,
)
from loader.cli.exits import EXIT_CODES
from loader.cli.log import complain
from loader.cli.options import examples
from loader.cli.signals import signal_of
from loader.cli.text import number, out
from loader.errors import OUT_OF_MEMORY, LoaderError, is_out_of_memory

# numpy's library for matrices, of which there are none here, would start a thread for each core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# pydantic would look for plugins in the metadata of every package that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

app = typer.Typer(
    name="customerio-loader",
    help="Load Customer.io events into PostgreSQL: one table per event, plus tracks.",
    epilog=examples(
        "customerio-loader load /data/customerio",
        "customerio-loader status",
        after=EXIT_CODES,
    ),
    context_settings={"help_option_names": ["-h", "--help"]},  # of all commands below, too
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(epilog=load.LOAD_EPILOG)(load.load)
app.command(epilog=load.PLAN_EPILOG)(load.plan)
app.command(epilog=inputs.INPUTS_EPILOG)(inputs.inputs)
app.command(epilog=look.CHECK_EPILOG)(look.check)
app.command(epilog=look.STATUS_EPILOG)(look.status)
app.command(epilog=report.EPILOG)(report.report)
app.command(epilog=schema.EPILOG)(schema.migrate)
app.command(epilog=receive.EPILOG)(receive.receive)
app.command(epilog=forward.EPILOG)(forward.forward)
app.add_typer(spool.app, name="spool")
app.add_typer(rejects.app, name="rejects")
app.add_typer(columns.app, name="columns")
app.add_typer(marts.app, name="marts")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(sources.app, name="sources")
app.add_typer(destinations.app, name="destinations")
app.add_typer(config.app, name="config")
app.add_typer(warehouse.app, name="warehouse")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        done = int(app(args=argv, standalone_mode=False) or 0)
        sys.stdout.flush()
        return done
    except LoaderError as error:
        complain(str(error), "failed")
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 130
    except OSError as error:
        if is_out_of_memory(error):
            _leave_without_memory()
        if error.errno != errno.EPIPE:
            complain(f"cannot write the result: {error.strerror}", "failed")
            return 1
        # The reader of our stdout had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        code = signal_of(error)
        if code is not None:
            complain(_stopped(error, code), "stopped")
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


def _stopped(error: BaseException, code: int) -> str:
    """What a signal stopped, and what is safe."""
    name = signal.Signals(code).name
    done = getattr(error, "committed", None)
    if done is None:
        return f"stopped by {name}"
    kept = f"{number(done.records, 'record')} in {number(done.batches, 'batch', 'batches')}"
    into = "" if done.warehouse is None else f" into {done.warehouse!r}"
    return (
        f"the load of {done.source!r}{into} was stopped by {name}; committed: {kept}. "
        "Run it again: it goes on behind them"
    )


def _leave_without_memory() -> NoReturn:
    complain(OUT_OF_MEMORY, "failed")
    os._exit(1)  # the way out of Python takes memory too


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out(f"customerio-loader {__version__}")
        raise typer.Exit
