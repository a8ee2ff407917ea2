"""The context of a command: settings, server, the sources meant."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loader.cli import log
from loader.errors import LoaderWarning, SchemaNotAtHead, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from loader.config import Given, Settings, Source
    from loader.warehouse.migrate import SchemaState


def read_settings(**flags: object) -> "Settings":
    """The settings, with the options of the command before all else.

    From here on the log is in the form that they say.
    """
    return read_effective(**flags)[0]


def read_effective(**flags: object) -> "tuple[Settings, dict[str, Given]]":
    """The settings, and for each one that is set, who set it."""
    from loader import config

    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always", LoaderWarning)
        settings, given = config.read_settings(flags, config.flag)
    if settings.log_format == "json":
        log.use_json()
    for one in met:
        log.warn(str(one.message))
    return settings, given


@contextmanager
def running_server(settings: "Settings") -> Iterator[str]:
    """The URL of the warehouse, which runs as long as the context."""
    url = settings.url()
    if url:
        yield url
        return
    from loader.warehouse import embedded

    with embedded.running(settings.warehouse_dir) as found:
        yield found


def chosen_sources(settings: "Settings", name: str | None, *, new: bool = True) -> "list[Source]":
    """The source called `name`, else all that are configured."""
    return [settings.find_source(name, new=new)] if name else list(settings.sources())


def sources_and_inputs(
    settings: "Settings", source: str | None, paths: list[str] | None, *, new: bool
) -> "list[tuple[Source, list[str]]]":
    """The sources to load, each with its inputs."""
    if paths:
        return [(settings.find_source(source, new=new), paths)]
    chosen = chosen_sources(settings, source, new=new)
    for one in chosen:
        if not settings.inputs_of(one):
            raise UsageError(
                f"no PATH was given and the source {one.name!r} has no `inputs`: "
                "name a file, a folder or a glob"
            )
    return [(one, settings.inputs_of(one)) for one in chosen]


@contextmanager
def existing_schema(settings: "Settings", source: "Source") -> "Iterator[Connection]":
    """A connection to the schema of a source, which must be there."""
    with running_server(settings) as url, schema_at(url, source) as connection:
        yield connection


@contextmanager
def schema_at(url: str, source: "Source") -> "Iterator[Connection]":
    """The same, on a server that runs."""
    from loader.warehouse import engine, migrate

    with engine.connect(engine.make_engine(url)) as connection:
        require_loads(migrate.read_state(connection, source.schema_), source)
        yield connection.execution_options(schema_translate_map={None: source.schema_})


def require_loads(state: "SchemaState", source: "Source") -> None:
    """Refuse a schema that is not there, or that this version cannot read."""
    from loader.warehouse import migrate

    if state.revision is None:
        raise UsageError(
            f"nothing was loaded into {source.schema_!r} yet: run `customerio-loader load`"
        )
    migrate.check_state(state, source, auto_migrate=True)
    if state.kind == "behind":
        raise SchemaNotAtHead(
            f"the schema {source.schema_!r} is at revision {state.revision}, older than this "
            f"loader's {migrate.head_revision()}: run `customerio-loader migrate`"
        )
