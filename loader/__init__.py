"""customerio-loader: Customer.io events -> PostgreSQL tables. The public Python API.

Heavy imports wait until a function is called. The rooms are described in `docs/architecture.md`.
"""

from __future__ import annotations

__version__ = "0.2.0"

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Unpack

# These rooms are imported first, so that their names mean the functions below.
import loader.load
import loader.normalize  # noqa: F401
from loader.errors import (
    BrokenInstallation,
    InputUnreadable,
    LedgerDisagrees,
    LoaderError,
    LoaderWarning,
    LoadFailure,
    LoadsFailed,
    LockHeld,
    MissingRight,
    RowsDropped,
    SchemaDrift,
    SchemaNotAtHead,
    SchemaRefused,
    TransientFault,
    UnknownSetting,
    UsageError,
    WarehouseFailed,
    WarehouseUnavailable,
)

if TYPE_CHECKING:
    import datetime
    import os

    import pandas

    from loader.config import SettingKeywords
    from loader.load.pairs import Pair
    from loader.load.result import LoadResult

__all__ = [
    "BrokenInstallation",
    "InputUnreadable",
    "LedgerDisagrees",
    "LoadFailure",
    "LoadResult",
    "LoaderError",
    "LoaderWarning",
    "LoadsFailed",
    "LockHeld",
    "MissingRight",
    "RowsDropped",
    "SchemaDrift",
    "SchemaNotAtHead",
    "SchemaRefused",
    "TransientFault",
    "UnknownSetting",
    "UsageError",
    "WarehouseFailed",
    "WarehouseUnavailable",
    "__version__",
    "load",
    "load_all",
    "normalize",
    "read",
]


def load(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    source: str | None = None,
    warehouse: str | None = None,
    new_source: bool = False,
    wait: bool = False,
    force: bool = False,
    **settings: Unpack[SettingKeywords],
) -> LoadResult:
    """Load files of one source into one warehouse; as the command `load` with one of each.

    `paths` are files, folders and globs, one or several. `new_source` allows a source that is not
    configured where others are. `warehouse` is the name of one, and must be said where the source
    is loaded into several. `warehouse_url` and every other setting is a keyword, which comes
    before the environment and `loader.toml`; None means that it is not given. Numbers, booleans
    and texts are taken as such: `max_columns="500"` is refused. Raises LoaderError; for an unknown
    keyword one that is a TypeError too.
    """
    from loader.config import load_settings
    from loader.load import recipe
    from loader.warehouse import embedded

    found = load_settings(settings)
    chosen = found.find_source(source, new=new_source)
    place = found.find_warehouse(chosen, warehouse)
    with embedded.server_of(place) as url:
        result = recipe.load(
            _texts(paths), source=chosen, settings=found, url=url, wait=wait, force=force
        )
    result.warehouse = place.name
    return result


def load_all(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    source: str | None = None,
    labels: Mapping[str, str] | None = None,
    warehouse: str | None = None,
    new_source: bool = False,
    wait: bool = False,
    force: bool = False,
    full_listing: bool = False,
    **settings: Unpack[SettingKeywords],
) -> list[LoadResult]:
    """Load each source into each of its warehouses; the same as the command `load`.

    Without `paths` it loads the inputs of the sources. `source` or `labels`, and `warehouse`,
    narrow it; the rest is as for `load`. Returns a result for each pair of them, in the order of
    the settings. What is wrong with the arguments or the settings is raised before anything is
    tried. A load that fails does not stop the others: after the last one LoadsFailed is raised,
    with the `failures` and with the `results` of the others.
    """
    from loader.config import load_settings
    from loader.load import pairs, recipe

    def load_pair(pair: Pair, url: str) -> LoadResult:
        result = recipe.load(
            pair.inputs,
            source=pair.source,
            settings=found,
            url=url,
            wait=wait,
            force=force,
            is_by_hand=texts is not None,
            full_listing=full_listing,
        )
        result.warehouse = pair.warehouse.name
        return result

    found = load_settings(settings)
    texts = None if paths is None else _texts(paths)
    work = pairs.choose_inputs(found, source, texts, labels=labels or {}, new=new_source)
    return pairs.load_each(pairs.pairs_of(found, work, warehouse), load_pair)


def _texts(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    import os

    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in several]


def normalize(
    records: Iterable[Mapping[str, object] | str | bytes], *, json_columns: Iterable[str] = ()
) -> dict[str, pandas.DataFrame]:
    """The rows that a load would write, as one DataFrame per table; without a database.

    `records` are parsed objects or JSON texts. Types are explicit: `string`, `Int64`, `boolean`,
    UTC timestamps, and `object` for numeric (Decimal) and jsonb (parsed). `tracks` holds all
    events. Records that a load would reject are in the frame `_rejects`, with `position`,
    `reason` and `detail`; calls of the types that a source ignores by default are in none.
    `uuid_ts` is missing: only a load stamps rows. `json_columns` is that of a source: properties
    that stay one value each. Raises TypeError for a path, one record or a DataFrame, and for a
    value that JSON does not have.
    """
    from loader.load.frames import to_frames

    return to_frames(records, frozenset(json_columns))


def read(
    table: str,
    *,
    since: str | datetime.date | None = None,
    until: str | datetime.date | None = None,
    source: str | None = None,
    warehouse: str | None = None,
    **settings: Unpack[SettingKeywords],
) -> pandas.DataFrame:
    """A table or view of the schema of a source as a DataFrame, with the types of `normalize`.

    `since` and `until` narrow it to rows from one time on and before another (UTC, where they do
    not say), by `timestamp`, or where there is none by the first column that is a time or a date.
    Types that `normalize` does not have come as text. The rest is as for `load`. Changes nothing.
    Raises LoaderError; a UsageError where there is no such table.
    """
    from loader.config import load_settings
    from loader.load.frames import read_frame
    from loader.warehouse import embedded, engine

    found = load_settings(settings)
    chosen = found.find_source(source, new=False)
    place = found.find_warehouse(chosen, warehouse)
    with (
        embedded.server_of(place) as url,
        engine.connect(engine.make_engine(url)) as connection,
    ):
        return read_frame(connection, chosen.schema_, table, since=since, until=until)


def __getattr__(name: str) -> object:
    # The room of LoadResult is heavy to import, and most who import this need only `load`.
    if name == "LoadResult":
        from loader.load.result import LoadResult

        return LoadResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
