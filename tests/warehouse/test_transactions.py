"""The transactions of a load, whose connection is lost at the worst moments."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from acceptance.harness import SCHEMA, Database
from sqlalchemy import Connection

from loader.errors import LedgerDisagrees, TransientFault
from loader.warehouse import ledger, migrate, opening
from loader.warehouse.claim import Standing
from loader.warehouse.engine import Session, connect, make_engine
from loader.warehouse.ledger import RUNNING, Counts
from loader.warehouse.transactions import Transactions


@pytest.fixture
def session(db: Database) -> Iterator[Session]:
    found = Session(make_engine(db.url), SCHEMA)
    assert found.open()
    yield found
    found.close()


@pytest.fixture
def transactions(session: Session) -> Transactions:
    with session.connection.begin():
        load = ledger.start_load(session.connection, "Customer.io", "1")
    return Transactions(
        session,
        load,
        revision=migrate.head_revision(),
        retry_timeout=20,
        stopped=threading.Event(),
    )


def end_sessions(db: Database) -> None:
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'customerio-loader' AND datname = current_database()"
    )


def write(transactions: Transactions, connection: Connection) -> int:
    counts = Counts(batches=transactions.counts.batches + 1, records_read=10, rows_loaded=10)
    ledger.record_batch(connection, transactions.load.id, counts, [])
    return counts.batches


def test_what_was_committed_is_not_done_again_where_the_look_at_it_is_lost(
    transactions: Transactions, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was: the counts were taken over before the transaction of the look had ended."""
    with transactions.session.connection.begin():
        write(transactions, transactions.session.connection)
    transactions._doubtful = Standing(RUNNING, 1)  # its COMMIT had no answer
    select_counts, looks = ledger.select_counts, []

    def lost_behind(connection: Connection, load_id: int) -> Counts:
        found = select_counts(connection, load_id)
        looks.append(found)
        if len(looks) == 1:
            end_sessions(db)
        return found

    monkeypatch.setattr(ledger, "select_counts", lost_behind)
    work: list[Any] = []
    assert transactions.run_until_done(work.append, batches=1) is None
    assert (work, len(looks), transactions.counts.batches) == ([], 2, 1)
    assert db.rows("SELECT batches, records_read FROM _loads") == [(1, 10)]


def test_another_transaction_comes_behind_one_that_was_in_doubt(
    transactions: Transactions, db: Database
) -> None:
    with transactions.session.connection.begin():
        write(transactions, transactions.session.connection)
    transactions._doubtful = Standing(RUNNING, 1)
    assert transactions.run_until_done(lambda _: "done") == "done"
    assert transactions.counts.batches == 1
    assert transactions.run_until_done(lambda c: write(transactions, c), batches=1) == 2


def test_a_migration_while_the_connection_was_lost_ends_the_load(
    transactions: Transactions, db: Database
) -> None:
    assert transactions.run_until_done(lambda _: 1) == 1
    end_sessions(db)
    assert transactions.run_until_done(lambda _: 2) == 2  # the same revision
    db.execute("UPDATE alembic_version SET version_num = '9999'")
    end_sessions(db)
    with pytest.raises(LedgerDisagrees, match="migrated to revision 9999"):
        transactions.run_until_done(lambda _: 3)


def test_a_connection_that_is_lost_while_it_is_set_up_is_a_fault_that_passes(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a traceback: its limits were not known yet."""
    monkeypatch.setattr(
        opening, "_SET_UP", "SELECT pg_terminate_backend(pg_backend_pid()) -- %s %s %s %s"
    )
    with pytest.raises(TransientFault), connect(make_engine(db.url)):
        pass
