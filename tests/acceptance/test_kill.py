"""A job that is killed or stopped at every step of a batch, and the plain load after it."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from acceptance.faults import (
    AT_GATE,
    NO_SESSION,
    SESSIONS,
    SMALL,
    Given,
    Start,
    check_settled,
    copy_of,
    ddl,
    gate,
    holding,
    job,
    kill_at_random,
    locked,
    mixed,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Run, Server

from loader.warehouse.engine import lock_key

Hold = Callable[[Database], AbstractContextManager[str]]

BEFORE = mixed(30, prefix="before")
GIVEN = mixed(3_000)
# Settings of the load after a kill; to be {} when the next load may have other settings, see
# test_a_load_that_goes_on_with_larger_batches_loses_no_record.
NEXT = SMALL
# Ids of rows in the second batch, so that the first one is committed.
LATE = "NEW.id >= 'k002' AND NEW.id < 'k003'"


@pytest.fixture(scope="session")
def used(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with a load in it, to be copied."""
    with copy_of(server, template) as db:
        path = BEFORE.write(tmp_path_factory.mktemp("before") / "before.ndjson")
        assert job("load", path, url=db.url).returncode == 0
        yield db.url.rpartition("?")[0].rpartition("/")[2] or db.url.rpartition("/")[2]


@pytest.fixture
def used_db(server: Server, used: str) -> Iterator[Database]:
    """A database in which every table has rows already."""
    with copy_of(server, used) as db:
        yield db


TABLES = (
    "tracks",
    "cart_seen",
    "email_bounced",
    "email_delivered",
    "email_link_clicked",
    "email_marked_as_spam",
    "email_opened",
    "email_unsubscribed",
)

STEPS: dict[str, Hold] = {
    "its row in _loads": lambda db: locked(db, "_loads", "SHARE", "update"),
    "DDL, before a column is added": lambda db: locked(
        db, "email_opened", "ACCESS SHARE", "alter table"
    ),
    "DDL, after a column was added": lambda db: ddl(db, "ALTER TABLE"),
    "COPY, before its first row": lambda db: locked(db, "tracks", "SHARE", "lock table"),
    **{
        f"COPY of {table}, in the middle": lambda db, table=table: trigger(db, table, LATE)
        for table in TABLES
    },
    "rejects": lambda db: locked(db, "_rejects", "SHARE", "insert into"),
    "the ledger, counts": lambda db: trigger(
        db, "_loads", "NEW.batches > 1 AND NEW.status = 'running'", "BEFORE UPDATE"
    ),
    "the ledger, files": lambda db: locked(db, "_files", "SHARE", "insert into"),
    "before commit": lambda db: trigger(db, "tracks", LATE, "DEFERRED INSERT"),
    "after commit": lambda db: trigger(db, "_loads", "NEW.status = 'success'", "BEFORE UPDATE"),
}


# The six declared collections are written in the same way.
LONG = {f"COPY of {table}, in the middle" for table in TABLES[2:] if table != "email_opened"}


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=[pytest.mark.soak] * (step in LONG)) for step in STEPS],
)
def test_a_load_killed_at_a_step_is_completed_by_the_next_one(
    start: Start, run: Run, used_db: Database, path: Path, step: str
) -> None:
    with STEPS[step](used_db) as waits:
        process = start("load", path, url=used_db.url, env=SMALL)
        wait_until(used_db, waits)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    wait_until(used_db, NO_SESSION)
    result = run("load", path, url=used_db.url, env=NEXT)
    assert result.code == 0, result.err
    check_settled(used_db, BEFORE, GIVEN)
    killed = ["interrupted"] if step != "its row in _loads" else []
    assert statuses(used_db) == ["success", *killed, "success"]
    assert run("load", path, "--force", url=used_db.url).code == 0
    check_settled(used_db, BEFORE, GIVEN)


def test_a_load_that_goes_on_with_larger_batches_loses_no_record(
    start: Start, run: Run, used_db: Database, path: Path
) -> None:
    with STEPS["COPY of email_opened, in the middle"](used_db) as waits:
        process = start("load", path, url=used_db.url, env=SMALL)
        wait_until(used_db, waits)
        process.kill()
        process.wait()
    assert run("load", path, url=used_db.url).code == 0
    check_settled(used_db, BEFORE, GIVEN)


def test_a_load_killed_while_it_creates_a_table_is_completed_by_the_next_one(
    start: Start, run: Run, db: Database, path: Path
) -> None:
    with ddl(db, "CREATE TABLE") as waits:
        process = start("load", path, url=db.url, env=SMALL)
        wait_until(db, waits)
        process.kill()
        process.wait()
    assert "cart_seen" not in db.tables()
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


