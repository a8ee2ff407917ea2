"""One pass over the inputs: their records become batches, and these go to a sink.

Plain lines go the short way of `plain`, a block at a time; all others go record by record, as
`chunk.py` does it. While one part is processed, the server is asked on another thread which ids of
the next one are there. Parts come into their batch in order, so the first copy of an id wins.
"""

import gc
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from loader.asking import DEPTH, Asker, Question
from loader.chunk import Parsed, Work, parse_chunk, process_chunk
from loader.config import Settings, Source
from loader.defects import DEFECT
from loader.errors import InputUnreadable
from loader.normalize.collections import Type
from loader.sources.files import InputFile, open_input, read_ahead
from loader.sources.records import (
    BLOCK_RECORDS,
    CHUNK_RECORDS,
    Chunk,
    WholeLines,
    read_chunks,
    read_lines,
)
from loader.warehouse.batch import Batch, FileProgress, Limits, Replay, SealedBatch, reject_row
from loader.warehouse.encode import Layouts
from loader.warehouse.ids import Known

if TYPE_CHECKING:
    from loader.plain import Plain

# The server locks each table that a transaction makes, and has room for some thousands of locks.
_MOST_NEW_TABLES = 200

# Little of what a batch leaves is garbage that only a collection finds.
_BATCHES_TO_COLLECT = 8
_FIRST_PART = 4
# What the libraries of numpy and their threads map.
_NUMPY_BYTES = 1 << 30
# Fewer lines than this are not worth loading numpy for.
_ENOUGH_LINES = 500


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

    def submit(self, batch: SealedBatch) -> None:
        """Take a batch over; may wait for the one before it."""

    def last_duplicates(self) -> int:
        """How many ids of the last finished batch the tables had already."""


