"""Rows -> segments: the lines of one table, and the values that have to wait for the batch.

The lines are of COPY's text format here; the short way makes segments of the binary one.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from loader.normalize.batch import Normalized, Rows, Tables
from loader.normalize.collections import EXTRA, SHARED, TRACKS, Type
from loader.normalize.columns import read_text
from loader.normalize.event import put_extra
from loader.warehouse.forms import TEXT, Form, Lines, fields, join

# The shared columns of a table that does not exist yet.
DECLARED_SHARED = {column.name: column.type for column in (*SHARED, EXTRA)}

# The columns that the lines of a table carry so far, in order. Columns that never had a value are
# not sent at all; one that had a value stays, so that a table's lines go into few COPY commands.
Layouts = dict[str, list[str]]


# The file and the position of the record at a place of a chunk, and the record as it stood there.
Origin = Callable[[int], tuple[str, str, bytes]]


@dataclass(kw_only=True)
class Segment:
    """Lines for one table, without the values whose column is settled only with the whole batch."""

    form: Form = TEXT
    table: str
    columns: tuple[str, ...]  # of the lines, in order
    members: Sequence[int]  # the place in the chunk of each line, ascending
    lines: Lines
    # Late values: column -> place -> value, and place -> key -> value.
    new: dict[str, dict[int, Any]]
    new_shared: dict[str, dict[int, Any]]
    extra: dict[int, dict[str, Any]]
    keys: dict[str, str] = field(default_factory=dict)  # new column -> key as sent
    event_text: str = ""
    origin: Origin | None = None  # only where the chunk has late values

    def has_late_values(self) -> bool:
        """Whether some values have to wait."""
        return bool(self.new or self.new_shared or self.extra)

    def late_places(self) -> set[int]:
        """The places of rows with late values."""
        places = set(self.extra)
        for values in (*self.new.values(), *self.new_shared.values()):
            places.update(values)
        return places

    def split(self, late: Collection[int]) -> tuple[Lines, "Segment"]:
        """The lines without late values, and a segment of those with some."""
        odd = self._rows(late)
        members = [self.members[row] for row in odd]
        lines = self.form.pick(self.lines, odd)
        return self.form.drop(self.lines, odd), replace(self, members=members, lines=lines)

    def without(self, dropped: Collection[int]) -> "Segment":
        """The segment without the rows at some places in the chunk."""
        gone = self._rows(dropped)
        if not gone:
            return self
        members = list(self.members)
        for row in reversed(gone):
            del members[row]
        return replace(
            self,
            members=members,
            lines=self.form.drop(self.lines, gone),
            new=_without(self.new, dropped),
            new_shared=_without(self.new_shared, dropped),
            extra={place: v for place, v in self.extra.items() if place not in dropped},
        )

    def _rows(self, places: Collection[int]) -> list[int]:
        """The rows at some places, which the members have in their order."""
        rows = []
        for place in sorted(places):
            row = bisect_left(self.members, place)
            if row < len(self.members) and self.members[row] == place:
                rows.append(row)
        return rows


def _without(new: dict[str, dict[int, Any]], dropped: Collection[int]) -> dict[str, dict[int, Any]]:
    kept = {
        name: {place: v for place, v in values.items() if place not in dropped}
        for name, values in new.items()
    }
    return {name: values for name, values in kept.items() if values}


def encode(normalized: Normalized, layouts: Layouts, tables: Tables) -> list[Segment]:
    """The lines of a chunk: those of `tracks` first, then each collection's.

    A context column that `tracks` has and a collection's table has not is late for that table.
    """
    shared = normalized.shared
    size = len(normalized.ids)
    if not size:
        return []
    shared_names = _extend(layouts, TRACKS, shared)
    shared_lines = _lines(shared, shared_names, size)
    segments = [
        Segment(
            table=TRACKS,
            columns=shared_names,
            members=shared.members,
            lines=_encoded(shared_lines),
            new={},
            new_shared=shared.new,
            extra=shared.extra,
            keys=shared.keys,
        )
    ]
    for table, rows in normalized.collections.items():
        names = _extend(layouts, table, rows)
        there = tables.get(table, DECLARED_SHARED)
        own_shared, own_new = shared_names, _at(shared.new, rows.members)
        if all(name in there for name in shared_names):
            lines = [shared_lines[place] for place in rows.members]
        else:
            own_shared = tuple(name for name in shared_names if name in there)
            own_lines = _lines(shared, own_shared, size)
            lines = [own_lines[place] for place in rows.members]
            missing = [name for name in shared_names if name not in there]
            own_new |= _at(_late_again(shared, missing, tables[TRACKS], size), rows.members)
        if names:
            own = _lines(rows, names, len(lines))
            lines = [f"{line}\t{more}" for line, more in zip(lines, own, strict=True)]
        segments.append(
            Segment(
                table=table,
                columns=own_shared + names,
                members=rows.members,
                lines=_encoded(lines),
                new=rows.new,
                new_shared=own_new,
                extra=_both(shared.extra, rows),
                keys={name: name for name in own_new} | shared.keys | rows.keys,
                event_text=normalized.event_texts[table],
            )
        )
    return segments


def _late_again(
    shared: Rows, names: Sequence[str], types: Mapping[str, Type], size: int
) -> dict[str, dict[int, Any]]:
    """Settled values of some shared columns, as the values they were."""
    return {
        name: {
            place: read_text(text, types[name])
            for place, text in enumerate(shared.columns[name].spread(size))
            if text is not None
        }
        for name in names
        if name in shared.columns
    }


def _extend(layouts: Layouts, table: str, rows: Rows) -> tuple[str, ...]:
    layout = layouts.setdefault(table, [])
    layout.extend(name for name in rows.columns if name not in layout)
    return tuple(layout)


def _at(new: dict[str, dict[int, Any]], places: Sequence[int]) -> dict[str, dict[int, Any]]:
    found = {
        name: {place: values[place] for place in places if place in values}
        for name, values in new.items()
    }
    return {name: values for name, values in found.items() if values}


def _both(shared: dict[int, dict[str, Any]], rows: Rows) -> dict[int, dict[str, Any]]:
    if not shared:
        return rows.extra
    both = {place: shared[place] for place in rows.members if place in shared}
    for place, values in rows.extra.items():
        merged = both[place] = dict(both.get(place, {}))
        for key, value in values.items():
            put_extra(merged, key, value)
    return both


def _lines(rows: Rows, names: Sequence[str], size: int) -> list[str]:
    return join([fields(rows.columns.get(name), size) for name in names])


def _encoded(lines: list[str]) -> list[bytes]:
    # Line by line: joined first, one odd character would make all of them wide.
    return [line.encode() for line in lines]
