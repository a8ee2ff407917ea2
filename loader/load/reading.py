"""One pass over the inputs: their records become batches, and these go to a sink.

While some blocks of records are read, the server is asked on another thread which ids of the next
ones are there. Blocks come into their batch in order, so the first copy of an id wins.
"""

import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

import msgspec

from loader.config import Settings, Source
from loader.errors import InputUnreadable
from loader.forms.events import Read
from loader.forms.read import Reader
from loader.load.batch import Batch, Origin
from loader.load.context import LoadContext
from loader.load.defects import defect
from loader.load.encode import Layouts
from loader.load.plan import change_tables
from loader.load.prefetch import Prefetch, Request
from loader.load.result import Tally
from loader.load.todo import Todo, is_same
from loader.normalize.event import IgnoreReason
from loader.sources.ahead import read_ahead
from loader.sources.blocks import Block
from loader.sources.inputs import Inputs
from loader.sources.kinds import START_BYTES, describe, no_events
from loader.sources.page import PAGE_FILES, InputFile, ObjectChanged, ObjectGone
from loader.sources.records import BLOCK_RECORDS, read_blocks
from loader.warehouse.batch import FileProgress, Replay, SealedBatch, Waiting, reject_row
from loader.warehouse.changes import TablesDiffer
from loader.warehouse.evolve import Change

# The server locks each table that a transaction makes, and has room for some thousands of locks.
_MOST_NEW_TABLES = 200
# Where records have keys of their own, a batch is full with so many names for columns in its
# blocks; each takes some 300 bytes.
_MOST_NAMES = 150_000

# So many objects are begun to be read before their turn, because a store answers late.
_FILES_AHEAD = 8

# Little of what a batch leaves is garbage that only a collection finds.
_BATCHES_TO_COLLECT = 8
_FIRST_PART = 4


class Seen(NamedTuple):
    """How far a load is."""

    file: int  # number of the file in hand
    files: int  # how many there are to read
    stored: int  # bytes read so far of all of them, as stored
    total: int  # bytes of those whose size is known
    records: int
    rejects: int


Progress = Callable[[Seen], None]  # told after each part, and each file


class Sink(Protocol):
    """Where batches go."""

    waited: float
    ignored: Counter[IgnoreReason]  # of what is written

    def make(self, changes: Sequence[Change]) -> list[Waiting]:
        """Change tables, once what was taken over is written; see `MakeChanges`."""

    def submit(self, batch: SealedBatch) -> None:
        """Take a batch over, once the one before it is written."""

    def wait(self) -> None:
        """Wait until what was taken over is written."""

    def last_duplicates(self) -> int:
        """How many ids of the last finished batch the tables had already."""


