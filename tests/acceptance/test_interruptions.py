"""Loads that are cut short, killed or in each other's way, and the clean load after them."""

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from acceptance.harness import Database, Run, Write, ndjson, track

from loader.warehouse.engine import lock_key

Start = Callable[..., "subprocess.Popen[bytes]"]
LOADS = "SELECT status, error FROM _loads ORDER BY id"
SESSIONS = (
    "FROM pg_stat_activity "
    "WHERE application_name = 'customerio-loader' AND datname = current_database()"
)


def events(count: int, **overrides: Any) -> list[dict[str, Any]]:
    """Events that do not compress to nothing, so that half a file holds about half of them."""
    return [
        track("Email Opened", messageId=f"{i:05}", subject=os.urandom(60).hex(), **overrides)
        for i in range(count)
    ]


def wait_until(db: Database, statement: str, expected: Any = True, seconds: float = 20) -> None:
    """Wait until a SELECT has a value."""
    end = time.monotonic() + seconds
    while (found := db.value(statement)) != expected:
        assert time.monotonic() < end, f"{statement}: {found!r}, not {expected!r}"
        time.sleep(0.05)


# files cut short


@pytest.mark.parametrize(
    "compress",
    [
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(bz2.compress, id="bzip2", marks=pytest.mark.soak),
        pytest.param(lzma.compress, id="xz", marks=pytest.mark.soak),
        pytest.param(zstandard.compress, id="zstd", marks=pytest.mark.soak),
    ],
)
def test_a_truncated_file_is_partial_until_it_is_repaired(
    run: Run, db: Database, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    whole = compress(ndjson(*events(20_000)))
    path = tmp_path / "events.gz"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    result = run("load", path, "--json")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert result.json["status"] == "partial"
    loaded = db.value("SELECT count(*) FROM tracks")
    assert 1000 < loaded < 20_000
    assert result.json["rejects"] == 0
    assert db.rows("SELECT finished, records_done FROM _files") == [(False, loaded)]
    [(status, error)] = db.rows(LOADS)
    assert (status, str(path) in error) == ("partial", True)

    again = run("load", path, "--json")
    assert (again.code, again.json["rows_loaded"]) == (1, 0)

    path.write_bytes(whole)
    repaired = run("load", path, "--json")
    assert (repaired.code, repaired.json["rows_loaded"]) == (0, 20_000 - loaded)
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM email_opened") == [(20_000, 20_000)]
    assert db.value("SELECT count(*) FROM tracks") == 20_000
    assert db.rows("SELECT finished, records_done FROM _files") == [(True, 20_000)]


def test_a_broken_file_does_not_keep_the_others_from_loading(
    run: Run, db: Database, tmp_path: Path, write: Write
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.gz").write_bytes(gzip.compress(b"x")[:12])
    write("in/2.json", track("Email Opened", messageId="1"))
    result = run("load", tmp_path / "in")
    assert (result.code, "1.gz" in result.err) == (1, True)
    assert db.rows("SELECT id FROM tracks") == [("1",)]
    assert db.rows("SELECT finished FROM _files ORDER BY uri DESC LIMIT 1") == [(True,)]


# the lock


def test_another_load_is_exit_75_and_changes_nothing(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", track("Email Opened"))
    before = db.dump()
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (lock_key("customerio"),))
        result = run("load", path)
        assert (result.code, result.out) == (75, "")
        assert "another load of 'Customer.io' is running" in result.err
        assert db.dump() == before
        other = run("load", path, "--source", "Other")
        assert other.code == 0
    assert run("load", path).code == 0


def test_a_load_that_waits_goes_on_when_the_lock_is_free(
    start: Start, db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Email Opened", messageId="1"))
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (lock_key("customerio"),))
        process = start("load", path, "--wait", url=db.url)
        wait_until(db, f"SELECT count(*) > 0 {SESSIONS}")
        time.sleep(1)
        assert process.poll() is None
        assert db.value("SELECT count(*) FROM _loads") == 0
    assert process.wait(20) == 0
    assert db.rows("SELECT id FROM tracks") == [("1",)]


def test_a_load_that_waits_stops_on_a_signal(start: Start, db: Database, write: Write) -> None:
    path = write("a.ndjson", track("Email Opened"))
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (lock_key("customerio"),))
        process = start("load", path, "--wait", url=db.url)
        # The first line of output, or the lock in pg_locks, says that it waits.
        wait_until(db, f"SELECT count(*) > 0 {SESSIONS}")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 143


def test_without_auto_migrate_an_old_schema_is_exit_4(
    run: Run, empty_db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Email Opened"))
    write("loader.toml", "auto_migrate = false")
    result = run("load", path, url=empty_db.url)
    assert (result.code, result.out) == (4, "")
    assert "customerio-loader migrate" in result.err
    assert empty_db.tables() == []
    assert run("migrate", url=empty_db.url).code == 0
    assert run("load", path, url=empty_db.url).code == 0


# signals

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_ends_a_load_of_a_file_after_its_batch(
    start: Start, run: Run, db: Database, write: Write, number: signal.Signals
) -> None:
    path = write("many.ndjson", *events(40_000))
    env = {"LOADER_BATCH_RECORDS": "1000"}
    process = start("load", path, url=db.url, env=env)
    wait_until(db, "SELECT count(*) > 0 FROM tracks")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (CODES[number], b"")
    assert b"Traceback" not in err
    assert db.rows(LOADS) == [("interrupted", "stopped by a signal")]
    loaded = db.value("SELECT count(*) FROM tracks")
    assert 0 < loaded < 40_000
    assert db.value("SELECT count(*) FROM email_opened") == loaded
    assert db.rows("SELECT rows_loaded, records_read FROM _loads") == [(loaded, loaded)]
    assert db.rows("SELECT records_done, finished FROM _files") == [(loaded, False)]
    result = run("load", path, "--json", env=env)
    assert (result.code, result.json["rows_loaded"]) == (0, 40_000 - loaded)
    assert result.json["records_read"] == 40_000 - loaded  # it goes on behind the last one
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM email_opened") == [(40_000, 40_000)]


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_ends_a_load_of_a_slow_pipe(
    start: Start, run: Run, db: Database, number: signal.Signals
) -> None:
    records = events(3000)
    process = start("load", "-", url=db.url, env={"LOADER_BATCH_RECORDS": "1000"})
    assert process.stdin is not None
    process.stdin.write(ndjson(*records[:2500]))
    process.stdin.flush()
    wait_until(db, "SELECT count(*) > 0 FROM _loads")
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(10) == CODES[number]
    assert process.stderr is not None
    assert b"Fatal" not in process.stderr.read()
    assert db.rows(LOADS) == [("interrupted", "stopped by a signal")]
    assert db.value("SELECT count(*) FROM tracks") == db.value("SELECT count(*) FROM email_opened")
    assert run("load", "-", stdin=ndjson(*records)).code == 0
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM email_opened") == [(3000, 3000)]
    assert db.value("SELECT status FROM _loads ORDER BY id DESC LIMIT 1") == "success"


def test_a_killed_load_is_completed_by_the_next_one(
    start: Start, run: Run, db: Database, write: Write
) -> None:
    path = write("many.ndjson", *events(40_000), track("Cart Seen", messageId="last"))
    process = start("load", path, url=db.url, env={"LOADER_BATCH_RECORDS": "1000"})
    wait_until(db, "SELECT count(*) > 0 FROM tracks")
    process.kill()
    process.wait(20)
    # The server needs a moment to see that the session is gone.
    wait_until(db, f"SELECT count(*) = 0 {SESSIONS}")
    loaded = db.value("SELECT count(*) FROM tracks")
    assert 0 < loaded < 40_000
    assert db.value("SELECT count(*) FROM email_opened") == loaded
    assert db.rows("SELECT status, finished_at FROM _loads") == [("running", None)]
    result = run("load", path, "--json")
    assert (result.code, result.json["rows_loaded"]) == (0, 40_001 - loaded)
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM tracks") == [(40_001, 40_001)]
    assert db.value("SELECT count(*) FROM email_opened") == 40_000
    assert [status for status, _ in db.rows(LOADS)] == ["interrupted", "success"]
    assert db.value("SELECT finished_at IS NOT NULL FROM _loads ORDER BY id LIMIT 1") is True


def test_a_load_goes_on_each_time_its_sessions_are_ended(
    start: Start, db: Database, write: Write
) -> None:
    path = write("many.ndjson", *events(40_000))
    process = start("load", path, url=db.url, env={"LOADER_BATCH_RECORDS": "500"})
    committed = 0
    for _ in range(4):
        # Between two endings a batch is committed: the load has its sessions again.
        wait_until(db, f"SELECT max(batches) > {committed} FROM _loads")
        assert db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        committed = db.value("SELECT max(batches) FROM _loads")
    assert committed < 70  # it had still something to do
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert db.rows("SELECT count(*), count(DISTINCT id) FROM email_opened") == [(40_000, 40_000)]
    assert db.value("SELECT count(*) FROM tracks") == 40_000
    assert db.rows("SELECT status, rows_loaded, duplicates FROM _loads") == [("success", 40_000, 0)]
