"""The context of a command: settings, server, the sources meant, complaints, the log."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from loader.errors import LoaderWarning, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from loader.config import Settings, Source


def read_settings(**flags: Any) -> "Settings":
    """The settings, with the options of the command before all else."""
    from loader.config import flag, load_settings

    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always", LoaderWarning)
        settings = load_settings(flags, flag)
    for one in met:
        print(f"customerio-loader: {one.message}", file=sys.stderr)
    return settings


@contextmanager
def running_server(settings: "Settings") -> Iterator[str]:
    """The URL of the warehouse, which runs as long as the context."""
    from loader.warehouse import embedded

    url = settings.url()
    with nullcontext(url) if url else embedded.running(settings.warehouse_dir) as found:
        yield found


def chosen_sources(settings: "Settings", name: str | None) -> list["Source"]:
    return [settings.find_source(name)] if name else list(settings.sources())


def sources_and_inputs(
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


@contextmanager
def existing_schema(
    source: str | None, warehouse_url: str | None
) -> Iterator[tuple["Source", "Connection"]]:
    """A source and a connection to its schema, which must be there."""
    from loader.warehouse import engine, migrate

    settings = read_settings(warehouse_url=warehouse_url)
    chosen = settings.find_source(source)
    with running_server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        require_loads(migrate.read_state(connection, chosen.schema_).revision, chosen)
        yield (
            chosen,
            connection.execution_options(schema_translate_map={None: chosen.schema_}),
        )


def require_loads(revision: str | None, source: "Source") -> None:
    if revision is None:
        raise UsageError(
            f"nothing was loaded into {source.schema_!r} yet: run `customerio-loader load`"
        )


def complain(log: Any, event: str, source: "Source", message: str) -> None:
    """A sentence for people, or a line for machines where the log is for them."""
    if log is None:
        print(f"customerio-loader: {message}", file=sys.stderr)
    else:
        log.error(event, source=source.name, error=message)


def json_log(settings: "Settings") -> Any:
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
