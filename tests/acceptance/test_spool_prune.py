"""What is deleted of a spool: nothing that anybody still needs."""

import os
import sqlite3
import time
from pathlib import Path

import pytest
from acceptance.harness import Database, Run, ndjson, track

from loader.forward.state import State
from loader.spool import SpoolWriter, finished

SCHEMA = "customerio"
DAY = 86_400.0
NOBODY = "postgresql://me@127.0.0.1:1/events"


@pytest.fixture
def spool(tmp_path: Path, db: Database, empty_db: Database) -> Path:
    """A spool whose source is loaded into two warehouses."""
    configure(tmp_path, main=db.url, eu=empty_db.url)
    return tmp_path / "spool"


def configure(folder: Path, extra: str = "", **urls: str) -> None:
    tables = [f'[[warehouse]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items()]
    source = '[[source]]\nname = "Customer.io"\n'
    head = f'spool_dir = "{folder}/spool"\nretry_timeout = 0\n{extra}'
    (folder / "loader.toml").write_text(head + source + "".join(tables))


def receive(spool: Path, event: str, *, days: float = 40) -> str:
    """Put a finished file with two events into the spool, written so many days ago; its name."""
    writer = SpoolWriter(spool, SCHEMA)
    writer.append(ndjson(track(event), track(event)))
    writer.finish()
    file = finished(spool, SCHEMA)[-1]
    os.utime(file.path, (time.time() - days * DAY,) * 2)
    return file.name


def left(spool: Path) -> list[str]:
    return [file.name for file in finished(spool, SCHEMA)]


def test_files_go_when_all_warehouses_have_them_and_they_are_old(run: Run, spool: Path) -> None:
    old, young = receive(spool, "A"), receive(spool, "B", days=29)
    assert run("spool", "prune", url=None).code == 0
    assert left(spool) == [old, young]
    assert run("load", "--warehouse", "main", url=None).code == 0
    told = run("spool", "prune", "--json", url=None).json
    assert told["held"] == {"not loaded into eu yet": 1}
    assert left(spool) == [old, young]
    assert run("load", url=None).code == 0
    dry = run("spool", "prune", "--dry-run", "--json", url=None).json
    assert (dry["files"], dry["young"], dry["held"]) == (1, 1, {})
    assert left(spool) == [old, young]
    told = run("spool", "prune", "--json", url=None).json
    assert (told["files"], told["young"], told["held"]) == (1, 1, {})
    assert left(spool) == [young]
    assert run("load", url=None).code == 0


def test_nothing_goes_while_a_warehouse_cannot_be_asked(
    run: Run, spool: Path, tmp_path: Path, db: Database
) -> None:
    file = receive(spool, "A")
    assert run("load", "--warehouse", "main", url=None).code == 0
    configure(tmp_path, main=db.url, eu=NOBODY)
    done = run("spool", "prune", url=None)
    assert done.code == 1
    assert "eu" in done.err
    assert left(spool) == [file]


def test_a_file_that_a_load_has_begun_stays(run: Run, spool: Path, db: Database) -> None:
    file = receive(spool, "A")
    assert run("load", url=None).code == 0
    db.execute("UPDATE customerio._files SET finished = false, records_done = 1")
    told = run("spool", "prune", "--json", url=None).json
    assert told["held"] == {"not loaded into main yet": 1}
    assert left(spool) == [file]
    listed = run("sources", "list", "--json", url=None).json
    assert [(one["warehouse"], one["events_waiting"]) for one in listed["warehouses"]] == [
        ("main", 1),
        ("eu", 0),
    ]
    assert all(one["newest_event"] for one in listed["warehouses"])


def test_a_destination_holds_files_until_it_has_failed_for_long(
    run: Run, spool: Path, tmp_path: Path, db: Database
) -> None:
    extra = '[[destination]]\nname = "Web"\nkind = "webhook"\nurl = "https://127.0.0.1:1/"\n'
    configure(tmp_path, f'{extra}key = "env:WEB_KEY"\n', main=db.url)
    receive(spool, "A")
    assert run("load", url=None).code == 0
    state = State(spool)
    assert state.begin("Web", {})
    state.fails("Web", "no answer", paused=False)
    told = run("spool", "prune", "--json", url=None).json
    assert told["held"] == {"not sent to Web yet": 1}
    with sqlite3.connect(spool / ".forward.db") as connection:
        connection.execute("UPDATE destinations SET failing_since = '2026-01-01T00:00:00+00:00'")
    connection.close()
    for options in (("--dry-run",), ()):
        done = run("spool", "prune", "--json", *options, url=None)
        assert (done.json["files"], done.json["held"]) == (1, {})
        assert ("1 file was removed before all of it was sent" in done.err) is (not options)
    assert left(spool) == []
    found = state.standing("Web")  # although it never saw the file
    assert found is not None
    assert found.missed == 1


def test_a_destination_that_nobody_tries_holds_files(
    run: Run, spool: Path, tmp_path: Path, db: Database
) -> None:
    extra = '[[destination]]\nname = "Web"\nkind = "webhook"\nurl = "https://127.0.0.1:1/"\n'
    configure(tmp_path, f'{extra}key = "env:WEB_KEY"\n', main=db.url)
    file = receive(spool, "A")
    assert run("load", url=None).code == 0
    state = State(spool)
    assert state.begin("Web", {})
    state.fails("Web", "no answer", paused=False)
    with sqlite3.connect(spool / ".forward.db") as connection:
        connection.execute("UPDATE destinations SET failing_since = '2026-01-01T00:00:00+00:00'")
        connection.execute("UPDATE destinations SET tried_at = failing_since")
    connection.close()
    told = run("spool", "prune", "--json", url=None).json
    assert told["held"] == {"not sent to Web yet": 1}
    assert left(spool) == [file]


def test_what_is_sent_and_loaded_goes(run: Run, spool: Path, tmp_path: Path, db: Database) -> None:
    extra = '[[destination]]\nname = "Web"\nkind = "webhook"\nurl = "https://127.0.0.1:1/"\n'
    configure(tmp_path, f'{extra}key = "env:WEB_KEY"\n', main=db.url)
    file = receive(spool, "A")
    assert run("load", url=None).code == 0
    state = State(spool)
    state.begin("Web", {})
    state.add("Web", {(SCHEMA, file): 9}, done=False)
    state.end("Web", (SCHEMA, file), 9)
    assert run("spool", "prune", "--json", url=None).json["files"] == 1
    assert left(spool) == []


def test_what_waits_is_told_where_nothing_was_loaded_yet(run: Run, spool: Path) -> None:
    receive(spool, "A")
    listed = run("sources", "list", "--json", url=None).json
    assert listed["warehouses"] == [
        {"warehouse": name, "newest_event": None, "events_waiting": 2} for name in ("main", "eu")
    ]


def test_a_warehouse_that_is_away_is_shown_as_such(
    run: Run, spool: Path, tmp_path: Path, db: Database
) -> None:
    receive(spool, "A")
    assert run("load", "--warehouse", "main", url=None).code == 0
    configure(tmp_path, main=db.url, eu=NOBODY)
    done = run("sources", "list", url=None)
    assert done.code == 1
    assert [line.split()[-1] for line in done.out.splitlines() if " eu " in line] == ["known"]
    assert "'eu'" in done.err


def test_a_file_that_cannot_be_read_is_told(run: Run, spool: Path) -> None:
    (spool / SCHEMA).mkdir(parents=True)
    name = "20260101T000000000000Z-0123456789abcdef.v1.jsonl"
    (spool / SCHEMA / name).mkdir()
    done = run("sources", "list", url=None)
    assert done.code == 1
    assert f"cannot read '{spool}/{SCHEMA}/{name}': Is a directory" in done.err
    assert run("spool", "prune", "--json", url=None).json["files"] == 0


def test_what_a_removed_source_leaves_is_told(run: Run, spool: Path) -> None:
    receive(spool, "A")
    done = run("sources", "remove", "Customer.io", url=None)
    assert done.code == 0
    assert "1 file of received events stay" in done.err


def test_looking_makes_no_embedded_server(run: Run, tmp_path: Path) -> None:
    configure(tmp_path, f'warehouse_dir = "{tmp_path}/warehouse"\n')
    receive(tmp_path / "spool", "A")
    assert run("sources", "list", "--json", url=None).json["warehouses"][0]["events_waiting"] == 2
    assert run("spool", "prune", "--json", url=None).json["held"]
    assert not (tmp_path / "warehouse").exists()
