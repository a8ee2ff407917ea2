"""The load, as a recipe: lock, migrate, list, then read, normalize, write and record each batch.

Three things happen at once: a thread reads and decompresses ahead, this thread parses and
normalizes one batch, another thread has the server write the batch before it. The order of
records is kept, so the first copy of an id wins.
"""

import gc
import resource
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sqlalchemy import Connection, exists, select, text

from loader._version import __version__
from loader.chunk import Parsed, Work, parse_chunk, process_chunk
from loader.config import Settings, Source
from loader.errors import (
    OUT_OF_MEMORY,
    InputUnreadable,
    LoaderError,
    LockHeld,
    SchemaRefused,
    UsageError,
    is_out_of_memory,
)
from loader.hand import Hand, ends
from loader.normalize.collections import Type, declared_tables
from loader.sources.files import InputFile, list_inputs, open_input, read_ahead
from loader.sources.records import (
    BLOCK_RECORDS,
    CHUNK_RECORDS,
    Chunk,
    WholeLines,
    read_chunks,
    read_lines,
)
from loader.warehouse import engine as warehouse
from loader.warehouse import ledger, migrate
from loader.warehouse.batch import Batch, FileProgress, Limits, Replay, SealedBatch, reject_row
from loader.warehouse.encode import Layouts
from loader.warehouse.engine import Session
from loader.warehouse.grants import grant_reader
from loader.warehouse.ledger import Counts
from loader.warehouse.tables import select_slots, select_tables, select_taken, tracks
from loader.warehouse.write import Written
from loader.warehouse.writer import KnownIds, Writer, add_batch
from loader.workers import Workers

if TYPE_CHECKING:
    from loader.plain import Calls, Plain

# How long a server that does not answer yet is waited for before anything was read.
_SECONDS_TO_CONNECT = 10.0
# Kept free for the last words of a load that ran out of memory; until then only address space.
_RESERVE_BYTES = 16 << 20
# How long the last words to a server may take; a stopped load has 10 seconds in all.
_SECONDS_TO_CLOSE = 1.0
_SECONDS_TO_RECORD = 5.0
# The server locks each table that a transaction makes, and has room for some thousands of locks.
_MOST_NEW_TABLES = 200

_ARROW_BYTES = 1 << 30
# Fewer lines than this are not worth loading Arrow for.
_ENOUGH_LINES = 500

# Told after each chunk: bytes read so far as stored, of all files; and records.
Progress = Callable[[int, int], None]


