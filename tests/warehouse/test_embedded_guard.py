"""Who gets into the embedded server, and that nothing outside its folder is changed."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from acceptance.harness import ROOT, Database, enterable_folder, run_as

from loader.errors import UsageError
from loader.warehouse import cluster, embedded, programs

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")
NOBODY = 65_534
STRANGER = 61_000  # a user id without a name


@pytest.fixture
def parent() -> Iterator[Path]:
    found = enterable_folder()
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture
def home(parent: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root puts what the server's user cannot reach: not the machine's, here."""
    monkeypatch.setattr(programs, "HOME", parent / "var")
    return parent / "var"


def psql_as(user: int, url: str) -> "subprocess.CompletedProcess[str]":
    psql = programs.server_bin_folder() / "psql"
    return subprocess.run(
        [psql, "-XAt", url, "-c", "SELECT 'in'"],
        user=user,
        group=user,
        extra_groups=[],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def modes(*folders: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode and owners of folders and of all above them."""
    every = {one for folder in folders for one in (folder, *folder.parents)}
    return {one: (s.st_mode, s.st_uid, s.st_gid) for one in every for s in [one.stat()]}


@needs_root
@pytest.mark.parametrize("name", ["short", "long" * 40, "ä, \"$(touch it)`'%41 \\"])
def test_other_users_do_not_get_in(parent: Path, name: str) -> None:
    """With a long path, anybody could run programs as the job's user."""
    folder = parent / name
    with embedded.running(folder) as url:
        assert Database(url).value("SHOW listen_addresses") == ""
        [sockets] = Database(url).rows("SHOW unix_socket_directories")[0]
        found = Path(sockets.strip('"'))
        assert stat.S_IMODE(found.stat().st_mode) == 0o700
        refused = psql_as(NOBODY, url)
        assert (refused.returncode, "Permission denied" in refused.stderr) == (2, True)
        # Nor would they, were the folder open.
        found.chmod(0o711)
        (found / ".s.PGSQL.5432").chmod(0o777)
        for user in (NOBODY, STRANGER, programs.server_id()):
            refused = psql_as(user, url)
            assert (refused.returncode, refused.stdout) == (2, "")
        assert "Peer authentication failed" in psql_as(NOBODY, url).stderr
        found.chmod(0o700)
    assert folder.exists()
    assert found == folder or not found.exists()


@needs_root
def test_the_server_runs_as_a_user_that_nobody_else_is(parent: Path) -> None:
    with embedded.running(parent / "wh") as url:
        pid = Database(url).value("SELECT pg_backend_pid()")
        assert pid
        pid = int((parent / "wh" / "postmaster.pid").read_text().split()[0])
        assert Path(f"/proc/{pid}").stat().st_uid == programs.server_id()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"HOME=" not in environment
    with pytest.raises(KeyError):
        pwd.getpwuid(programs.server_id())
    owners = {path.lstat().st_uid for path in (parent / "wh").rglob("*")}
    assert owners == {programs.server_id()}


@needs_root
def test_other_processes_of_the_user_that_initdb_borrows_do_not_reach_it(parent: Path) -> None:
    real, slow, folder = programs.server_bin_folder(), parent / "bin", parent / "wh" / "new"
    slow.mkdir()
    folder.parent.mkdir()
    (slow / "postgres").symlink_to(real / "postgres")
    wait = 'echo $$ >"$2/here"; until test -e "$2/go"; do sleep 0.02; done; rm "$2/here" "$2/go"'
    (slow / "initdb").write_text(f'#!/bin/sh\n{wait}; exec {real}/initdb "$@"\n')
    (slow / "initdb").chmod(0o755)
    with ThreadPoolExecutor() as pool:
        made = pool.submit(programs.initdb, slow, folder, "--no-sync")
        while not (folder / "here").exists() or not (folder / "here").read_text():
            assert not made.done()
            time.sleep(0.01)
        process = Path("/proc") / (folder / "here").read_text().strip()
        user = process.stat().st_uid
        tried = [
            subprocess.run(
                ["ls", "-L", path], user=user, group=user, extra_groups=[], capture_output=True,
                text=True, check=False,
            ).stderr
            for path in (folder, process / "cwd", process / "fd" / "0")
        ]  # fmt: skip
        (folder / "go").touch()
        made.result()
    assert user not in (0, programs.server_id())
    assert ["Permission denied" in error for error in tried] == [True] * 3, tried
    assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {programs.server_id()}


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nothing_outside_the_folder_is_changed(parent: Path, umask: int) -> None:
    """Every folder up to the root was opened to others, and a system user was made."""
    deep = parent / "a" / "b"
    deep.mkdir(parents=True)
    deep.chmod(0o711)
    before = modes(deep, programs.bin_folder()), Path("/etc/passwd").read_bytes()
    there = set(os.listdir("/tmp"))
    done = subprocess.run(
        [sys.executable, "-m", "loader", "warehouse", "url"],
        env={"PATH": os.defpath, "LOADER_WAREHOUSE_DIR": str(deep / "new" / "wh")},
        cwd=ROOT,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert before == (modes(deep, programs.bin_folder()), Path("/etc/passwd").read_bytes())
    assert not {name for name in set(os.listdir("/tmp")) - there if "lockfile" in name}
    assert sorted(os.listdir(deep)) == ["new"]
    assert os.listdir(deep / "new") == ["wh"]
    assert stat.S_IMODE((deep / "new" / "wh").stat().st_mode) == 0o700
    assert {
        stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (deep / "new" / "wh").rglob("*")
    } == {0}


@pytest.mark.parametrize("names", [["precious"], [".hidden"], ["PG_VERSION", "base"]])
def test_a_folder_with_other_data_is_refused_and_left_alone(parent: Path, names: list[str]) -> None:
    folder = parent / "theirs"
    folder.mkdir(0o750)
    for name in names:
        (folder / name).write_text("18\n")
    before = modes(folder), {name: (folder / name).stat() for name in names}
    with pytest.raises(UsageError, match="no data of customerio-loader"), embedded.running(folder):
        pass
    with pytest.raises(UsageError):
        embedded.start(folder)
    assert before == (modes(folder), {name: (folder / name).stat() for name in names})
    assert sorted(os.listdir(folder)) == sorted(names)


def test_a_path_that_leads_nowhere_is_a_wrong_setting(parent: Path) -> None:
    (parent / "loop").symlink_to(parent / "loop")
    for path in (parent / "loop", parent / "two\nlines", parent / ("x" * 300)):
        with pytest.raises(UsageError), embedded.running(path):
            pass
    assert os.listdir(parent) == ["loop"]


@needs_root
def test_a_user_without_a_name_is_told_so(parent: Path) -> None:
    """As in a container that is given a user id; nothing is made for it."""
    parent.chmod(0o777)
    arguments = ("-m", "loader", "status")
    done = run_as(STRANGER, *arguments, cwd=parent, LOADER_WAREHOUSE_DIR=str(parent / "wh"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"the user id {STRANGER} has no name" in done.stderr
    assert os.listdir(parent) == []


@needs_root
def test_a_folder_of_another_user_is_refused(parent: Path) -> None:
    """Who makes the folder first would own what is loaded."""
    folder = parent / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    (parent / "link").symlink_to(folder)
    for path in (folder, parent / "link"):
        with pytest.raises(UsageError, match="belongs to the user nobody"), embedded.running(path):
            pass
    assert folder.stat().st_uid == NOBODY
    assert os.listdir(folder) == []


@needs_root
def test_what_the_servers_user_cannot_reach_goes_where_it_can(
    parent: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a clone below /root: both the data and the programs."""
    closed = parent / "closed"
    closed.mkdir(0o700)
    before = modes(closed)
    folders = [closed / "one" / "wh", closed / "two" / "wh"]
    for number, folder in enumerate(folders):
        with embedded.running(folder) as url:
            Database(url).execute(f"CREATE TABLE public.kept AS SELECT {number} AS number")
        assert folder.is_symlink()
        assert folder.resolve().parent == home
    assert len([r for r in caplog.records if "the data is in" in r.getMessage()]) == 2
    assert modes(closed) == before
    # They are found again, whether or not the folder can be reached by now.
    caplog.clear()
    closed.chmod(0o755)
    for number, folder in enumerate(folders):
        with embedded.running(folder) as url:
            assert Database(url).value("SELECT number FROM public.kept") == number
    assert caplog.records == []
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


@needs_root
def test_data_that_the_servers_user_cannot_reach_any_more_is_moved(
    parent: Path, home: Path
) -> None:
    folder = parent / "clone" / "wh"
    with embedded.running(folder) as url:
        Database(url).execute("CREATE TABLE public.kept AS SELECT 7 AS number")
    (parent / "clone").chmod(0o700)
    with embedded.running(folder) as url:
        assert Database(url).value("SELECT number FROM public.kept") == 7
    assert folder.resolve().parent == home
    assert stat.S_IMODE((parent / "clone").stat().st_mode) == 0o700


@needs_root
def test_programs_that_the_servers_user_cannot_reach_are_copied_once(
    parent: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed = parent / "venv"
    closed.mkdir(0o700)
    installed = programs.bin_folder().parents[1]
    for one in (installed, installed.with_name(f"{installed.name}.libs")):
        if one.exists():
            (closed / one.name).symlink_to(one)
    before = modes(closed, installed)
    monkeypatch.setattr(programs, "_installed", lambda: closed / installed.name)
    umask = os.umask(0o077)
    try:
        for _ in range(2):
            with embedded.running(parent / "wh") as url:
                pid = int((parent / "wh" / "postmaster.pid").read_text().split()[0])
                assert Path(f"/proc/{pid}/exe").resolve().is_relative_to(home)
                assert embedded.run_psql(url, ["-qc", "SELECT 1", "-o", "/dev/null"]) == 0
    finally:
        os.umask(umask)
    assert modes(closed, installed) == before
    assert len([r for r in caplog.records if "copying the programs" in r.getMessage()]) == 1
    assert {path.lstat().st_uid for path in home.rglob("*")} == {0}
    assert not [p for p in home.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o022]


@needs_root
@pytest.mark.parametrize("harm", ["open", "theirs", "link"])
def test_a_home_that_others_can_write_to_is_refused(parent: Path, home: Path, harm: str) -> None:
    if harm == "link":
        (parent / "elsewhere").mkdir()
        home.symlink_to(parent / "elsewhere")
    else:
        home.mkdir()
        home.chmod(0o777) if harm == "open" else os.chown(home, NOBODY, NOBODY)
    (parent / "closed").mkdir(0o700)
    with pytest.raises(UsageError, match="nobody else can write"):
        embedded.start(parent / "closed" / "wh")


@needs_root
def test_files_of_others_that_were_linked_into_the_folder_stay_theirs(parent: Path) -> None:
    (parent / "theirs").write_text("")
    folder = parent / "wh"
    with embedded.running(folder):
        pass
    os.chown(folder, 0, 0)
    os.chown(parent / "theirs", NOBODY, NOBODY)
    os.link(parent / "theirs", folder / "hard")
    (folder / "soft").symlink_to(parent / "theirs")
    (folder / cluster.LOG).unlink()
    (folder / cluster.LOG).symlink_to(parent / "new")
    with pytest.raises(UsageError, match="symbolic links"):
        embedded.start(folder)
    assert (parent / "theirs").stat().st_uid == NOBODY
    assert not (parent / "new").exists()


@needs_root
def test_root_without_other_users_is_told_in_a_sentence(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose only user id is that of root."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare, which makes such a place, is not there")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-m", "loader", "status"],
        env={"PATH": os.defpath, "LOADER_WAREHOUSE_DIR": str(parent / "wh")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip("this system makes no user namespaces")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "does not let root run it as user" in done.stderr
