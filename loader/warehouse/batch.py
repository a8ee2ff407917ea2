"""A batch: gathered chunk by chunk, then sealed as what one transaction writes."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from loader.defects import defect
from loader.normalize.batch import Rooms, SpanOf, span
from loader.normalize.collections import EXTRA, TRACKS, Type
from loader.normalize.columns import Column, clean_text, coerce, infer
from loader.normalize.event import Reject, put_extra
from loader.warehouse.encode import DECLARED_SHARED, Origin, Segment
from loader.warehouse.evolve import (
    AddColumn,
    Change,
    CreateTable,
    column_comment,
    table_comment,
)
from loader.warehouse.forms import Form, Lines
from loader.warehouse.ids import Known

# PostgreSQL's limit of columns, less some for migrations to come.
MAX_SLOTS = 1_580
# The largest `max_record_bytes`: what is longer could never be replayed, so its head is enough.
MAX_RAW = 16 << 20
RAW_HEAD = 1 << 20


class RejectRow(NamedTuple):
    """A row of `_rejects`."""

    id: str
    file: str
    position: str
    reason: str
    detail: str
    raw: str


def reject_row(file: str, position: str, reject: Reject, raw: bytes) -> RejectRow:
    """A reject as it is stored; its id is the same whenever the same record is met again."""
    shown, detail = clean_text(raw.decode("utf-8", "backslashreplace")), clean_text(reject.detail)
    if len(shown) > MAX_RAW:
        detail += f" (its first {RAW_HEAD} characters of {len(shown)} are kept)"
        shown = shown[:RAW_HEAD]
    content = "\0".join((file, position, reject.reason, shown))
    key = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return RejectRow(key, file, position, reject.reason, detail, shown)


class Replay(NamedTuple):
    """A reject that was tried again, in one batch."""

    reject_id: str
    events: tuple[str, ...]  # ids of its events that are new to the batch
    problems: tuple[Reject, ...]  # why it, or a part of it, is still a reject


class FileProgress(NamedTuple):
    """How far a file was read; a row of `_files`."""

    uri: str
    size: int | None
    modified_at: datetime | None
    records_done: int
    finished: bool


class Copy(NamedTuple):
    """Rows of one table for one COPY."""

    table: str
    columns: tuple[str, ...]  # `id` is the first
    form: Form
    lines: Lines  # in the order of their ids, or nearly so

    def without(self, rows: Sequence[int]) -> "Copy":
        """The same without some of the rows."""
        return self._replace(lines=self.form.drop(self.lines, rows))


@dataclass(kw_only=True)
class SealedBatch:
    """What one transaction writes."""

    number: int
    changes: list[Change]
    copies: list[Copy]  # those of `tracks` first
    rejects: list[RejectRow]
    replays: list[Replay]
    files: list[FileProgress]
    records: int
    duplicates: int  # within the batch, or known before
    known: Known  # of those, what was dropped because the server was said to have it
    extra_values: dict[str, int]  # by id, where there are some
    replaced_characters: int
    times: dict[str, tuple[str, str]]  # first and last `timestamp` and `received_at`


@dataclass(kw_only=True)
class Limits:
    """How far a load may widen the tables."""

    evolve: bool
    max_columns: int
    # Columns that a table ever had: dropped ones count for PostgreSQL's limit too.
    slots: dict[str, int] = field(default_factory=dict)
    max_tables: int = 1_000
    json_columns: frozenset[str] = frozenset()  # new columns that are jsonb, whatever they hold

    def columns_left(self, table: str, columns: int) -> int:
        """How many columns a table of so many may still get."""
        if not self.evolve:
            return 0
        return max(
            0, min(self.max_columns - columns, MAX_SLOTS - max(self.slots.get(table, 0), columns))
        )


@dataclass(kw_only=True)
class Batch:
    """A batch while it is gathered."""

    number: int
    limits: Limits
    tables: dict[str, dict[str, Type]]  # as the batch will find them; sealing adds its changes
    segments: dict[str, list[Segment]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    # Ids of batches before this one that were not committed yet when the server was asked.
    before: Sequence[Set[str]] = ()
    rejects: dict[str, RejectRow] = field(default_factory=dict)
    replays: list[Replay] = field(default_factory=list)
    files: dict[str, FileProgress] = field(default_factory=dict)
    records: int = 0
    size: int = 0  # bytes of rows
    duplicates: int = 0
    extra_values: dict[str, int] = field(default_factory=dict)
    replaced_characters: int = 0
    times: dict[str, tuple[str, str]] = field(default_factory=dict)
    defects: Counter[str] = field(default_factory=Counter)  # what failed: how often
    rooms: Rooms = field(init=False)

    def __post_init__(self) -> None:
        self.rooms = Rooms(
            lambda table: self.limits.columns_left(
                table, len(self.tables.get(table, DECLARED_SHARED))
            ),
            max(0, self.limits.max_tables - len(self.tables)),
        )

    def add(
        self,
        ids: Sequence[str],
        segments: Sequence[Segment],
        spans: Mapping[str, SpanOf],
        *,
        size: int = 0,
        origin: Origin | None = None,
    ) -> None:
        """Add a chunk's rows; of rows with one id, the first one stays. `size` was read for it."""
        if not any(segment.has_late_values() for segment in segments):
            origin = None  # the records are not held for nothing
        dropped = self._repeated(ids)
        self.duplicates += len(dropped)
        extra: dict[int, int] = {}
        written = 0
        for segment in segments:
            kept = segment.without(dropped) if dropped else segment
            kept.origin = origin
            if len(kept.lines):
                self.segments.setdefault(kept.table, []).append(kept)
                written += kept.form.size(kept.lines)
            # A collection's row repeats what its row in `tracks` has.
            extra |= {place: len(values) for place, values in kept.extra.items()}
        # Late values are not in the lines yet, so what was read counts where it is more.
        self.size += max(size, written)
        for place, count in extra.items():
            self.extra_values[ids[place]] = count
        for name, span_of in spans.items():
            if found := span_of(dropped):
                self.times[name] = widest(self.times.get(name), found)

    def new_tables(self) -> int:
        """How many tables the batch has to make."""
        return len(self.segments.keys() - self.tables.keys())

    def _repeated(self, ids: Sequence[str]) -> set[int]:
        fresh = set(ids)
        if len(fresh) == len(ids) and all(
            some.isdisjoint(fresh) for some in (self.seen, *self.before)
        ):
            self.seen |= fresh
            return set()
        dropped = set()
        for place, key in enumerate(ids):
            if self.has_met(key):
                dropped.add(place)
            self.seen.add(key)
        return dropped

    def has_met(self, key: str) -> bool:
        """Whether an id is one of the batch, or of those that it is compared with."""
        return key in self.seen or any(key in some for some in self.before)

    def add_reject(self, row: RejectRow) -> None:
        """Add a reject; the same one twice is a duplicate."""
        if row.id in self.rejects:
            self.duplicates += 1
        self.rejects[row.id] = row
        self.size += len(row.raw)

    def seal(self, known: Known) -> SealedBatch:
        """Decide the schema changes, put the late values on their rows.

        A row whose late values bring a defect to light is a reject.
        """
        before = self._state()
        try:
            changes, copies = self._settle()
        except Exception as error:
            defect(error)
            self._restore(*before)
            self._reject_defects()
            changes, copies = self._settle()
        self.segments.clear()
        return SealedBatch(
            number=self.number,
            changes=changes,
            copies=copies,
            rejects=list(self.rejects.values()),
            replays=self.replays,
            files=list(self.files.values()),
            records=self.records,
            duplicates=self.duplicates,
            known=known,
            extra_values=self.extra_values,
            replaced_characters=self.replaced_characters,
            times=self.times,
        )

    def _settle(self) -> tuple[list[Change], list[Copy]]:
        changes = self._plan()
        copies = []
        for table in sorted(self.segments, key=lambda table: (table != TRACKS, table)):
            copies += self._copies(table, self.segments[table])
        return changes, copies

    # defects

    def _state(self) -> tuple[Any, ...]:
        """What `_settle` changes."""
        tables = {name: dict(self.tables.get(name, {})) for name in self.segments}
        slots = {name: self.limits.slots.get(name, 0) for name in self.segments}
        return tables, slots, dict(self.extra_values), self.replaced_characters

    def _restore(
        self,
        tables: dict[str, dict[str, Type]],
        slots: dict[str, int],
        extra_values: dict[str, int],
        replaced_characters: int,
    ) -> None:
        self.tables.update(tables)
        for name in [name for name, columns in tables.items() if not columns]:
            del self.tables[name]
        self.limits.slots.update(slots)
        self.extra_values, self.replaced_characters = extra_values, replaced_characters

    def _reject_defects(self) -> None:
        """Make rejects of the rows with a late value that cannot be written."""
        found: dict[Origin, dict[int, Reject]] = {}
        for table, segments in self.segments.items():
            for segment in segments:
                if segment.origin is not None:
                    refused = found.setdefault(segment.origin, {})
                    refused |= _defects(segment, self.tables.get(table, {}))
        for origin, refused in found.items():
            for place, reject in refused.items():
                file, position, raw = origin(place)
                self.add_reject(reject_row(file, position, reject, raw))
                self.defects[reject.detail] += 1
        for table, segments in self.segments.items():
            self.segments[table] = [
                segment.without(found.get(segment.origin, {})) if segment.origin else segment
                for segment in segments
            ]

    # schema changes

    def _plan(self) -> list[Change]:
        """The changes this batch needs, which `self.tables` has from here on."""
        changes: list[Change] = []
        for table, segments in self.segments.items():
            if table not in self.tables:
                changes.append(
                    CreateTable(table=table, comment=table_comment(segments[0].event_text))
                )
                self.tables[table] = dict(DECLARED_SHARED)
        for table in sorted(self.segments, key=lambda table: (table != TRACKS, table)):
            segments = self.segments[table]
            for name in dict.fromkeys(chain.from_iterable(s.new_shared for s in segments)):
                type_ = self.tables[TRACKS].get(name)
                if type_ is None and table == TRACKS and self._left(table):
                    type_ = infer(_values(segments, "new_shared", name))
                if type_ is not None and type_ != "other":
                    changes += self._add(table, name, type_, "Context key", segments)
            for name in dict.fromkeys(chain.from_iterable(s.new for s in segments)):
                if not self._left(table):
                    break
                is_json = name in self.limits.json_columns
                type_ = "jsonb" if is_json else infer(_values(segments, "new", name))
                changes += self._add(table, name, type_, "Property", segments)
        return changes

    def _left(self, table: str) -> int:
        return self.limits.columns_left(table, len(self.tables[table]))

    def _add(
        self, table: str, name: str, type_: Type, kind: str, segments: Sequence[Segment]
    ) -> list[AddColumn]:
        columns = self.tables[table]
        if name in columns or not self._left(table):
            return []
        slots = self.limits.slots
        slots[table] = max(slots.get(table, 0), len(columns)) + 1
        columns[name] = type_
        key = next(s.keys[name] for s in segments if name in s.keys)
        comment = column_comment(kind, key)
        return [AddColumn(table=table, column=name, type=type_, comment=comment)]

    # late values

    def _copies(self, table: str, segments: Sequence[Segment]) -> list[Copy]:
        groups: dict[tuple[Form, tuple[str, ...]], list[Lines]] = {}
        for segment in segments:
            late = segment.late_places()
            plain, odd = segment.split(late) if late else (segment.lines, None)
            if len(plain):
                groups.setdefault((segment.form, segment.columns), []).append(plain)
            if odd is not None:
                columns, lines = self._with_late_values(table, odd)
                groups.setdefault((segment.form, columns), []).append(lines)
        return [
            Copy(table, columns, form, form.sort(parts))
            for (form, columns), parts in groups.items()
        ]

    def _with_late_values(self, table: str, segment: Segment) -> tuple[tuple[str, ...], Lines]:
        """The lines of `segment` with the values that had to wait for the whole batch."""
        types = self.tables[table]
        members = segment.members
        row_of = {place: row for row, place in enumerate(members)}
        late: dict[str, Column] = {}
        extra = {place: dict(values) for place, values in segment.extra.items()}
        more_extra = Counter[int]()  # values by row
        for name, by_place in chain(segment.new_shared.items(), segment.new.items()):
            places, values = list(by_place), list(by_place.values())
            misfits: dict[int, Any] = dict(enumerate(values))
            if name in types:
                column, misfits = coerce(values, types[name])
                late[name] = column._replace(rows=[row_of[place] for place in places])
            for i, value in misfits.items():
                put_extra(extra.setdefault(places[i], {}), name, value)
            if table == TRACKS or name in segment.new:
                more_extra.update(row_of[places[i]] for i in misfits)
                self.replaced_characters += late[name].replaced if name in late else 0
        rows = list(more_extra)
        keys = segment.form.ids(segment.form.pick(segment.lines, rows))
        for key, row in zip(keys, rows, strict=True):
            self.extra_values[key] = self.extra_values.get(key, 0) + more_extra[row]
        if extra:
            column, _ = coerce(list(extra.values()), EXTRA.type)
            late[EXTRA.name] = column._replace(rows=[row_of[place] for place in extra])
        lines = segment.form.extend(segment.lines, late, types)
        return segment.columns + tuple(late), lines


def _defects(segment: Segment, types: Mapping[str, Type]) -> dict[int, Reject]:
    """The rows of a segment with a late value that cannot be written, by place."""
    refused: dict[int, Reject] = {}
    for name, by_place in chain(segment.new.items(), segment.new_shared.items()):
        for place, value in by_place.items():
            try:
                for type_ in (types.get(name) or infer([value]), EXTRA.type):
                    coerce([value], type_)
            except Exception as error:
                refused[place] = defect(error)
    for place, values in segment.extra.items():
        try:
            coerce([values], EXTRA.type)
        except Exception as error:
            refused[place] = defect(error)
    return refused


def _values(segments: Iterable[Segment], kind: str, name: str) -> Iterable[Any]:
    return chain.from_iterable(getattr(s, kind).get(name, {}).values() for s in segments)


def widest(known: tuple[str, str] | None, more: tuple[str, str]) -> tuple[str, str]:
    """The span of times that covers both."""
    return span([*(known or ()), *more])