class Interrupted(BaseException):
    """A signal asks the load to stop. Not an Exception: nothing on the way may swallow it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


@dataclass(kw_only=True)
class LoadResult:
    """What a load, or the plan of one, did."""

    source: str
    schema: str
    load_id: int | None  # None for a plan
    status: str  # success, partial; anything else is raised
    counts: Counts = field(default_factory=Counts)
    files: int = 0  # read by this load
    files_skipped: int = 0  # finished before
    bytes_read: int = 0  # decompressed
    seconds: float = 0.0
    waited_for_input: float = 0.0  # seconds
    waited_for_server: float = 0.0  # seconds
    errors: list[str] = field(default_factory=list)  # inputs that could not be read to their end
    pending_sql: str = ""  # plan only: migrations and changes, as SQL

    @property
    def reject_ratio(self) -> float:
        """Rejects as a share of the records read."""
        return self.counts.rejects / self.counts.records_read if self.counts.records_read else 0.0


# commands


def load(
    paths: Sequence[str],
    *,
    source: Source,
    settings: Settings,
    url: str,
    wait: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> LoadResult:
    """Load `paths` into the schema of `source`. Raises LoaderError; see `loader.errors`."""
    inputs = list_inputs(paths)
    with _open(source, settings, url, inputs, wait=wait, progress=progress) as opened:
        opened.run.read(inputs, {} if force else opened.files)
    return opened.result()


def replay(
    *,
    source: Source,
    settings: Settings,
    url: str,
    wait: bool = False,
    load: int | None = None,
    file: str | None = None,
    reason: str | None = None,
) -> LoadResult:
    """Try the rejects of `source` again, once each, and mark them; filters as in `rejects list`."""
    with _open(source, settings, url, [], wait=wait, progress=None) as opened:
        after = ""
        while page := opened.select_rejects(after, load=load, file=file, reason=reason):
            opened.run.replay(page)
            after = page[-1]["id"]
    return opened.result()


@dataclass(kw_only=True)
class _Opened:
    """A load between its first and its last word in the ledger."""

    run: "_Run"
    writer: Writer
    files: dict[str, FileProgress]
    began: float = field(default_factory=time.monotonic)
    status: str = "running"

    def select_rejects(self, after: str, **filters: Any) -> list[dict[str, Any]]:
        """The next rejects to try."""
        self.run.flush()
        return self.writer.ask(partial(ledger.select_rejects, after=after, limit=1_000, **filters))

    def result(self) -> LoadResult:
        """What was done."""
        return self.run.result(
            load_id=self.writer.load_id,
            status=self.status,
            counts=self.writer.counts,
            seconds=time.monotonic() - self.began,
        )


@contextmanager
def _open(
    source: Source,
    settings: Settings,
    url: str,
    inputs: Sequence[InputFile],
    *,
    wait: bool,
    progress: Progress | None,
) -> Iterator[_Opened]:
    """Begin a load; at the end of the block it is written to its end and recorded."""
    began = time.monotonic()
    reserve = [bytearray(_RESERVE_BYTES)]
    session = Session(
        warehouse.make_engine(url), source.schema_, lock_timeout=settings.lock_timeout
    )
    # A signal is heard only by a main thread that does not wait in the client library.
    hand = Hand("writer")
    canceller = Hand("canceller")
    known_ids = KnownIds(
        Session(session.engine, source.schema_, lock_timeout=settings.lock_timeout),
        retry_timeout=settings.retry_timeout,
    )
    beginning = hand.submit(partial(_start, session, source, settings, inputs, wait=wait))
    make_writer = partial(
        Writer,
        session,
        hand,
        canceller,
        retry_timeout=settings.retry_timeout,
        reader_role=settings.reader_role,
    )
    writer: Writer | None = None
    run: _Run | None = None
    try:
        start = hand.result(beginning)
        writer = make_writer(load_id=start.load_id)
        run = _Run(
            source=source,
            settings=settings,
            tables=start.tables,
            slots=start.slots,
            taken=start.taken,
            started_at=start.started_at,
            sink=writer,
            existing=known_ids,
            asker=known_ids.hand,
            asks=start.has_rows,
            progress=progress,
        )
        if settings.workers:
            run.workers = Workers(
                settings.workers,
                max_record_bytes=settings.max_record_bytes,
                chunk_records=CHUNK_RECORDS,
                load_started_at=start.started_at,
                only=source.only_tables,
                taken=start.taken,
            )
        opened = _Opened(run=run, writer=writer, files=start.files, began=began)
        with _long_lived_garbage():
            yield opened
            run.flush()
        writer.wait()
        if not writer.counts.balances():
            raise AssertionError(f"records do not balance: {writer.counts}")
        opened.status = "partial" if run.errors else "success"
        writer.finish(opened.status, "; ".join(run.errors) or None)
    except BaseException as error:
        reserve.clear()
        session.given_up = True
        if is_out_of_memory(error):
            if run is not None:
                run.forget()
            # The steps that failed hold some too.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
        if writer is None and ends(beginning, _SECONDS_TO_CLOSE) and not beginning.exception():
            writer = make_writer(load_id=beginning.result().load_id)  # it began nevertheless
        if writer is not None:
            _record_end(writer, error)
        raise
    finally:
        if run is not None:
            run.close()
        # Closing waits for a statement in hand, and that for a server which may be silent.
        hand.within(_SECONDS_TO_CLOSE, session.close)
        hand.close()
        canceller.close()
        known_ids.close(_SECONDS_TO_CLOSE)


class _Start(NamedTuple):
    """What a load finds."""

    load_id: int
    started_at: str  # by the server's clock, ISO 8601
    files: dict[str, FileProgress]
    tables: dict[str, dict[str, Type]]
    slots: dict[str, int]
    taken: frozenset[str]
    has_rows: bool


def _start(
    session: Session,
    source: Source,
    settings: Settings,
    inputs: Sequence[InputFile],
    *,
    wait: bool,
) -> _Start:
    """Take the lock, bring the schema to head, begin a row in `_loads`."""
    found: _Start | None = None
    seconds = min(settings.retry_timeout, _SECONDS_TO_CONNECT)
    for attempt in warehouse.retrying(seconds, lambda: session.given_up):
        with attempt, warehouse.translate(session.engine.url):
            session.close()
            if not session.open(wait=wait):
                raise LockHeld(
                    f"another load of {source.name!r} is running: wait for it, or say --wait"
                )
            connection = session.connection
            _prepare_schema(connection, source, auto_migrate=settings.auto_migrate)
            with connection.begin():
                _check_owner(connection, source)
                _check_encoding(connection)
                if settings.reader_role:
                    grant_reader(connection, source.schema_, settings.reader_role)
                load_id, started_at = ledger.start_load(connection, source.name, __version__)
                found = _Start(
                    load_id,
                    started_at,
                    ledger.select_files(connection, [file.uri for file in inputs]),
                    select_tables(connection, source.schema_),
                    select_slots(connection, source.schema_),
                    select_taken(connection, source.schema_),
                    bool(connection.scalar(select(exists().select_from(tracks)))),
                )
    assert found is not None
    return found


def plan(
    paths: Sequence[str],
    *,
    source: Source,
    settings: Settings,
    url: str,
    force: bool = False,
    progress: Progress | None = None,
) -> LoadResult:
    """What `load` would do, without writing anything; remembers every id, so it needs memory."""
    started = time.monotonic()
    inputs = list_inputs(paths)
    server = warehouse.make_engine(url)
    with warehouse.connect(server) as connection:
        connection = connection.execution_options(
            isolation_level="AUTOCOMMIT", schema_translate_map={None: source.schema_}
        )
        state = migrate.read_state(connection, source.schema_)
        migrate.check_state(state, source, auto_migrate=True)
        pending = ""
        tables, known_files = declared_tables(), {}
        if state.kind != "head":
            pending = migrate.upgrade_sql(source, state.revision)
        if state.revision is not None:
            _check_owner(connection, source)
            tables = select_tables(connection, source.schema_)
            known_files = ledger.select_files(connection, [file.uri for file in inputs])
        planner = _Planner(connection if state.revision is not None else None)
        there = KnownIds(
            Session(server, source.schema_, lock_timeout=settings.lock_timeout),
            retry_timeout=settings.retry_timeout,
        )
        run = _Run(
            source=source,
            settings=settings,
            tables=tables,
            slots={},
            taken=select_taken(connection, source.schema_),
            started_at=_now(),
            sink=planner,
            existing=planner.remember(there if state.revision is not None else _nothing),
            asker=there.hand,
            asks=True,
            progress=progress,
        )
        try:
            with _long_lived_garbage():
                run.read(inputs, {} if force else known_files)
        finally:
            run.close()
            there.close(_SECONDS_TO_CLOSE)
        result = run.result(
            load_id=None,
            status="partial" if run.errors else "success",
            counts=planner.counts,
            seconds=time.monotonic() - started,
        )
        result.pending_sql = pending + planner.sql(source.schema_)
        return result


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()


def _prepare_schema(connection: Connection, source: Source, *, auto_migrate: bool) -> None:
    with connection.begin():
        state = migrate.read_state(connection, source.schema_)
    migrate.check_state(state, source, auto_migrate=auto_migrate)
    if state.kind != "head":
        migrate.upgrade(connection, source)


def _check_owner(connection: Connection, source: Source) -> None:
    owner = ledger.select_source(connection)
    if owner not in (None, source.name):
        raise SchemaRefused(
            f"the schema {source.schema_!r} holds the events of the source {owner!r}: "
            f"set another `schema` for {source.name!r}"
        )


def _check_encoding(connection: Connection) -> None:
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise UsageError(
            f"the database has the encoding {encoding}, which cannot hold every character: "
            "use one with ENCODING 'UTF8'"
        )


def _nothing(_ids: Sequence[str]) -> set[str]:
    return set()


def _record_end(writer: Writer, error: BaseException) -> None:
    """Say in `_loads` how the load ended, if the server still listens."""
    if not writer.abandon():
        return
    status, words, seconds = "failure", str(error), _SECONDS_TO_RECORD
    if isinstance(error, Interrupted | KeyboardInterrupt):
        status, words, seconds = "interrupted", "stopped by a signal", _SECONDS_TO_CLOSE
    elif is_out_of_memory(error):
        words = OUT_OF_MEMORY
    elif not isinstance(error, LoaderError):
        words = f"a defect of the loader: {type(error).__name__}"
    writer.record_failure(status, words, seconds)


@contextmanager
def _long_lived_garbage() -> Iterator[None]:
    """Keep Python from searching for cycles in the many objects that die young by themselves."""
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


# reading


class Sink(Protocol):
    """Where batches go."""

    waited: float

    def submit(self, batch: SealedBatch) -> None:
        """Take a batch over; may wait for the one before it."""

    def last_duplicates(self) -> int:
        """How many ids of the last finished batch the tables had already."""


@dataclass(kw_only=True)
class _Run:
    """One pass over the inputs."""

    source: Source
    settings: Settings
    tables: dict[str, dict[str, Type]]
    slots: dict[str, int]
    taken: frozenset[str]  # names of views and the like, which no table can have
    started_at: str
    sink: Sink
    existing: Callable[[Sequence[str]], set[str]]
    asker: Hand  # asks `existing`
    # Whether chunks are asked for ids that are there before they are normalized. Otherwise the
    # primary key finds them while the batch is written.
    asks: bool
    progress: Progress | None
    layouts: Layouts = field(default_factory=dict)
    files: int = 0
    files_skipped: int = 0
    bytes_read: int = 0
    records: int = 0
    waited_for_input: float = 0.0
    errors: list[str] = field(default_factory=list)
    _batch: Batch | None = None
    _batches: int = 0
    _before: Set[str] = frozenset()  # ids of the last batch
    _known: int = 0
    _all_known: bool = False  # whether the last part had nothing new
    _stored: int = 0
    workers: Workers | None = None
    _plain: "Plain | None" = None
    _done: int = 0  # records of the file in hand that are in a batch
    _waiting: "deque[_Waiting]" = field(default_factory=deque)
    _reader: Hand = field(default_factory=lambda: Hand("reader"))

    def read(self, inputs: Iterable[InputFile], known: dict[str, FileProgress]) -> None:
        """Read all inputs that are new or changed, batch by batch."""
        for file in inputs:
            before = known.get(file.uri)
            same = (
                before is not None
                and file.size is not None
                and ((before.size, before.modified_at) == (file.size, file.modified_at))
            )
            if before is not None and same and before.finished:
                self.files_skipped += 1
                continue
            self.files += 1
            try:
                self._read_file(file, before.records_done if before is not None and same else 0)
            except InputUnreadable as error:
                self._settle()
                self.errors.append(str(error))
        self.flush()

    def close(self) -> None:
        """End its threads and processes, without waiting for what is under way."""
        self._reader.close()
        if self.workers is not None:
            self.workers.close()

    def replay(self, rejects: Iterable[dict[str, Any]]) -> None:
        """Try rejects again: each is a file of one record."""
        for reject in rejects:
            batch = self._open_batch()
            raw = [reject["raw"].encode()]
            for chunk in read_chunks(raw, max_record_bytes=self.settings.max_record_bytes):
                work = self._process(parse_chunk(chunk), frozenset())
                problems = tuple(problem for _, problem, _ in work.rejects)
                new = tuple(key for key in work.ids if key not in batch.seen)
                batch.replays.append(Replay(reject["id"], new, problems))
                self._gather(batch, work)
            if batch.records >= self.settings.batch_records:
                self.flush()

    def _read_file(self, file: InputFile, done_before: int) -> None:
        self._done = position = 0
        # Only counting tells where a load goes on, so what was done before is parsed here.
        by_record = done_before or not (self.workers or _has_room_for_arrow())
        read, most = (read_chunks, CHUNK_RECORDS) if by_record else (read_lines, BLOCK_RECORDS)
        with open_input(file) as opened, read_ahead(self._counted(opened.blocks)) as ahead:
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
                    self.progress(self._stored + opened.tell(), self.records)
        self._stored += file.size or 0
        self._settle()
        self._open_batch().files[file.uri] = _progress(file, self._done, finished=True)

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
        if isinstance(part, Chunk):
            parsed = parse_chunk(part)
            ask = partial(self.existing, parsed.ids)
            answer = self.asker.submit(ask) if self.asks else None
            self._settle()
            self._waiting.append(_Waiting(file, self._finish_here, (parsed, answer)))
        elif self.workers is not None:
            self._settle(leave=self.workers.depth)
            answers = self.workers.submit(part, self.tables)
            self._waiting.append(_Waiting(file, answers.result, ()))
        elif (plain := self._short_way(part)) is not None:
            if self.asks and self._all_known:
                ids = self._reader.submit(partial(plain.ids, part))
                known = self.asker.submit(partial(self._are_known, ids))
                self._settle()
                self._waiting.append(_Waiting(file, self._finish_known, (plain, part, ids, known)))
                return
            calls = self._reader.submit(partial(plain.read, part))
            there = self.asker.submit(partial(self._ask_for, calls)) if self.asks else None
            self._settle()
            self._waiting.append(_Waiting(file, self._finish_plain, (plain, part, calls, there)))
        else:
            for chunk in self._chunks(part):
                self._take(file, chunk)

    def _are_known(self, ids: Future[list[str] | None]) -> bool:
        asked = ids.result()
        return asked is not None and self.existing(asked).issuperset(asked)

    def _ask_for(self, calls: "Future[Calls | None]") -> set[str]:
        asked = calls.result()
        return set() if asked is None else self.existing(asked.ids)

    def _short_way(self, part: WholeLines) -> "Plain | None":
        if self._plain is None and part.lines >= _ENOUGH_LINES:
            from loader.plain import Plain

            self._plain = Plain(
                tables=self.tables,
                layouts=self.layouts,
                load_started_at=self.started_at,
                only=self.source.only_tables,
                taken=self.taken,
                max_record_bytes=self.settings.max_record_bytes,
            )
        return self._plain if self._plain is not None and self._plain.wants(part) else None

    def _finish_known(
        self,
        plain: "Plain",
        part: WholeLines,
        ids: Future[list[str] | None],
        known: Future[bool],
    ) -> Iterable[Work]:
        """The quickest way, for records that all are there."""
        self._reader.result(ids)
        if self.asker.result(known):
            return [Work(records=part.lines, size=len(part.data), known=part.lines)]
        calls = self._reader.submit(partial(plain.read, part))
        there = self.asker.submit(partial(self._ask_for, calls))
        return self._finish_plain(plain, part, calls, there)

    def _finish_plain(
        self,
        plain: "Plain",
        part: WholeLines,
        calls: "Future[Calls | None]",
        answer: Future[set[str]] | None,
    ) -> Iterable[Work]:
        read = self._reader.result(calls)
        there = self.asker.result(answer) if answer is not None else frozenset()
        works = plain.process(part, read, there)
        return self._finish_chunks(part, asks=answer is not None) if works is None else works

    def _finish_chunks(self, part: WholeLines, *, asks: bool) -> Iterator[Work]:
        for chunk in self._chunks(part):
            parsed = parse_chunk(chunk)
            ask = partial(self.existing, parsed.ids)
            yield from self._finish_here(parsed, self.asker.submit(ask) if asks else None)

    def _chunks(self, part: WholeLines) -> Iterator[Chunk]:
        return read_chunks(
            [part.data],
            max_record_bytes=self.settings.max_record_bytes,
            chunk_records=min(CHUNK_RECORDS, self.settings.batch_records),
            first_line=part.line,
        )

    def _finish_here(self, parsed: Parsed, answer: Future[set[str]] | None) -> list[Work]:
        there = self.asker.result(answer) if answer is not None else frozenset()
        return [self._process(parsed, there)]

    def _settle(self, leave: int = 0) -> None:
        """Put what is processed into the batch, in order, until only `leave` parts wait."""
        while len(self._waiting) > leave:
            file, finish, arguments = self._waiting.popleft()
            batch = self._open_batch()
            # All of a part goes into one batch: its records need not be in their order here, and
            # a load that goes on counts them in it.
            works = list(finish(*arguments))
            self._all_known = all(work.known == work.records for work in works)
            for work in works:
                self._gather(batch, work)
                self._done += work.records
                for position, reject, raw in work.rejects:
                    batch.add_reject(reject_row(file.uri, position, reject, raw))
            batch.files[file.uri] = _progress(file, self._done, finished=False)
            if (
                batch.records >= self.settings.batch_records
                or batch.size >= self.settings.batch_bytes
                or batch.new_tables() >= _MOST_NEW_TABLES
            ):
                self.flush()

    def _process(self, parsed: Parsed, there: Set[str]) -> Work:
        return process_chunk(
            parsed,
            tables=self.tables,
            layouts=self.layouts,
            load_started_at=self.started_at,
            only=self.source.only_tables,
            taken=self.taken,
            there=there,
        )

    def _gather(self, batch: Batch, work: Work) -> None:
        batch.records += work.records
        self.records += work.records
        batch.duplicates += work.known
        self._known += work.known
        batch.replaced_characters += work.replaced_characters
        batch.add(work.ids, work.segments, work.times, size=work.size)

    def _open_batch(self) -> Batch:
        if self._batch is None:
            self._batches += 1
            limits = Limits(
                evolve=self.settings.schema_contract == "evolve",
                max_columns=self.settings.max_columns,
                slots=self.slots,
            )
            self._batch = Batch(
                number=self._batches, limits=limits, tables=self.tables, before=self._before
            )
        return self._batch

    def flush(self) -> None:
        """Hand the batch over to be written."""
        if self._batch is None:
            return
        self._before = self._batch.seen
        sealed, self._batch = self._batch.seal(), None
        self.sink.submit(sealed)
        # Duplicates come in runs: where there were some, asking first saves normalizing them.
        self.asks = self._known + self.sink.last_duplicates() > 0
        self._known = 0
        gc.collect()

    def forget(self) -> None:
        """Give back the memory of what was read and not yet written."""
        self._batch = None
        self._waiting.clear()
        self._before = frozenset()

    def result(self, *, counts: Counts, **facts: Any) -> LoadResult:
        """The result of this pass."""
        return LoadResult(
            source=self.source.name,
            schema=self.source.schema_,
            counts=counts,
            files=self.files,
            files_skipped=self.files_skipped,
            bytes_read=self.bytes_read,
            waited_for_input=self.waited_for_input,
            waited_for_server=self.sink.waited,
            errors=self.errors,
            **facts,
        )


def _has_room_for_arrow() -> bool:
    """Whether the job may map as much as Arrow's libraries take; a job under `ulimit -v` may not.

    It is not tried: a library that is mapped in part can end the process without a word.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit == resource.RLIM_INFINITY or limit >= _ARROW_BYTES


