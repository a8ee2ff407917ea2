"""Events -> rows of their tables: which value stands in which column of which row."""

from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from loader.normalize.collections import TRACKS, Type
from loader.normalize.names import table_name
from loader.plain.arrays import NotPlain
from loader.plain.events import CONTEXT, PROPERTIES, Columns, PlainEvents
from loader.plain.fields import CODES, NULL, Cells, Fields
from loader.plain.tokens import OTHER
from loader.warehouse.binary import BINARY, Lines, field
from loader.warehouse.encode import DECLARED_SHARED, Layouts, Segment

# Rows of more columns go the other way: their cells would take too much.
_MOST_COLUMNS = 600

# Codes where there is no type.
_NEW = -1  # of a column that does not exist yet
_UNSEEN = -2


class _Late:
    """Values whose column is settled only with the whole batch."""

    def __init__(self) -> None:
        self.new: dict[str, dict[int, Any]] = {}
        self.extra: dict[int, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}

    def of(self, members: Set[int]) -> "_Late":
        """Those of some rows."""
        found = _Late()
        for name, by_row in self.new.items():
            own = {row: value for row, value in by_row.items() if row in members}
            if own:
                found.new[name] = own
        found.extra = {row: values for row, values in self.extra.items() if row in members}
        return found


class Catalogue:
    """The columns of paths in the tables, as far as they were asked for."""

    def __init__(
        self, columns: Columns, tables: dict[str, dict[str, Type]], layouts: Layouts
    ) -> None:
        self.columns = columns
        self.tables = tables
        self.layouts = layouts
        # By table: how many columns it had, and the type and place of each path.
        self._known: dict[str, tuple[int, Any, Any]] = {}

    def columns_of(self, tables: Sequence[str], code: Any) -> tuple[Any, Any]:
        """Of each path in each table the code of its type, and its place in the table's lines.

        `code`, the number of the table times the number of paths plus the path, tells which count.
        """
        paths = len(self.columns.names)
        is_used = np.bincount(code, minlength=len(tables) * paths).reshape(-1, paths) > 0
        found = [self._of(table, used) for table, used in zip(tables, is_used, strict=True)]
        types, places = zip(*found, strict=True)
        return np.concatenate(types), np.concatenate(places)

    def _of(self, table: str, is_used: Any) -> tuple[Any, Any]:
        known = self.tables.get(table, {})
        layout = self.layouts.setdefault(table, [])
        size, types, places = self._known.get(table, (0, np.zeros(0), np.zeros(0)))
        if size != len(known) or len(types) != len(is_used):
            types = np.full(len(is_used), _UNSEEN)
            places = np.zeros(len(is_used), np.int64)
            self._known[table] = len(known), types, places
        for path in np.flatnonzero(is_used & (types == _UNSEEN)).tolist():
            name = self.columns.names[path]
            types[path] = _NEW
            if name in known:
                if name not in layout:
                    layout.append(name)
                types[path], places[path] = CODES[known[name]], layout.index(name)
        return types, places


