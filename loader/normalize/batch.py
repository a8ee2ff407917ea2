"""Events -> rows per table, with the values left over."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loader.normalize.collections import DECLARED_NAMES, TRACKS, Type
from loader.normalize.columns import (
    Column,
    Texts,
    Values,
    clean,
    coerce,
)
from loader.normalize.event import Events, Object, put_extra
from loader.normalize.flatten import Extra, NameOf, flatten, flatten_one, limit_row
from loader.normalize.names import context_column, property_column
from loader.normalize.times import event_time, parse_times

# Values of one event that get columns; see `limit_row`.
MAX_PROPERTY_VALUES = 230
MAX_CONTEXT_VALUES = 40

# Column types by table; what is not in it does not exist yet.
Tables = Mapping[str, Mapping[str, Type]]


class Room:
    """Which new names find a place: the first ones that ask."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.names: set[str] = set()

    @property
    def is_full(self) -> bool:
        return len(self.names) >= self._left

    def has(self, name: str) -> bool:
        """Whether there is a place for `name`, which keeps it from then on."""
        if name not in self.names and not self.is_full:
            self.names.add(name)
        return name in self.names


class Rooms:
    """How far the tables may still grow."""

    def __init__(
        self, columns_left: Callable[[str], int] = lambda table: 1_600, tables_left: int = 1_000_000
    ) -> None:
        self._columns_left = columns_left
        self._columns: dict[str, Room] = {}
        self.tables = Room(tables_left)

    def columns(self, table: str) -> Room:
        """The room for new columns of a table."""
        if (room := self._columns.get(table)) is None:
            room = self._columns[table] = Room(self._columns_left(table))
        return room


@dataclass(kw_only=True)
class Rows:
    """Rows of one table, by column; its own columns only where it is a collection's."""

    # The place of each row in the batch.
    members: Sequence[int]
    # Settled values: the column exists and they fit it. A column without a value is absent.
    columns: dict[str, Column] = field(default_factory=dict)
    # Values whose column does not exist yet: column -> place in the batch -> value.
    new: dict[str, dict[int, Any]] = field(default_factory=dict)
    # Values that fit no column: place in the batch -> column or key -> value.
    extra: Extra = field(default_factory=dict)
    # The key behind each new column, as it was sent.
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Normalized:
    """A batch of events as rows."""

    ids: list[str]
    shared: Rows  # the rows of `tracks`; each collection's row begins with the same columns
    collections: dict[str, Rows]
    event_texts: dict[str, str]  # table -> the first event name that was sent for it
    times: dict[str, list[str]]  # `timestamp` and `received_at` of each event
    without_table: int = 0  # events for whose table there was no room


def normalize_events(
    events: Events,
    tables: Tables,
    *,
    load_started_at: str,
    only: frozenset[str] | None = None,
    taken: frozenset[str] = frozenset(),
    rooms: Rooms | None = None,
    whole: frozenset[str] = frozenset(),
) -> Normalized:
    """The rows of `events`, with types as in `tables`.

    `load_started_at` (ISO 8601) is the arrival of events that bring none. With `only`, the events
    of other tables go to `tracks` alone and their properties to its `_extra`; so do events whose
    table cannot be made, because its name is `taken` or `rooms` has no place for it. The objects
    at the paths in `whole` among the properties are one value each.
    """
    rooms = rooms or Rooms()
    shared = Rows(members=range(len(events.id)))
    ids = clean(events.id)  # type: ignore[arg-type]  # list is invariant
    shared.columns["id"] = ids
    times = _times(events, shared, load_started_at)
    _settle(shared, "anonymous_id", events.anonymous_id, "text")
    _settle(shared, "user_id", events.user_id, "text")
    _settle(shared, "event", events.event, "text")
    _settle(shared, "event_text", events.event_text, "text")
    for row, extra in events.extra.items():
        for key, value in extra.items():
            put_extra(shared.extra.setdefault(row, {}), key, value)
    _place(
        shared,
        events.context,
        context_column,
        tables[TRACKS],
        rooms.columns(TRACKS),
        most=MAX_CONTEXT_VALUES,
    )
    members: dict[str, list[int]] = {}
    for row, slug in enumerate(events.event):
        if (rows := members.get(slug)) is None:
            rows = members[slug] = []
        rows.append(row)
    collections: dict[str, Rows] = {}
    without_table = 0
    for table, places in members.items():
        properties = [events.properties[i] for i in places]
        is_wanted = (only is None or table in only) and table not in taken
        has_room = table in tables or (is_wanted and rooms.tables.has(table))
        if is_wanted and not has_room:
            without_table += len(places)
        if is_wanted and has_room:
            rows_of = collections[table] = Rows(members=places)
            _place(
                rows_of,
                properties,
                property_column,
                tables.get(table, {}),
                rooms.columns(table),
                most=MAX_PROPERTY_VALUES,
                whole=whole,
            )
        else:
            _keep_properties(shared, properties, places, whole)
    return Normalized(
        ids=ids.texts,  # type: ignore[arg-type]  # every event has an id
        shared=shared,
        collections=collections,
        event_texts={table: events.event_text[rows[0]] for table, rows in members.items()},
        times=times,
        without_table=without_table,
    )