def test_a_load_killed_in_a_migration_is_completed_by_the_next_one(
    start: Start, run: Run, empty_db: Database, path: Path
) -> None:
    with ddl(empty_db, "CREATE TABLE") as waits:
        process = start("load", path, url=empty_db.url)
        wait_until(empty_db, waits)
        process.kill()
        process.wait()
    assert empty_db.tables() == []
    assert run("load", path, url=empty_db.url).code == 0
    check_settled(empty_db, GIVEN)


# read, normalize, id check: the input waits


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.ndjson"
    os.mkfifo(path)
    return path


def test_a_load_killed_while_it_reads_is_completed_by_the_next_one(
    start: Start, run: Run, db: Database, pipe: Path
) -> None:
    given = mixed(12_000)  # more than one block of what is read at a time
    data = given.data
    process = start("load", pipe, url=db.url, env={"LOADER_BATCH_RECORDS": "100"})
    with pipe.open("wb", buffering=0) as end:
        end.write(data[: len(data) * 2 // 3])
        wait_until(db, "SELECT count(*) > 0 FROM tracks")
        wait_until(db, f"SELECT count(*) = 0 {SESSIONS} AND state <> 'idle'")
        process.kill()
        process.wait()
    wait_until(db, NO_SESSION)
    pipe.unlink()
    assert run("load", given.write(pipe)).code == 0
    check_settled(db, given)
    assert statuses(db) == ["interrupted", "success"]


def test_a_load_killed_while_it_normalizes_is_completed_by_the_next_one(
    start: Start, run: Run, db: Database, pipe: Path, tmp_path: Path
) -> None:
    given = mixed(20_000)
    process = start("load", pipe, url=db.url)
    with pipe.open("wb", buffering=0) as end:
        end.write(given.data)
        # The pipe is empty but for its last bytes; some megabytes are still to be normalized.
        busy = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        process.kill()
        process.wait()
    assert busy in "RSD"
    wait_until(db, NO_SESSION)
    assert statuses(db) == ["running"]
    assert db.value("SELECT count(*) FROM tracks") == 0
    whole = given.write(tmp_path / "whole.ndjson")
    assert run("load", whole).code == 0
    check_settled(db, given)


def test_a_load_killed_while_it_asks_for_known_ids_is_completed_by_the_next_one(
    start: Start, run: Run, used_db: Database, pipe: Path, path: Path
) -> None:
    process = start("load", pipe, url=used_db.url)
    with pipe.open("wb", buffering=0) as end:
        wait_until(used_db, "SELECT count(*) > 0 FROM _loads WHERE status = 'running'")
        with locked(used_db, "tracks", "ACCESS EXCLUSIVE", "select string_agg") as waits:
            end.write(path.read_bytes())
            end.close()
            wait_until(used_db, waits)
            process.kill()
            process.wait()
    wait_until(used_db, NO_SESSION)
    assert run("load", path, url=used_db.url, env=NEXT).code == 0
    check_settled(used_db, BEFORE, GIVEN)


def test_a_load_killed_after_a_copy_met_known_ids_is_completed_by_the_next_one(
    start: Start, run: Run, used_db: Database, tmp_path: Path
) -> None:
    # Ids are asked for before COPY only as long as batches bring known ones.
    given = Given()
    for number in range(1_050):
        given.event("Email Opened", "email_opened", f"new{number:06}", subject="x" * 60)
    given.lines += [line for line in BEFORE.lines if "event" in line]
    path = given.write(tmp_path / "given.ndjson")
    # The first COPY of its batch, into `tracks`, meets the known ones, so this row comes after it.
    with trigger(used_db, "email_opened", "NEW.id = 'new001049'") as waits:
        process = start("load", path, url=used_db.url, env={"LOADER_BATCH_RECORDS": "100"})
        wait_until(used_db, waits)
        process.kill()
        process.wait()
    wait_until(used_db, NO_SESSION)
    assert run("load", path, url=used_db.url, env=NEXT).code == 0
    check_settled(used_db, BEFORE, given)


def test_loads_killed_at_random_moments_are_completed_by_the_next_one(
    server: Server, template: str, start: Start, tmp_path: Path
) -> None:
    report = kill_at_random(server, template, start, tmp_path, seed=4, kills=6)
    assert report.looks > 0


# signals


CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def is_told(db: Database, err: bytes, number: signal.Signals) -> None:
    """One line says which signal stopped the load, and what of it is committed."""
    last = "SELECT records_read, batches FROM _loads ORDER BY id DESC LIMIT 1"
    [(records, batches)] = db.rows(last)
    assert batches > 0
    assert err.decode() == (
        f"customerio-loader: the load of 'Customer.io' was stopped by {number.name}; "
        f"committed: {records:,} records in {batches:,} batch{'es' * (batches > 1)}. "
        "Run it again: it goes on behind them\n"
    )


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_in_the_middle_of_a_copy_ends_the_load_within_ten_seconds(
    start: Start, run: Run, used_db: Database, path: Path, number: signal.Signals
) -> None:
    with trigger(used_db, "email_opened", LATE) as waits:
        process = start("load", path, url=used_db.url, env=SMALL)
        wait_until(used_db, waits)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (CODES[number], b"")
        is_told(used_db, err, number)
        assert statuses(used_db) == ["success", "interrupted"]
    assert run("load", path, url=used_db.url, env=NEXT).code == 0
    check_settled(used_db, BEFORE, GIVEN)


def test_a_second_signal_does_not_disturb_the_end_of_a_load(
    start: Start, run: Run, used_db: Database, path: Path
) -> None:
    with trigger(used_db, "email_opened", LATE) as waits:
        process = start("load", path, url=used_db.url, env=SMALL)
        wait_until(used_db, waits)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
            time.sleep(0.3)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 143
        is_told(used_db, err, signal.SIGTERM)  # the first one
        assert statuses(used_db) == ["success", "interrupted"]
    assert run("load", path, url=used_db.url, env=NEXT).code == 0
    check_settled(used_db, BEFORE, GIVEN)


@pytest.mark.parametrize(
    "step",
    [
        "before commit",
        pytest.param(
            "after commit",
        ),
        "rejects",
    ],
)
def test_a_signal_at_a_step_ends_the_load_within_ten_seconds(
    start: Start, run: Run, used_db: Database, path: Path, step: str
) -> None:
    with STEPS[step](used_db) as waits:
        process = start("load", path, url=used_db.url, env=SMALL)
        wait_until(used_db, waits)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode == 143
    wait_until(used_db, NO_SESSION)
    assert run("load", path, url=used_db.url, env=NEXT).code == 0
    check_settled(used_db, BEFORE, GIVEN)


def test_a_signal_ends_a_load_that_asks_for_known_ids(
    start: Start, run: Run, used_db: Database, pipe: Path, path: Path
) -> None:
    process = start("load", pipe, url=used_db.url)
    with pipe.open("wb", buffering=0) as end:
        wait_until(used_db, "SELECT count(*) > 0 FROM _loads WHERE status = 'running'")
        with locked(used_db, "tracks", "ACCESS EXCLUSIVE", "select string_agg") as waits:
            end.write(path.read_bytes())
            end.close()
            wait_until(used_db, waits)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 143
            assert statuses(used_db) == ["success", "interrupted"]


def test_signals_at_random_moments_leave_a_load_that_the_next_one_completes(
    start: Start, run: Run, db: Database, path: Path
) -> None:
    moments = random.Random(8)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process = start("load", path, url=db.url, env={"LOADER_BATCH_RECORDS": "200"})
        time.sleep(moments.uniform(0.1, 1.2))
        with suppress(ProcessLookupError):
            process.send_signal(number)
        process.communicate(timeout=10)
        # Before Python is up, the signal itself ends the process.
        assert process.returncode in (0, CODES[number], -number)
        wait_until(db, NO_SESSION)
        assert set(statuses(db)) <= {"interrupted", "success"}
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


def test_a_signal_while_a_load_begins_leaves_no_running_load(
    start: Start, db: Database, path: Path
) -> None:
    with trigger(db, "_loads", "true") as waits:
        process = start("load", path, url=db.url)
        wait_until(db, waits)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert process.wait(10) == 143
    assert statuses(db) == ["interrupted"]


def test_a_signal_ends_the_wait_for_another_load_at_once(
    start: Start, db: Database, path: Path
) -> None:
    with holding(db, f"SELECT pg_advisory_lock({lock_key('customerio')})"):
        process = start("load", path, "--wait", url=db.url)
        wait_until(db, NO_SESSION, False)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(3) == 130
    assert statuses(db) == []


def test_the_gate_of_these_tests_is_seen(db: Database) -> None:
    assert lock_key("customerio") != 4242
    with gate(db):
        assert db.value(AT_GATE) is False
