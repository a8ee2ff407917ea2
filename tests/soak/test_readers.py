"""How long readers wait while a load changes every table, alone and behind a report or a dump."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from acceptance.faults import Start, holding
from acceptance.harness import SCHEMA, Database, Run, ndjson, track

pytestmark = pytest.mark.soak
Say = Callable[[str], None]

COLUMNS, TABLES, OLD_TABLES = 200, 20, 20
SECONDS_HELD = 120
MOST_SECONDS = 1.0


class Reader:
    """Asks all tables, one after the other, all the time; remembers the slowest answer."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.answers = 0
        self.slowest = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _read(self) -> None:
        with closing(self._db.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {SCHEMA}")
            while not self._end.is_set():
                for table in self._db.tables():
                    began = time.monotonic()
                    cursor.execute(f'SELECT * FROM "{table}" LIMIT 1')
                    cursor.execute(f'SELECT count(*) FROM "{table}"')
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.answers += 1


def first_lines() -> bytes:
    return ndjson(*[track(f"Old {i}", messageId=f"old{i}") for i in range(OLD_TABLES)])


def part(number: int) -> bytes:
    """Some records that bring new columns to `tracks` and all tables, and a table."""
    records = [
        track(
            f"Old {i % OLD_TABLES}",
            messageId=f"p{number}-{i}",
            context={f"c{number}_{n}": n for n in range(COLUMNS // TABLES // 2)},
            **{f"property_{number}_{n}": n for n in range(COLUMNS // TABLES)},
        )
        for i in range(999)
    ]
    return ndjson(*records, track(f"New {number}", messageId=f"new{number}", total=1))


def test_readers_wait_less_than_a_second_for_200_columns_and_20_tables(
    run: Run, db: Database, tmp_path: Path, say: Say
) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"".join(map(part, range(TABLES))))
    assert run("load", "-", stdin=first_lines()).code == 0
    with Reader(db) as reader:
        result = run("load", path, env={"LOADER_BATCH_RECORDS": "1000"})
    assert result.code == 0
    assert db.value("SELECT count(*) FROM tracks") == OLD_TABLES + 1000 * TABLES
    assert len(db.types("old_0")) >= COLUMNS
    say(f"alone: {reader.answers} answers, the slowest took {reader.slowest:.3f} s")
    assert reader.slowest < MOST_SECONDS


@pytest.mark.parametrize("holder", ["report", "dump"])
def test_readers_do_not_wait_behind_a_load_that_waits_for_a_report(
    run: Run, start: Start, db: Database, tmp_path: Path, say: Say, holder: str
) -> None:
    """`pg_dump` holds every table in ACCESS SHARE mode from its start to its end."""
    assert run("load", "-", stdin=first_lines()).code == 0
    tables = db.tables() if holder == "dump" else ["old_0", "tracks"]
    began = time.monotonic()
    with Reader(db) as reader:
        with ExitStack() as stack:
            cursor = stack.enter_context(holding(db, "BEGIN"))
            for table in tables:
                cursor.execute(f'LOCK TABLE {SCHEMA}."{table}" IN ACCESS SHARE MODE')
            process = start("load", "-", url=db.url, env={"LOADER_BATCH_RECORDS": "1000"})
            assert process.stdin is not None
            for number in range(TABLES // 2):
                process.stdin.write(part(number))
                process.stdin.flush()
            time.sleep(SECONDS_HELD - (time.monotonic() - began))
            for number in range(TABLES // 2, TABLES):
                process.stdin.write(part(number))
        _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert db.value("SELECT count(*) FROM tracks") == OLD_TABLES + 1000 * TABLES
    assert db.rows("SELECT * FROM _waiting_columns") == []
    assert db.value("SELECT count(*) FROM old_0 WHERE _extra IS NOT NULL") == 0
    assert db.value("SELECT count(context_c0_1) FROM tracks") == 999
    say(f"{holder}: {reader.answers} answers, the slowest took {reader.slowest:.3f} s")
    assert reader.slowest < MOST_SECONDS
