"""The writer: batches go to the server one after the other, on a thread of its own."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from loader.errors import LedgerDisagrees, LoaderError, TransientFault
from loader.normalize.collections import TRACKS
from loader.normalize.event import IgnoreReason
from loader.warehouse import ledger, rejects
from loader.warehouse.batch import SealedBatch, Waiting
from loader.warehouse.changes import Changes, require_types
from loader.warehouse.engine import Session
from loader.warehouse.evolve import Change
from loader.warehouse.ids import Ids, Known, select_existing
from loader.warehouse.ledger import Counts, ListingRow, Load
from loader.warehouse.marts.fold import Run
from loader.warehouse.threads import SteadyThread, ends
from loader.warehouse.transactions import Transactions
from loader.warehouse.write import Written, write_rows

# A stopped load has 10 seconds to leave: most of them to finish, the rest to roll back.
_SECONDS_TO_FINISH = 4.0
_SECONDS_TO_CANCEL = 1.0
_SECONDS_TO_ROLL_BACK = 1.0
# How long faults are waited out, at most, of what can wait for the next load.
_SECONDS_TO_FILL = 5.0

T = TypeVar("T")


class Writer:
    """Writes the batches of one load. Whatever is done on the session, its thread does."""

    def __init__(
        self,
        session: Session,
        thread: SteadyThread,
        canceller: SteadyThread,
        load: Load,
        *,
        revision: str,
        waiting: Sequence[Waiting] = (),
        lock_timeout: float,
        retry_timeout: float,
        reader_role: str = "",
    ) -> None:
        self.session = session
        self.load = load
        self.waited = 0.0  # seconds that the reading side waited for the server
        # Of what is committed, by reason: the ledger has only their sum.
        self.ignored: Counter[IgnoreReason] = Counter()
        self._stopped = threading.Event()
        self._seconds_to_fill = min(retry_timeout, _SECONDS_TO_FILL)
        self._thread = thread
        self._canceller = canceller
        self._running: Future[Any] | None = None
        self._duplicates = 0
        self._transactions = Transactions(
            session, load, revision=revision, retry_timeout=retry_timeout, stopped=self._stopped
        )
        self._changes = Changes(
            self._transactions,
            waiting=waiting,
            lock_timeout=lock_timeout,
            retry_timeout=retry_timeout,
            reader_role=reader_role,
            stopped=self._stopped,
        )

    @property
    def counts(self) -> Counts:
        """The counts of what is committed."""
        return self._transactions.counts

    @property
    def waiting(self) -> dict[str, str]:
        """The columns that wait for a lock, as `table.column`, and who held their table."""
        return self._changes.waiting

    def make(self, changes: Sequence[Change]) -> list[Waiting]:
        """Change tables, once the batch in hand is committed; see `Changes.make`."""
        self.wait()
        self._running = self._thread.submit(partial(self._changes.make, changes))
        return self._result(self._running)

    def submit(self, batch: SealedBatch) -> None:
        """Take over a batch, once the one before it is committed."""
        self.wait()
        self._running = self._thread.submit(partial(self._write, batch))

    def last_duplicates(self) -> int:
        """How many ids of the last committed batch the tables had already."""
        return self._duplicates

    def finish(self, status: str, error: str | None, listed: Sequence[ListingRow] = ()) -> None:
        """Record the end of the load, once everything is committed."""
        self.wait()
        self._thread.do(partial(self._finish, status, error, listed=listed))

    def fill(self, work: Callable[[Run], str]) -> str:
        """Fill what is made of the events, which are there whatever becomes of it.

        `work` gets what runs a transaction, and says what is left, if anything. Returns that, or
        why it could not be done: the next load tries again.
        """
        self.wait()
        running: Future[str] = self._thread.submit(partial(work, self._run_once))
        self._running = running
        try:
            return self._result(running)
        except LedgerDisagrees:
            raise
        except LoaderError as error:
            return str(error)

    def ask(self, query: Callable[[Connection], T]) -> T:
        """Have the server answer something, once everything is committed."""
        self.wait()
        run = partial(self._transactions.run_until_done, query, even_stopped=True)
        answer = self._thread.do(run)
        assert answer is not None, "what changes nothing is never found done already"
        return answer

    def record_failure(self, status: str, error: str, seconds: float) -> None:
        """Record how an abandoned load ended, if that takes only so long."""
        with suppress(LoaderError):  # the error that ended the load is the one to show
            self._thread.within(seconds, partial(self._finish, status, error, seconds))

    def abandon(self) -> bool:
        """Let what is in hand be committed or rolled back; False if the server is silent."""
        self._stopped.set()
        running, self._running = self._running, None
        if running is None or ends(running, _SECONDS_TO_FINISH):
            return True
        with suppress(LoaderError):
            self._canceller.within(_SECONDS_TO_CANCEL, self.session.cancel)
        self.session.silent = not ends(running, _SECONDS_TO_ROLL_BACK)
        return not self.session.silent

    def wait(self) -> None:
        """Wait until the batch in hand is committed. Raises TablesDiffer if it cannot be."""
        if self._running is not None:
            self._duplicates = self._result(self._running)

    def _result(self, running: Future[T]) -> T:
        start = time.monotonic()
        try:
            return self._thread.result(running)
        finally:
            self.waited += time.monotonic() - start
            if running.done():
                self._running = None

    # on the thread

    def _write(self, batch: SealedBatch) -> int:
        """Write one batch, however often it takes. Returns the duplicates that it met."""
        self._changes.remember(batch.waiting)
        write = partial(self._write_batch, batch)
        done = self._transactions.run_until_done(write, batches=1)
        self.ignored.update(batch.ignored)
        if done is None:
            return 0  # an earlier attempt had committed it
        self._transactions.counts, duplicates = done
        return duplicates

    def _finish(
        self,
        status: str,
        error: str | None,
        seconds: float | None = None,
        *,
        listed: Sequence[ListingRow] = (),
    ) -> None:
        finish = partial(
            ledger.finish_load, load_id=self.load.id, status=status, error=error, listed=listed
        )
        self._transactions.run_until_done(finish, status=status, seconds=seconds, even_stopped=True)

    def _run_once(self, work: Callable[[Connection], T]) -> T:
        if self._stopped.is_set():
            raise TransientFault("the load was stopped")
        done = self._transactions.run_until_done(work, seconds=self._seconds_to_fill)
        assert done is not None, "what can be done twice is never found done already"
        return done

    def _write_batch(self, batch: SealedBatch, connection: Connection) -> tuple[Counts, int]:
        """Rows, rejects, ledger. Returns the counts with this batch, and duplicates."""
        load, schema = self.load.id, self.session.schema
        self._check_known(batch.known, connection)
        require_types(connection, schema, batch.types)
        written = write_rows(connection, schema, batch)
        stored = rejects.record_rejects(connection, load, batch.rejects)
        rejects.record_replays(connection, load, batch.replays, written.known)
        ledger.record_waiting(connection, load, batch.waiting)
        counts = add_batch(self.counts, batch, written, stored)
        ledger.record_batch(connection, load, counts, batch.files)
        return counts, len(written.known)

    def _check_known(self, known: Known, connection: Connection) -> None:
        """See that events which were dropped as known are there, if the connection is a new one.

        They were there when the server was asked. The ledger shows that this server has all that
        was committed before the last batch. But what came to the other one after it, from another
        load or by hand, it may not have, and then these events would be nowhere.
        """
        if not known.ids or known.beside == self.session.number:
            return
        there = select_existing(connection, self.session.schema, TRACKS, Ids.join(known.ids))
        if gone := len(known.ids) - len(there):
            raise LedgerDisagrees(
                f"{self._transactions.where} no longer has {gone:,} of the "
                f"{len(known.ids):,} events that were there when load {self.load.id} asked for "
                "them (a standby that lagged was promoted, or they were deleted): load again"
            )


def add_batch(counts: Counts, batch: SealedBatch, written: Written, rejects: int) -> Counts:
    """The counts with one batch more, of which `rejects` were new."""
    repeated_rejects = len(batch.rejects) - rejects
    added = replace(
        counts,
        batches=counts.batches + 1,
        records_read=counts.records_read + batch.records,
        rows_loaded=counts.rows_loaded + written.rows.get(TRACKS, 0),
        duplicates=counts.duplicates + batch.duplicates + len(written.known) + repeated_rejects,
        rejects=counts.rejects + rejects + sum(len(r.problems) for r in batch.replays),
        ignored=counts.ignored + sum(batch.ignored.values()),
        extra_values=counts.extra_values
        + sum(n for key, n in batch.extra_values.items() if key not in written.known),
        replaced_characters=counts.replaced_characters + batch.replaced_characters,
        rows_per_table=dict(Counter(counts.rows_per_table) + Counter(written.rows)),
    )
    added.widen(written.times)
    return added
