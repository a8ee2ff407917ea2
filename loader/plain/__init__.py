"""Plain lines -> COPY's lines, a block at a time.

Most inputs are lines that one program wrote: track calls, each value under its key. A block of them
is read without making a Python object per value: `loader.native` goes through the bytes, numpy
through what it found there. It is the same work as `chunk.py` does record by record, with the same
result. A record that needs a decision is given to `chunk.py`, and so is a whole block in which too
many do.

    tokens   lines -> values with their paths     (paths, native/tokens.c)
    calls    values -> track calls
    block    calls -> rows of their tables
    fields   values -> fields and lines           (native/rows.c)
"""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import NamedTuple

import numpy as np

from loader.chunk import Parsed, Work, parse_chunk, process_chunk
from loader.normalize.collections import Type
from loader.plain.arrays import Longs, NotPlain
from loader.plain.block import Block, Catalogue
from loader.plain.calls import NEEDED_TIMES, TIMES, Calls, Reader
from loader.sources.records import WholeLines, read_chunks
from loader.warehouse.binary import time_text
from loader.warehouse.encode import DECLARED_SHARED, Layouts

# A block is not plain where more than one of so many records needs a decision.
_ODD = 20
# After a block that was not plain, so many at most are not tried.
_MOST_SKIPPED = 63


# What leaves a block to the long way. That knows every record, so it is the better place even for
# a block that brings a mistake of this one to light; the tests take only the first for granted.
_LEAVES: tuple[type[Exception], ...] = (NotPlain, IndexError, ValueError)


class Read(NamedTuple):
    """The records of a block before anything is known of the tables."""

    calls: Calls
    others: list[Parsed]  # lines that need decisions

    @property
    def ids(self) -> list[str]:
        """The ids of all events, for asking which are there."""
        return self.calls.ids + [key for other in self.others for key in other.ids]


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
    ) -> None:
        self._max_record_bytes = max_record_bytes
        self._process_chunk: Callable[..., Work] = partial(
            process_chunk,
            tables=tables,
            layouts=layouts,
            load_started_at=load_started_at,
            only=only,
            taken=taken,
        )
        self._reader = Reader(only, taken)
        self._catalogue = Catalogue(self._reader.columns, tables, layouts)
        self._skip = self._failed = 0
        # The binary form does not convert: a shared column that someone gave another type needs
        # the texts of the long way.
        self._never = any(
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
        except _LEAVES:
            return None

    def _read(self, block: WholeLines) -> Read:
        calls = self._reader.read(block)
        odd = np.flatnonzero(calls.tokens.odd).tolist()
        if len(odd) > block.lines // _ODD or not calls.ids:
            raise NotPlain
        others: list[Parsed] = []
        if odd:
            for at in odd:
                limit, number = self._max_record_bytes, block.line + at
                line = block.data[block.ends[at - 1] + 1 if at else 0 : block.ends[at]]
                chunks = read_chunks([line], max_record_bytes=limit, first_line=number)
                others += map(parse_chunk, chunks)
            ids = set(calls.ids)
            if any(not ids.isdisjoint(other.ids) for other in others):
                raise NotPlain  # the first copy of an id wins, and here the order is lost
        return Read(calls, others)

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
            works = [self._process_chunk(other, there=there) for other in read.others]
            works.insert(0, self._rows(read.calls, there, size))
        except _LEAVES:
            self._skip = self._failed = min(2 * self._failed + 1, _MOST_SKIPPED)
            return None
        self._failed = 0
        return works

    def _rows(self, calls: Calls, there: Set[str], size: int) -> Work:
        """The rows of calls that are not there."""
        work = Work(records=len(calls.ids), size=size)
        if there:
            kept = [at for at, key in enumerate(calls.ids) if key not in there]
            work.known = len(calls.ids) - len(kept)
            calls = _taken(calls, kept)
        work.ids = calls.ids
        work.spans = {
            name: partial(_span, calls.tokens.number[calls.times[name] - 1])
            for name in map(TIMES.__getitem__, NEEDED_TIMES)
        }
        if calls.ids:
            work.segments = Block(calls, self._catalogue).segments()
        return work


def _span(microseconds: Longs, dropped: Set[int]) -> tuple[str, str] | None:
    """A `SpanOf` times."""
    left = np.delete(microseconds, list(dropped)) if dropped else microseconds
    return (time_text(left.min()), time_text(left.max())) if len(left) else None


def _taken(calls: Calls, kept: Sequence[int]) -> Calls:
    """Some of the calls."""
    at = np.array(kept, np.int64)
    return calls._replace(
        line=calls.line[at],
        ids=[calls.ids[one] for one in kept],
        id=calls.id[at],
        user_id=calls.user_id[at],
        anonymous_id=calls.anonymous_id[at],
        event_text=calls.event_text[at],
        times={name: one[at] for name, one in calls.times.items()},
        name=calls.name[at],
    )
