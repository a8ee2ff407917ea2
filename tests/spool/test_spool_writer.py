"""Writing spool files: when they are finished, and what faults leave."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from spool.watching import Watched, watch

from loader.errors import LoaderError
from loader.spool import SpoolFailed, SpoolWriter, finished, recover
from loader.spool.files import new_name, unfinished
from loader.spool.recovery import is_held

SCHEMA = "customerio"
LINE = b'{"n":1}\n'


def content(spool_dir: Path) -> bytes:
    return b"".join(file.path.read_bytes() for file in finished(spool_dir, SCHEMA))


def test_a_file_is_finished_when_it_is_large(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SCHEMA, file_bytes=3 * len(LINE))
    for _ in range(7):
        writer.append(LINE)
    assert [file.size for file in finished(tmp_path, SCHEMA)] == [3 * len(LINE)] * 2


def test_a_file_is_finished_when_it_is_old(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SCHEMA, file_seconds=3_600)
    writer.append(LINE)
    writer.finish_when_due()
    assert finished(tmp_path, SCHEMA) == []

    writer = SpoolWriter(tmp_path, SCHEMA, file_seconds=0)
    writer.append(LINE)
    writer.finish_when_due()
    assert content(tmp_path) == LINE


def test_a_file_without_lines_is_not_kept(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SCHEMA)
    writer.append(b"")
    writer.finish()
    assert finished(tmp_path, SCHEMA) == unfinished(tmp_path, SCHEMA) == []


def test_two_writers_share_a_spool(tmp_path: Path) -> None:
    """Neither takes the other's file for one that was left."""
    one, two = SpoolWriter(tmp_path, SCHEMA), SpoolWriter(tmp_path, SCHEMA)
    for number in range(10):
        one.append(b"one%d\n" % number)
        two.append(b"two%d\n" % number)
        if number == 5:
            one.finish()
    assert recover(tmp_path, SCHEMA) == []
    assert one.finish()
    assert two.finish()
    assert len(finished(tmp_path, SCHEMA)) == 3
    lines = sorted(content(tmp_path).split())
    assert lines == sorted(b"%s%d" % (w, n) for w in (b"one", b"two") for n in range(10))


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", None),
        (b'{"a":', None),
        (LINE, LINE),
        (LINE + b'{"a":', LINE),
        (LINE * 20_000 + b'{"a":' + b"x" * 200_000, LINE * 20_000),
        (LINE + b"\0" * 70_000, LINE),  # of a file that grew before its pages were written
    ],
)
def test_what_a_dead_receiver_left_is_cut_and_finished(
    tmp_path: Path, left: bytes, kept: bytes | None
) -> None:
    (tmp_path / SCHEMA).mkdir()
    (tmp_path / SCHEMA / f".{new_name()}").write_bytes(left)
    assert len(recover(tmp_path, SCHEMA)) == 1
    assert [file.path.read_bytes() for file in finished(tmp_path, SCHEMA)] == (
        [] if kept is None else [kept]
    )
    assert unfinished(tmp_path, SCHEMA) == recover(tmp_path, SCHEMA) == []


def test_what_others_have_left_stops_no_writer(tmp_path: Path) -> None:
    """Neither what nobody can finish, nor what a newer version wrote."""
    (tmp_path / SCHEMA / f".{new_name()}").mkdir(parents=True)
    (tmp_path / SCHEMA / f".{new_name()}").write_bytes(LINE + b"{")
    with pytest.raises(LoaderError, match="cannot be finished: Is a directory"):
        recover(tmp_path, SCHEMA)
    assert content(tmp_path) == LINE  # all the same
    (tmp_path / SCHEMA / f".{new_name().replace('.v1.', '.v2.')}").touch()
    writer = SpoolWriter(tmp_path, SCHEMA)
    writer.append(LINE)
    assert writer.finish()
    assert content(tmp_path) == 2 * LINE


def test_links_and_pipes_among_the_files_do_no_harm(tmp_path: Path) -> None:
    """Others of the group may have put them there: what a link led to was cut, a pipe held all."""
    folder, other = tmp_path / SCHEMA, tmp_path / "other"
    folder.mkdir()
    other.write_bytes(b"another file\nof this user")
    (folder / f".{new_name()}").symlink_to(other)
    os.mkfifo(folder / f".{new_name()}")
    (folder / f".{new_name()}").write_bytes(LINE)
    with pytest.raises(LoaderError, match="cannot be finished"):
        recover(tmp_path, SCHEMA)
    assert other.read_bytes() == b"another file\nof this user"
    assert [is_held(file) for file in unfinished(tmp_path, SCHEMA)] == [False, False]
    assert content(tmp_path) == LINE
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(SpoolFailed, match="cannot be written"):
        SpoolWriter(tmp_path, SCHEMA).append(LINE)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("how", ["removed", "removed with the spool", "moved", "replaced"])
