"""Plain lines -> COPY's lines, a block at a time.

Most inputs are lines that one program wrote: track calls or webhooks, each value under its key. A
block of them
is read without making a Python object per value: `loader.native` goes through the bytes, numpy
through what it found there. It is the same work as `chunk.py` does record by record, with the same
result. A record that needs a decision is given to `chunk.py`, and so is a whole block in which too
many do.

    tokens   lines -> values with their paths     (paths, native/tokens.c)
    calls    values -> track calls                (events)
    webhooks values -> webhooks                   (events)
    block    events -> rows of their tables
    fields   values -> fields and lines           (native/rows.c)
"""

from collections import Counter
from collections.abc import Callable, Set
from functools import partial
from typing import NamedTuple

import numpy as np

from loader.chunk import Parsed, Work, parse_chunk, process_chunk
from loader.defects import describe
from loader.normalize.batch import Rooms, SpanOf, span_without
from loader.normalize.collections import Type
from loader.plain.arrays import Longs, NotPlain, Places
from loader.plain.block import Block, Catalogue
from loader.plain.calls import Calls
from loader.plain.events import PlainEvents
from loader.plain.webhooks import Webhooks
from loader.sources.records import WholeLines, read_chunks
from loader.warehouse.binary import time_text
from loader.warehouse.encode import DECLARED_SHARED, Layouts

# A block is not plain where more than one of so many records needs a decision.
_ODD = 20
# The other form is tried where more than one line of so many is left.
_OF_OTHER_FORM = 20
# After a block that was not plain, so many at most are not tried.
_MOST_SKIPPED = 63


class Read(NamedTuple):
    """The records of a block before anything is known of the tables."""

    plain: list[tuple[PlainEvents, Catalogue]]
    others: list[Parsed]  # lines that need decisions

    @property
    def ids(self) -> list[str]:
        """The ids of all events, for asking which are there."""
        found = [key for events, _ in self.plain for key in events.ids]
        return found + [key for other in self.others for key in other.ids]


