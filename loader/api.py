"""The Python API: `load` and `normalize`. Heavy imports wait until one is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

    from loader.pipeline import LoadResult


def load(
    paths: str | Sequence[str],
    *,
    source: str | None = None,
    warehouse_url: str | None = None,
    wait: bool = False,
    force: bool = False,
    **settings: Any,
) -> LoadResult:
    """Load files into the warehouse; the same as the command `load`.

    `paths` are files, folders and globs. `warehouse_url` and any other keyword are settings, and
    come before the environment and `loader.toml`. Raises LoaderError.
    """
    from contextlib import nullcontext

    from loader import pipeline
    from loader.config import load_settings
    from loader.warehouse import embedded

    found = load_settings(warehouse_url=warehouse_url, **settings)
    url = found.url()
    with nullcontext(url) if url else embedded.running(found.warehouse_dir) as server:
        return pipeline.load(
            [paths] if isinstance(paths, str) else list(paths),
            source=found.find_source(source),
            settings=found,
            url=server,
            wait=wait,
            force=force,
        )


def normalize(
    records: Iterable[Mapping[str, Any] | str | bytes],
) -> dict[str, pandas.DataFrame]:
    """The rows that a load would write, as one DataFrame per table; without a database.

    `records` are parsed objects or JSON texts. Types are explicit: `string`, `Int64`, `boolean`,
    UTC timestamps, and `object` for numeric (Decimal) and jsonb (parsed). `tracks` holds all
    events. Records that a load would reject are in the frame `_rejects`, with `position`,
    `reason` and `detail`. `uuid_ts` is missing: only a load stamps rows.
    """
    from loader.frames import to_frames

    return to_frames(records)
