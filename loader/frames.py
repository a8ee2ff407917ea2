"""Normalized events as pandas DataFrames, for notebooks and tests; never a step of a load."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from loader.normalize.batch import Normalized, Rows, normalize_events
from loader.normalize.collections import EXTRA, TRACKS, Type, declared_tables
from loader.normalize.columns import Column, coerce, infer
from loader.normalize.event import put_extra
from loader.normalize.names import property_column
from loader.sources import parse_events
from loader.sources.jsontext import encode_json
from loader.sources.records import Chunk, read_chunks

_MAX_RECORD_BYTES = 1 << 20
_DTYPES: Mapping[Type, str] = {
    "text": "string",
    "bigint": "Int64",
    "boolean": "boolean",
    "numeric": "object",
    "jsonb": "object",
    "timestamptz": "datetime64[us, UTC]",
}
_READ: Mapping[Type, Callable[[str], Any]] = {
    "text": str,
    "bigint": int,
    "boolean": lambda text: text == "true",
    "numeric": Decimal,
    "jsonb": lambda text: json.loads(text, parse_float=Decimal),
    "timestamptz": lambda text: datetime.fromisoformat(text).astimezone(UTC),
}


def to_frames(
    records: Iterable[Mapping[str, Any] | str | bytes], whole: frozenset[str] = frozenset()
) -> dict[str, pd.DataFrame]:
    """One frame per table, see `loader.normalize`."""
    rejects: list[tuple[str, str, str]] = []
    parsed: list[Any] = []
    numbers: list[str] = []
    for number, record in enumerate(records, 1):
        chunk = _parse(record)
        for bad in chunk.bad:
            rejects.append((f"record {number}", bad.reject.reason, bad.reject.detail))
        parsed += chunk.records
        numbers += [f"record {number}"] * len(chunk.records)
    events, refused = parse_events(parsed)
    for place, reject in refused.items():
        rejects.append((numbers[place], reject.reason, reject.detail))
    rejects.sort(key=lambda reject: int(reject[0].removeprefix("record ")))
    first: dict[str, int] = {}
    for place, key in enumerate(events.id):
        first.setdefault(key, place)
    events = events.without(set(range(len(events.id))) - set(first.values()))
    tables = declared_tables()
    normalized = normalize_events(
        events,
        tables,
        load_started_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        whole=whole,
    )
    json_names = frozenset(map(property_column, whole))
    frames = {TRACKS: _frame(normalized, TRACKS, None, tables, json_names)}
    for table, rows in normalized.collections.items():
        frames[table] = _frame(normalized, table, rows, tables, json_names)
    if rejects:
        frames["_rejects"] = pd.DataFrame(rejects, columns=["position", "reason", "detail"])
    return frames


def _parse(record: Mapping[str, Any] | str | bytes) -> Chunk:
    raw = record if isinstance(record, bytes) else None
    if isinstance(record, str):
        raw = record.encode("utf-8", "surrogatepass")
    if raw is None:
        raw = encode_json(record)
    merged = Chunk()
    for chunk in read_chunks([raw], max_record_bytes=_MAX_RECORD_BYTES):
        merged.records += chunk.records
        merged.bad += chunk.bad
    return merged


def _frame(
    normalized: Normalized,
    table: str,
    rows: Rows | None,
    tables: Mapping[str, Mapping[str, Type]],
    json_names: frozenset[str],
) -> pd.DataFrame:
    """The frame of one table: declared columns in their order, then new ones."""
    shared = normalized.shared
    places = rows.members if rows is not None else shared.members
    types = dict(tables.get(table, tables[TRACKS]))
    columns: dict[str, Column] = {
        name: Column([texts[place] for place in places])
        for name, texts in (
            (name, column.spread(len(normalized.ids))) for name, column in shared.columns.items()
        )
    }
    new = dict(shared.new)
    extra = {place: dict(shared.extra[place]) for place in places if place in shared.extra}
    if rows is not None:
        columns |= rows.columns
        new |= rows.new
        for place, values in rows.extra.items():
            for key, value in values.items():
                put_extra(extra.setdefault(place, {}), key, value)
    for name, by_place in new.items():
        values_of = [by_place.get(place) for place in places]
        if any(value is not None for value in values_of):
            types[name] = "jsonb" if name in json_names else infer(by_place.values())
            columns[name], _ = coerce(values_of, types[name])
    columns[EXTRA.name], _ = coerce([extra.get(place) for place in places], EXTRA.type)
    types.pop("uuid_ts")
    return pd.DataFrame(
        {name: _series(columns.get(name), type_, len(places)) for name, type_ in types.items()}
    )


def _series(column: Column | None, type_: Type, size: int) -> "pd.Series[Any]":
    read = _READ[type_]
    texts = column.spread(size) if column is not None else [None] * size
    missing = pd.NaT if type_ == "timestamptz" else None if type_ in ("numeric", "jsonb") else pd.NA
    values = [missing if text is None else read(text) for text in texts]
    return pd.Series(values, dtype=_DTYPES[type_])
