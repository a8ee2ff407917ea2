"""The ledger: `_loads`, `_files`, `_rejects`."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from acceptance.harness import SCHEMA, Database
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from loader.normalize.times import microseconds
from loader.sources.page import InputFile
from loader.warehouse import ledger, rejects
from loader.warehouse.batch import FileProgress, RejectRow

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def connection(db: Database) -> Iterator[Connection]:
    engine = create_engine(
        db.url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool
    )
    with engine.connect() as found:
        yield found.execution_options(
            isolation_level="AUTOCOMMIT", schema_translate_map={None: SCHEMA}
        )


def reject(key: str) -> RejectRow:
    return RejectRow(key, "/a.json", f"line {key}", "invalid_json", "broken", '{"', "character 2")


def test_a_new_load_says_that_one_which_still_runs_was_interrupted(
    connection: Connection, db: Database
) -> None:
    first, token, started = ledger.start_load(connection, "Customer.io", "1.0")
    assert db.rows("SELECT id, source, status, loader_version, finished_at FROM _loads") == [
        (first, "Customer.io", "running", "1.0", None)
    ]
    assert datetime.fromisoformat(started) == db.value("SELECT started_at FROM _loads")
    second, other, _ = ledger.start_load(connection, "Customer.io", "1.1")
    assert second == first + 1
    assert [token, other] == [key for (key,) in db.rows("SELECT token FROM _loads ORDER BY id")]
    assert token != other
    assert db.rows("SELECT status, finished_at IS NULL FROM _loads ORDER BY id") == [
        ("interrupted", False),
        ("running", True),
    ]
    assert "killed" in db.value("SELECT error FROM _loads WHERE id = %s", first)
    ledger.finish_load(connection, second, "success", None)
    ledger.start_load(connection, "Customer.io", "1.1")
    assert db.value("SELECT status FROM _loads WHERE id = %s", second) == "success"


def test_the_progress_of_a_file_is_its_last_one_to_the_microsecond(
    connection: Connection, db: Database
) -> None:
    load, *_ = ledger.start_load(connection, "Customer.io", "1")
    half = FileProgress("/a é.json", 10, NOW, None, 5, False)
    whole = msgspec.structs.replace(half, records_done=9, finished=True)
    stream = FileProgress("-", None, None, None, 3, True)
    ledger.record_batch(connection, load, ledger.Counts(batches=1), [half, stream])
    assert ledger.select_files(connection, ["/a é.json", "/b.json"], "1") == {"/a é.json": half}
    ledger.record_batch(connection, load, ledger.Counts(batches=2), [whole])
    assert ledger.select_files(connection, ["/a é.json", "-"], "1") == {
        "/a é.json": whole,
        "-": stream,
    }
    assert ledger.select_files(connection, [], "1") == {}


def test_a_file_has_the_mark_that_the_ledger_has_while_it_stays_as_it_was(
    connection: Connection,
) -> None:
    local = InputFile(uri="/b\n1 é.json", size=10, modified=microseconds(NOW))
    old = InputFile(uri="/a.json", size=0, modified=-1)
    stored = InputFile(uri="s3://a/b", size=7, modified=microseconds(NOW), version="x 1")
    listed = [local, old, stored]
    load, *_ = ledger.start_load(connection, "Customer.io", "1")

    def record(uri: str, *, finished: bool = True, not_events: str | None = None) -> FileProgress:
        return FileProgress(uri, 3, NOW, None, 5, finished, not_events)

    read = [
        FileProgress(one.uri, one.size, one.modified_at, one.version, 5, True) for one in listed
    ]
    others = [record("/c", finished=False), record("/d", not_events="a picture"), record("/z")]
    stream = FileProgress("-", None, None, None, 3, True)
    ledger.record_batch(connection, load, ledger.Counts(batches=1), [*read, *others, stream])
    found = ledger.select_finished(connection, "/a.json", "s3://a/b", 100)
    z = InputFile(uri="/z", size=3, modified=microseconds(NOW))
    assert found == {one.mark for one in [*listed, z]}
    for change in ({"size": 11}, {"modified": local.modified + 1}, {"uri": "/b\n1"}):
        assert msgspec.structs.replace(local, **change).mark not in found
    assert msgspec.structs.replace(stored, modified=5).mark in found  # it has a version
    assert ledger.select_finished(connection, "/a.json", "/b\n1 é.json", 1) == {old.mark}


@pytest.mark.parametrize(
    "tail",
    [
        "a" * 649,
        "a" * 2_599,
        "\U0001f4e7" * 650,
        "".join(random.Random(1).choices("0123456789", k=4_000)),
    ],
)
def test_a_name_may_be_longer_than_what_an_index_takes(connection: Connection, tail: str) -> None:
    """The load of a file whose path has more than 2,704 bytes failed."""
    names = [f"/{tail}", f"/{tail}b", "/short"]
    load, *_ = ledger.start_load(connection, "Customer.io", "1")
    rows = [FileProgress(name, at, NOW, None, 5, True) for at, name in enumerate(names)]
    ledger.record_batch(connection, load, ledger.Counts(batches=1), rows)
    ledger.record_batch(connection, load, ledger.Counts(batches=2), rows)
    found = ledger.select_files(connection, [*names, f"/{tail}c"], "1")
    assert {name: before.size for name, before in found.items()} == {
        name: at for at, name in enumerate(names)
    }


def test_how_far_another_version_has_read_a_file_does_not_count(connection: Connection) -> None:
    """It may have counted records by other rules, so records would be passed over."""
    half = FileProgress("/a.json", 10, NOW, None, 5, False)
    load, *_ = ledger.start_load(connection, "Customer.io", "0.9")
    ledger.record_batch(connection, load, ledger.Counts(), [half])
    assert ledger.select_files(connection, ["/a.json"], "1") == {
        "/a.json": msgspec.structs.replace(half, records_done=0)
    }


def test_counts_are_stored_as_they_are(connection: Connection, db: Database) -> None:
    load, *_ = ledger.start_load(connection, "Customer.io", "1")
    counts = ledger.Counts(
        batches=1,
        records_read=13,
        rows_loaded=7,
        duplicates=2,
        rejects=1,
        ignored=3,
        rows_per_table={"tracks": 7, "e": 7},
    )
    counts.widen({"timestamp": ("2026-01-01T00:00:00Z", "2026-01-03T00:00:00.5+02:00")})
    counts.widen({"timestamp": ("2026-01-02T00:00:00Z", "2026-01-02T23:00:00Z")})
    made = [{"change": "create table", "table": "e"}, {"change": "create table", "table": "f"}]
    assert ledger.record_changes(connection, load, made[:1]) == made[:1]
    assert ledger.record_changes(connection, load, []) == made[:1]
    ledger.record_batch(connection, load, counts, [])
    assert ledger.record_changes(connection, load, made[1:]) == made
    [row] = db.rows(
        "SELECT records_read, rows_loaded, duplicates, rejects, ignored, rows_per_table, "
        "schema_changes, first_timestamp, last_timestamp, first_received_at FROM _loads"
    )
    assert row == (
        13,
        7,
        2,
        1,
        3,
        {"tracks": 7, "e": 7},
        made,
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 2, 23, tzinfo=UTC),
        None,
    )


@pytest.mark.parametrize(
    ("read", "loaded", "duplicates", "rejects", "ignored", "expected"),
    [
        (0, 0, 0, 0, 0, True),
        (10, 7, 2, 1, 0, True),
        (14, 7, 2, 1, 4, True),
        (10, 7, 2, 0, 0, False),
        (9, 7, 2, 1, 0, False),
        (10, 7, 2, 1, 1, False),
        (14, 7, 2, 1, 3, False),
    ],
)
def test_counts_balance_if_every_record_is_a_row_a_duplicate_a_reject_or_ignored(
    read: int, loaded: int, duplicates: int, rejects: int, ignored: int, expected: bool
) -> None:
    counts = ledger.Counts(
        records_read=read,
        rows_loaded=loaded,
        duplicates=duplicates,
        rejects=rejects,
        ignored=ignored,
    )
    assert counts.balances() is expected


def test_a_reject_is_stored_once_and_only_new_ones_count(
    connection: Connection, db: Database
) -> None:
    load, *_ = ledger.start_load(connection, "Customer.io", "1")
    assert rejects.record_rejects(connection, load, []) == 0
    assert rejects.record_rejects(connection, load, [reject("1"), reject("2")]) == 2
    many = [reject(str(number)) for number in range(2, 3000)]
    assert rejects.record_rejects(connection, load, many) == 2997
    assert db.value("SELECT count(*) FROM _rejects") == 2999


def test_the_source_of_a_schema_is_that_of_its_last_load(connection: Connection) -> None:
    assert ledger.select_source(connection) is None
    ledger.start_load(connection, "Customer.io", "1")
    assert ledger.select_source(connection) == "Customer.io"


def test_rejects_that_wait_are_counted_by_reason(connection: Connection, db: Database) -> None:
    load, *_ = ledger.start_load(connection, "Customer.io", "1")
    rejects.record_rejects(connection, load, [reject("1"), reject("2"), reject("3")])
    db.execute("UPDATE _rejects SET replayed_at = now(), outcome = 'loaded' WHERE id = '3'")
    assert rejects.count_rejects(connection) == {"invalid_json": 2}
