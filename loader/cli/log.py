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
    """Say what went wrong; to people with the name of the warehouse, if it has one."""
    if _json_log is not None:
        _json_log.error(event, **facts, error=message)
    else:
        _say(f"{in_warehouse(facts.get('warehouse'))}{message}")


def tell(message: str, event: str, **facts: object) -> None:
    """Say what goes on."""
    if _json_log is not None:
        _json_log.info(event, **facts, message=message)
    else:
        _say(message)


def warn(message: str, warehouse: str | None = None) -> None:
    """Say what works and is probably not meant."""
    if _json_log is not None:
        named = {} if warehouse is None else {"warehouse": warehouse}
        _json_log.warning("warning", **named, warning=message)
    else:
        _say(f"{in_warehouse(warehouse)}{message}")


def record(event: str, **facts: object) -> None:
    """A line for machines; people read the results on stdout."""
    if _json_log is not None:
        _json_log.info(event, **facts)


def in_warehouse(name: object) -> str:
    """The beginning of a message about a warehouse that has a name."""
    return "" if name is None else f"warehouse {name!r}: "


def _say(message: str) -> None:
    text = printable(message.replace("\n", " "))
    with suppress(OSError):  # nobody listens
        print(f"customerio-loader: {text}", file=sys.stderr, flush=True)
