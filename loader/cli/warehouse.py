"""`warehouse`: the embedded server."""

from pathlib import Path
from typing import Annotated

import typer

from loader.cli.context import read_settings
from loader.cli.log import warn
from loader.cli.options import examples
from loader.cli.text import out
from loader.errors import UsageError

app = typer.Typer(
    help="The embedded PostgreSQL, used where no URL is set.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


_START_EPILOG = examples(
    "customerio-loader warehouse start",
    "customerio-loader warehouse start --port 15432",
)
_PSQL_EPILOG = examples(
    "customerio-loader warehouse psql",
    "customerio-loader warehouse psql -- -c 'SELECT count(*) FROM customerio.tracks'",
)


@app.command("start", epilog=_START_EPILOG)
def warehouse_start(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=1024,
            max=65535,
            show_default=False,
            help="Listen on this port of 127.0.0.1, too, for BI tools. It stays until --no-port.",
        ),
    ] = None,
    no_port: Annotated[bool, typer.Option("--no-port", help="Listen on no port any more.")] = False,
    new_password: Annotated[
        bool, typer.Option("--new-password", help="Make another password for the port.")
    ] = False,
) -> None:
    """Start it and leave it running; prints its URL, and how to connect through a port."""
    from loader.warehouse import analyst

    if no_port and (port or new_password):
        raise UsageError("--no-port goes with neither --port nor --new-password")
    folder = _embedded_folder()
    opened = analyst.start(folder, port=0 if no_port else port, new_password=new_password)
    out(opened.url)
    if opened.port:
        _show_port(opened.port, opened.password)


def _show_port(port: int, password: str | None) -> None:
    from loader.warehouse.cluster import ANALYST, DATABASE
    from loader.warehouse.sockets import HOST

    out(f"host      {HOST}")
    out(f"port      {port}")
    out(f"database  {DATABASE}")
    out(f"user      {ANALYST}")
    out(f"password  {password or 'as before; --new-password makes another'}")
    out(f"JDBC      jdbc:postgresql://{HOST}:{port}/{DATABASE}")
    if password:
        out("The password is shown this once, and kept nowhere.")


@app.command("stop")
def warehouse_stop() -> None:
    """Stop it."""
    from loader.warehouse import embedded

    # Also where it is not used any more: it may have been left running.
    folder = read_settings().warehouse_dir
    out("stopped" if embedded.stop(folder) else "it was not running")


@app.command("url")
def warehouse_url() -> None:
    """Print its URL, of use while it runs (`warehouse start`)."""
    from loader.warehouse import embedded

    folder = _embedded_folder()
    running = embedded.is_running(folder)
    with embedded.running(folder) as url:
        out(url)
    if not running:
        warn("it is not running: `customerio-loader warehouse start`")


@app.command("psql", epilog=_PSQL_EPILOG, context_settings={"ignore_unknown_options": True})
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
    settings = read_settings()
    if settings.warehouse:
        names = ", ".join(one.name for one in settings.warehouse)
        raise UsageError(
            f"the embedded server is not used, as there are [[warehouse]] tables ({names}): use "
            "psql with their URLs"
        )
    if not settings.warehouses()[0].is_embedded:
        raise UsageError("a warehouse URL is set, so the embedded server is not used: unset it")
    return settings.warehouse_dir
