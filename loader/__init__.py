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
    import os

    import pandas

    from loader.config import SettingKeywords
    from loader.load.result import LoadResult

__all__ = [
    "BrokenInstallation",
    "InputUnreadable",
    "LedgerDisagrees",
    "LoadResult",
    "LoaderError",
    "LoaderWarning",
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
    "normalize",
]


def load(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    source: str | None = None,
    new_source: bool = False,
    wait: bool = False,
    force: bool = False,
    **settings: Unpack[SettingKeywords],
) -> LoadResult:
    """Load files into the warehouse; the same as the command `load`.

    `paths` are files, folders and globs, one or several. `new_source` allows a source that is not
    configured where others are. `warehouse_url` and every other setting is a keyword, which comes
    before the environment and `loader.toml`; None means that it is not given. Numbers, booleans
    and texts are taken as such: `max_columns="500"` is refused. Raises LoaderError; for an unknown
    keyword one that is a TypeError too.
    """
    import os
    from contextlib import nullcontext

    from loader.config import load_settings
    from loader.load import recipe
    from loader.warehouse import embedded

    found = load_settings(settings)
    chosen = found.find_source(source, new=new_source)
    url = found.url()
    inputs = [paths] if isinstance(paths, str | os.PathLike) else paths
    with nullcontext(url) if url else embedded.running(found.warehouse_dir) as server:
        return recipe.load(
            [os.fspath(path) for path in inputs],
            source=chosen,
            settings=found,
            url=server,
            wait=wait,
            force=force,
        )


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


def __getattr__(name: str) -> object:
    # The room of LoadResult is heavy to import, and most who import this need only `load`.
    if name == "LoadResult":
        from loader.load.result import LoadResult

        return LoadResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
