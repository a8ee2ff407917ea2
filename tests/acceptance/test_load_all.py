"""`loader.load` and `loader.load_all`, where there are several sources and warehouses."""

import os
import pickle
from contextlib import closing
from pathlib import Path

import pytest
from acceptance.harness import Database, Write, track

import loader
from loader.warehouse.engine import lock_key

SECRET = "hush-hush-7"
NOBODY = f"postgresql://me:{SECRET}@127.0.0.1:1/events"


@pytest.fixture(autouse=True)
def in_the_folder_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def configure(write: Write, **urls: str) -> None:
    """Two sources with an event each, and warehouses of these names."""
    write("one.json", track("E", messageId="1"))
    write("two.json", track("E", messageId="2"))
    write(
        "loader.toml",
        "retry_timeout = 0",
        '[[source]]\nname = "One"\ninputs = ["one.json"]',
        '[[source]]\nname = "Two"\ninputs = ["two.json"]',
        *(f'[[warehouse]]\nname = "{name}"\nurl = "{url}"' for name, url in urls.items()),
    )


def shown(results: list[loader.LoadResult]) -> list[tuple[str, str | None, int]]:
    return [(one.source, one.warehouse, one.counts.rows_loaded) for one in results]


def test_every_source_is_loaded_into_every_warehouse(
    write: Write, db: Database, empty_db: Database
) -> None:
    configure(write, main=db.url, eu=empty_db.url)
    assert shown(loader.load_all()) == [
        ("One", "main", 1),
        ("One", "eu", 1),
        ("Two", "main", 1),
        ("Two", "eu", 1),
    ]
    assert shown(loader.load_all(source="Two", warehouse="eu")) == [("Two", "eu", 0)]
    more = loader.load_all(Path("two.json"), source="One", warehouse="eu")
    assert shown(more) == [("One", "eu", 1)]
    assert empty_db.rows("SELECT id FROM one.tracks ORDER BY 1") == [("1",), ("2",)]
    assert [one.files for one in loader.load_all([], source="One")] == [0, 0]


def test_without_tables_there_is_one_warehouse(write: Write, db: Database) -> None:
    path = write("a.json", track("E"))
    assert shown(loader.load_all(path, warehouse_url=db.url)) == [("Customer.io", None, 1)]
    assert loader.load(path, warehouse_url=db.url).warehouse is None


def test_one_load_is_into_one_warehouse(write: Write, db: Database, empty_db: Database) -> None:
    configure(write, main=db.url, eu=empty_db.url)
    with pytest.raises(loader.UsageError, match=r"several warehouses \(main, eu\): .*warehouse="):
        loader.load("one.json", source="One")
    with pytest.raises(loader.UsageError, match="are both set"):
        loader.load("one.json", source="One", warehouse_url=db.url)
    with pytest.raises(loader.UsageError, match="'uk' is not configured"):
        loader.load("one.json", source="One", warehouse="uk")
    assert db.tables("one") == empty_db.tables("one") == []
    done = loader.load("one.json", source="One", warehouse="eu")
    assert (done.warehouse, db.tables("one")) == ("eu", [])


def test_what_fails_is_told_after_all_others_were_loaded(
    write: Write, db: Database, empty_db: Database
) -> None:
    configure(write, down=NOBODY, unset="env:NOT_SET", main=db.url, eu=empty_db.url)
    empty_db.execute("CREATE SCHEMA two; CREATE TABLE two.tracks (id text)")
    with pytest.raises(loader.LoadsFailed) as failed:
        loader.load_all()
    error = failed.value
    assert shown(error.results) == [("One", "main", 1), ("One", "eu", 1), ("Two", "main", 1)]
    assert [(one.source, one.warehouse, type(one.error)) for one in error.failures] == [
        ("One", "down", loader.TransientFault),
        ("One", "unset", loader.UsageError),
        ("Two", "down", loader.TransientFault),
        ("Two", "unset", loader.UsageError),
        ("Two", "eu", loader.SchemaRefused),
    ]
    assert str(error).startswith("5 of 8 loads failed: 'One' into 'down': cannot reach ")
    assert "; 'Two' into 'eu': the schema 'two' has tables" in str(error)
    assert (error.exit_code, error.__cause__) == (1, error.failures[0].error)
    assert SECRET not in str(error)
    # Orchestrators hand errors from one process to another.
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), shown(copy.results)) == (str(error), shown(error.results))


def test_one_that_fails_alone_is_told_in_the_same_way(write: Write, db: Database) -> None:
    with pytest.raises(loader.LoadsFailed, match="1 of 1 loads failed") as failed:
        loader.load_all("nope.json", warehouse_url=db.url)
    [failure] = failed.value.failures
    assert isinstance(failure.error, loader.InputUnreadable)
    assert failed.value.exit_code == 1


def test_what_is_wrong_with_the_arguments_is_raised_before_anything_is_tried(
    write: Write, db: Database, empty_db: Database
) -> None:
    configure(write, main=db.url, eu=empty_db.url)
    with pytest.raises(loader.UsageError, match="say --source"):
        loader.load_all("one.json")
    os.mkfifo("pipe")
    for stream in ("-", "pipe"):
        with pytest.raises(loader.UsageError, match="can be read only once"):
            loader.load_all(stream, source="One")
    with pytest.raises(TypeError, match="did you mean"):
        loader.load_all(warehuse_url=db.url)  # type: ignore[call-arg]
    assert db.tables("one") == empty_db.tables("one") == []


def test_two_loads_of_which_one_is_locked_out(
    write: Write, db: Database, empty_db: Database
) -> None:
    configure(write, main=db.url, eu=empty_db.url)
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (lock_key("one"),))
        with pytest.raises(loader.LoadsFailed) as failed:
            loader.load_all(source="One")
    assert (failed.value.exit_code, shown(failed.value.results)) == (75, [("One", "eu", 1)])