def _times(events: Events, shared: Rows, now: str) -> dict[str, list[str]]:
    texts: dict[str, Texts] = {}
    usual: Values = []
    for name in ("received_at", "sent_at", "original_timestamp", "timestamp"):
        values: Values = getattr(events, name)
        if usual and values == usual:  # a sender often gives one time under several names
            texts[name] = list(usual)
            continue
        texts[name], inexact = parse_times(values)
        if texts[name] == values:
            usual = values
        for row in inexact:
            shared.extra.setdefault(row, {})[name] = values[row]
    arrival = texts["received_at"]
    happened = texts["timestamp"]
    if None in happened:
        sent, original = texts["sent_at"], texts["original_timestamp"]
        for row, text in enumerate(happened):
            if text is None:
                happened[row] = event_time(arrival[row], sent[row], original[row]) or now
    texts["received_at"] = [text or now for text in arrival]
    for name, column in texts.items():
        if any(column):
            shared.columns[name] = Column(column)
    # Both columns have a value on every row now.
    return {name: texts[name] for name in ("timestamp", "received_at")}  # type: ignore[misc]


def span(texts: Sequence[str]) -> tuple[str, str]:
    """The first and the last of some times; those of one form sort like their texts."""
    if set(map(len, texts)) == {24}:
        return min(texts), max(texts)
    return min(texts, key=datetime.fromisoformat), max(texts, key=datetime.fromisoformat)


# The first and the last of some times, without those at some places; None if none is left.
SpanOf = Callable[[Set[int]], tuple[str, str] | None]


def span_without(texts: Sequence[str], dropped: Set[int]) -> tuple[str, str] | None:
    """A `SpanOf` some texts."""
    left = [text for at, text in enumerate(texts) if at not in dropped] if dropped else texts
    return span(left) if left else None


def _place(
    rows: Rows,
    objects: Sequence[Object],
    name_of: NameOf,
    types: Mapping[str, Type],
    room: Room,
    *,
    most: int,
    whole: frozenset[str] = frozenset(),
) -> None:
    """Flatten `objects` into the columns of `rows`: settled, new, or extra."""

    def claim(names: Iterable[str]) -> frozenset[str]:
        for name in names:
            if room.is_full:
                break
            if name not in types:
                room.has(name)
        return frozenset(room.names).union(types)

    flat = flatten(
        objects, name_of, whole=whole, claim=claim if name_of is property_column else None
    )
    limit_row(flat, objects, name_of, most, DECLARED_NAMES, whole)
    for name, values in flat.columns.items():
        type_ = types.get(name)
        if type_ is not None:
            _settle(rows, name, values, type_, flat.joined.get(name))
        else:
            found = {i: v for i, v in enumerate(values) if v is not None}
            _wait(rows, name, found, flat.keys[name], room)
    for name, by_row in flat.rare.items():
        type_ = types.get(name)
        if by_row and type_ is None:
            _wait(rows, name, by_row, flat.keys[name], room)
        elif by_row and type_ is not None:
            column, misfits = coerce(list(by_row.values()), type_)
            places = list(by_row)
            rows.columns[name] = column._replace(rows=places)
            for i, value in misfits.items():
                put_extra(rows.extra.setdefault(rows.members[places[i]], {}), name, value)
    for i, values_of in flat.extra.items():
        extra = rows.extra.setdefault(rows.members[i], values_of)
        if extra is not values_of:
            for key, value in values_of.items():
                put_extra(extra, key, value)


def _wait(rows: Rows, name: str, by_row: Mapping[int, Any], key: str, room: Room) -> None:
    """Keep the values of a column that is still to be made, if there is room for it."""
    if not by_row:
        return
    if room.has(name):
        rows.new[name] = {rows.members[i]: value for i, value in by_row.items()}
        rows.keys[name] = key
    else:
        for i, value in by_row.items():
            put_extra(rows.extra.setdefault(rows.members[i], {}), name, value)


def _settle(rows: Rows, name: str, values: Values, type_: Type, joined: str | None = None) -> None:
    column, misfits = coerce(values, type_, joined)
    if any(text is not None for text in column.texts):
        rows.columns[name] = column
    for i, value in misfits.items():
        put_extra(rows.extra.setdefault(rows.members[i], {}), name, value)


def _keep_properties(
    shared: Rows, properties: Sequence[Object], places: Sequence[int], whole: frozenset[str]
) -> None:
    for place, record in zip(places, properties, strict=True):
        for values in flatten_one(record, property_column, whole):
            for key, value in values.items():
                put_extra(shared.extra.setdefault(place, {}), key, value)
