"""The load, as a recipe: lock, migrate, list, then read, normalize, write and record each batch.

Three things happen at once: a thread reads and decompresses ahead, this thread parses and
normalizes one batch, another thread has the server write the batch before it. The order of
records is kept, so the first copy of an id wins.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from sqlalchemy import Connection, exists, select, table

from loader._version import __version__
from loader.config import Settings, Source
from loader.errors import InputUnreadable, LoaderError, LockHeld, SchemaRefused
from loader.normalize.batch import normalize_events
from loader.normalize.collections import TRACKS, Type, declared_tables
from loader.normalize.event import Event, Reject
from loader.sources import parse_event
from loader.sources.files import InputFile, list_inputs, open_input, read_ahead
from loader.sources.records import Chunk, read_chunks
from loader.warehouse import engine as warehouse
from loader.warehouse import ledger, migrate
from loader.warehouse.encode import Layouts, Segment, encode
from loader.warehouse.ledger import Counts
from loader.warehouse.tables import select_tables
from loader.warehouse.write import (
    Batch,
    FileProgress,
    Limits,
    SealedBatch,
    count_replaced,
    reject_row,
    select_existing,
    set_lock_timeout,
    write_rows,
)

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
    started = time.monotonic()
    inputs = list_inputs(paths)
    server = warehouse.make_engine(url)
    with warehouse.connect(server) as connection:
        _take_lock(connection, source, wait=wait)
        _prepare_schema(connection, source, auto_migrate=settings.auto_migrate)
        connection = connection.execution_options(schema_translate_map={None: source.schema_})
        with connection.begin():
            _check_owner(connection, source)
            load_id, started_at = ledger.start_load(connection, source.name, __version__)
            known_files = ledger.select_files(connection, [file.uri for file in inputs])
            tables = select_tables(connection, source.schema_)
        writer = _Writer(connection, source.schema_, load_id, settings.lock_timeout)
        with warehouse.connect(server) as second:
            run = _Run(
                source=source,
                settings=settings,
                tables=tables,
                started_at=started_at,
                sink=writer,
                existing=_existing_ids(second, source.schema_),
                asks=_has_rows(second, source.schema_),
                progress=progress,
            )
            try:
                with _long_lived_garbage():
                    run.read(inputs, {} if force else known_files)
                writer.close()
                if not writer.counts.balances():
                    raise AssertionError(f"records do not balance: {writer.counts}")
                status = "partial" if run.errors else "success"
                with connection.begin():
                    ledger.finish_load(connection, load_id, status, "; ".join(run.errors) or None)
            except BaseException as error:
                _record_end(writer, error)
                raise
    return run.result(
        load_id=load_id, status=status, counts=writer.counts, seconds=time.monotonic() - started
    )


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
        planner = _Planner()
        there = _existing_ids(connection, source.schema_) if state.revision else _nothing
        run = _Run(
            source=source,
            settings=settings,
            tables=tables,
            started_at=_now(),
            sink=planner,
            existing=planner.remember(there),
            asks=True,
            progress=progress,
        )
        with _long_lived_garbage():
            run.read(inputs, {} if force else known_files)
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


def _take_lock(connection: Connection, source: Source, *, wait: bool) -> None:
    if warehouse.try_lock(connection, source.schema_):
        return
    if not wait:
        raise LockHeld(f"another load of {source.name!r} is running: wait for it, or say --wait")
    warehouse.wait_for_lock(connection, source.schema_)


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


def _existing_ids(connection: Connection, schema: str) -> Callable[[Sequence[str]], set[str]]:
    def existing(ids: Sequence[str]) -> set[str]:
        with connection.begin():
            return select_existing(connection, schema, TRACKS, ids)

    return existing


def _nothing(_ids: Sequence[str]) -> set[str]:
    return set()


def _has_rows(connection: Connection, schema: str) -> bool:
    with connection.begin():
        rows = table(TRACKS, schema=schema)
        return bool(connection.scalar(select(exists().select_from(rows))))


def _record_end(writer: "_Writer", error: BaseException) -> None:
    """Say in `_loads` how the load ended, if the server still listens."""
    writer.abandon()
    status, words = "failure", str(error)
    if isinstance(error, Interrupted | KeyboardInterrupt):
        status, words = "interrupted", "stopped by a signal"
    elif not isinstance(error, LoaderError):
        words = f"a defect of the loader: {type(error).__name__}"
    try:
        with writer.connection.begin():
            ledger.finish_load(writer.connection, writer.load_id, status, words)
    except Exception:  # the error that ended the load is the one to show
        return


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
    started_at: str
    sink: Sink
    existing: Callable[[Sequence[str]], set[str]]
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
    _known: int = 0
    _stored: int = 0

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
                self.errors.append(str(error))
        self._flush()

    def _read_file(self, file: InputFile, done_before: int) -> None:
        done = 0
        with open_input(file) as opened, read_ahead(self._counted(opened.blocks)) as ahead:
            chunks = read_chunks(
                self._timed(ahead), max_record_bytes=self.settings.max_record_bytes
            )
            for chunk in chunks:
                done += len(chunk)
                if done > done_before:
                    self._take(file, chunk, done)
                if self.progress is not None:
                    self.progress(self._stored + opened.tell(), self.records)
        self._stored += file.size or 0
        self._open_batch().files[file.uri] = _progress(file, done, finished=True)

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

    def _take(self, file: InputFile, chunk: Chunk, done: int) -> None:
        batch = self._open_batch()
        work = process_chunk(
            chunk,
            tables=self.tables,
            layouts=self.layouts,
            load_started_at=self.started_at,
            only=self.source.only_tables,
            existing=self.existing if self.asks else None,
        )
        batch.records += len(chunk)
        self.records += len(chunk)
        batch.duplicates += work.known
        self._known += work.known
        batch.extra_values += work.extra_values
        batch.replaced_characters += work.replaced_characters
        batch.add_times(work.times)
        batch.add(work.ids, work.segments)
        for position, reject, raw in work.rejects:
            batch.add_reject(reject_row(file.uri, position, reject, raw))
        batch.files[file.uri] = _progress(file, done, finished=False)
        if batch.records >= self.settings.batch_records or batch.size >= self.settings.batch_bytes:
            self._flush()

    def _open_batch(self) -> Batch:
        if self._batch is None:
            self._batches += 1
            limits = Limits(
                evolve=self.settings.schema_contract == "evolve",
                max_columns=self.settings.max_columns,
            )
            self._batch = Batch(number=self._batches, limits=limits, tables=self.tables)
        return self._batch

    def _flush(self) -> None:
        if self._batch is None:
            return
        sealed, self._batch = self._batch.seal(), None
        self.sink.submit(sealed)
        # Duplicates come in runs: where there were some, asking first saves normalizing them.
        self.asks = self._known + self.sink.last_duplicates() > 0
        self._known = 0
        gc.collect()

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


def _progress(file: InputFile, done: int, *, finished: bool) -> FileProgress:
    return FileProgress(file.uri, file.size, file.modified_at, done, finished)


# one chunk


@dataclass(kw_only=True)
class Work:
    """A chunk, ready for its batch."""

    ids: list[str]
    segments: list[Segment]
    rejects: list[tuple[str, Reject, bytes]]
    times: dict[str, tuple[str, str]]
    known: int  # events dropped because their id was there
    extra_values: int
    replaced_characters: int


def process_chunk(
    chunk: Chunk,
    *,
    tables: dict[str, dict[str, Type]],
    layouts: Layouts,
    load_started_at: str,
    only: frozenset[str] | None,
    existing: Callable[[Sequence[str]], set[str]] | None,
) -> Work:
    """Records -> events -> rows -> lines: what happens to every record."""
    rejects = [(bad.position, bad.reject, bad.raw) for bad in chunk.bad]
    events: list[Event] = []
    for index, record in enumerate(chunk.records):
        event = parse_event(record)
        if type(event) is Event:
            events.append(event)
        else:
            rejects.append((chunk.position(index), event, chunk.raws[index]))  # type: ignore[arg-type]
    known = 0
    if existing is not None and events:
        there = existing([event.id for event in events])
        if there:
            new = [event for event in events if event.id not in there]
            known, events = len(events) - len(new), new
    normalized = normalize_events(events, tables, load_started_at=load_started_at, only=only)
    rows = (normalized.shared, *normalized.collections.values())
    columns = (column for one in rows for column in one.columns.values())
    extras = [values for one in rows for values in one.extra.values()]
    return Work(
        ids=normalized.ids,
        segments=encode(normalized, layouts),
        rejects=rejects,
        times=normalized.times,
        known=known,
        extra_values=sum(map(len, extras)),
        replaced_characters=sum(column.replaced for column in columns) + count_replaced(extras),
    )


# writing


class _Writer:
    """Writes batches one after the other, on a thread of its own."""

    def __init__(
        self, connection: Connection, schema: str, load_id: int, lock_timeout: float
    ) -> None:
        self.connection = connection
        self.load_id = load_id
        self.counts = Counts()
        self.waited = 0.0
        self._schema = schema
        self._lock_timeout = lock_timeout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._running: Future[int] | None = None
        self._duplicates = 0

    def submit(self, batch: SealedBatch) -> None:
        self._wait()
        self._running = self._thread.submit(self._write, batch)

    def last_duplicates(self) -> int:
        return self._duplicates

    def close(self) -> None:
        """Wait until everything is written."""
        self._wait()
        self._thread.shutdown()

    def abandon(self) -> None:
        """Let the batch in hand be committed or rolled back, within seconds."""
        running, self._running = self._running, None
        if running is not None:
            try:
                running.result(timeout=5)
            except TimeoutError:
                self.connection.connection.driver_connection.cancel()  # type: ignore[union-attr]
            except Exception:  # its error is shown already, or hidden by the one that stops us
                pass
        self._thread.shutdown(wait=True)

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            start = time.monotonic()
            try:
                self._duplicates = running.result()
            except Interrupted:
                self._running = running
                raise
            finally:
                self.waited += time.monotonic() - start

    def _write(self, batch: SealedBatch) -> int:
        """One transaction: changes, rows, rejects, ledger. Returns the duplicates it met."""
        connection = self.connection
        with warehouse.translate(connection.engine.url), connection.begin():
            set_lock_timeout(connection, self._lock_timeout)
            rows, duplicates = write_rows(connection, self._schema, batch)
            stored = ledger.record_rejects(connection, self.load_id, batch.rejects)
            counts = add_batch(self.counts, batch, rows, duplicates, stored)
            ledger.record_batch(connection, self.load_id, counts, batch.files)
        self.counts = counts
        return duplicates


class _Planner:
    """Counts batches instead of writing them."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.waited = 0.0
        self.changes: list[Any] = []
        self._seen: set[str] = set()

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
        self.counts = add_batch(self.counts, batch, rows, 0, len(batch.rejects))

    def last_duplicates(self) -> int:
        return 1  # keep asking: nothing is written that could find them

    def sql(self, schema: str) -> str:
        """The schema changes as SQL."""
        from loader.warehouse.evolve import changes_sql

        return changes_sql(schema, self.changes)


def add_batch(
    counts: Counts, batch: SealedBatch, rows: dict[str, int], duplicates: int, rejects: int
) -> Counts:
    """The counts with one batch more."""
    per_table = dict(counts.rows_per_table)
    for name, count in rows.items():
        per_table[name] = per_table.get(name, 0) + count
    added = replace(
        counts,
        batches=counts.batches + 1,
        records_read=counts.records_read + batch.records,
        rows_loaded=counts.rows_loaded + rows.get(TRACKS, 0),
        duplicates=counts.duplicates + batch.duplicates + duplicates + len(batch.rejects) - rejects,
        rejects=counts.rejects + rejects,
        extra_values=counts.extra_values + batch.extra_values,
        replaced_characters=counts.replaced_characters + batch.replaced_characters,
        rows_per_table=per_table,
        schema_changes=counts.schema_changes + [change.as_json() for change in batch.changes],
    )
    added.widen(batch.times)
    return added
