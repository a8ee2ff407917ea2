"""What is loaded where: each source into each of its warehouses, as a load of its own."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from loader.config import Settings, Source, Warehouse
from loader.errors import (
    LoaderWarning,
    LoadFailure,
    LoadsFailed,
    UsageError,
    WarehouseUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.load.result import LoadResult


class Pair(NamedTuple):
    """A source, and one of the warehouses that it is loaded into."""

    source: Source
    warehouse: Warehouse
    inputs: tuple[str, ...] = ()


def choose_sources(settings: Settings, name: str | None, *, new: bool = True) -> list[Source]:
    """The source called `name`, else all that are configured."""
    return [settings.find_source(name, new=new)] if name else list(settings.sources())


def choose_inputs(
    settings: Settings, source: str | None, paths: Sequence[str] | None, *, new: bool
) -> list[tuple[Source, tuple[str, ...]]]:
    """The sources to load, each with its inputs: the `paths`, else (None) its own."""
    if paths is not None:
        return [(settings.find_source(source, new=new), tuple(paths))]
    chosen = choose_sources(settings, source, new=new)
    for one in chosen:
        if not one.inputs:
            raise UsageError(
                f"no PATH was given and the source {one.name!r} has no `inputs`: "
                "name a file, a folder or a glob"
            )
    return [(one, one.inputs) for one in chosen]


def pairs_to_load(
    settings: Settings, work: Sequence[tuple[Source, tuple[str, ...]]], warehouse: str | None
) -> list[Pair]:
    """The pairs of sources with inputs and their warehouses, or of the one called `warehouse`.

    Raises UsageError where an input that can be read but once is for several warehouses.
    """
    from loader.sources.files import is_stream  # heavy, and this is read by all commands

    inputs = {source.name: given for source, given in work}
    found = pairs_of(settings, [source for source, _ in work], warehouse)
    places: dict[str, list[str]] = {}
    for pair in found:
        places.setdefault(pair.source.name, []).append(str(pair.warehouse.name))
    for name, names in places.items():
        stream = next(filter(is_stream, inputs[name]), None) if len(names) > 1 else None
        if stream is not None:
            raise UsageError(
                f"{stream!r} can be read only once, and the source {name!r} is loaded into several "
                f"warehouses ({', '.join(names)}): say --warehouse NAME, or warehouse=NAME in "
                "Python, or save it to a file first"
            )
    return [pair._replace(inputs=inputs[pair.source.name]) for pair in found]


def pairs_of(settings: Settings, sources: Sequence[Source], warehouse: str | None) -> list[Pair]:
    """The pairs of sources and their warehouses, or of the one called `warehouse`.

    A source that is in no warehouse is an error where it was the only one that was asked for, and
    a LoaderWarning among others: the others are not held up by it.
    """
    found = []
    for source in sources:
        places = settings.warehouses_of(source, warehouse)
        if not places and len(sources) == 1:
            settings.find_warehouse(source, warehouse)  # which says so
        if not places and warehouse is None:
            warnings.warn(
                f"the source {source.name!r} is loaded nowhere: no [[warehouse]] has it in its "
                "`sources`",
                LoaderWarning,
                stacklevel=2,
            )
        found += [Pair(source, place) for place in places]
    if not found:
        raise UsageError("no [[warehouse]] takes any of these sources: see its `sources`")
    return found


class Away:
    """Warehouses that did not answer: for the next source they are asked once, and not waited for.

    A load waits for a server that may come back. To do so for each source would only hold up the
    loads into the other warehouses.
    """

    def __init__(self) -> None:
        self._met: set[Warehouse] = set()

    @contextmanager
    def noticed(self, warehouse: Warehouse, url: str) -> Iterator[None]:
        """Load in the block, or raise WarehouseUnavailable at once."""
        from loader.warehouse.engine import connect, make_engine

        if warehouse in self._met:
            with connect(make_engine(url)):
                self._met.discard(warehouse)
        try:
            yield
        except WarehouseUnavailable:
            self._met.add(warehouse)
            raise


def load_each(
    pairs: Sequence[Pair], load: "Callable[[Pair, str], LoadResult]"
) -> "list[LoadResult]":
    """Have each pair loaded, with the URL of its warehouse, whatever becomes of the others.

    Raises LoadsFailed in the end if any of them failed.
    """
    from loader.warehouse import embedded

    away = Away()
    results: list[LoadResult] = []
    failures: list[LoadFailure] = []
    for pair in pairs:
        try:
            with embedded.server_of(pair.warehouse) as url, away.noticed(pair.warehouse, url):
                results.append(load(pair, url))
        except Exception as error:  # a defect of ours must not lose the results of the others
            failures.append(LoadFailure(pair.source.name, pair.warehouse.name, error))
    if failures:
        raise LoadsFailed(failures, results) from failures[0].error
    return results
