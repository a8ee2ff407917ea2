"""No room for locks, columns, files or memory: it is told, and the next load completes."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.faults import (
    SMALL,
    Given,
    OwnServer,
    Start,
    check_settled,
    copy_of,
    finishes,
    mixed,
    own_server,
    sentence,
    statuses,
)
from acceptance.harness import SCHEMA, Database, Run, Server

from loader.normalize.collections import EMAIL_MESSAGES_NOW, VIEWS

GIVEN = mixed(3_000)


@pytest.fixture
def tight() -> Iterator[OwnServer]:
    """A server with few connections and few locks."""
    settings = {
        "max_connections": "8",
        "superuser_reserved_connections": "1",
        "max_locks_per_transaction": "10",
        "autovacuum_worker_slots": "1",
        "autovacuum_max_workers": "1",
        "max_worker_processes": "0",
        "max_wal_senders": "0",
    }
    with own_server(**settings) as found:
        yield found


def test_a_server_without_room_for_connections_or_locks_is_told_and_mended(
    start: Start, run: Run, tight: OwnServer, tmp_path: Path
) -> None:
    given = Given()
    for i in range(200):
        given.event(f"Kind {i:03}", f"kind_{i:03}", f"id{i}", size=i)
    path = given.write(tmp_path / "given.ndjson")
    with copy_of(tight, "migrated") as db:
        process = start("load", path, url=db.url)
        _, err = process.communicate(timeout=60)
        sentence(process.returncode, err, 1, "max_locks_per_transaction")
        assert statuses(db) == ["failure"]
        assert [name for name in db.tables() if name.startswith("kind_")] == []

        with (tight.folder / "postgresql.conf").open("a") as file:
            file.write("max_locks_per_transaction = 64\n")
        tight.stop("fast")
        tight.start()
        db.execute("CREATE ROLE crowd LOGIN")
        crowd = [
            tight.database(db.url.rpartition("/")[2], user="crowd").connect() for _ in range(7)
        ]
        process = start("load", path, url=db.url)
        time.sleep(1.5)
        for connection in crowd:
            connection.close()
        finishes(process)
        check_settled(db, given)


def test_two_hundred_new_tables_in_one_batch_are_made(
    run: Run, db: Database, tmp_path: Path
) -> None:
    given = Given()
    for i in range(200):
        given.event(f"Kind {i:03}", f"kind_{i:03}", f"id{i}", size=i)
    assert run("load", given.write(tmp_path / "given.ndjson")).code == 0
    check_settled(db, given)


def test_dropped_columns_count_for_the_limit_of_postgresql(
    run: Run, db: Database, tmp_path: Path
) -> None:
    table = f"ALTER TABLE {SCHEMA}.email_opened"
    for _ in range(2):
        names = [f"old_{i}" for i in range(765)]
        db.execute(f"{table} " + ", ".join(f"ADD {name} int" for name in names))
        db.execute(f"{table} " + ", ".join(f"DROP {name}" for name in names))
    given = Given()
    many = {f"new_{i}": i for i in range(60)}
    given.event("Email Opened", "email_opened", "1", **many)
    result = run("load", given.write(tmp_path / "given.ndjson"))
    assert result.code == 0, result.err
    check_settled(db, given)
    [row] = db.dicts("SELECT * FROM email_opened")
    found = row["_extra"] | {k: v for k, v in row.items() if k.startswith("new_")}
    assert found == many
    assert row["_extra"] != {}


@pytest.fixture
def full_disk(server: Server, db: Database) -> Iterator[Path]:
    """The tables of the test's database on a disk of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root to be mounted")
    folder = server.folder.parent / f"disk-{os.getpid()}"
    folder.mkdir()
    options = "size=24m,mode=0777"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.decode()}")
    admin = server.database("postgres")
    name = f"disk_{os.getpid()}"
    try:
        status = server.folder.stat()
        os.chown(folder, status.st_uid, status.st_gid)
        admin.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        tables = [table for table in db.tables() if table not in (EMAIL_MESSAGES_NOW, *VIEWS)]
        for table in tables:
            db.execute(f"ALTER TABLE {SCHEMA}.{table} SET TABLESPACE {name}")
            for (index,) in db.rows("SELECT indexname FROM pg_indexes WHERE tablename = %s", table):
                db.execute(f"ALTER INDEX {SCHEMA}.{index} SET TABLESPACE {name}")
        yield folder
        for table in tables:
            db.execute(f"DROP TABLE {SCHEMA}.{table} CASCADE")
        admin.execute("CHECKPOINT")
        admin.execute(f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        folder.rmdir()


def test_a_full_disk_of_the_server_is_told_and_the_next_load_completes(
    run: Run, start: Start, db: Database, full_disk: Path, tmp_path: Path
) -> None:
    given = Given()
    for i in range(3_000):
        given.event("Email Opened", "email_opened", f"{i:06}", subject=os.urandom(3000).hex())
    path = given.write(tmp_path / "given.ndjson")
    process = start("load", path, url=db.url, env=SMALL)
    _, err = process.communicate(timeout=60)
    sentence(process.returncode, err, 1, "No space left on device", "free disk space")
    assert statuses(db) == ["failure"]
    assert db.value("SELECT count(*) FROM _rejects") == 0
    subprocess.run(["mount", "-o", "remount,size=96m", full_disk], check=True)
    assert run("load", path).code == 0
    check_settled(db, given)


_PEAK = """
import sys
from loader.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmPeak:")).split()[1])
sys.exit(code)
"""


@pytest.fixture
def needed(db: Database, tmp_path: Path) -> int:
    """Bytes of addresses that a load of one event takes here; it differs between machines."""
    given = Given()
    given.event("Email Opened", "email_opened", "first")
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, "load", given.write(tmp_path / "one.ndjson"), "--json"],
        capture_output=True,
        env=os.environ | {"LOADER_WAREHOUSE_URL": db.url, "MALLOC_ARENA_MAX": "1"},
        cwd=tmp_path,
        check=True,
    )
    db.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    return int(done.stdout.split()[-1]) << 10


