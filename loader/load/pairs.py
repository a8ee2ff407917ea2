"""What is loaded where: each source into each of its warehouses, as a load of its own."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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


_SILENT_SECONDS = 1.0
_NO_LABELS: Mapping[str, str] = {}


class Pair(NamedTuple):
    """A source, and one of the warehouses that it is loaded into."""

    source: Source
    warehouse: Warehouse
    inputs: Sequence[str] = ()


def choose_sources(
    settings: Settings,
    name: str | None,
    *,
    labels: Mapping[str, str] = _NO_LABELS,
    new: bool = True,
) -> list[Source]:
    """The source called `name`, or those with some labels, else all that are configured."""
    if name is not None:
        if labels:
            raise UsageError("say --source or --label, and not both")
        return [settings.find_source(name, new=new)]
    found = list(settings.labelled(labels))
    if not found:
        said = " and ".join(f"{label}={value}" for label, value in labels.items())
        raise UsageError(f"no source has {said}: `sources list` shows the labels that there are")
    return found


def choose_inputs(
    settings: Settings,
    source: str | None,
    paths: Sequence[str] | None,
    *,
    labels: Mapping[str, str] = _NO_LABELS,
    new: bool,
) -> list[tuple[Source, Sequence[str]]]:
    """The sources to load, each with its inputs: the `paths`, else (None) its own,
    what was received for it included."""
    if paths is not None:
        if labels:
            raise UsageError("a PATH is for one source: say --source, and not --label")
        return [(settings.find_source(source, new=new), paths)]
    chosen = choose_sources(settings, source, labels=labels, new=new)
    found: list[tuple[Source, Sequence[str]]] = [(one, settings.inputs_of(one)) for one in chosen]
    for one, inputs in found:
        if not inputs:
            raise UsageError(
                f"no PATH was given and the source {one.name!r} has no `inputs`: "
                "name a file, a folder or a glob"
            )
    return found


def pairs_of(
    settings: Settings, work: Sequence[tuple[Source, Sequence[str]]], warehouse: str | None
) -> list[Pair]:
    """Each source, with its inputs, and each of its warehouses, or the one called `warehouse`.

    A source that is in no warehouse is an error where it was the only one that was asked for, and
    a LoaderWarning among others: they are not held up by it.
    """
    found = []
    for source, inputs in work:
        places = settings.warehouses_of(source, warehouse)
        if not places and len(work) == 1:
            settings.find_warehouse(source, warehouse)  # which says so
        if not places and warehouse is None:
            warnings.warn(
                f"the source {source.name!r} is loaded nowhere: no [[warehouse]] has it in its "
                "`sources`",
                LoaderWarning,
                stacklevel=2,
            )
        if len(places) > 1 and inputs:
            _refuse_streams(source, places, inputs)
        found += [Pair(source, place, inputs) for place in places]
    if not found:
        raise UsageError("no [[warehouse]] takes any of these sources: see its `sources`")
    return found


def _refuse_streams(source: Source, warehouses: Sequence[Warehouse], inputs: Sequence[str]) -> None:
    """Raise UsageError where the first warehouse would leave nothing to the others."""
    from loader.sources.files import is_stream  # heavy, and this is read by all commands

    names = ", ".join(str(one.name) for one in warehouses)
    for stream in filter(is_stream, inputs):
        raise UsageError(
            f"{stream!r} can be read only once, and the source {source.name!r} is loaded into "
            f"several warehouses ({names}): say --warehouse NAME, or warehouse=NAME in Python, or "
            "save it to a file first"
        )


@contextmanager
def running_servers(pairs: Sequence[Pair]) -> "Iterator[Callable[[Warehouse], str]]":
    """Gives the URL of a warehouse; the embedded server runs as long as the context.

    A URL that cannot be found is an error of the loads into that warehouse, and of no other.
    """
    from loader.warehouse import embedded

    with ExitStack() as stack:
        started = {
            one: stack.enter_context(embedded.server_of(one))
            for one in {pair.warehouse for pair in pairs}
            if one.is_embedded
        }
        yield lambda one: started.get(one) or one.url()


class Away:
    """Warehouses that did not answer: for the next source they are asked once, and not waited for.

    A load waits for a server that may come back. To do so for each source would only hold up the
    loads into the other warehouses; and so would asking one that is silent, instead of refusing.
    """

    def __init__(self) -> None:
        self._met: set[Warehouse] = set()
        self._silent: dict[Warehouse, WarehouseUnavailable] = {}

    @contextmanager
    def noticed(self, warehouse: Warehouse, url: str) -> Iterator[None]:
        """Load in the block, or raise WarehouseUnavailable at once."""
        if warehouse in self._met:
            self._ask(warehouse, url)
        try:
            yield
        except WarehouseUnavailable:
            self._met.add(warehouse)
            raise

    def _ask(self, warehouse: Warehouse, url: str) -> None:
        from loader.warehouse.engine import connect, make_engine

        if warehouse in self._silent:
            raise self._silent[warehouse]
        began = time.monotonic()
        try:
            with connect(make_engine(url)):
                self._met.discard(warehouse)
        except WarehouseUnavailable as error:
            if time.monotonic() - began > _SILENT_SECONDS:
                self._silent[warehouse] = error
            raise


def load_each(
    pairs: Sequence[Pair], load: "Callable[[Pair, str], LoadResult]"
) -> "list[LoadResult]":
    """Have each pair loaded, with the URL of its warehouse, whatever becomes of the others.

    Raises LoadsFailed in the end if any of them failed.
    """
    away = Away()
    results: list[LoadResult] = []
    failures: list[LoadFailure] = []
    with running_servers(pairs) as url_of:
        for pair in pairs:
            try:
                url = url_of(pair.warehouse)
                with away.noticed(pair.warehouse, url):
                    results.append(load(pair, url))
            except Exception as error:  # a defect of ours must not lose the results of the others
                failures.append(LoadFailure(pair.source.name, pair.warehouse.name, error))
    if failures:
        raise LoadsFailed(failures, results) from failures[0].error
    return results
