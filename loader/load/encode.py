"""Events -> rows of their tables, once the tables have the columns that the batch needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from loader.columns.binary import EncodedRows
from loader.columns.binary import field as encode_field
from loader.columns.cells import CODES, NULL, Cells
from loader.columns.times import time_text
from loader.columns.tokens import STRING, Flags, Longs
from loader.forms.events import Events, Values
from loader.forms.times import when_it_happened
from loader.load.context import DECLARED_SHARED, LoadContext
from loader.load.extra import Names, Pairs
from loader.load.plan import Part
from loader.normalize.collections import EXTRA, TRACKS, Type

# So many cells are made at once.
_MOST_CELLS = 2 << 20
_TIMES = ("received_at", "timestamp", "sent_at", "original_timestamp")
_TEXTS = ("id", "event", "event_text", "anonymous_id", "user_id")
_NO_TYPE = -1


@dataclass(frozen=True)
class Layout:
    """The columns that the rows of a batch have in one table, in order; `_extra` comes behind."""

    shared: tuple[str, ...]
    own: tuple[str, ...] = ()

    @cached_property
    def names(self) -> frozenset[str]:
        """The columns that events have values for."""
        return frozenset((*self.shared, *self.own))

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.shared, *self.own, EXTRA.name)


Layouts = dict[str, Layout]


def make_layouts(
    parts: Sequence[Part], context: LoadContext, before: Layouts | None = None
) -> Layouts:
    """The columns that have a value in some parts, by table, `tracks` first; and those `before`."""
    shared = dict.fromkeys(("id", "received_at", "timestamp", "event", "event_text"))
    own: dict[str, dict[str, None]] = {}
    for table, layout in (before or {}).items():
        shared |= dict.fromkeys(layout.shared)
        if table != TRACKS:
            own[table] = dict.fromkeys(layout.own)
    for part in parts:
        events = part.events
        shared |= dict.fromkeys(_optional(events))
        names, is_context = events.columns.names, events.columns.is_context
        in_every = part.columns_of(TRACKS, context.tables[TRACKS])
        shared |= dict.fromkeys(names[one] for one in in_every)
        for table in part.tables:
            columns = part.columns_of(table, context.tables[table])
            given = (names[one] for one in columns if not is_context[one])
            own.setdefault(table, {}).update(dict.fromkeys(given))
    every = tuple(shared)
    layouts = {TRACKS: Layout(every)}
    for table in sorted(own):
        types = context.tables[table]
        there = tuple(n for n in every if n in types or n in DECLARED_SHARED)
        layouts[table] = Layout(there, tuple(own[table]))
    return layouts


def _optional(events: Events) -> list[str]:
    """The shared columns besides the context that have a value, of those that may have none."""
    times = [
        name for name in ("sent_at", "original_timestamp") if events.times[name].is_given.any()
    ]
    return times + [name for name in ("anonymous_id", "user_id") if events.texts[name].any()]


def fits(part: Part, layouts: Layouts) -> bool:
    """Whether all values of a part have their columns in some layouts."""
    if not layouts:
        return False
    names = part.events.columns.names
    return layouts[TRACKS].names.issuperset(_optional(part.events)) and all(
        table in layouts
        and all(names[one] in layouts[table].names for one in np.flatnonzero(given).tolist())
        for table, given in part.given.items()
    )


@dataclass(kw_only=True)
class Encoded:
    """The rows of some events."""

    rows: dict[str, list[EncodedRows]] = field(default_factory=dict)  # by table
    extra_values: dict[str, int] = field(default_factory=dict)  # by id, where there are some

    @property
    def size(self) -> int:
        """How many bytes the rows take."""
        return sum(rows.size for some in self.rows.values() for rows in some)

    def add(self, other: "Encoded") -> None:
        """Add the rows of other events."""
        for table, rows in other.rows.items():
            self.rows.setdefault(table, []).extend(rows)
        self.extra_values |= other.extra_values


# By column the microseconds of each event, and whether it has a time.
_TimesOf = dict[str, tuple[Longs, Flags]]


class _TableCells(NamedTuple):
    """The cells of one table, some rows of them."""

    table: str
    at: Longs
    cells: Longs
    width: int
    has_prefix: bool  # the shared columns are those of `tracks`


def encode(part: Part, layouts: Layouts, context: LoadContext) -> Encoded:
    """The rows of the events of a block, in as many pieces as their cells ask for."""
    found = Encoded()
    width = max(len(layout.columns) for layout in layouts.values())
    most = max(_MOST_CELLS // width, 1)
    for first in range(0, len(part.events), most):
        piece = part
        if len(part.events) > most:
            at = np.arange(first, min(first + most, len(part.events)))
            piece = Part.of(part.events.take(at), set(part.tables))
        found.add(_Encoder(piece, layouts, context).encode())
    return found


class _Encoder:
    """The events of a block on their way into rows."""

    def __init__(self, part: Part, layouts: Layouts, context: LoadContext) -> None:
        self.part, self.events = part, part.events
        self.layouts, self.context = layouts, context
        self.cells = Cells(part.events.tokens)
        extra = self.events.extra
        self._is_own = extra.is_own & (part.table[extra.event] >= 0)
        self._names = Names(self.events.columns)
        self._extra_names = self._names.numbers(self.events.extra_names)
        self.shared_extra = self._given_extra(~self._is_own)
        self.own_extra = self._given_extra(self._is_own)

    def encode(self) -> Encoded:
        events, part = self.events, self.part
        times = self._times()
        layout = self.layouts[TRACKS]
        every = np.arange(len(events))
        shared = self._shared(TRACKS, layout, every, times, self.shared_extra)
        own = self._own()
        tracks_extra, counts = self._extra(self.shared_extra, every)
        tables = [
            self._table(number, table, own, times, counts)
            for number, table in enumerate(part.tables)
        ]
        rows = self.cells.rows()
        width = len(layout.shared)
        prefixes = rows.write(shared, every, width)
        write_behind = partial(rows.write, prefixes=prefixes, prefix_fields=width)
        found = {TRACKS: [write_behind(tracks_extra[:, None], every, 1)]}
        for one in tables:
            write = write_behind if one.has_prefix else rows.write
            found[one.table] = [write(one.cells, one.at, one.width)]
        at = np.flatnonzero(counts).tolist()
        return Encoded(
            rows=found,
            extra_values={events.ids[event]: int(counts[event]) for event in at},
        )

    def _table(
        self, number: int, table: str, own: Longs, times: _TimesOf, counts: Longs
    ) -> _TableCells:
        """The cells of one table besides those that it shares with `tracks`."""
        at = np.flatnonzero(self.part.table == number)
        layout = self.layouts[table]
        width, cells, rows, shared_extra = len(layout.own), own, at, self.shared_extra
        has_prefix = not self._has_other_types(table, layout)
        if not has_prefix:
            shared_extra = self._given_extra(~self._is_own)
            shared = self._shared(table, layout, at, times, shared_extra)
            cells, rows = np.append(shared, own[at], axis=1), np.arange(len(at))
            width += len(layout.shared)
        cells[rows, width], counts[at] = self._extra(self.own_extra, at, shared_extra)
        return _TableCells(table, rows, cells, width + 1, has_prefix)

    def _given_extra(self, which: Flags) -> Pairs:
        """Some of what goes to `_extra` whatever the types of a table are."""
        found, some = Pairs(self._names), self.events.extra.take(np.flatnonzero(which))
        found.add(some.event, some.token, self._extra_names[some.name])
        return found

    def _has_other_types(self, table: str, layout: Layout) -> bool:
        """Whether the shared columns of a table are not those of `tracks`."""
        theirs, own = self.context.tables[TRACKS], self.context.tables[table]
        every = self.layouts[TRACKS].shared
        return layout.shared != every or any(theirs.get(n) != own.get(n) for n in every)

    # shared columns

    def _times(self) -> _TimesOf:
        started = self.context.started
        times = self.events.times
        arrived = times["received_at"]
        every = np.ones(len(self.events), bool)
        found = {
            "received_at": (np.where(arrived.is_given, arrived.microseconds, started), every),
            "timestamp": (when_it_happened(times, started), every),
        }
        for name in ("sent_at", "original_timestamp"):
            found[name] = times[name].microseconds, times[name].is_given
        return found

    def _shared(
        self, table: str, layout: Layout, at: Longs, times: _TimesOf, extra: Pairs
    ) -> Longs:
        """The cells of the shared columns of a table, for some events."""
        types = self.context.tables[table]
        cells = np.full((len(at), len(layout.shared)), NULL)
        for index, name in enumerate(layout.shared):
            if name in _TIMES or name in _TEXTS:
                type_ = types.get(name, DECLARED_SHARED[name])
                cells[:, index] = self._base(name, type_, at, times, extra)
        where = np.full(len(self.events), -1)
        where[at] = np.arange(len(at))
        values = self.events.values
        is_some = (self.part.value_table == 0) & (where.take(values.event) >= 0)
        some = values.take(np.flatnonzero(is_some))
        codes, indexes = self._columns(layout.shared, types, some.column)
        self._fill(cells, where[some.event], indexes, some, codes, extra)
        return cells

    def _base(self, name: str, type_: Type, at: Longs, times: _TimesOf, extra: Pairs) -> Longs:
        """The cells of a column that is not of the context."""
        events = self.events
        if name in times:
            microseconds, is_given = times[name][0][at], times[name][1][at]
            if type_ == "timestamptz":
                return np.where(is_given, self.cells.stored(microseconds), NULL)
            some = np.where(is_given, microseconds, 0)
            written = [time_text(one).encode() for one in some.tolist()]
            tokens = np.where(is_given, events.tokens.add(written, STRING), 0)
        elif name in ("event", "event_text"):
            names = [one.table if name == "event" else one.text for one in events.names]
            if name == "event" or type_ == "text":
                cells = self.cells.literals([encode_field(one, "text") for one in names])
                return cells[events.name[at]]
            tokens = events.tokens.add([one.encode() for one in names], STRING)[events.name[at]]
        else:
            tokens = events.texts[name][at]
            if type_ == "text":
                return self.cells.texts(tokens)
        # Somebody gave it another type.
        cells = np.full(len(at), NULL)
        given = np.flatnonzero(tokens > 0)
        codes = np.full(len(given), CODES[type_])
        cells[given], misfits = self.cells.settle(tokens[given], codes)
        lost = given[misfits]
        extra.add(at[lost], tokens[lost], np.full(len(lost), self._names.number(name)))
        return cells

    def _columns(
        self, names: Sequence[str], types: dict[str, Type], columns: Longs
    ) -> tuple[Longs, Longs]:
        """By value the code of its column's type, or that there is none, and its index."""
        number = self.events.columns.number
        codes, indexes = np.full((2, len(self.events.columns.names)), _NO_TYPE)
        for index, name in enumerate(names):
            if name in number and name in types:
                codes[number[name]], indexes[number[name]] = CODES[types[name]], index
        return codes[columns], indexes[columns]

    def _fill(
        self, cells: Longs, row: Longs, index: Longs, values: Values, codes: Longs, extra: Pairs
    ) -> None:
        """Put values into their cells; those that have none, or do not fit, into `extra`."""
        has_column = codes != _NO_TYPE
        at = np.flatnonzero(has_column)
        settled, misfits = self.cells.settle(values.token[at], codes[at])
        cells[row[at], index[at]] = settled
        lost = np.flatnonzero(~has_column)
        if len(misfits):
            lost = np.sort(np.append(lost, at[misfits]))
        extra.add(values.event[lost], values.token[lost], values.column[lost])

    # own columns

    def _own(self) -> Longs:
        """The cells of the properties, by event, in the layout of its table; one more behind."""
        part, values = self.part, self.events.values
        width = max((len(self.layouts[table].own) for table in part.tables), default=0)
        cells = np.full((len(self.events), width + 1), NULL)
        columns = len(self.events.columns.names)
        codes, indexes = np.full((2, (len(part.tables) + 1) * columns), _NO_TYPE)
        known = {
            table: {name: at for at, name in enumerate(self.layouts[table].own)}
            for table in part.tables
        }
        names = self.events.columns.names
        for number, table in enumerate(part.tables, 1):
            types = self.context.tables[table]
            for column in part.columns_of(table, known[table]):
                at, name = number * columns + column, names[column]
                codes[at], indexes[at] = CODES[types[name]], known[table][name]
        some = values.take(np.flatnonzero(part.value_table > 0))
        code = part.value_table[part.value_table > 0] * columns + some.column
        self._fill(cells, some.event, indexes[code], some, codes[code], self.own_extra)
        homeless = values.take(np.flatnonzero(part.value_table < 0))
        self.shared_extra.add(homeless.event, homeless.token, homeless.column)
        return cells

    # extra

    def _extra(self, own: Pairs, at: Longs, shared: Pairs | None = None) -> tuple[Longs, Longs]:
        """The cells of `_extra` for some events, and how many values each has."""
        which = np.zeros(len(self.events), bool)
        which[at] = True
        event, token, name = own.join(shared or own, which)
        cells, counts = np.full(len(self.events), NULL), np.zeros(len(self.events), np.int64)
        if len(event):
            firsts = np.flatnonzero(np.diff(event, prepend=-1))
            is_used = np.bincount(name) > 0
            texts, owners = self._names.texts(np.flatnonzero(is_used)), event[firsts]
            names = np.cumsum(is_used)[name] - 1
            cells[owners] = self.cells.objects(token, names, np.append(firsts, len(event)), texts)
            counts[owners] = np.diff(np.append(firsts, len(event)))
        return cells[at], counts[at]