@dataclass(kw_only=True)
class Run:
    """One pass over the inputs."""

    source: Source
    settings: Settings
    tables: dict[str, dict[str, Type]]
    slots: dict[str, int]
    taken: frozenset[str]  # names of views and the like, which no table can have
    started_at: str
    sink: Sink
    asker: Asker
    # Whether the server is asked for ids that are there before their records are normalized.
    # Otherwise the primary key finds them while the batch is written.
    asks: bool
    progress: Progress | None
    layouts: Layouts = field(default_factory=dict)
    files: int = 0
    files_skipped: int = 0
    bytes_read: int = 0
    records: int = 0
    rejects: int = 0
    waited_for_input: float = 0.0
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    without_table: int = 0  # events for whose table `max_tables` left no room
    defects: Counter[str] = field(default_factory=Counter)  # what failed: how often
    _batch: Batch | None = None
    _batches: int = 0
    # The ids of batches that parts in hand have to be compared with, by number of the batch.
    _before: dict[int, Set[str]] = field(default_factory=dict)
    _known: int = 0
    _stored: int = 0
    _to_read: int = 0  # files
    _total: int = 0  # their bytes
    _plain: "Plain | None" = None
    _done: int = 0  # records of the file in hand that are in a batch
    _waiting: "deque[_Waiting]" = field(default_factory=deque)

    def read(self, inputs: Iterable[InputFile], known: dict[str, FileProgress]) -> None:
        """Read all inputs that are new or changed, batch by batch."""
        todo: list[tuple[InputFile, FileProgress | None]] = []  # with how far it was read before
        for file in inputs:
            before = known.get(file.uri)
            if file.skipped:
                self.warnings.append(file.skipped)
            elif before is not None and before.finished and _is_same(file, before):
                self.files_skipped += 1
            else:
                todo.append((file, before))
        self._to_read = len(todo)
        self._total = sum(file.size or 0 for file, _ in todo)
        for file, before in todo:
            self.files += 1
            try:
                self._read_file(file, before)
            except InputUnreadable as error:
                self._settle()
                self.errors.append(str(error))
        self.flush()

    def replay(self, rejects: Iterable[dict[str, Any]]) -> None:
        """Try rejects again: each is a file of one record."""
        for reject in rejects:
            batch = self._open_batch()
            raw = [reject["raw"].encode()]
            for chunk in read_chunks(raw, max_record_bytes=self.settings.max_record_bytes):
                works = self._process(parse_chunk(chunk), frozenset())
                problems = tuple(problem for work in works for _, problem, _ in work.rejects)
                new = tuple(key for work in works for key in work.ids if not batch.has_met(key))
                batch.replays.append(Replay(reject["id"], new, problems))
                for work in works:
                    work.origin = None  # a reject of a reject has no position of its own
                    self._gather(batch, work, reject["file"])
            if self._is_full(batch):
                self.flush()

    def _read_file(self, file: InputFile, before: FileProgress | None) -> None:
        with open_input(file) as opened, read_ahead(self._counted(opened.blocks)) as ahead:
            file = opened.file  # it may have changed since it was listed
            done_before = before.records_done if before and _is_same(file, before) else 0
            self._done = position = 0
            # Only counting tells where a load goes on, so what was done before is parsed here.
            by_record = done_before or not _has_room_for_numpy()
            read, most = (read_chunks, CHUNK_RECORDS) if by_record else (read_lines, BLOCK_RECORDS)
            for part in read(
                self._timed(ahead),
                max_record_bytes=self.settings.max_record_bytes,
                chunk_records=min(most, self.settings.batch_records),
            ):
                # Counted where it is read: `_done` moves only when a part is in a batch.
                position += len(part) if type(part) is Chunk else 0
                if type(part) is Chunk and position <= done_before:
                    self._done = position
                else:
                    self._take(file, part)
                if self.progress is not None:
                    self.progress(self._seen(opened.tell()))
        self._stored += file.size or 0
        self._settle()
        if self.progress is not None:
            self.progress(self._seen(0))
        self._open_batch().files[file.uri] = _progress(file, self._done, finished=True)

    def _seen(self, taken: int) -> Seen:
        return Seen(
            file=self.files,
            files=self._to_read,
            stored=self._stored + taken,
            total=self._total,
            records=self.records,
            rejects=self.rejects,
        )

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.bytes_read += len(block)
            yield block

    def _timed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            start = time.monotonic()
            block = next(blocks, b"")
            self.waited_for_input += time.monotonic() - start
            if not block:
                return
            yield block

    def _take(self, file: InputFile, part: Chunk | WholeLines) -> None:
        """Have a part of the input processed; meanwhile go on with the parts before it."""
        number = self._batches + (self._batch is None)
        if isinstance(part, Chunk):
            parsed = parse_chunk(part)
            answer = self.asker.ask(parsed.ids) if self.asks else None
            self._waiting.append(_Waiting(file, number, self._finish_here, (parsed, answer)))
            self._settle(leave=1)
        elif (plain := self._short_way(part)) is not None:
            question = self.asker.ask_for(part.data) if self.asks else None
            finish, arguments = self._finish_plain, (plain, part, question)
            self._waiting.append(_Waiting(file, number, finish, arguments))
            self._settle(leave=DEPTH if question is not None else 0)
        else:
            for chunk in self._chunks(part):
                self._take(file, chunk)

    def _short_way(self, part: WholeLines) -> "Plain | None":
        if part.lines < _ENOUGH_LINES:
            return None
        if self._plain is None:
            from loader.plain import Plain

            self._plain = Plain(
                tables=self.tables,
                layouts=self.layouts,
                load_started_at=self.started_at,
                only=self.source.only_tables,
                taken=self.taken,
                max_record_bytes=self.settings.max_record_bytes,
                rooms=lambda: self._open_batch().rooms,
                whole=self.source.whole,
            )
            self._plain.defects = self.defects
        return self._plain if self._plain.is_worth_trying() else None

    def _finish_plain(
        self, plain: "Plain", part: WholeLines, question: Question | None
    ) -> Iterable[Work]:
        read = plain.read(part)
        there = self._there(question, read.ids) if read is not None else frozenset()
        works = plain.process(part, read, there)
        return self._finish_chunks(part, question) if works is None else works

    def _finish_chunks(self, part: WholeLines, question: Question | None) -> Iterator[Work]:
        for chunk in self._chunks(part):
            parsed = parse_chunk(chunk)
            yield from self._process(parsed, self._there(question, parsed.ids))

    def _there(self, question: Question | None, ids: Sequence[str]) -> Set[str]:
        return frozenset() if question is None else self.asker.there(question, ids)

    def _chunks(self, part: WholeLines) -> Iterator[Chunk]:
        return read_chunks(
            [part.data],
            max_record_bytes=self.settings.max_record_bytes,
            chunk_records=min(CHUNK_RECORDS, self.settings.batch_records),
            first_line=part.line,
        )

    def _finish_here(self, parsed: Parsed, answer: Future[Known] | None) -> list[Work]:
        there = self.asker.result(answer) if answer is not None else frozenset()
        return self._process(parsed, there)

    def _settle(self, leave: int = 0) -> None:
        """Put what is processed into the batch, in order, until only `leave` parts wait."""
        while len(self._waiting) > leave:
            file, _, finish, arguments = self._waiting.popleft()
            batch = self._open_batch()
            # All of a part goes into one batch: its records need not be in their order here, and
            # a load that goes on counts them in it.
            works = list(finish(*arguments))
            for work in works:
                self._gather(batch, work, file.uri)
                self._done += work.records
                self.rejects += len(work.rejects)
                for position, reject, raw in work.rejects:
                    batch.add_reject(reject_row(file.uri, position, reject, raw))
            batch.files[file.uri] = _progress(file, self._done, finished=False)
            if self._is_full(batch):
                self.flush()

    def _is_full(self, batch: Batch) -> bool:
        # The server waits for the first batch, so that one is smaller.
        most_bytes = self.settings.batch_bytes // (_FIRST_PART if batch.number == 1 else 1)
        return (
            batch.records >= self.settings.batch_records
            or batch.size >= most_bytes
            or batch.new_tables() >= _MOST_NEW_TABLES
        )

    def _process(self, parsed: Parsed, there: Set[str]) -> list[Work]:
        return process_chunk(
            parsed,
            tables=self.tables,
            layouts=self.layouts,
            load_started_at=self.started_at,
            only=self.source.only_tables,
            taken=self.taken,
            there=there,
            rooms=self._open_batch().rooms,
            whole=self.source.whole,
        )

    def _gather(self, batch: Batch, work: Work, file: str) -> None:
        batch.records += work.records
        self.records += work.records
        batch.duplicates += work.known
        self._known += work.known
        self.without_table += work.without_table
        for _, reject, _ in work.rejects:
            if reject.reason == DEFECT:
                self.defects[reject.detail] += 1
        batch.replaced_characters += work.replaced_characters
        batch.add(
            work.ids,
            work.segments,
            work.spans,
            size=work.size,
            origin=partial(_origin, file, work.origin) if work.origin is not None else None,
        )

    def _open_batch(self) -> Batch:
        if self._batch is None:
            self._batches += 1
            limits = Limits(
                evolve=self.settings.schema_contract == "evolve",
                max_columns=self.settings.max_columns,
                slots=self.slots,
                max_tables=self.settings.max_tables,
                json_columns=self.source.json_names,
            )
            self._batch = Batch(
                number=self._batches,
                limits=limits,
                tables=self.tables,
                before=tuple(self._before.values()),
            )
        return self._batch

    def flush(self) -> None:
        """Hand the batch over to be written."""
        if self._batch is None:
            return
        self._remember(self._batch)
        sealed = self._batch.seal(self.asker.take_known())
        self.defects += self._batch.defects
        self._batch = None
        self.sink.submit(sealed)
        # Duplicates come in runs: where there were some, asking first saves normalizing them.
        self.asks = self._known + self.sink.last_duplicates() > 0
        self._known = 0
        if self._batches % _BATCHES_TO_COLLECT == 0:
            gc.collect()

    def _remember(self, batch: Batch) -> None:
        """Keep the ids of a batch as long as the answers for some parts may not know of them.

        When a part was taken, the batch before the one in hand was being written.
        """
        oldest = self._waiting[0].batch if self._waiting else batch.number + 1
        self._before[batch.number] = batch.seen
        for number in [number for number in self._before if number < oldest - 1]:
            del self._before[number]

    def forget(self) -> None:
        """Give back the memory of what was read and not yet written."""
        self._batch = None
        self._waiting.clear()
        self.asker.forget()
        self._before.clear()


def _is_same(file: InputFile, before: FileProgress) -> bool:
    """Whether a file is as it was when a load before this one read it. A stream never is."""
    was = (before.size, before.modified_at)
    return file.size is not None and was == (file.size, file.modified_at)


def _has_room_for_numpy() -> bool:
    """Whether the job may map as much as numpy's libraries take; a job under `ulimit -v` may not.

    It is not tried: a library that is mapped in part can end the process without a word.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit == resource.RLIM_INFINITY or limit >= _NUMPY_BYTES


class _Waiting(NamedTuple):
    """A part of an input that is being processed."""

    file: InputFile
    batch: int  # number of the batch in hand when it was taken
    finish: Callable[..., Iterable[Work]]
    arguments: tuple[Any, ...]


def _origin(
    file: str, origin: Callable[[int], tuple[str, bytes]], place: int
) -> tuple[str, str, bytes]:
    return (file, *origin(place))


def _progress(file: InputFile, done: int, *, finished: bool) -> FileProgress:
    return FileProgress(file.uri, file.size, file.modified_at, done, finished)