@dataclass(kw_only=True)
class Run:
    """One pass over the inputs."""

    source: Source
    settings: Settings
    context: LoadContext
    sink: Sink
    prefetch: Prefetch
    # Whether the server is asked for ids that are there before their batch is sealed. Otherwise the
    # primary key finds them while the batch is written.
    asks: bool
    progress: Progress | None
    tally: Tally
    inputs: Inputs
    records: int = 0
    has_read_stream: bool = False
    rejects: int = 0
    _batch: Batch | None = None
    _batches: int = 0
    _layouts: Layouts = field(default_factory=dict)  # of the last batch
    # The ids of batches that blocks in hand have to be compared with, by number of the batch.
    _before: dict[int, Set[str]] = field(default_factory=dict)
    _known: int = 0
    _stored: int = 0
    _to_read: int = 0  # files
    _total: int = 0  # their bytes
    _done: int = 0  # records of the file in hand that are in a batch
    _waiting: "deque[_Waiting]" = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._reader = Reader(
            max_record_bytes=self.settings.max_record_bytes,
            json_columns=self.context.json_columns,
            ignore=self.context.ignore,
        )

    def read(self, todo: Iterable[Todo]) -> None:
        """Read inputs, batch by batch."""
        waiting = iter(todo)
        while some := list(islice(waiting, PAGE_FILES)):
            self._to_read += len(some)
            self._total += sum(one.file.size or 0 for one in some)
            for at, one in enumerate(some):
                for later in some[at + 1 : at + 1 + _FILES_AHEAD]:
                    self.inputs.prefetch(later.file)
                self.tally.files += 1
                try:
                    self._read_as_it_is(one)
                except ObjectGone as error:
                    self.tally.files_gone += 1
                    self.tally.warnings.append(str(error))
                    one.fail()  # what is gone is not listed again, and what is there is
                except InputUnreadable as error:
                    self._settle()
                    self.tally.errors.append(str(error))
                    one.fail()
                if self._batch is not None and self._is_full(self._batch):
                    self.flush()  # files without records make no batch full
        self.flush()

    def _read_as_it_is(self, one: Todo) -> None:
        """Read a file; an object that has changed since it was listed once more from its start."""
        try:
            self._read_file(one.file, one.before)
        except ObjectChanged:
            self._settle()
            self._read_file(msgspec.structs.replace(one.file, version=None), None)

    def replay(self, rejects: Iterable[dict[str, Any]]) -> None:
        """Try rejects again: each is a file of one record."""
        for reject in rejects:
            batch = self._open_batch()
            raw = [reject["raw"].encode()]
            for block in read_blocks(raw):
                self._count(batch, len(block.bad))
                problems = [bad.reject for bad in block.bad]
                new: list[str] = []
                events = ignored = 0
                for read in self._read_block(block):
                    new += [key for key in read.events.ids if not batch.has_met(key)]
                    problems += [one.reject for one in read.refused]
                    self._count(batch, read.records)
                    batch.ignored.update(read.ignored)
                    events, ignored = events + len(read.events), ignored + len(read.ignored)
                    batch.add(read.events)
                batch.replays.append(
                    Replay(reject["id"], tuple(new), tuple(problems), ignored > 0 and not events)
                )
            if self._is_full(batch):
                self.flush()

    def _read_file(self, file: InputFile, before: FileProgress | None) -> None:
        with (
            self.inputs.open(file) as opened,
            read_ahead(self._counted(opened.blocks)) as ahead,
        ):
            file = opened.file  # it may have changed since it was listed
            self.has_read_stream |= file.is_stream
            blocks = self._timed(ahead)
            start = next(blocks, b"")
            if what := describe(start[:START_BYTES]):
                next(blocks, b"")  # raises if that was not all that there should be
                self._leave_out(file, what)
            else:
                done_before = before.records_done if before and is_same(file, before) else 0
                self._read_records(file, chain([start], blocks), opened.tell, done_before)
        self._stored += file.size or 0
        if self.progress is not None:
            self.progress(self._seen(0))

    def _leave_out(self, file: InputFile, what: str) -> None:
        """Note that a file holds no events. One that was named was expected to."""
        self._settle()
        if file.is_named:
            raise InputUnreadable(no_events(file.uri, what))
        self.tally.not_events[file.uri] = what
        self._open_batch().files[file.uri] = _progress(file, 0, finished=True, not_events=what)

    def _read_records(
        self, file: InputFile, bytes_: Iterable[bytes], tell: Callable[[], int], done_before: int
    ) -> None:
        assert not self._waiting, "blocks of another file would count as of this one"
        self._done = 0
        most_records = min(BLOCK_RECORDS, self.settings.batch_records)
        for block in read_blocks(bytes_, most_records=most_records):
            request = self.prefetch.request(block.bytes) if self.asks else None
            number = self._batches + (self._batch is None)
            self._waiting.append(_Waiting(file, number, block, request, done_before))
            self._settle(leave=self.prefetch.most_waiting if request is not None else 0)
            if self.progress is not None:
                self.progress(self._seen(tell()))
        self._settle()
        self._open_batch().files[file.uri] = _progress(file, self._done, finished=True)

    def _seen(self, taken: int) -> Seen:
        return Seen(
            file=self.tally.files,
            files=self._to_read,
            stored=self._stored + taken,
            total=self._total,
            records=self.records,
            rejects=self.rejects,
        )

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.tally.bytes_read += len(block)
            yield block

    def _timed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            start = time.monotonic()
            block = next(blocks, b"")
            self.tally.waited_for_input += time.monotonic() - start
            if not block:
                return
            yield block

    def _settle(self, leave: int = 0) -> None:
        """Put what was read into the batch, in order, until only `leave` blocks wait."""
        while len(self._waiting) > leave:
            self._take(self._waiting.popleft())
            if self._batch is not None and self._is_full(self._batch):
                self.flush()

    def _take(self, waiting: "_Waiting") -> None:
        """Put the events of a block into the batch; nothing else has them when this returns."""
        file, _, block, request, done_before = waiting
        reads = list(self._read_block(block))
        self._done += sum(read.records for read in reads) + len(block.bad)
        if self._done <= done_before:
            return  # an earlier load has committed all of it
        # All of a block goes into one batch: a load that goes on counts records in it.
        batch = self._open_batch()
        self._count(batch, len(block.bad))
        self.rejects += len(block.bad) + sum(len(read.refused) for read in reads)
        for bad in block.bad:
            batch.add_reject(reject_row(file.uri, bad.position, bad.reject, bad.raw))
        for read in reads:
            there: Set[str] = frozenset()
            if request is not None:
                there = self.prefetch.there(request, read.events.ids)
            origin = Origin(file.uri, block, read.first)
            self._known += batch.add(read.events, there, origin=origin)
            self._count(batch, read.records)
            self.tally.rewritten += read.rewritten
            batch.ignored.update(read.ignored)
            for one in read.refused:
                position = block.position(read.first + one.record, one.items)
                batch.add_reject(reject_row(file.uri, position, one.reject, one.raw))
        batch.files[file.uri] = _progress(file, self._done, finished=False)

    def _read_block(self, block: Block) -> Iterator[Read]:
        """The events of a block. A record that brings a defect to light is a reject."""
        spans, first = [(block.starts, block.ends)], 0
        while spans:
            starts, ends = spans.pop()
            try:
                yield from self._reader.read(block.text, starts, ends, first)
            except Exception as error:
                reject = defect(error)  # raises what is none
                if len(starts) > 1:
                    half = len(starts) // 2
                    spans += [(starts[half:], ends[half:]), (starts[:half], ends[:half])]
                    continue
                self.tally.defects[reject.detail] += 1
                yield self._reader.refuse(block.text, starts, ends, first, reject)
            first += len(starts)

    def _count(self, batch: Batch, records: int) -> None:
        batch.records += records
        self.records += records

    def _is_full(self, batch: Batch) -> bool:
        # The server waits for the first batch, so that one is smaller.
        most_bytes = self.settings.batch_bytes // (_FIRST_PART if batch.number == 1 else 1)
        return (
            batch.records >= self.settings.batch_records
            or batch.size >= most_bytes
            or len(batch.new_tables) >= _MOST_NEW_TABLES
            or batch.names >= _MOST_NAMES
            or len(batch.files) >= PAGE_FILES
        )

    def _open_batch(self) -> Batch:
        if self._batch is None:
            self._batches += 1
            self._batch = Batch(
                number=self._batches,
                context=self.context,
                layouts=self._layouts,
                before=tuple(self._before.values()),
            )
        return self._batch

    def flush(self) -> None:
        """Hand the batch over to be written."""
        if self._batch is None:
            return
        self._remember(self._batch)
        self._batch.known = self.prefetch.take_known()
        sealed = self._seal(self._batch)
        self.tally.without_table += self._batch.without_table
        self.tally.defects += self._batch.defects
        self._layouts = self._batch.layouts
        self._batch = None
        self.sink.submit(sealed)
        # Duplicates come in runs: where there were some, asking first saves normalizing them.
        self.asks = self._known + self.sink.last_duplicates() > 0
        self._known = 0
        if self._batches % _BATCHES_TO_COLLECT == 0:
            gc.collect()

    def finish(self) -> None:
        """Have everything written, and try the columns that wait once more."""
        self.flush()
        self.sink.wait()
        with suppress(TablesDiffer):  # they stay recorded
            change_tables([], self.context, self.sink.make)

    def _seal(self, batch: Batch) -> SealedBatch:
        """Encode a batch for the tables that there are, whoever has made them so."""
        while True:
            try:
                return batch.seal(self.sink.make)
            except TablesDiffer as error:
                if error.is_of_submitted or not self.context.adopt(error.there):
                    raise
                batch.forget_layouts()

    def _remember(self, batch: Batch) -> None:
        """Keep the ids of a batch as long as the answers for some blocks may not know of them.

        When a block was taken, the batch before the one in hand was being written.
        """
        oldest = self._waiting[0].batch if self._waiting else batch.number + 1
        self._before[batch.number] = batch.seen
        for number in [number for number in self._before if number < oldest - 1]:
            del self._before[number]

    def forget(self) -> None:
        """Give back the memory of what was read and not yet written."""
        self._batch = None
        self._waiting.clear()
        self.prefetch.forget()
        self._before.clear()


class _Waiting(NamedTuple):
    """A block of an input whose ids are asked for."""

    file: InputFile
    batch: int  # number of the batch in hand when it was taken
    block: Block
    request: Request | None
    done_before: int  # records of the file that an earlier load has committed


def _progress(
    file: InputFile, done: int, *, finished: bool, not_events: str | None = None
) -> FileProgress:
    return FileProgress(
        file.uri, file.size, file.modified_at, file.version, done, finished, not_events
    )
