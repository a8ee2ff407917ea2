"""`forward`: received events on their way to destinations."""

import signal
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import read_settings, tell_unfinished
from loader.cli.exits import FAILED
from loader.cli.log import complain, tell
from loader.cli.options import LogFormat, examples
from loader.errors import UsageError

if TYPE_CHECKING:
    from types import FrameType

EPILOG = examples(
    "customerio-loader forward",
    "customerio-loader forward --once",
    after="Exit codes: 0 stopped, or with --once all is sent; 1 failed, or something is left; "
    "2 wrong use or settings; 75 another process forwards these events.",
)


def forward(
    once: Annotated[
        bool, typer.Option("--once", help="End when all that is finished now is sent.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="A destination that is new begins with what was received since (UTC); else: now.",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", min=1, max=65_535, help="Answer /metrics; default: not."),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", help="Address for that.")
    ] = "127.0.0.1",
    log_format: LogFormat = None,
) -> int:
    """Send received events on to the destinations: each at least once, in order, until stopped."""
    from loader.forward.metrics import serve_metrics
    from loader.forward.running import Forwarder

    settings = read_settings(log_format=log_format)
    if not settings.destination:
        raise UsageError("no [[destination]] is configured: there is nothing to send to")
    forwarder = Forwarder(settings, since=_moment(since), once=once, say=_say, note=_note)
    if metrics_port is not None:
        serve_metrics(settings, metrics_host, metrics_port)
    stopped: list[int] = []

    def stop(number: int, _frame: "FrameType | None") -> None:
        stopped.append(number)
        forwarder.stop.set()

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        is_all = forwarder.run()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for name, done in forwarder.summary():
            tell(f"destination {name!r}: {done}", "forward.ended", destination=name)
    if once and not stopped:
        tell_unfinished(settings, [one.schema_ for one in settings.sources()])
    if stopped:
        return 128 + stopped[0] if once else 0  # it was asked to do nothing else
    return 0 if is_all else FAILED


def _say(destination: str, problem: str) -> None:
    complain(f"destination {destination!r}: {problem}", "forward.failed", destination=destination)


def _note(destination: str, words: str) -> None:
    tell(f"destination {destination!r}: {words}", "forward.noted", destination=destination)


def _moment(text: str | None) -> datetime | None:
    from loader.normalize.times import parse_time

    if text is None:
        return None
    found = parse_time(text)
    if found is None:
        raise UsageError(
            f"--from {text!r} is no time: write one such as 2026-01-31 or 2026-01-31T06:00:00Z"
        )
    return datetime.fromisoformat(found)
