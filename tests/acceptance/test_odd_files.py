"""Files as they really come: every odd one is loaded, or said to be unreadable and loaded later."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import zstandard
from acceptance.harness import Database, Run, Write, ndjson
from acceptance.large import (
    MOST_MEMORY,
    Measured,
    bomb,
    events,
    load_a_bomb,
    load_a_huge_line,
    load_many_small_files,
    numbers,
    rows,
)

import loader

Start = Callable[..., "subprocess.Popen[bytes]"]

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def last_load(db: Database) -> str:
    status: str = db.value("SELECT status FROM _loads ORDER BY id DESC LIMIT 1")
    return status


# files that change


def test_a_file_that_grows_while_it_is_read_is_complete_after_the_next_load(
    run: Run, start: Start, db: Database, write: Write
) -> None:
    path = write("growing.ndjson", *events(3_000))
    process = start("load", path, url=db.url, env={"LOADER_BATCH_RECORDS": "200"})
    grown = 3_000
    with path.open("ab") as file:
        while process.poll() is None:
            # Half of a line now and the other half later, as a writer's buffer is flushed.
            line = ndjson(*events(1, grown))
            file.write(line[: len(line) // 2])
            file.flush()
            time.sleep(0.005)
            file.write(line[len(line) // 2 :])
            file.flush()
            grown += 1
    assert process.wait() in (0, 1, 3)
    result = run("load", path, "--json")
    assert result.code == 0, result.err
    numbers(result)
    assert rows(db) == grown
    assert run("load", path, "--json").json["files_skipped"] == 1


def test_a_file_that_was_replaced_is_read_from_its_beginning(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *events(3_000))
    assert numbers(run("load", path, "--json")) == (3_000, 0, 0)
    write("a.ndjson", *events(10, 5_000))
    assert numbers(run("load", path, "--json")) == (10, 0, 0)
    # By a rename, to a file that is as long as the one before.
    other = write("b.ndjson", *events(10, 6_000))
    assert other.stat().st_size == path.stat().st_size
    os.utime(other, ns=(1, 1))
    other.rename(path)
    assert numbers(run("load", path, "--json")) == (10, 0, 0)
    assert rows(db) == 3_020


def test_a_file_that_was_replaced_in_the_middle_of_its_load_loses_nothing(
    run: Run, db: Database, write: Write
) -> None:
    """What the ledger says about records done is about a file that is no longer there."""
    path = write("a.ndjson", *events(3_000))
    data = path.read_bytes()
    path.write_bytes(gzip.compress(data)[:-9])
    small = {"LOADER_BATCH_RECORDS": "500"}
    assert run("load", path, env=small).code == 1
    path.write_bytes(ndjson(*events(50, 9_000)))
    assert numbers(run("load", path, "--json")) == (50, 0, 0)


# packed files


@pytest.fixture(scope="module")
def long_events() -> list[dict[str, Any]]:
    """Events whose text is longer than a block of the reader, and does not shrink to nothing."""
    return events(6_000, noise="x" * 200)


@pytest.mark.parametrize("form", PACKED)
def test_a_cut_file_is_partial_and_after_its_repair_complete(
    form: str, run: Run, db: Database, tmp_path: Path, long_events: list[dict[str, Any]]
) -> None:
    whole = PACKED[form](ndjson(*long_events))
    path = tmp_path / "events"
    path.write_bytes(whole[:-20])
    good = tmp_path / "good.ndjson"
    good.write_bytes(ndjson(*events(3, 90_000)))
    result = run("load", path, good, "--json", env={"LOADER_BATCH_RECORDS": "1000"})
    assert (result.code, result.json["status"]) == (1, "partial")
    assert "events" in result.json["errors"][0]
    kept = rows(db)
    assert kept >= 3  # the other file is loaded, whatever this one is
    assert numbers(result) == (kept, 0, 0)
    assert dict(db.rows("SELECT uri, finished FROM _files")).get(str(path)) in (False, None)
    assert db.value("SELECT finished FROM _files WHERE uri = %s", str(good)) is True
    # Again, still cut: nothing new, and still said.
    assert run("load", path, "--json").code == 1
    assert (rows(db), last_load(db)) == (kept, "partial")
    path.write_bytes(whole)
    result = run("load", path, "--json")
    assert result.code == 0, result.err
    assert numbers(result) == (6_000 - (kept - 3), kept - 3, 0)
    assert (rows(db), last_load(db)) == (6_003, "success")
    assert run("load", path, "--json").json["files_skipped"] == 1


def test_what_stands_before_the_cut_is_kept(
    run: Run, db: Database, tmp_path: Path, long_events: list[dict[str, Any]]
) -> None:
    """Whole blocks before the cut are loaded, for every form that gives them out."""
    for form, pack in PACKED.items():
        if form == "bz2":
            continue  # a block of its own is as long as a block of the reader
        path = tmp_path / form
        path.write_bytes(pack(ndjson(*long_events))[:-20])
        result = run("load", path, "--json")
        loaded, known, rejects = numbers(result)
        assert result.code == 1, form
        assert (loaded + known >= 1_000, rejects) == (True, 0), form
    assert 1_000 <= rows(db) <= 6_000


def test_gzip_members_one_after_the_other_are_one_file(
    run: Run, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "logs.gz"
    # A record may begin in one member and end in the next; members may be empty.
    data = ndjson(*events(100))
    parts = [data[at : at + 777] for at in range(0, len(data), 777)]
    path.write_bytes(b"".join(gzip.compress(part) for part in [b"", *parts, b""]))
    assert numbers(run("load", path, "--json")) == (100, 0, 0)
    with path.open("ab") as file:
        file.write(gzip.compress(ndjson(*events(5, 100))))
    assert numbers(run("load", path, "--json")) == (5, 100, 0)
    assert rows(db) == 105


TAILS = ("garbage", "a second stream with a broken head")


@pytest.mark.parametrize(
    ("form", "tail"),
    [
        # Three forms are read by the same lines.
        pytest.param(form, tail, marks=[pytest.mark.soak] * (form in ("bz2", "xz") and i))
        for form in PACKED
        for i, tail in enumerate(TAILS)
    ],
)
def test_what_follows_a_stream_and_is_none_is_said(
    form: str, tail: str, run: Run, db: Database, tmp_path: Path
) -> None:
    """It may have been the events of a whole day."""
    pack = PACKED[form]
    more = pack(ndjson(*events(100, 100)))
    path = tmp_path / "events"
    first = pack(ndjson(*events(100)))
    path.write_bytes(first + (b"garbage" * 9 if tail == "garbage" else b"\xee" + more[1:]))
    result = run("load", path, "--json")
    assert (result.code, result.json["status"]) == (1, "partial")
    assert rows(db) in (0, 100)
    path.write_bytes(first + more)
    assert run("load", path).code == 0
    assert rows(db) == 200


# small oddities


@pytest.mark.parametrize(
    ("data", "records"),
    [
        (b"", 0),
        (b"\n", 0),
        (b"\n" * 5_000, 0),
        (b" \t\r\n" * 100 + b"  ", 0),
        (b"\xef\xbb\xbf", 0),
        (b"\xef\xbb\xbf\r\n", 0),
        (gzip.compress(b"", mtime=0), 0),
        (gzip.compress(b"\n\n", mtime=0), 0),
        (b"\xef\xbb\xbf" + ndjson(*events(3)), 3),
        (gzip.compress(b"\xef\xbb\xbf" + ndjson(*events(3)), mtime=0), 3),
        (ndjson(*events(3)).replace(b"\n", b"\r\n"), 3),
        (ndjson(*events(3)).replace(b"\n", b"\r\n\r\n"), 3),
        (ndjson(*events(3)).replace(b"\n", b"\n\n  \n"), 3),
        (ndjson(*events(3)).rstrip(b"\n"), 3),
        (b"\xef\xbb\xbf" + ndjson(*events(3)).replace(b"\n", b"\r\n").rstrip(b"\r\n"), 3),
    ],
)
def test_odd_line_ends_beginnings_and_ends_change_nothing(
    data: bytes, records: int, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(data)
    result = loader.load(str(path), warehouse_url=db.url)
    counts = result.counts
    assert (result.status, counts.records_read, counts.rows_loaded) == ("success", records, records)
    assert rows(db) == records
    assert db.rows("SELECT records_done, finished FROM _files") == [(records, True)]


def test_a_file_without_a_last_newline_that_goes_on_is_loaded_once(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *events(2))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert numbers(run("load", path, "--json")) == (2, 0, 0)
    with path.open("ab") as file:
        file.write(b"\n" + ndjson(*events(1, 2)))
    assert numbers(run("load", path, "--json")) == (1, 2, 0)
    assert rows(db) == 3


# files that cannot be opened

# Only the opening of inputs: the server's socket is not for everyone.
_AS_NOBODY = """
import os, sys
from contextlib import contextmanager
from loader.sources import files
from loader.cli import main

