"""A load while it runs: connections, threads and its row in `_loads`, which all end with it.

Three things happen at once: a thread reads and decompresses ahead, `reading.py` makes batches of
rows of what it brings, another thread has the server write the batch before.
"""

import gc
import mmap
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Unpack

from loader import __version__
from loader.config import Settings, Source
from loader.errors import OUT_OF_MEMORY, Committed, Interrupted, LoaderError, is_out_of_memory
from loader.load.beginning import Start, begin
from loader.load.context import LoadContext
from loader.load.result import LoadResult, Tally, result_of
from loader.load.todo import Choice, Lookups
from loader.sources.inputs import Inputs
from loader.warehouse import ledger, rejects
from loader.warehouse.engine import Session, make_engine
from loader.warehouse.ids import KnownIds
from loader.warehouse.ledger import Counts, ListedBefore, ListingRow
from loader.warehouse.marts import fold
from loader.warehouse.rejects import RejectFilter
from loader.warehouse.threads import SteadyThread, ends
from loader.warehouse.writer import Writer

if TYPE_CHECKING:
    from loader.load.reading import Progress, Run

# Kept free for the last words of a load that ran out of memory; until then only address space.
_RESERVE_BYTES = 16 << 20
# What numpy takes while it is imported, most of it address space, and some more.
_NUMPY_BYTES = 96 << 20
# How long the last words to a server may take; a stopped load has 10 seconds in all.
_SECONDS_TO_CLOSE = 1.0
_SECONDS_TO_RECORD = 5.0


@dataclass(kw_only=True)
class Running:
    """A load between its first and its last word in the ledger."""

    source: Source
    settings: Settings
    start: Start
    writer: Writer
    known_ids: KnownIds
    progress: "Progress | None"
    inputs: Inputs
    began: float
    tally: Tally = field(default_factory=Tally)
    mart_behind: str = ""  # why `email_messages` lacks something
    _run: "Run | None" = None
    _reached: dict[str, ListedBefore] = field(default_factory=dict)

    @property
    def run(self) -> "Run":
        """What reads, once there is something to read."""
        if self._run is None:
            # Where numpy's library for matrices finds no memory, it ends the process.
            mmap.mmap(-1, _NUMPY_BYTES).close()
            # Imported here, with numpy, because that is a fifth of a load that finds nothing new.
            from loader.load.prefetch import Prefetch
            from loader.load.reading import Run
            from loader.sources.records import BLOCK_RECORDS

            self._run = Run(
                source=self.source,
                settings=self.settings,
                context=LoadContext.of(
                    self.source,
                    self.settings,
                    started_at=self.start.load.started_at,
                    tables=self.start.tables,
                    reserved=self.start.taken,
                    slots=self.start.slots,
                    waiting=self.start.waiting,
                ),
                sink=self.writer,
                prefetch=Prefetch(
                    self.known_ids,
                    self.known_ids.thread,
                    # No more than two batches hold, so that a slow writer of a pipe is not waited
                    # for.
                    most_waiting=2 * self.settings.batch_records // BLOCK_RECORDS,
                ),
                asks=self.start.has_rows,
                progress=self.progress,
                tally=self.tally,
                inputs=self.inputs,
            )
            gc.freeze()  # what was imported, too
        return self._run

    @property
    def has_read_stream(self) -> bool:
        """Whether something was read that cannot be read again."""
        return self._run is not None and self._run.has_read_stream

    def read(self, *, is_by_hand: bool, lists_all: bool, reads_all: bool) -> None:
        """Read what is new or changed of the inputs, or all."""
        lists_all |= reads_all
        choice = Choice(
            self.inputs,
            self.source,
            self.tally,
            started_at=datetime.fromisoformat(self.start.load.started_at),
            lookups=self._known(reads_all=reads_all),
            lists_all=lists_all,
        )
        if lists_all and not is_by_hand and self.inputs.urls:
            # If this load is killed, the next one has to list all folders, too.
            forget = partial(ledger.forget_listings, prefixes=self.inputs.urls)
            self.writer.ask(forget)
        todo = iter(choice)
        first = next(todo, None)
        if first is not None:
            self.run.read(chain([first], todo))
        if not is_by_hand:
            self._reached = choice.reached()

    def _known(self, *, reads_all: bool) -> Lookups:
        ask = self.writer.ask
        selection = self.inputs.selection.key()
        known = Lookups(
            listings=lambda: ask(partial(ledger.select_listings, selection=selection)),
            unfinished=lambda since: ask(partial(ledger.select_unfinished, since=since)),
        )
        if reads_all:
            return known
        return known._replace(
            files=lambda uris: ask(partial(ledger.select_files, uris=uris, version=__version__)),
            finished=lambda first, last, most: ask(
                partial(ledger.select_finished, first=first, last=last, most=most)
            ),
        )

    def finish(self) -> None:
        """Have everything written, and try the columns that wait once more."""
        if self._run is not None or self.start.waiting:
            self.run.finish()

    def fold(self) -> None:
        """Fold what is committed, and what earlier loads have left, into `email_messages`."""
        found, schema = self.start.mart, self.source.schema_
        if self.settings.mart == "off":
            leave = partial(fold.leave, schema=schema, was_off=found.is_off)
            self.mart_behind = self.writer.fill(leave)
        elif self.writer.counts.batches or found.is_behind or found.is_off:
            fill = partial(
                fold.fill, schema=schema, load_id=self.writer.load.id, was_off=found.is_off
            )
            self.mart_behind = self.writer.fill(fill)

    def listed(self) -> list[ListingRow]:
        """Up to which day the inputs in buckets are loaded, once everything is written."""
        key = self.inputs.selection.key()
        return [ListingRow(path, key, *one) for path, one in self._reached.items()]

    def forget(self) -> None:
        """Give back the memory of what was read and not yet written."""
        if self._run is not None:
            self._run.forget()

    def select_rejects(self, after: str, **filters: Unpack[RejectFilter]) -> list[dict[str, Any]]:
        """The next rejects to try."""
        self.finish()
        return self.writer.ask(partial(rejects.select_rejects, after=after, **filters))

    def result(self) -> LoadResult:
        """What was done."""
        return result_of(
            self.tally,
            source=self.source,
            tables=self.start.tables,  # with those that the load has made
            counts=self.writer.counts,
            ignored=dict(self.writer.ignored),
            load_id=self.writer.load.id,
            seconds=time.monotonic() - self.began,
            waited_for_server=self.writer.waited,
            is_first=not self.start.has_rows,
            waiting=self.writer.waiting,
            mart_behind=self.mart_behind,
        )