class Block:
    """The events of a block on their way into the tables."""

    def __init__(self, events: PlainEvents, catalogue: Catalogue) -> None:
        self._events = events
        self._tokens = events.tokens
        self._catalogue = catalogue
        self._columns = catalogue.columns
        self._tables = catalogue.tables
        self._layouts = catalogue.layouts
        self._fields = Fields(events.tokens)
        # The row of each line; -1 for those that are left out.
        self._row = np.full(len(events.tokens.odd), -1)
        self._row[events.line] = np.arange(len(events.line))
        slugs = [table_name(name) for name in events.names]
        self._slugs = list(dict.fromkeys(slugs[name] for name in np.unique(events.name).tolist()))
        table_of = [self._slugs.index(slug) if slug in self._slugs else -1 for slug in slugs]
        self._table = np.array(table_of)[events.name]

    def segments(self) -> list[Segment]:
        """The lines for `tracks`, then those for the other tables."""
        shared, shared_late = self._shared()
        own, own_late = self._own()
        layout = tuple(self._layouts[TRACKS])
        every = np.arange(len(shared))
        first = self._fields.lines(shared, every, len(layout))
        segments = [
            Segment(
                form=BINARY,
                table=TRACKS,
                columns=layout,
                members=range(len(shared)),
                lines=first,
                new={},
                new_shared=shared_late.new,
                extra=shared_late.extra,
                keys=shared_late.keys,
            )
        ]
        order = np.argsort(self._table, kind="stable")
        ends = np.cumsum(np.bincount(self._table, minlength=len(self._slugs)))[:-1]
        for number, members in enumerate(np.split(order, ends)):
            table = self._slugs[number]
            types = self._tables.get(table, DECLARED_SHARED)
            kept = [at for at, name in enumerate(layout) if name in types]
            start, heads = layout, first
            if len(kept) < len(layout):
                lacking = np.delete(shared[members], kept, axis=1)
                if (lacking != NULL).any():
                    raise NotPlain
                start = tuple(layout[at] for at in kept)
                part = np.ascontiguousarray(shared[:, kept])
                heads = self._fields.lines(part, every, len(start))
            columns = len(self._layouts[table])
            lines = self._fields.lines(own, members, columns, heads=(heads, len(start)))
            segments.append(
                self._segment(number, table, start, lines, members, shared_late, own_late)
            )
        return segments

    def _segment(
        self,
        number: int,
        table: str,
        start: tuple[str, ...],
        lines: Lines,
        members: Any,
        shared_late: _Late,
        own_late: dict[int, _Late],
    ) -> Segment:
        own = own_late.get(number, _Late())
        places = members.tolist()
        some = shared_late.of(set(places)) if shared_late.new or shared_late.extra else _Late()
        extra = some.extra
        for row, values in own.extra.items():
            extra[row] = extra.get(row, {}) | values
        return Segment(
            form=BINARY,
            table=table,
            columns=start + tuple(self._layouts[table]),
            members=places,
            lines=lines,
            new=own.new,
            new_shared=some.new,
            extra=extra,
            keys={name: name for name in some.new} | shared_late.keys | own.keys,
            event_text=self._events.names[int(self._events.name[places[0]])],
        )

    def _shared(self) -> tuple[Cells, _Late]:
        """The cells of the columns that all tables share, by row."""
        events, fields = self._events, self._fields
        found = {name: fields.texts(text) for name, text in events.texts.items()}
        found |= {name: fields.times(time) for name, time in events.times.items()}
        found["event"] = fields.ready([field(s, "text") for s in self._slugs])[self._table]
        if "event_text" not in found:
            names = fields.ready([field(name, "text") for name in events.names])
            found["event_text"] = names[events.name]
        if events.arrival is not None:
            (arrival,) = fields.ready([field(events.arrival, "timestamptz")])
            found["received_at"] = np.full(len(events.line), arrival)
        found = {name: each for name, each in found.items() if (each != NULL).any()}
        layout = self._layouts.setdefault(TRACKS, [])
        layout.extend(name for name in found if name not in layout)
        cells, late = self._cells(CONTEXT, [TRACKS], np.zeros(len(events.line), np.int64))
        for name, each in found.items():
            cells[:, layout.index(name)] = each
        return cells, late.get(0, _Late())

    def _own(self) -> tuple[Cells, dict[int, _Late]]:
        """The cells of the properties, by row, in the layout of its table."""
        return self._cells(PROPERTIES, self._slugs, self._table)

    def _cells(
        self, group: int, tables: Sequence[str], table: Any
    ) -> tuple[Cells, dict[int, _Late]]:
        """The cells of a group of values, and by table what waits; `table` has one per row."""
        tokens, columns = self._tokens, self._columns
        group_of = columns.group.take(tokens.path, mode="clip")
        at = np.flatnonzero((group_of == group) & (tokens.kind <= OTHER))
        row = self._row.take(tokens.line.take(at), mode="clip")
        if len(table) < len(self._row):
            at, row = at.compress(row >= 0), row.compress(row >= 0)
        code = table.take(row, mode="clip") * len(columns.names) + tokens.path.take(at, mode="clip")
        types, places = self._catalogue.columns_of(tables, code)
        late: dict[int, _Late] = {}
        is_settled = types.take(code, mode="clip") != _NEW
        for one in np.flatnonzero(~is_settled).tolist():
            waits = late.setdefault(int(table[row[one]]), _Late())
            name = columns.names[tokens.path[at[one]]]
            waits.new.setdefault(name, {})[int(row[one])] = tokens.value(at[one])
            waits.keys.setdefault(name, columns.keys[tokens.path[at[one]]])
        if not is_settled.all():
            at, row, code = (each.compress(is_settled) for each in (at, row, code))
        settled, misfits = self._fields.settle(at, types.take(code, mode="clip"))
        for one, value in misfits.items():
            waits = late.setdefault(int(table[row[one]]), _Late())
            name = columns.names[tokens.path[at[one]]]
            waits.extra.setdefault(int(row[one]), {})[name] = value
        width = max(len(self._layouts[one]) for one in tables)
        if width > _MOST_COLUMNS:
            raise NotPlain
        cells = np.full((len(table), width), NULL)
        cells.reshape(-1)[row * width + places.take(code, mode="clip")] = settled
        return cells, late