def test_lines_are_not_taken_into_a_folder_that_is_not_there(tmp_path: Path, how: str) -> None:
    """The next ones come into a new folder."""
    spool, away = tmp_path / "spool", tmp_path / "away"
    folder = spool / SCHEMA
    writer = SpoolWriter(spool, SCHEMA)
    writer.append(b"before\n")
    if how == "removed":
        shutil.rmtree(folder)
    elif how == "removed with the spool":
        shutil.rmtree(spool)
    else:
        folder.rename(away)
    if how == "replaced":
        (tmp_path / "other").mkdir()
        folder.symlink_to(tmp_path / "other")
    with pytest.raises(SpoolFailed):
        writer.append(b"refused\n")
    writer.append(b"after\n")
    assert writer.finish()
    assert content(spool) == b"after\n"
    if away.exists():  # and moved back: nothing that was acknowledged is gone
        away.rename(spool / "back")
        recover(spool, "back")
        [file] = finished(spool, "back")
        assert file.path.read_bytes().startswith(b"before\n")


def test_a_full_disk_is_not_written_to(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SCHEMA, min_free=1 << 60)
    with pytest.raises(SpoolFailed, match=r"less than spool_min_free .* is free"):
        writer.append(LINE)
    assert unfinished(tmp_path, SCHEMA) == []


def test_a_write_that_fails_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    """The limit of the system for the size of a file: a part of the lines was written."""
    writer = SpoolWriter(tmp_path, SCHEMA)
    writer.append(LINE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * len(LINE) + 2, hard))
    try:
        with pytest.raises(SpoolFailed, match="cannot be written: File too large"):
            writer.append(LINE * 10)
        writer.append(LINE)  # into another file
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    writer.finish()
    assert [file.size for file in finished(tmp_path, SCHEMA)] == [len(LINE)] * 2


# with the calls to the system watched


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return watch(tmp_path / "data", tmp_path)


def write_watched(watched: Watched, steps: str) -> None:
    """Run `steps` in a process of its own; what it prints on the way is not looked at."""
    program = f"""
import os, pathlib
from loader.spool import SpoolWriter, SpoolFailed
faults = pathlib.Path(os.environ["SPOOL_FAULTS"])
writer = SpoolWriter(pathlib.Path(os.environ["SPOOL_WATCHED"]) / "spool", "customerio")
def append(data):
    try:
        writer.append(data)
    except SpoolFailed:
        return False
    return True
{steps}
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | watched.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_folders_and_file_are_synced_before_lines_are(watched: Watched) -> None:
    """Each new folder is synced into the one above, the file into its folder, then its lines."""
    watched.folder.mkdir()
    acknowledged = watched.folder / "acknowledged"
    write_watched(watched, f'assert append(b"1\\n"); os.mkdir("{acknowledged}")')
    seen = [(call.name, call.path) for call in watched.calls() if call.name != "close"]
    order = [
        ("mkdir", "spool"),
        ("fsync", "."),
        ("mkdir", "spool/customerio"),
        ("fsync", "spool"),
        ("create", "spool/customerio/FILE"),
        ("fsync", "spool/customerio"),
        ("write", "spool/customerio/FILE"),
        ("fdatasync", "spool/customerio/FILE"),
        ("mkdir", "acknowledged"),
    ]
    at = -1
    for call in order:
        assert call in seen[at + 1 :], f"{call} does not come after {order[: order.index(call)]}"
        at = seen.index(call, at + 1)


def test_a_finished_file_is_synced_into_its_folder(watched: Watched) -> None:
    watched.folder.mkdir()
    write_watched(watched, 'assert append(b"1\\n"); assert writer.finish()')
    seen = [(call.name, call.path) for call in watched.calls()]
    renamed = seen.index(("rename", "spool/customerio/FILE"))
    assert ("fsync", "spool/customerio/FILE") in seen[:renamed]
    assert ("fsync", "spool/customerio") in seen[renamed:]


@pytest.mark.parametrize("call", ["write", "fdatasync"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failure_costs_only_what_was_not_acknowledged(
    watched: Watched, call: str, error: int
) -> None:
    """And a descriptor whose sync failed is closed, never synced again."""
    watched.folder.mkdir()
    write_watched(
        watched,
        f"""
assert append(b"1\\n")
faults.write_text("{call} {error}")
assert not append(b"lost\\n")
faults.unlink()
assert append(b"2\\n")
assert writer.finish()
""",
    )
    files = finished(watched.folder / "spool", SCHEMA)
    assert [file.path.read_bytes() for file in files] == [b"1\n", b"2\n"]
    calls = [one for one in watched.calls() if one.path.endswith("FILE")]
    failed = next(at for at, one in enumerate(calls) if one.failed)
    assert calls[failed + 1].name == "close"
    assert calls[failed + 1].descriptor == calls[failed].descriptor


@pytest.mark.parametrize("call", ["ftruncate", "rename", "fsync", "open"])
def test_a_file_that_cannot_be_ended_is_ended_later(watched: Watched, call: str) -> None:
    """Until then nothing more is acknowledged behind it, and nothing of it is lost."""
    watched.folder.mkdir()
    write_watched(
        watched,
        f"""
assert append(b"1\\n")
faults.write_text("{call} {errno.EIO}")
assert not writer.finish()
assert not append(b"lost\\n")
faults.unlink()
assert append(b"2\\n")
assert writer.finish()
""",
    )
    files = finished(watched.folder / "spool", SCHEMA)
    assert [file.path.read_bytes() for file in files] == [b"1\n", b"2\n"]
