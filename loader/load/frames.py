"""Rows as pandas DataFrames, for notebooks and tests; never a step of a load.

Those of records are what COPY would get, read back: so a frame differs from its table in nothing.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TypeVar

import pandas as pd
from sqlalchemy import Connection

from loader.columns.binary import READ_VALUE
from loader.config import Source
from loader.errors import UsageError
from loader.forms.read import Reader
from loader.load.batch import Batch
from loader.load.context import LoadContext
from loader.normalize.collections import TRACKS, Type, declared_tables
from loader.normalize.ignoring import Ignore
from loader.normalize.jsontext import encode_json, read_value
from loader.normalize.times import parse_time
from loader.normalize.types import TYPES
from loader.sources.records import read_blocks
from loader.warehouse.batch import Copy
from loader.warehouse.read import select_rows

_MAX_RECORD_BYTES = 1 << 20

T = TypeVar("T")
Time = str | date  # which a datetime is, too


def to_frames(
    records: Iterable[Mapping[str, object] | str | bytes], json_columns: frozenset[str]
) -> dict[str, pd.DataFrame]:
    """One frame per table, see `loader.normalize`."""
    is_one = isinstance(records, str | bytes | os.PathLike | Mapping | pd.DataFrame)
    if is_one or not isinstance(records, Iterable):
        raise TypeError(
            f"normalize takes records, not a {type(records).__name__}: give it a list of them, "
            "each a dict or a JSON text, or the lines of a file: open(path, 'rb')"
        )
    ignore = Ignore(types=frozenset(Source().ignore_types))  # type: ignore[call-arg]
    context = LoadContext(
        started_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        tables=declared_tables(),
        json_columns=json_columns,
    )
    batch = Batch(number=1, context=context)
    reader = Reader(max_record_bytes=_MAX_RECORD_BYTES, json_columns=json_columns, ignore=ignore)
    rejects: list[tuple[str, str, str, str | None]] = []
    for number, record in enumerate(records, 1):
        for block in read_blocks([_text(record)]):
            found = [bad.reject for bad in block.bad]
            for read in reader.read(*block.spans):
                batch.add(read.events)
                found += [one.reject for one in read.refused]
            rejects += [
                (f"record {number}", one.reason, one.detail, one.place or None) for one in found
            ]
    copies = {copy.table: copy for copy in batch.seal(lambda _changes: []).copies}
    frames = {TRACKS: _frame(copies.get(TRACKS), context.tables[TRACKS])}
    for table, copy in copies.items():
        frames[table] = _frame(copy, context.tables[table])
    if rejects:
        frames["_rejects"] = pd.DataFrame(
            rejects, columns=["position", "reason", "detail", "place"]
        )
    return frames


def _text(record: Mapping[str, object] | str | bytes) -> bytes:
    if isinstance(record, bytes):
        return record
    if isinstance(record, str):
        return record.encode("utf-8", "surrogatepass")
    return encode_json(record)


def _frame(copy: Copy | None, types: Mapping[str, Type]) -> pd.DataFrame:
    """The frame of one table: declared columns in their order, then new ones."""
    rows = list(copy.rows.fields()) if copy is not None else []
    index = {name: at for at, name in enumerate(copy.columns)} if copy is not None else {}
    return pd.DataFrame(
        {
            name: _series(
                [row[index[name]] if name in index else None for row in rows],
                type_,
                READ_VALUE[type_],
            )
            for name, type_ in types.items()
            if name != "uuid_ts"
        }
    )


def _series(
    values: Iterable[T | None], type_: Type, read: Callable[[T], object]
) -> "pd.Series[object]":
    missing = pd.NaT if type_ == "timestamptz" else None if type_ in ("numeric", "jsonb") else pd.NA
    found = [missing if value is None else read(value) for value in values]
    return pd.Series(found, dtype=TYPES[type_].dtype)


def read_frame(
    connection: Connection, schema: str, table: str, *, since: Time | None, until: Time | None
) -> pd.DataFrame:
    """The rows of a table or view, see `loader.read`."""
    bounds = {
        name: None if time is None else _time_text(name, time)
        for name, time in (("since", since), ("until", until))
    }
    types, values = select_rows(connection, schema, table, **bounds)
    return pd.DataFrame(
        {
            name: _series(some, type_, _read_json if type_ == "jsonb" else _as_it_is)
            for (name, type_), some in zip(types.items(), values, strict=True)
        }
    )


def _time_text(name: str, time: Time) -> str:
    # Whatever a notebook has there.
    found = parse_time(time.isoformat() if isinstance(time, date) else time)
    if found is None or not isinstance(time, str | date):
        raise UsageError(f"{name} is no time: give a date, a datetime or ISO 8601, as 2026-05-01")
    return found


def _as_it_is(value: object) -> object:
    return value


def _read_json(value: object) -> object:
    assert isinstance(value, str)
    return read_value(value)
