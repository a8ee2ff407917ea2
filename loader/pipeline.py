"""The load, as a recipe: lock, migrate, list, then read, write and record batch after batch.

Three things happen at once: a thread reads and decompresses ahead, `reading.py` makes a batch of
rows of what it brings, another thread has the server write the batch before it.
"""

import gc
import mmap
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, exists, select, text

from loader import __version__
from loader.config import Settings, Source
from loader.errors import (
    OUT_OF_MEMORY,
    Committed,
    Interrupted,
    LoaderError,
    LockHeld,
    SchemaRefused,
    UsageError,
    is_out_of_memory,
)
from loader.load.context import LoadContext, by_table
from loader.load.defects import DEFECT
from loader.load.prefetch import Asker, Existing
from loader.normalize.collections import TRACKS, Type, declared_tables
from loader.reading import Progress, Run
from loader.sources.files import InputFile, list_inputs
from loader.sources.records import BLOCK_RECORDS
from loader.warehouse import engine as warehouse
from loader.warehouse import ledger, migrate
from loader.warehouse.batch import FileProgress, SealedBatch, Waiting
from loader.warehouse.changes import TablesDiffer, find_waiting
from loader.warehouse.engine import Session
from loader.warehouse.evolve import Change
from loader.warehouse.grants import grant_reader
from loader.warehouse.ids import Ids, Known, KnownIds, SeenIds
from loader.warehouse.ledger import Counts, Load
from loader.warehouse.tables import select_slots, select_tables, select_taken, tracks
from loader.warehouse.threads import SteadyThread, ends
from loader.warehouse.write import Written, ids_of
from loader.warehouse.writer import Writer, add_batch

