"""A plan: a load whose batches are counted instead of written."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection

from loader.normalize.collections import TRACKS
from loader.normalize.event import IgnoreReason
from loader.warehouse.batch import SealedBatch, Waiting
from loader.warehouse.evolve import Change, changes_sql
from loader.warehouse.ids import Existing, Ids, Known, SeenIds
from loader.warehouse.ledger import Counts
from loader.warehouse.rejects import select_known_rejects
from loader.warehouse.write import Written, count_rows, ids_of
from loader.warehouse.writer import add_batch


class Planner:
    """Counts batches instead of writing them."""

    def __init__(self, ledger_at: Connection | None) -> None:
        self.counts = Counts()
        self.waited = 0.0
        self.ignored: Counter[IgnoreReason] = Counter()
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
        for copy in batch.copies:
            if copy.table == TRACKS:
                self._seen.add(ids_of(copy))
        written = Written(count_rows(batch.copies), frozenset(), batch.times)
        rejects = {row.id for row in batch.rejects}
        rejects -= self._rejects.among(list(rejects))
        self._rejects.add(list(rejects))
        if self._ledger_at is not None:
            rejects -= select_known_rejects(self._ledger_at, list(rejects))
        self.ignored.update(batch.ignored)
        self.counts = add_batch(self.counts, batch, written, len(rejects))
        self.counts.schema_changes = [change.as_json() for change in self.changes]

    def last_duplicates(self) -> int:
        return 1  # keep asking: nothing is written that could find them

    def sql(self, schema: str) -> str:
        """The schema changes as SQL."""
        return changes_sql(schema, self.changes)