def limited(start: Start, db: Database, path: str, limit: int) -> "subprocess.Popen[bytes]":
    """A load that may have so many bytes of addresses."""
    return start(
        "load",
        path,
        url=db.url,
        # Now and then a thread's own arena took what the start of the load needed.
        env={"MALLOC_ARENA_MAX": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )


def large(tmp_path: Path) -> tuple[Given, str]:
    """20,000 events of 2 kB."""
    given = Given()
    for i in range(20_000):
        given.event("Email Opened", "email_opened", f"{i:06}", subject=os.urandom(1000).hex())
    return given, given.write(tmp_path / "given.ndjson")


def test_a_job_without_memory_says_so_and_the_next_one_completes(
    start: Start, run: Run, db: Database, needed: int, tmp_path: Path
) -> None:
    given, path = large(tmp_path)
    codes = set()
    for share in (0.6, 0.85, 1.0, 1.15, 1.3):
        process = limited(start, db, path, int(share * needed))
        _, err = process.communicate(timeout=60)
        codes.add(process.returncode)
        if process.returncode:
            sentence(process.returncode, err, 1, "out of memory", "batch_bytes")
            if "_loads" in db.tables():
                assert set(statuses(db)) <= {"failure"}
    assert 1 in codes
    assert run("load", path).code == 0
    check_settled(db, given)


def test_the_ledger_says_that_memory_was_short(
    start: Start, db: Database, needed: int, tmp_path: Path
) -> None:
    _, path = large(tmp_path)
    limited(start, db, path, needed + (16 << 20)).communicate(timeout=60)
    assert "memory" in db.value("SELECT error FROM _loads")


def test_a_full_disk_behind_standard_output_is_no_traceback(
    db: Database, path: Path, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "loader", "load", path],
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"LOADER_WAREHOUSE_URL": db.url},
            cwd=tmp_path,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1
    check_settled(db, GIVEN)
