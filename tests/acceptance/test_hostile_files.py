"""Names, links and changes of files: nothing is lost by them, and nobody waits for ever."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from acceptance.harness import Database, Run, Write, ndjson
from acceptance.large import events, numbers, rows

Start = Callable[..., "subprocess.Popen[bytes]"]


def test_a_byte_and_the_text_that_spells_it_are_both_loaded(
    run: Run, db: Database, tmp_path: Path
) -> None:
    folder = os.fsencode(tmp_path)
    for number, name in enumerate((b"\xff", rb"\xff", b"\\x5cxff")):
        data = ndjson(*events(2, 2 * number), {"no": "event"})
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(data)
    result = run("load", tmp_path, "--json", env={"LOADER_MAX_REJECT_RATIO": "1"})
    assert result.code == 0, result.err
    assert (numbers(result), rows(db)) == ((6, 0, 3), 6)
    names = [rf"{tmp_path}/\x5cx5cxff", rf"{tmp_path}/\x5cxff", rf"{tmp_path}/\xff"]
    assert sorted(uri for (uri,) in db.rows("SELECT uri FROM _files")) == names
    assert sorted(file for (file,) in db.rows("SELECT file FROM _rejects")) == names
    assert run("load", tmp_path, "--json").json["files_skipped"] == 3


def test_a_glob_that_matches_a_pipe_waits_for_nobody(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    write("in/a.ndjson", *events(3))
    os.mkfifo(tmp_path / "in" / "b\x1b[2J.ndjson")
    for given in (tmp_path / "in" / "*", tmp_path / "in" / "**", tmp_path / "in"):
        result = run("load", given, "--json", "--force")
        assert (result.code, result.json["status"]) == (0, "success")
        assert r"b\x1b[2J.ndjson': it is a pipe, which is read only where" in result.err
        assert "\x1b" not in result.err + result.out
        assert len(result.json["warnings"]) == 1
    assert rows(db) == 3
    assert "1 file" in run("check", tmp_path / "in").out
    planned = run("plan", tmp_path / "in")
    assert (planned.code, "it is a pipe" in planned.err) == (0, True)


def test_a_pipe_in_a_folder_is_read_if_it_is_named_too(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    write("in/a.ndjson", *events(3))
    pipe = tmp_path / "in" / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=(ndjson(*events(2, 3)),))
    writer.start()
    result = run("load", tmp_path / "in", pipe, "--json")
    writer.join()
    assert (numbers(result), result.json["warnings"]) == ((5, 0, 0), [])


def test_links_to_their_own_folder_do_not_hold_up_a_glob(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    write("in/a.ndjson", *events(3))
    for name in ("x", "y"):
        (tmp_path / "in" / name).symlink_to(".")
    assert run("load", tmp_path / "in" / "**" / "*.ndjson").code == 0
    assert (rows(db), db.value("SELECT count(*) FROM _files")) == (3, 1)


@contextmanager
def held_up(start: Start, db: Database, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A load of a large file, which waits to write its first batch as long as the block lasts."""
    with closing(db.connect()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE customerio.tracks IN EXCLUSIVE MODE")
        process = start("load", path, "--json", url=db.url, env={"LOADER_BATCH_BYTES": "1048576"})
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 60
        while not db.value(waiting):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
        cursor.execute("ROLLBACK")


COUNT = 2_000


def large(first: int = 0) -> list[dict[str, Any]]:
    """More than a load reads before its first batch is written."""
    return events(COUNT, first, noise="x" * 20_000)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        last = file.read()
        file.seek(-100, os.SEEK_END)
        file.write(last)


@pytest.mark.parametrize("harm", [cut, write_over])
def test_a_file_that_is_harmed_while_it_is_read_is_partial_and_read_again(
    harm: Callable[[Path], None], run: Run, start: Start, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *large())
    with held_up(start, db, path) as process:
        harm(path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"has changed while it was read" in err
    assert b'"status": "partial"' in out
    assert db.value("SELECT count(*) FROM _rejects") == 0  # of the line at the cut
    assert db.value("SELECT finished FROM _files") is False
    known = rows(db)
    path.write_bytes(ndjson(*large()))
    result = run("load", path, "--json")
    assert result.code == 0, result.err
    assert (numbers(result), rows(db)) == ((COUNT - known, known, 0), COUNT)
    assert run("load", path, "--json").json["files_skipped"] == 1


def test_a_file_that_goes_on_while_it_is_read_is_finished_by_the_next_load(
    run: Run, start: Start, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *large())
    size = path.stat().st_size
    with held_up(start, db, path) as process, path.open("ab") as file:
        file.write(ndjson(*events(10, COUNT)))
    process.communicate(timeout=120)
    assert process.returncode == 0
    # It is remembered as it was at first, so the next load cannot take it for read.
    assert db.rows("SELECT size, finished FROM _files") == [(size, True)]
    assert run("load", path, "--json").json["files"] == 1
    assert rows(db) == COUNT + 10
    assert run("load", path, "--json").json["files_skipped"] == 1


def test_a_file_that_was_replaced_while_a_load_waited_is_read_from_its_start(
    run: Run, start: Start, db: Database, write: Write
) -> None:
    """What was done before is about a file that is no longer there when it is opened."""
    path = write("a.ndjson", *events(300))
    whole = path.read_bytes()
    run("load", path)
    db.execute("UPDATE _files SET finished = false, records_done = 200")
    with closing(db.connect()) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE customerio._files IN ACCESS EXCLUSIVE MODE")
        process = start("load", path, "--json", url=db.url)
        deadline = time.monotonic() + 60
        while not db.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        path.write_bytes(ndjson(*events(150, 1_000)))
        cursor.execute("ROLLBACK")
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert rows(db) == 450
    path.write_bytes(whole)
    assert numbers(run("load", path, "--json")) == (0, 300, 0)