@contextmanager
def running(
    source: Source,
    settings: Settings,
    url: str,
    inputs: Inputs,
    *,
    wait: bool,
    progress: "Progress | None",
) -> Iterator[Running]:
    """Begin a load; at the end of the block it is written to its end and recorded."""
    began = time.monotonic()
    with ExitStack() as stack:
        stack.callback(inputs.close)
        to_server = stack.enter_context(_connections(source, settings, url))
        start, writer = stack.enter_context(_recorded(to_server, source, settings, wait))
        one = Running(
            source=source,
            settings=settings,
            start=start,
            writer=writer,
            known_ids=to_server.known_ids,
            progress=progress,
            inputs=inputs,
            began=began,
        )
        stack.enter_context(_forgotten_without_memory(to_server, one))
        with long_lived_garbage():
            yield one
            one.finish()
        if not writer.counts.balances():
            raise AssertionError(f"records do not balance: {writer.counts}")
        one.fold()
        errors = one.tally.errors
        status, words = "partial" if errors else "success", "; ".join(errors) or None
        writer.finish(status, words, one.listed())


@dataclass(kw_only=True)
class _ToServer:
    """Connections, and the threads that have them."""

    session: Session  # has the lock, and writes
    # A signal is heard only by a main thread that does not wait in the client library.
    thread: SteadyThread
    canceller: SteadyThread
    known_ids: KnownIds
    reserve: mmap.mmap  # takes no memory until it is written to


@contextmanager
def _connections(source: Source, settings: Settings, url: str) -> Iterator[_ToServer]:
    lock_timeout = settings.wait_for_locks
    session = Session(make_engine(url), source.schema_, lock_timeout=lock_timeout)
    opened = _ToServer(
        session=session,
        thread=SteadyThread("writer"),
        canceller=SteadyThread("canceller"),
        known_ids=KnownIds(
            Session(session.engine, source.schema_, lock_timeout=lock_timeout),
            retry_timeout=settings.retry_timeout,
            beside=session,
        ),
        reserve=mmap.mmap(-1, _RESERVE_BYTES),
    )
    try:
        yield opened
    finally:
        # Closing waits for a statement in hand, and that for a server which may be silent.
        opened.thread.within(_SECONDS_TO_CLOSE, session.close)
        opened.thread.close()
        opened.canceller.close()
        opened.known_ids.close(_SECONDS_TO_CLOSE)


@contextmanager
def _recorded(
    to_server: _ToServer,
    source: Source,
    settings: Settings,
    wait: bool,
) -> Iterator[tuple[Start, Writer]]:
    """A row in `_loads`, which says at the end how the load failed, if it did."""

    def writer_of(start: Start) -> Writer:
        return Writer(
            to_server.session,
            to_server.thread,
            to_server.canceller,
            start.load,
            revision=start.revision,
            waiting=start.waiting,
            lock_timeout=settings.lock_timeout,
            retry_timeout=settings.retry_timeout,
            reader_role=settings.reader_role,
        )

    thread, writer = to_server.thread, None
    beginning = thread.submit(partial(begin, to_server.session, source, settings, wait=wait))
    try:
        start = thread.result(beginning)
        writer = writer_of(start)
        yield start, writer
    except BaseException as error:
        to_server.reserve.close()
        to_server.session.given_up = True
        if writer is None and not ends(beginning, _SECONDS_TO_CLOSE):
            with suppress(LoaderError):  # the server would go on, with the lock
                to_server.canceller.within(_SECONDS_TO_CLOSE, to_server.session.cancel)
        elif writer is None and not beginning.exception():
            writer = writer_of(beginning.result())  # it began nevertheless
        if writer is not None:
            _record_end(writer, error)
        if isinstance(error, Interrupted):
            done = writer.counts if writer is not None else Counts()
            error.committed = Committed(source.name, done.records_read, done.batches)
        raise


@contextmanager
def _forgotten_without_memory(to_server: _ToServer, one: Running) -> Iterator[None]:
    """Give back what a load holds, where memory ran out: its last words need some."""
    try:
        yield
    except BaseException as error:
        to_server.reserve.close()
        if is_out_of_memory(error):
            one.forget()
            # The steps that failed hold some too.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
        raise


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
def long_lived_garbage() -> Iterator[None]:
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