# A load, whose tables others change all the time.
_MOST_BEGUN_ANEW = 3
# How long a server that does not answer yet is waited for before anything was read.
_SECONDS_TO_CONNECT = 10.0
# Kept free for the last words of a load that ran out of memory; until then only address space.
_RESERVE_BYTES = 16 << 20
# How long the last words to a server may take; a stopped load has 10 seconds in all.
_SECONDS_TO_CLOSE = 1.0
_SECONDS_TO_RECORD = 5.0


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
    warnings: list[str] = field(default_factory=list)  # what is probably not meant, or was left out
    rewritten: int = 0  # irregular records, which take longer to read
    without_table: int = 0  # events of names for which `max_tables` left no room
    defects: dict[str, int] = field(default_factory=dict)  # what failed: how often
    is_first: bool = False  # the schema had no events before
    # Columns that wait for a lock, as `table.column`, and who held their table.
    waiting: dict[str, str] = field(default_factory=dict)
    migration: str = ""  # plan only: what a migration would do
    pending_sql: str = ""  # plan only: migrations and changes, as SQL

    @property
    def reject_ratio(self) -> float:
        """Rejects as a share of the records read."""
        return self.counts.rejects / self.counts.records_read if self.counts.records_read else 0.0

    def notices(self) -> Iterator[tuple[str, str]]:
        """What has to be told although the load went on: an event of the log, and a sentence."""
        for message in self.errors:
            yield "input.unreadable", message
        for what, count in self.defects.items():
            yield (
                "record.defect",
                f"{what}; {count} times. Please report it. Rejects with the reason {DEFECT!r} "
                "can be replayed with a version that has it repaired",
            )
        if self.waiting:
            first, who = next(iter(self.waiting.items()))
            more = f" and {len(self.waiting) - 1:,} more columns" if len(self.waiting) > 1 else ""
            yield (
                "columns.waiting",
                f"{first}{more} could not be added, because somebody held the table: {who}. Their "
                "values are in _extra until a later load adds them; see `customerio-loader status`",
            )
        if self.without_table:
            yield (
                "tables.full",
                f"{self.without_table:,} events went to {TRACKS} alone, because the schema has "
                "max_tables tables: raise it, or name the events that count in `collections`",
            )


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
    begun_anew: list[str] = []
    while True:
        try:
            with _open(source, settings, url, inputs, wait=wait, progress=progress) as opened:
                opened.run.read(inputs, {} if force else opened.files)
            break
        except TablesDiffer as error:
            # Another load goes on behind its last batch, for the tables as they are now.
            if len(begun_anew) == _MOST_BEGUN_ANEW or any(file.is_stream for file in inputs):
                raise
            begun_anew.append(f"a load was begun anew behind its last batch: {error}")
    result = opened.result()
    result.warnings += begun_anew
    return result


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

    run: Run
    writer: Writer
    files: dict[str, FileProgress]
    is_first: bool
    began: float = field(default_factory=time.monotonic)
    status: str = "running"

    def select_rejects(self, after: str, **filters: Any) -> list[dict[str, Any]]:
        """The next rejects to try."""
        self.run.finish()
        return self.writer.ask(partial(ledger.select_rejects, after=after, **filters))

    def result(self) -> LoadResult:
        """What was done."""
        return _result(
            self.run,
            load_id=self.writer.load.id,
            status=self.status,
            counts=self.writer.counts,
            seconds=time.monotonic() - self.began,
            is_first=self.is_first,
            waiting=self.writer.waiting,
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
    reserve = mmap.mmap(-1, _RESERVE_BYTES)  # takes no memory until it is written to
    lock_timeout = settings.wait_for_locks
    session = Session(warehouse.make_engine(url), source.schema_, lock_timeout=lock_timeout)
    # A signal is heard only by a main thread that does not wait in the client library.
    thread = SteadyThread("writer")
    canceller = SteadyThread("canceller")
    known_ids = KnownIds(
        Session(session.engine, source.schema_, lock_timeout=lock_timeout),
        retry_timeout=settings.retry_timeout,
        beside=session,
    )
    beginning = thread.submit(partial(_start, session, source, settings, inputs, wait=wait))
    make_writer = partial(
        Writer,
        session,
        thread,
        canceller,
        lock_timeout=settings.lock_timeout,
        retry_timeout=settings.retry_timeout,
        reader_role=settings.reader_role,
    )
    writer: Writer | None = None
    run: Run | None = None
    try:
        start = thread.result(beginning)
        writer = make_writer(load=start.load, revision=start.revision, waiting=start.waiting)
        run = Run(
            source=source,
            settings=settings,
            context=LoadContext(
                started_at=start.load.started_at,
                tables=start.tables,
                only=source.only_tables,
                reserved=start.taken,
                evolve=settings.schema_contract == "evolve",
                max_columns=settings.max_columns,
                max_tables=settings.max_tables,
                json_columns=source.whole,
                slots=start.slots,
                waiting=by_table(column for column, _ in start.waiting),
            ),
            sink=writer,
            asker=Asker(
                known_ids,
                known_ids.thread,
                # No more than two batches hold, so that a slow writer of a pipe is not waited for.
                most_waiting=2 * settings.batch_records // BLOCK_RECORDS,
            ),
            asks=start.has_rows,
            progress=progress,
        )
        opened = _Opened(
            run=run, writer=writer, files=start.files, is_first=not start.has_rows, began=began
        )
        with _long_lived_garbage():
            yield opened
            run.finish()
        if not writer.counts.balances():
            raise AssertionError(f"records do not balance: {writer.counts}")
        opened.status = "partial" if run.errors else "success"
        writer.finish(opened.status, "; ".join(run.errors) or None)
    except BaseException as error:
        reserve.close()
        session.given_up = True
        if is_out_of_memory(error):
            if run is not None:
                run.forget()
            # The steps that failed hold some too.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
        if writer is None and ends(beginning, _SECONDS_TO_CLOSE) and not beginning.exception():
            begun = beginning.result()  # it began nevertheless
            writer = make_writer(load=begun.load, revision=begun.revision)
        if writer is not None:
            _record_end(writer, error)
        if isinstance(error, Interrupted):
            done = writer.counts if writer is not None else Counts()
            error.committed = Committed(source.name, done.records_read, done.batches)
        raise
    finally:
        # Closing waits for a statement in hand, and that for a server which may be silent.
        thread.within(_SECONDS_TO_CLOSE, session.close)
        thread.close()
        canceller.close()
        known_ids.close(_SECONDS_TO_CLOSE)


class _Start(NamedTuple):
    """What a load finds."""

    load: Load
    revision: str
    files: dict[str, FileProgress]
    tables: dict[str, dict[str, Type]]
    waiting: list[Waiting]
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
            revision = _prepare_schema(connection, source, auto_migrate=settings.auto_migrate)
            with connection.begin():
                _check_owner(connection, source)
                _check_encoding(connection)
                if settings.reader_role:
                    grant_reader(connection, source.schema_, settings.reader_role)
                load = ledger.start_load(connection, source.name, __version__)
                tables = select_tables(connection, source.schema_)
                found = _Start(
                    load,
                    revision,
                    ledger.select_files(connection, [file.uri for file in inputs], __version__),
                    tables,
                    find_waiting(connection, source.schema_, tables),
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
    """What `load` would do, without writing anything; remembers every id, in 8 bytes each."""
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
            uris = [file.uri for file in inputs]
            known_files = ledger.select_files(connection, uris, __version__)
        planner = _Planner(connection if state.revision is not None else None)
        there = KnownIds(
            Session(server, source.schema_, lock_timeout=settings.wait_for_locks),
            retry_timeout=settings.retry_timeout,
        )
        run = Run(
            source=source,
            settings=settings,
            context=LoadContext(
                started_at=_now(),
                tables=tables,
                only=source.only_tables,
                reserved=select_taken(connection, source.schema_),
                evolve=settings.schema_contract == "evolve",
                max_columns=settings.max_columns,
                max_tables=settings.max_tables,
                json_columns=source.whole,
            ),
            sink=planner,
            asker=Asker(
                planner.remember(there if state.revision is not None else _nothing), there.thread
            ),
            asks=True,
            progress=progress,
        )
        try:
            with _long_lived_garbage():
                run.read(inputs, {} if force else known_files)
        finally:
            there.close(_SECONDS_TO_CLOSE)
        result = _result(
            run,
            load_id=None,
            status="partial" if run.errors else "success",
            counts=planner.counts,
            seconds=time.monotonic() - started,
        )
        if pending:
            result.migration = (
                f"from revision {state.revision or 'nothing'} to {migrate.head_revision()}"
            )
        result.pending_sql = pending + planner.sql(source.schema_)
        return result


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()


def _prepare_schema(connection: Connection, source: Source, *, auto_migrate: bool) -> str:
    """Bring a schema to head; returns its revision."""
    with connection.begin():
        state = migrate.read_state(connection, source.schema_)
    migrate.check_state(state, source, auto_migrate=auto_migrate)
    if state.kind == "head" and state.revision is not None:
        return state.revision
    migrate.upgrade(connection, source)
    return migrate.head_revision()


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


def _nothing(_ids: Ids) -> Known:
    return Known(set(), 0)


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


def _result(run: Run, *, counts: Counts, **facts: Any) -> LoadResult:
    return LoadResult(
        source=run.source.name,
        schema=run.source.schema_,
        counts=counts,
        files=run.files,
        files_skipped=run.files_skipped,
        bytes_read=run.bytes_read,
        waited_for_input=run.waited_for_input,
        waited_for_server=run.sink.waited,
        errors=run.errors,
        rewritten=run.rewritten,
        without_table=run.without_table,
        defects=dict(run.defects),
        warnings=[*run.source.doubts(run.context.tables), *run.warnings],
        **facts,
    )


# planning


class _Planner:
    """Counts batches instead of writing them."""

    def __init__(self, ledger_at: Connection | None) -> None:
        self.counts = Counts()
        self.waited = 0.0
        self.changes: list[Change] = []
        self._ledger_at = ledger_at
        self._seen = SeenIds()
        self._rejects = SeenIds()

    def remember(self, existing: Existing) -> Existing:
        """Also know the ids of the batches before; the answer must not depend on who asked."""

        def remembered(ids: Ids) -> Known:
            known = existing(ids)
            return known._replace(ids=known.ids | self._seen.among(ids.split()))

        return remembered

    def make(self, changes: Sequence[Change]) -> list[Waiting]:
        self.changes += changes
        return []

    def wait(self) -> None:
        pass

    def submit(self, batch: SealedBatch) -> None:
        rows: dict[str, int] = {}
        for copy in batch.copies:
            rows[copy.table] = rows.get(copy.table, 0) + len(copy.rows)
            if copy.table == TRACKS:
                self._seen.add(ids_of(copy))
        written = Written(rows, frozenset(), batch.times)
        rejects = {row.id for row in batch.rejects}
        rejects -= self._rejects.among(list(rejects))
        self._rejects.add(list(rejects))
        if self._ledger_at is not None:
            rejects -= ledger.select_known_rejects(self._ledger_at, list(rejects))
        self.counts = add_batch(self.counts, batch, written, len(rejects))
        self.counts.schema_changes = [change.as_json() for change in self.changes]

    def last_duplicates(self) -> int:
        return 1  # keep asking: nothing is written that could find them

    def sql(self, schema: str) -> str:
        """The schema changes as SQL."""
        from loader.warehouse.evolve import changes_sql

        return changes_sql(schema, self.changes)
