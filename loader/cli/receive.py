"""`receive`."""

import os
from typing import Annotated

import typer

from loader.cli import log
from loader.cli.context import read_settings
from loader.cli.options import LogFormat, examples
from loader.errors import UsageError

EPILOG = examples(
    "customerio-loader receive",
    "customerio-loader receive --host 0.0.0.0 --port 8080 --log-format json",
)


def receive(
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen at; 0: any.")] = 8080,
    fd: Annotated[
        int | None,
        typer.Option("--fd", help="Listen at a socket that was handed over, by its descriptor."),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", help="Address of /metrics, /healthz and /readyz.")
    ] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", help="Port of these; 0: any.")
    ] = 8081,
    log_format: LogFormat = None,
) -> int:
    """Receive events over HTTP: keep them in the spool, which loads read. Runs until it is stopped.

    Senders are told by their keys: see `customerio-loader sources`.
    """
    # No folder of the embedded server is needed, so that its user needs no home.
    settings = read_settings(log_format=log_format, warehouse_dir=os.devnull)
    try:
        from loader.receive import serving
    except ImportError as error:
        raise UsageError(
            f"receiving needs the package {error.name!r}: pip install 'customerio-loader[receive]'"
        ) from None
    sockets = serving.inherited(fd) or [serving.listen(host, port)]
    metrics = serving.listen(metrics_host, metrics_port, "--metrics-")
    serving.serve(settings, sockets, metrics, log.tell, log.complain)
    return 0