open_file = files.open_file

@contextmanager
def open_as_nobody(file):
    os.seteuid(65534)
    try:
        opening = open_file(file)
        opened = opening.__enter__()
    finally:
        os.seteuid(0)
    yield opened
    opening.__exit__(None, None, None)

files.open_file = open_as_nobody
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an unreadable file is made by dropping rights")
def test_an_unreadable_file_is_partial_and_the_others_are_loaded(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o711)
    closed = write("1.ndjson", *events(3))
    closed.chmod(0o600)
    write("2.ndjson", *events(3, 3))
    program = (sys.executable, "-c", _AS_NOBODY)
    paths = [closed, tmp_path / "2.ndjson"]
    result = run("load", *paths, "--json", program=program)
    assert (result.code, result.json["status"]) == (1, "partial")
    assert "1.ndjson" in result.json["errors"][0]
    assert rows(db) == 3
    closed.chmod(0o644)
    result = run("load", *paths, "--json", program=program)
    assert result.code == 0, result.err
    assert (numbers(result), result.json["files_skipped"]) == ((3, 0, 0), 1)


# Root may list everything, so another user does that for it.
_LISTED_BY_NOBODY = """
import os, sys
from loader.cli import main

scandir = os.scandir

def scandir_as_nobody(path):
    os.seteuid(65534)
    try:
        return scandir(path)
    finally:
        os.seteuid(0)

os.scandir = scandir_as_nobody
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="an unreadable folder is made by dropping rights")
def test_a_folder_that_cannot_be_listed_is_partial_and_the_others_are_loaded(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    for folder in [tmp_path, *tmp_path.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o711)
    write("in/closed/1.ndjson", *events(3)).parent.chmod(0o700)
    write("in/open/2.ndjson", *events(3, 3))
    for folder in (tmp_path / "in", tmp_path / "in" / "open"):
        folder.chmod(0o755)
    program = (sys.executable, "-c", _LISTED_BY_NOBODY)
    result = run("load", tmp_path / "in", "--json", program=program)
    assert (result.code, result.json["status"], rows(db)) == (1, "partial", 3)
    assert "cannot list the folder" in result.err
    assert "closed'" in result.err
    assert run("load", tmp_path / "in", "--json").json["rows_loaded"] == 3


def test_a_file_that_is_gone_when_it_is_opened_is_partial(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    write("1.ndjson", *events(3))
    (tmp_path / "2.ndjson").symlink_to(tmp_path / "not yet")
    write("3.ndjson", *events(3, 3))
    for given in (tmp_path / "*.ndjson", tmp_path):
        result = run("load", given, "--json")
        assert (result.code, result.json["status"]) == (1, "partial")
        assert len(result.json["errors"]) == 1
        assert rows(db) == 6
    (tmp_path / "not yet").write_bytes(ndjson(*events(3, 6)))
    result = run("load", tmp_path / "*.ndjson", "--json")
    assert result.code == 0, result.err
    assert (numbers(result), rows(db)) == ((3, 0, 0), 9)


def test_a_named_pipe_is_read_each_time(run: Run, db: Database, tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    for count, expected in ((3, (3, 0, 0)), (5, (2, 3, 0))):
        data = ndjson(*events(count))
        writer = Thread(target=fifo.write_bytes, args=(data,))
        writer.start()
        assert numbers(run("load", fifo, "--json")) == expected
        writer.join()
    assert rows(db) == 5
    # In a folder it is left alone, and holds up nobody.
    assert run("load", tmp_path, "--json").json["files"] == 0


def test_links_in_a_circle_hold_up_nobody(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    write("in/a.ndjson", *events(3))
    folder = tmp_path / "in"
    (folder / "deeper").mkdir()
    (folder / "deeper" / "up").symlink_to(folder, target_is_directory=True)
    for given in (folder, folder / "**" / "*.ndjson"):
        assert run("load", given, "--force").code == 0
        assert rows(db) == 3
    assert db.value("SELECT count(*) FROM _files") == 1
    # A link that leads only to itself is no file that can be read.
    (folder / "ring").symlink_to(folder / "ring")
    result = run("load", folder, "--json")
    assert (result.code, len(result.json["errors"])) == (1, 1)


def test_two_names_of_one_file_are_loaded_once(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    path = write("a.ndjson", *events(3))
    (tmp_path / "soft").symlink_to(path)
    result = run("load", path, tmp_path / "soft", f"{tmp_path}/./a.ndjson", "--json")
    assert (numbers(result), result.json["files"]) == ((3, 0, 0), 1)
    (tmp_path / "hard").hardlink_to(path)
    result = run("load", tmp_path, "--json")
    assert (result.code, numbers(result)) == (0, (0, 3, 0))
    assert rows(db) == 3


# many, large, and swollen ones


def test_many_small_files_take_bounded_time_and_memory(
    run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    load_many_small_files(run_measured, db, tmp_path, 1_000)


def test_a_line_too_long_to_hold_takes_bounded_memory(
    run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    load_a_huge_line(run_measured, db, tmp_path, 1)


def test_a_long_stream_takes_bounded_memory(run_measured: Measured, db: Database) -> None:
    def blocks() -> Iterator[bytes]:
        yield ndjson(*events(10))
        line = b'{"garbage": "' + b"y" * (1 << 20) + b'"\n'
        for _ in range(100):
            yield line  # a line that is too long for a record
        for _ in range(100):
            yield b" " * (1 << 20)  # a blank line that is too long to hold
        yield b"\n" + ndjson(*events(10, 10))

    # 200 MB with 1.6 GB of address space, in which Python and its libraries live too.
    limited = ("prlimit", "--as=1600000000", sys.executable, "-m", "loader")
    result, _, _ = run_measured("load", "-", "--json", blocks=blocks(), program=limited)
    assert result.code == 3, result.err
    loaded, known, _ = numbers(result)
    assert (loaded, known, rows(db)) == (20, 0, 20)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_small_file_that_unpacks_to_a_huge_one_takes_bounded_memory(
    form: str, run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    load_a_bomb(run_measured, db, tmp_path, form, 512)


def test_a_small_file_that_unpacks_to_many_line_breaks_ends_soon(
    run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.gz"
    bomb(path, "gzip", b"\n" * (1 << 20), 1)
    result, seconds, peak = run_measured("load", path, "--json")
    assert result.code == 0, result.err
    assert numbers(result) == (20, 0, 0)
    assert peak < MOST_MEMORY
    assert seconds < 4


@pytest.mark.parametrize(
    "count",
    [2_000, 10_000],
)
def test_many_values_on_one_line_take_time_in_proportion(
    count: int, run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "firehose"
    one = [json.dumps(event).encode() for event in events(count, noise="x" * 500)]
    path.write_bytes(b"".join(one))
    result, seconds, _ = run_measured("load", path, "--json")
    assert result.code == 0, result.err
    assert numbers(result) == (count, 0, 0)
    assert seconds < 4
