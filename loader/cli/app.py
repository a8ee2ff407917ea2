"""The program: its commands, and how it ends. The only place that exits."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from loader._version import __version__
from loader.cli import columns, load, look, rejects, schema, warehouse
from loader.cli.exits import EXIT_CODES
from loader.cli.signals import signal_of
from loader.errors import OUT_OF_MEMORY, LoaderError, is_out_of_memory

# numpy's library for matrices, of which there are none here, would start a thread for each core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = typer.Typer(
    name="customerio-loader",
    help="Load Customer.io events into PostgreSQL: one table per event, plus tracks.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(epilog=EXIT_CODES)(load.load)
app.command()(load.plan)
app.command()(schema.migrate)
app.command()(look.check)
app.command()(look.status)
app.add_typer(rejects.app, name="rejects")
app.add_typer(columns.app, name="columns")
app.add_typer(warehouse.app, name="warehouse")


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
