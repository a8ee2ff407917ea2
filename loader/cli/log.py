"""What goes to stderr: sentences for people, or a JSON object a line with `--log-format json`."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from loader.cli.text import printable

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_json_log: "FilteringBoundLogger | None" = None


def use_json() -> None:
    """Write for machines from here on."""
    global _json_log
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    _json_log = structlog.get_logger()


def complain(message: str, event: str, **facts: object) -> None:
    """Say what went wrong."""
    if _json_log is not None:
        _json_log.error(event, **facts, error=message)
    else:
        _say(message)


def tell(message: str, event: str, **facts: object) -> None:
    """Say what goes on."""
    if _json_log is not None:
        _json_log.info(event, **facts, message=message)
    else:
        _say(message)


def warn(message: str) -> None:
    """Say what works and is probably not meant."""
    if _json_log is not None:
        _json_log.warning("warning", warning=message)
    else:
        _say(message)


def record(event: str, **facts: object) -> None:
    """A line for machines; people read the results on stdout."""
    if _json_log is not None:
        _json_log.info(event, **facts)


def _say(message: str) -> None:
    text = printable(message.replace("\n", " "))
    with suppress(OSError):  # nobody listens
        print(f"customerio-loader: {text}", file=sys.stderr, flush=True)