class _Waiting(NamedTuple):
    """A part of an input that is being processed."""

    file: InputFile
    finish: Callable[..., Iterable[Work]]
    arguments: tuple[Any, ...]


def _progress(file: InputFile, done: int, *, finished: bool) -> FileProgress:
    return FileProgress(file.uri, file.size, file.modified_at, done, finished)


# planning


class _Planner:
    """Counts batches instead of writing them."""

    def __init__(self, ledger_at: Connection | None) -> None:
        self.counts = Counts()
        self.waited = 0.0
        self.changes: list[Any] = []
        self._ledger_at = ledger_at
        self._seen: set[str] = set()
        self._rejects: set[str] = set()

    def remember(
        self, existing: Callable[[Sequence[str]], set[str]]
    ) -> Callable[[Sequence[str]], set[str]]:
        """Also know the ids that this plan has met."""

        def known(ids: Sequence[str]) -> set[str]:
            there = existing(ids) | self._seen.intersection(ids)
            self._seen.update(ids)
            return there

        return known

    def submit(self, batch: SealedBatch) -> None:
        rows: dict[str, int] = {}
        for copy in batch.copies:
            rows[copy.table] = rows.get(copy.table, 0) + copy.rows
        self.changes += batch.changes
        written = Written(rows, frozenset(), batch.times)
        rejects = {row.id for row in batch.rejects} - self._rejects
        self._rejects |= rejects
        if self._ledger_at is not None:
            rejects -= ledger.select_known_rejects(self._ledger_at, list(rejects))
        self.counts = add_batch(self.counts, batch, written, len(rejects))

    def last_duplicates(self) -> int:
        return 1  # keep asking: nothing is written that could find them

    def sql(self, schema: str) -> str:
        """The schema changes as SQL."""
        from loader.warehouse.evolve import changes_sql

        return changes_sql(schema, self.changes)
