"""The transactions of a load, one after the other.

A fault that passes is waited out: what a transaction does is done again until it is known to be
committed, and the ledger tells whether it was. Each begins by demanding that the ledger shows
everything that was committed before it, see `claim.py`.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from loader.errors import LedgerDisagrees
from loader.warehouse import ledger
from loader.warehouse.claim import Standing, Verdict, claim, disagreement
from loader.warehouse.engine import Session, retrying, translate
from loader.warehouse.ledger import RUNNING, Counts, Load
from loader.warehouse.migrate import read_revision
from loader.warehouse.opening import describe

T = TypeVar("T")


class Transactions:
    """Makes the transactions of one load, on the thread that has its session."""

    def __init__(
        self,
        session: Session,
        load: Load,
        *,
        revision: str,
        retry_timeout: float,
        stopped: threading.Event,
    ) -> None:
        self.session = session
        self.load = load
        self.counts = Counts()  # of what is committed
        self._revision = revision  # of the schema
        self._retry_timeout = retry_timeout
        self._stopped = stopped
        # What the ledger shows if the transaction was committed whose COMMIT has no answer.
        self._doubtful: Standing | None = None
        self._revision_of = session.number  # the connection on which the revision was looked at

    @property
    def schema(self) -> str:
        """The schema of the source."""
        return self.session.schema

    @property
    def where(self) -> str:
        """The server, for people."""
        return describe(self.session.engine.url)

    def run_until_done(
        self,
        work: Callable[[Connection], T],
        *,
        status: str = RUNNING,
        batches: int = 0,
        seconds: float | None = None,
        even_stopped: bool = False,
    ) -> T | None:
        """Do something in a transaction of its own, however often faults end it.

        It leaves the load in `status`, with so many batches more. Returns None, without doing the
        work once more, if an earlier attempt at it is found committed.
        """
        stopped = (lambda: False) if even_stopped else self._stopped.is_set
        done: T | None = None
        for attempt in retrying(self._retry_timeout if seconds is None else seconds, stopped):
            with attempt, translate(self.session.engine.url):
                self.session.revive()
                done = self._run(work, status, batches)
        return done

    def _run(self, work: Callable[[Connection], T], status: str, batches: int) -> T | None:
        connection, done = self.session.connection, None
        with connection.begin():
            self.session.verify_lock()
            committed = self._find_committed(connection, status, batches)
            if committed is None:
                self._require_revision(connection)
                done = work(connection)
                self._doubtful = Standing(status, self.counts.batches + batches)
        # Not before: this transaction can be lost, too, and then it is looked at once more.
        if committed is not None:
            self.counts = committed
        self._doubtful = None
        return done

    def _find_committed(self, connection: Connection, status: str, batches: int) -> Counts | None:
        """Demand that the ledger shows what was committed, and at most the COMMIT in doubt.

        Returns the counts that it has, if that was this transaction. Raises LedgerDisagrees
        otherwise; `self.counts` are then what the ledger has.
        """
        doubtful = self._doubtful
        verdict = claim(connection, self.load, self.counts.batches, doubtful)
        if verdict is Verdict.COMMITTED:
            found = ledger.select_counts(connection, self.load.id)
            if doubtful == Standing(status, self.counts.batches + batches):
                return found
            # It was another transaction of the load, and this one comes after it.
            self.counts = found
            verdict = claim(connection, self.load, found.batches, None)
        self._doubtful = None
        if verdict is Verdict.GO_ON:
            return None
        counted, self.counts = self.counts, Counts()
        if verdict not in (Verdict.GONE, Verdict.ANOTHER):
            self.counts = ledger.select_counts(connection, self.load.id)
        raise disagreement(
            verdict, self.load, counted=counted, recorded=self.counts, where=self.where
        )

    def _require_revision(self, connection: Connection) -> None:
        """See that nobody has migrated the schema while the connection, and the lock, was lost."""
        if self._revision_of == self.session.number:
            return
        revision = read_revision(connection, self.schema)
        if revision != self._revision:
            raise LedgerDisagrees(
                f"the schema {self.schema!r} in {self.where} was migrated to revision {revision} "
                f"while load {self.load.id} had lost its connection: load again"
            )
        self._revision_of = self.session.number
