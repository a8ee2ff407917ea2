"""The context of a command: settings, servers, the sources and warehouses meant."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from loader.cli import log
from loader.cli.options import read_labels
from loader.errors import LoaderWarning, SchemaNotAtHead, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from loader.config import Given, Settings, Source
    from loader.load.pairs import Pair
    from loader.warehouse.migrate import SchemaState


def read_settings(**flags: object) -> "Settings":
    """The settings, with the options of the command before all else.

    From here on the log is in the form that they say.
    """
    return read_effective(**flags)[0]


def read_effective(**flags: object) -> "tuple[Settings, dict[str, Given]]":
    """The settings, and for each one that is set, who set it."""
    from loader import config

    with _told_at_the_end():
        settings, given = config.read_settings(flags, config.flag)
        if settings.log_format == "json":
            log.use_json()
    return settings, given


@contextmanager
def _told_at_the_end() -> Iterator[None]:
    """Say the warnings that are met, in the form of the log."""
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always", LoaderWarning)
        yield
    for one in met:
        log.warn(str(one.message))


def pairs_of(
    settings: "Settings", source: str | None, warehouse: str | None, *, new: bool = True
) -> "list[Pair]":
    """The sources that are meant, each with each of its warehouses that is meant."""
    from loader.load import pairs

    with _told_at_the_end():
        chosen = pairs.choose_sources(settings, source, new=new)
        return pairs.pairs_of(settings, [(one, ()) for one in chosen], warehouse)


def pairs_to_load(
    settings: "Settings",
    source: str | None,
    warehouse: str | None,
    paths: list[str] | None,
    *,
    new: bool,
    labels: list[str] | None = None,
) -> "list[Pair]":
    """The same, with their inputs."""
    from loader.load import pairs

    with _told_at_the_end():
        named = read_labels(labels)
        work = pairs.choose_inputs(settings, source, paths or None, new=new, labels=named)
        return pairs.pairs_of(settings, work, warehouse)


def one_pair(settings: "Settings", source: str | None, warehouse: str | None) -> "Pair":
    """The only pair that can be meant. Raises UsageError where there are several."""
    from loader.load.pairs import Pair

    chosen = settings.find_source(source)
    return Pair(chosen, settings.find_warehouse(chosen, warehouse))


def require_one_warehouse(pairs: "Sequence[Pair]") -> None:
    """Refuse to print statements of several warehouses as if they were one script."""
    names = sorted({str(pair.warehouse.name) for pair in pairs})
    if len(names) > 1:
        raise UsageError(
            f"--sql prints a script for one warehouse, and there are {', '.join(names)}: "
            "say --warehouse NAME"
        )


def tell_unfinished(settings: "Settings", schemas: "Iterable[str]") -> None:
    """Say how much was received that cannot be read yet, if anything. It is a hint: never fails."""
    from loader.errors import LoaderError
    from loader.spool import unfinished

    count = 0
    for schema in schemas:
        with suppress(LoaderError):
            count += len(unfinished(settings.spool_dir, schema))
    if count:
        files, are = ("file", "is") if count == 1 else ("files", "are")
        log.tell(
            f"{count:,} {files} of received events {are} being written: ready within "
            f"{settings.spool_file_seconds:g} s, or by `customerio-loader spool recover` where no "
            "receiver runs",
            "spool.unfinished",
            files=count,
        )


@contextmanager
def existing_schema(pair: "Pair") -> "Iterator[Connection]":
    """A connection to the schema of a source in a warehouse, which must be there."""
    from loader.warehouse import embedded

    with embedded.server_of(pair.warehouse) as url, schema_at(url, pair.source) as connection:
        yield connection


@contextmanager
def schema_at(url: str, source: "Source") -> "Iterator[Connection]":
    """The same, on a server that runs."""
    from loader.warehouse import engine, migrate

    with engine.connect(engine.make_engine(url)) as connection:
        require_loads(migrate.read_state(connection, source.schema_), source)
        yield connection.execution_options(schema_translate_map={None: source.schema_})


def all_pairs(settings: "Settings", sources: "Iterable[Source]") -> "list[Pair]":
    """Sources with each of their warehouses; one that is loaded nowhere is not among them."""
    from loader.load.pairs import Pair

    return [Pair(source, one) for source in sources for one in settings.warehouses_of(source)]


@contextmanager
def loaded_schema(pair: "Pair") -> "Iterator[Connection | None]":
    """The same; None where nothing was loaded yet."""
    from loader.warehouse import embedded, engine, migrate

    place, schema = pair.warehouse, pair.source.schema_
    if place.is_embedded and not embedded.is_there(place.folder):
        yield None
        return
    with (
        embedded.server_of(place) as url,
        engine.connect(engine.make_engine(url)) as connection,
    ):
        state = migrate.read_state(connection, schema)
        if state.revision is None:
            yield None
            return
        require_loads(state, pair.source)
        yield connection.execution_options(schema_translate_map={None: schema})


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
