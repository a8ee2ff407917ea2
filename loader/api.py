"""The Python API: `load` and `normalize`. Heavy imports wait until one is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

if TYPE_CHECKING:
    import os

    import pandas

    from loader.config import SettingKeywords
    from loader.pipeline import LoadResult


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

    from loader import pipeline
    from loader.config import load_settings
    from loader.warehouse import embedded

    found = load_settings(settings)
    chosen = found.find_source(source, new=new_source)
    url = found.url()
    inputs = [paths] if isinstance(paths, str | os.PathLike) else paths
    with nullcontext(url) if url else embedded.running(found.warehouse_dir) as server:
        return pipeline.load(
            [os.fspath(path) for path in inputs],
            source=chosen,
            settings=found,
            url=server,
            wait=wait,
            force=force,
        )


def normalize(
    records: Iterable[Mapping[str, Any] | str | bytes],
    *,
    json_columns: Iterable[str] = (),
) -> dict[str, pandas.DataFrame]:
    """The rows that a load would write, as one DataFrame per table; without a database.

    `records` are parsed objects or JSON texts. Types are explicit: `string`, `Int64`, `boolean`,
    UTC timestamps, and `object` for numeric (Decimal) and jsonb (parsed). `tracks` holds all
    events. Records that a load would reject are in the frame `_rejects`, with `position`,
    `reason` and `detail`. `uuid_ts` is missing: only a load stamps rows. `json_columns` is that of
    a source: properties that stay one value each. Raises TypeError for a path, one record or a
    DataFrame, and for a value that JSON does not have.
    """
    from loader.frames import to_frames

    return to_frames(records, frozenset(json_columns))
