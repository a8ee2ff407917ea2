"""The writer: batches go to the server one after the other, on a thread of its own.

A fault that passes is waited out: the batch is kept until its transaction is known to be
committed, and the ledger tells whether it was. Each transaction begins by demanding that the
ledger shows everything that was committed before it, see `claim.py`.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from loader.errors import LedgerDisagrees, LoaderError
from loader.normalize.collections import TRACKS
from loader.warehouse import ledger
from loader.warehouse.batch import SealedBatch
from loader.warehouse.claim import Standing, Verdict, claim, disagreement
from loader.warehouse.engine import Session, retrying, translate
from loader.warehouse.evolve import CreateTable
from loader.warehouse.grants import grant_tables
from loader.warehouse.ids import Ids, Known, select_existing
from loader.warehouse.ledger import RUNNING, Counts, Load
from loader.warehouse.opening import describe
from loader.warehouse.threads import SteadyThread, ends
from loader.warehouse.write import Written, write_rows

# A stopped load has 10 seconds to leave: most of them to finish, the rest to roll back.
_SECONDS_TO_FINISH = 4.0
_SECONDS_TO_CANCEL = 1.0
_SECONDS_TO_ROLL_BACK = 1.0

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
        retry_timeout: float,
        reader_role: str = "",
    ) -> None:
        self.session = session
        self.load = load
        self.counts = Counts()  # of what is committed
        self.waited = 0.0  # seconds that the reading side waited for the server
        self._retry_timeout = retry_timeout
        self._reader_role = reader_role
        self._stopped = threading.Event()
        self._thread = thread
        self._canceller = canceller
        self._running: Future[int] | None = None
        self._duplicates = 0
        # What the ledger shows if the transaction was committed whose COMMIT has no answer.
        self._doubtful: Standing | None = None

    def submit(self, batch: SealedBatch) -> None:
        """Take over a batch, once the one before it is committed."""
        self.wait()
        self._running = self._thread.submit(partial(self._write, batch))

    def last_duplicates(self) -> int:
        """How many ids of the last committed batch the tables had already."""
        return self._duplicates

    def finish(self, status: str, error: str | None) -> None:
        """Record the end of the load, once everything is committed."""
        self.wait()
        self._thread.do(partial(self._finish, status, error, self._retry_timeout))

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Have the server answer something, once everything is committed."""
        self.wait()
        return self._thread.do(partial(self._ask, question))

    def record_failure(self, status: str, error: str, seconds: float) -> None:
        """Record how an abandoned load ended, if that takes only so long."""
        with suppress(LoaderError):  # the error that ended the load is the one to show
            self._thread.within(seconds, partial(self._finish, status, error, seconds))

    def abandon(self) -> bool:
        """Let the batch in hand be committed or rolled back; False if the server is silent."""
        self._stopped.set()
        running, self._running = self._running, None
        if running is None or ends(running, _SECONDS_TO_FINISH):
            return True
        with suppress(LoaderError):
            self._canceller.within(_SECONDS_TO_CANCEL, self.session.cancel)
        self.session.silent = not ends(running, _SECONDS_TO_ROLL_BACK)
        return not self.session.silent

    def wait(self) -> None:
        """Wait until the batch in hand is committed."""
        running = self._running
        if running is not None:
            start = time.monotonic()
            try:
                self._duplicates = self._thread.result(running)
            finally:
                self.waited += time.monotonic() - start
            self._running = None

    # on the thread

    def _write(self, batch: SealedBatch) -> int:
        """Write one batch, however often it takes. Returns the duplicates that it met."""
        for attempt in retrying(self._retry_timeout, self._stopped.is_set):
            with attempt, translate(self.session.engine.url):
                if attempt.num > 1:
                    self.session.revive()
                done = self._transaction(partial(self._write_batch, batch), batches=1)
                if done is not None:
                    self.counts, duplicates = done
                    return duplicates
        return 0  # an earlier attempt had committed it

    def _ask(self, question: Callable[[Connection], T]) -> T:
        answer = self._last_words(question, RUNNING, self._retry_timeout)
        assert answer is not None, "what changes nothing is never found done already"
        return answer

    def _finish(self, status: str, error: str | None, seconds: float) -> None:
        finish = partial(ledger.finish_load, load_id=self.load.id, status=status, error=error)
        self._last_words(finish, status, seconds)

    def _last_words(
        self, work: Callable[[Connection], T], status: str, retry_timeout: float
    ) -> T | None:
        """A transaction behind all batches, on a connection that may have been lost unnoticed."""
        done: T | None = None
        for attempt in retrying(retry_timeout):
            with attempt, translate(self.session.engine.url):
                self.session.revive()
                done = self._transaction(work, status=status)
        return done

    def _transaction(
        self, work: Callable[[Connection], T], *, status: str = RUNNING, batches: int = 0
    ) -> T | None:
        """One transaction of the load; all of them are made here.

        It leaves the load in `status`, with so many batches more. Returns None, without doing the
        work, if an earlier attempt at it is found committed.
        """
        connection = self.session.connection
        with connection.begin():
            self.session.verify_lock()
            if self._is_committed(connection, status, batches):
                return None
            done = work(connection)
            self._doubtful = Standing(status, self.counts.batches + batches)
        self._doubtful = None
        return done

    def _is_committed(self, connection: Connection, status: str, batches: int) -> bool:
        """Demand that the ledger shows what was committed, and at most the COMMIT in doubt.

        Raises LedgerDisagrees otherwise; the counts are then what the ledger has.
        """
        doubtful = self._doubtful
        leaves = Standing(status, self.counts.batches + batches)
        verdict = claim(connection, self.load, self.counts.batches, doubtful)
        if verdict is Verdict.COMMITTED:
            self.counts = ledger.select_counts(connection, self.load.id)
            if doubtful != leaves:  # another transaction of the load, and this one comes after it
                verdict = claim(connection, self.load, self.counts.batches, None)
        self._doubtful = None
        if verdict in (Verdict.GO_ON, Verdict.COMMITTED):
            return verdict is Verdict.COMMITTED
        counted, self.counts = self.counts, Counts()
        if verdict not in (Verdict.GONE, Verdict.ANOTHER):
            self.counts = ledger.select_counts(connection, self.load.id)
        where = describe(self.session.engine.url)
        raise disagreement(verdict, self.load, counted=counted, recorded=self.counts, where=where)

    def _write_batch(self, batch: SealedBatch, connection: Connection) -> tuple[Counts, int]:
        """Changes, rows, rejects, ledger. Returns the counts with this batch, and duplicates."""
        load = self.load.id
        self._check_known(batch.known, connection)
        written = write_rows(connection, self.session.schema, batch)
        if self._reader_role:
            made = [c.table for c in batch.changes if isinstance(c, CreateTable)]
            grant_tables(connection, self.session.schema, self._reader_role, made)
        stored = ledger.record_rejects(connection, load, batch.rejects)
        ledger.record_replays(connection, load, batch.replays, written.known)
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
                f"{describe(self.session.engine.url)} no longer has {gone:,} of the "
                f"{len(known.ids):,} events that were there when load {self.load.id} asked for "
                "them (a standby that lagged was promoted, or they were deleted): load again"
            )


def add_batch(counts: Counts, batch: SealedBatch, written: Written, rejects: int) -> Counts:
    """The counts with one batch more, of which `rejects` were new."""
    per_table = dict(counts.rows_per_table)
    for name, count in written.rows.items():
        per_table[name] = per_table.get(name, 0) + count
    repeated_rejects = len(batch.rejects) - rejects
    added = replace(
        counts,
        batches=counts.batches + 1,
        records_read=counts.records_read + batch.records,
        rows_loaded=counts.rows_loaded + written.rows.get(TRACKS, 0),
        duplicates=counts.duplicates + batch.duplicates + len(written.known) + repeated_rejects,
        rejects=counts.rejects + rejects + sum(len(r.problems) for r in batch.replays),
        extra_values=counts.extra_values
        + sum(n for key, n in batch.extra_values.items() if key not in written.known),
        replaced_characters=counts.replaced_characters + batch.replaced_characters,
        rows_per_table=per_table,
        schema_changes=counts.schema_changes + [change.as_json() for change in batch.changes],
    )
    added.widen(written.times)
    return added