class Plain:
    """The short way for the blocks of one load."""

    def __init__(
        self,
        *,
        tables: dict[str, dict[str, Type]],
        layouts: Layouts,
        load_started_at: str,
        only: frozenset[str] | None,
        taken: frozenset[str],
        max_record_bytes: int,
        rooms: Callable[[], Rooms] = Rooms,
        whole: frozenset[str] = frozenset(),
    ) -> None:
        self._rooms = rooms
        self.defects = Counter[str]()  # what failed: how often
        self._max_record_bytes = max_record_bytes
        self._process_chunk: Callable[..., list[Work]] = partial(
            process_chunk,
            tables=tables,
            layouts=layouts,
            load_started_at=load_started_at,
            only=only,
            taken=taken,
            whole=whole,
        )

        def is_made(table: str) -> bool:
            if table in taken or (only is not None and table not in only):
                return False
            return table in tables or rooms().tables.has(table)

        readers = (Calls(is_made), Webhooks(is_made, load_started_at))
        # The reader that read most of the last block comes first.
        self._readers: list[tuple[Calls | Webhooks, Catalogue]] = [
            (reader, Catalogue(reader.columns, tables, layouts)) for reader in readers
        ]
        self._skip = self._failed = 0
        # The binary form does not convert: a shared column that someone gave another type needs
        # the texts of the long way. That also keeps objects whole.
        self._never = bool(whole) or any(
            types.get(name, declared) != declared
            for types in tables.values()
            for name, declared in DECLARED_SHARED.items()
        )

    def is_worth_trying(self) -> bool:
        """Whether to try the next block; after some that were not plain, it is less often."""
        self._skip -= 1
        return self._skip < 0 and not self._never

    def read(self, block: WholeLines) -> Read | None:
        """The records of a block, or None if it is not plain."""
        try:
            return self._read(block)
        except NotPlain:
            return None
        except Exception as error:
            self._tell(error)
            return None

    def _tell(self, error: Exception) -> None:
        """A defect leaves its block to the long way, which knows every record; but not unheard."""
        self.defects[describe(error)] += 1

    def _read(self, block: WholeLines) -> Read:
        plain, odd = self._read_plain(block)
        if len(odd) > block.lines // _ODD or not plain:
            raise NotPlain
        others: list[Parsed] = []
        every = np.arange(block.lines)
        for at in odd:
            limit, number = self._max_record_bytes, block.line + at
            _, line = _line(block, every, at)
            chunks = read_chunks([line], max_record_bytes=limit, first_line=number)
            others += map(parse_chunk, chunks)
        groups = [set(events.ids) for events, _ in plain] + [set(other.ids) for other in others]
        if len(groups) > 1 and len(set().union(*groups)) < sum(map(len, groups)):
            raise NotPlain  # the first copy of an id wins, and here the order is lost
        return Read(plain, others)

    def _read_plain(
        self, block: WholeLines
    ) -> tuple[list[tuple[PlainEvents, Catalogue]], list[int]]:
        """The events of each form, and the places of lines that are left."""
        plain: list[tuple[PlainEvents, Catalogue]] = []
        left = np.arange(block.lines)
        for one in tuple(self._readers):
            reader, catalogue = one
            is_read = np.ones(block.lines, bool)
            is_read[left] = False
            is_read[block.odd] = True
            try:
                events = reader.read(block._replace(odd=np.flatnonzero(is_read).tolist()))
            except NotPlain:
                continue
            if len(events.ids) > len(left) // 2:
                self._readers.remove(one)
                self._readers.insert(0, one)
            if events.ids:
                plain.append((events, catalogue))
                left = np.setdiff1d(left, events.line)
            if len(left) <= block.lines // _OF_OTHER_FORM:
                break
        return plain, left.tolist()

    def process(
        self, block: WholeLines, read: Read | None, there: Set[str] = frozenset()
    ) -> list[Work] | None:
        """The rows of a block that was read, without those whose id is `there`.

        None if the block is not plain.
        """
        try:
            if read is None:
                raise NotPlain
            size = len(block.data) - sum(other.chunk.size for other in read.others)
            lines = sum(len(events.line) for events, _ in read.plain)
            works = [
                self._rows(block, events, catalogue, there, size * len(events.line) // lines)
                for events, catalogue in read.plain
            ]
            rooms = self._rooms()
            for one in read.others:
                works += self._process_chunk(one, there=there, rooms=rooms)
        except Exception as error:
            if not isinstance(error, NotPlain):
                self._tell(error)
            self._skip = self._failed = min(2 * self._failed + 1, _MOST_SKIPPED)
            return None
        self._failed = 0
        return works

    def _rows(
        self,
        block: WholeLines,
        events: PlainEvents,
        catalogue: Catalogue,
        there: Set[str],
        size: int,
    ) -> Work:
        """The rows of events that are not there."""
        work = Work(records=len(events.ids), size=size)
        if there:
            kept = [at for at, key in enumerate(events.ids) if key not in there]
            work.known = len(events.ids) - len(kept)
            events = events.take(np.array(kept, np.int64))
        work.ids = events.ids
        work.origin = partial(_line, block, events.line)
        work.spans = {name: _span_of(events, name) for name in ("timestamp", "received_at")}
        if events.ids:
            work.segments = Block(events, catalogue).segments()
        return work


def _line(block: WholeLines, line: Places, place: int) -> tuple[str, bytes]:
    """The position and the text of one event."""
    at = int(line[place])
    begin = int(block.ends[at - 1]) + 1 if at else 0
    return f"line {block.line + at}", block.data[begin : int(block.ends[at])]


def _span_of(events: PlainEvents, column: str) -> SpanOf:
    if column == "received_at" and events.arrival is not None:
        return partial(span_without, [events.arrival] * len(events.ids))
    return partial(_span, events.tokens.number[events.times[column] - 1])


def _span(microseconds: Longs, dropped: Set[int]) -> tuple[str, str] | None:
    """A `SpanOf` times."""
    left = np.delete(microseconds, list(dropped)) if dropped else microseconds
    return (time_text(left.min()), time_text(left.max())) if len(left) else None
