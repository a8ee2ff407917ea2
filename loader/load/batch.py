"""A batch: events gathered block by block, then sealed as what one transaction writes.

Most blocks have values for the same columns as those before them, and are encoded when they come.
What asks for a change of a table waits until the batch is sealed, because the types of new columns
depend on all of its values.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from loader.columns.binary import EncodedRows
from loader.columns.times import time_text
from loader.columns.tokens import Longs
from loader.forms.columns import Columns
from loader.forms.content import raw_text
from loader.forms.events import Events
from loader.forms.times import when_it_happened
from loader.load.context import LoadContext, Tables
from loader.load.defects import defect
from loader.load.encode import Encoded, Layouts, encode, fits, make_layouts
from loader.load.plan import MakeChanges, Part, change_tables
from loader.normalize.collections import EXTRA
from loader.normalize.event import IgnoreReason, Reject
from loader.sources.blocks import Block
from loader.warehouse.batch import (
    Copy,
    FileProgress,
    RejectRow,
    Replay,
    SealedBatch,
    Waiting,
    reject_row,
)
from loader.warehouse.ids import NOTHING_KNOWN, Known

# A block that waits takes two to three times the memory of its rows.
_WAITING = 2


class Origin(NamedTuple):
    """Where the events of a part come from."""

    file: str
    block: Block
    first: int  # number in the block of their first record

    def reject(self, events: Events, at: int, error: Exception) -> RejectRow:
        """The reject for an event that brings a defect to light."""
        records, number = events.records, int(events.record[at])
        record = self.first + records.number(number)
        position = self.block.position(record, records.items(number))
        return reject_row(self.file, position, defect(error), raw_text(records, number))


@dataclass(kw_only=True)
class Batch:
    """A batch while it is gathered."""

    number: int
    context: LoadContext
    seen: set[str] = field(default_factory=set)
    known: Known = NOTHING_KNOWN  # of the duplicates, what the server was said to have
    layouts: Layouts = field(default_factory=dict)  # the columns of the batch before
    # Ids of batches before this one that were not committed yet when the server was asked.
    before: Sequence[Set[str]] = ()
    rejects: dict[str, RejectRow] = field(default_factory=dict)
    replays: list[Replay] = field(default_factory=list)
    files: dict[str, FileProgress] = field(default_factory=dict)
    records: int = 0
    size: int = 0  # bytes that it takes, about
    duplicates: int = 0
    ignored: Counter[IgnoreReason] = field(default_factory=Counter)
    new_tables: set[str] = field(default_factory=set)
    without_table: int = 0  # events for whose table there was no room
    defects: Counter[str] = field(default_factory=Counter)  # what failed: how often
    _copies: list[Copy] = field(default_factory=list)
    _encoded: Encoded = field(default_factory=Encoded)  # rows that are in none of them yet
    _types: Tables = field(default_factory=dict)  # that they were encoded for
    _parts: deque[tuple[Part, Origin | None]] = field(default_factory=deque)  # that wait
    _columns: list[Columns] = field(default_factory=list)  # those of their blocks, each once
    _replaced: int = 0
    _times: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(
        self, events: Events, there: Set[str] = frozenset(), *, origin: Origin | None = None
    ) -> int:
        """Add the events of a block; of events with one id, the first one stays.

        Those whose id is `there` are known already; returns how many these are.
        """
        kept, known = self._fresh(events.ids, there)
        self.duplicates += len(events) - len(kept)
        if len(kept) < len(events):
            events = events.take(kept)
        if not len(events):
            return known
        part = Part.of(events, self._tables_of(events))
        if not (fits(part, self.layouts) and self._is_encoded(part)):
            self._parts.append((part, origin))
            self.size += _WAITING * events.size
            if self._columns[-1:] != [events.columns]:  # a reader that began others stays with them
                self._columns.append(events.columns)
        self._replaced += sum(events.replaced.values())
        received = events.times["received_at"]
        arrived = np.where(received.is_given, received.microseconds, self.context.started)
        for name, found in (
            ("received_at", arrived),
            ("timestamp", when_it_happened(events.times, self.context.started)),
        ):
            first, last = self._times.get(name, (int(found[0]), int(found[0])))
            self._times[name] = min(first, int(found.min())), max(last, int(found.max()))
        return known

    def _fresh(self, ids: Sequence[str], there: Set[str]) -> tuple[Longs, int]:
        """The indexes of ids that are new, and how many are there already."""
        fresh = set(ids)
        if len(fresh) == len(ids) and all(
            some.isdisjoint(fresh) for some in (self.seen, *self.before, there)
        ):
            self.seen |= fresh
            return np.arange(len(ids)), 0
        kept, known = [], 0
        for at, key in enumerate(ids):
            if key in there:
                known += 1
            elif not self.has_met(key):
                kept.append(at)
                self.seen.add(key)
        return np.array(kept, np.int64), known

    @property
    def names(self) -> int:
        """How many names blocks that wait have for columns, which takes memory until then."""
        return sum(len(columns.names) for columns in self._columns)

    def has_met(self, key: str) -> bool:
        """Whether an id is one of the batch, or of those that it is compared with."""
        return key in self.seen or any(key in some for some in self.before)

    def _tables_of(self, events: Events) -> set[str]:
        """The tables of their own that some events have, or get."""
        context, counts = self.context, np.bincount(events.name, minlength=len(events.names))
        found: set[str] = set()
        for number in np.flatnonzero(counts).tolist():
            table = events.names[number].table
            if not context.may_have_table(table):
                continue
            if table not in context.tables and table not in self.new_tables:
                if len(context.tables) + len(self.new_tables) >= context.max_tables:
                    self.without_table += int(counts[number])
                    continue
                self.new_tables.add(table)
            found.add(table)
        return found

    def add_reject(self, row: RejectRow) -> None:
        """Add a reject; the same one twice is a duplicate."""
        if row.id in self.rejects:
            self.duplicates += 1
        self.rejects[row.id] = row
        self.size += len(row.raw)

    def seal(self, make: MakeChanges) -> SealedBatch:
        """Have the tables get what the events need, and encode the rows for what they have then.

        An event that brings a defect to light is a reject. Where `make` raises TablesDiffer, the
        batch is as it was, and can be sealed once more.
        """
        try:
            waiting, layouts = self._plan(make)
        except Exception as error:
            defect(error)  # raises what is none
            left = (self._sound(*each) for each in self._parts)
            self._parts = deque(each for each in left if each is not None)
            waiting, layouts = self._plan(make)
        if layouts != self.layouts:
            self._close_copies()
            self.layouts = layouts
        while self._parts:  # what a part takes is given back before the next one is encoded
            part, origin = self._parts.popleft()
            if not self._is_encoded(part) and (sound := self._sound(part, origin)) is not None:
                self._encode(sound[0])
        self._columns.clear()
        self._close_copies()
        return SealedBatch(
            number=self.number,
            types=self._types,
            waiting=waiting,
            copies=self._copies,
            rejects=list(self.rejects.values()),
            replays=self.replays,
            files=list(self.files.values()),
            records=self.records,
            duplicates=self.duplicates,
            ignored=dict(self.ignored),
            known=self.known,
            extra_values=self._encoded.extra_values,
            replaced_characters=self._replaced,
            times={
                name: (time_text(first), time_text(last))
                for name, (first, last) in self._times.items()
            },
        )

    def _plan(self, make: MakeChanges) -> tuple[list[Waiting], Layouts]:
        parts = [part for part, _ in self._parts]
        waiting = change_tables(parts, self.context, make)
        return waiting, make_layouts(parts, self.context, self.layouts)

    def forget_layouts(self) -> None:
        """Encode no more rows for what the tables had before, because they have changed."""
        self._close_copies()
        self.layouts = {}

    def _close_copies(self) -> None:
        """No more rows come to those of the layouts so far."""
        self._copies += _copies(self._encoded.rows, self.layouts)
        self._encoded.rows.clear()

    def _is_encoded(self, part: Part) -> bool:
        """Encode a part, unless that brings a defect to light."""
        try:
            self._encode(part)
        except Exception as error:
            defect(error)  # raises what is none
            return False
        return True

    def _encode(self, part: Part) -> None:
        encoded = encode(part, self.layouts, self.context)
        self._encoded.add(encoded)
        self.size += encoded.size
        for table in encoded.rows:
            # The first ones count, where tables were found to be changed since.
            types = self._types.setdefault(table, {EXTRA.name: EXTRA.type})
            # One that somebody has dropped is named by COPY.
            there = self.context.tables[table]
            for name in self.layouts[table].columns:
                if name in there:
                    types.setdefault(name, there[name])

    def _sound(self, part: Part, origin: Origin | None) -> tuple[Part, Origin | None] | None:
        """The events of a part that can be encoded, if there are any; the others become rejects."""
        failed = dict(self._defects(part, np.arange(len(part.events))))
        for at, error in failed.items():
            key = part.events.ids[at]
            self.seen.discard(key)
            if origin is None:
                self._fail_replay(key, defect(error))
                continue
            row = origin.reject(part.events, at, error)
            self.add_reject(row)
            self.defects[row.detail] += 1
        left = np.setdiff1d(np.arange(len(part.events)), list(failed))
        return (Part.of(part.events.take(left), set(part.tables)), origin) if len(left) else None

    def _fail_replay(self, key: str, problem: Reject) -> None:
        """Of the reject that was tried again and has the event of this id, that is a problem."""
        for at, replay in enumerate(self.replays):
            if key in replay.events:
                events = tuple(one for one in replay.events if one != key)
                problems = (*replay.problems, problem)
                self.replays[at] = replay._replace(events=events, problems=problems)
        self.defects[problem.detail] += 1

    def _defects(self, part: Part, at: Longs) -> Iterable[tuple[int, Exception]]:
        """Which of some events fail when they are encoded alone, and how."""
        some, context = Part.of(part.events.take(at), set(part.tables)), self.context.copy()
        try:
            change_tables([some], context, lambda _: [])
            encode(some, make_layouts([some], context), context)
        except Exception as error:
            defect(error)
            if len(at) == 1:
                yield int(at[0]), error
            else:
                for half in np.array_split(at, 2):
                    yield from self._defects(part, half)


def _copies(rows: dict[str, list[EncodedRows]], layouts: Layouts) -> Iterable[Copy]:
    for table, layout in layouts.items():
        if table in rows:
            yield Copy(table, layout.columns, EncodedRows.join(rows[table]).sort())
