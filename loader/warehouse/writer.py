"""The writer: batches go to the server one after the other, on a thread of its own.

A fault that passes is waited out: the batch is kept until its transaction is known to be
committed, and the ledger tells whether it was.
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

from loader.errors import LoaderError
from loader.normalize.collections import TRACKS
from loader.threads import SteadyThread, ends
from loader.warehouse import ledger
from loader.warehouse.batch import SealedBatch
from loader.warehouse.engine import Session, retrying, translate
from loader.warehouse.evolve import CreateTable
from loader.warehouse.grants import grant_tables
from loader.warehouse.ledger import Counts
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
        load_id: int,
        *,
        retry_timeout: float,
        reader_role: str = "",
    ) -> None:
        self.session = session
        self.load_id = load_id
        self.counts = Counts()
        self.waited = 0.0  # seconds that the reading side waited for the server
        self._retry_timeout = retry_timeout
        self._reader_role = reader_role
        self._stopped = threading.Event()
        self._thread = thread
        self._canceller = canceller
        self._running: Future[int] | None = None
        self._duplicates = 0

    def submit(self, batch: SealedBatch) -> None:
        """Take over a batch, once the one before it is committed."""
        self.wait()
        self._running = self._thread.submit(partial(self._write, batch))

    def last_duplicates(self) -> int:
        """How many ids of the last committed batch the tables had already."""
        return self._duplicates

    def finish(self, status: str, error: str | None) -> None:
        """Record the end of the load, once everything is committed."""
        self.ask(partial(self._finish, status, error))

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Have the server do something, once everything is committed."""
        self.wait()
        return self._thread.do(partial(self._ask, question, self._retry_timeout))

    def record_failure(self, status: str, error: str, seconds: float) -> None:
        """Record how an abandoned load ended, if that takes only so long."""
        with suppress(LoaderError):  # the error that ended the load is the one to show
            finish = partial(self._finish, status, error)
            self._thread.within(seconds, partial(self._ask, finish, seconds))

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

    def _write(self, batch: SealedBatch) -> int:
        """Write one batch, however often it takes. Returns the duplicates that it met."""
        duplicates = 0
        for attempt in retrying(self._retry_timeout, self._stopped.is_set):
            with attempt, translate(self.session.engine.url):
                if attempt.num > 1:
                    self.session.revive()
                    if self._is_committed(batch):
                        return 0
                duplicates = self._transaction(batch)
        return duplicates

    def _ask(self, question: Callable[[Connection], T], retry_timeout: float) -> T:
        for attempt in retrying(retry_timeout):
            with attempt, translate(self.session.engine.url):
                self.session.revive()
                with self.session.connection.begin():
                    return question(self.session.connection)
        raise AssertionError("an attempt ends well or raises")

    def _finish(self, status: str, error: str | None, connection: Connection) -> None:
        ledger.finish_load(connection, self.load_id, status, error)

    def _transaction(self, batch: SealedBatch) -> int:
        """One transaction: changes, rows, rejects, ledger."""
        connection = self.session.connection
        with connection.begin():
            self.session.verify_lock()
            written = write_rows(connection, self.session.schema, batch)
            if self._reader_role:
                made = [c.table for c in batch.changes if isinstance(c, CreateTable)]
                grant_tables(connection, self.session.schema, self._reader_role, made)
            stored = ledger.record_rejects(connection, self.load_id, batch.rejects)
            ledger.record_replays(connection, self.load_id, batch.replays, written.known)
            counts = add_batch(self.counts, batch, written, stored)
            ledger.record_batch(connection, self.load_id, counts, batch.files)
        self.counts = counts
        return len(written.known)

    def _is_committed(self, batch: SealedBatch) -> bool:
        """Whether the connection was lost only after the commit."""
        with self.session.connection.begin():
            recorded = ledger.select_counts(self.session.connection, self.load_id)
        if recorded.batches < batch.number:
            return False
        self.counts = recorded
        return True


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
