"""The embedded PostgreSQL: a real server out of a wheel, in a folder of the user's.

It has no port. Its socket is in a folder that only its user can enter, and it asks the operating
system who connects (peer authentication), so other users of the machine get nowhere.

Who uses the server holds a shared lock on a file, and the server holds one on another, so that
both are known without fail: a lock ends with the process, however that ends. What starts and stops
a server does so under a lock on the folder itself.
"""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from loader.config import Warehouse
from loader.errors import UsageError, WarehouseUnavailable
from loader.warehouse import cluster, programs

if sys.platform == "win32":  # the loader's signals and paths are POSIX
    raise ImportError("customerio-loader runs on Linux and macOS")

# Its presence says that a person started the server and wants it to stay.
_KEEP = "started-by-hand"
_DATABASE = "postgres"
_PORT = 5432
# A path of a socket has at most 103 bytes on macOS, 107 on Linux; libpq parts hosts at commas, and
# blanks in a URL are written in two ways, of which each library knows but one.
_SOCKET_PATH = re.compile(r"[\w./-]{1,103}", re.ASCII)
_LOOK_AGAIN = 0.002  # seconds
_PATIENCE = 60.0  # seconds, for what takes a moment


@contextmanager
def running(folder: Path, *, version: int | None = None) -> Iterator[str]:
    """The URL of the server in `folder`, which runs at least as long as the context.

    It stops with its last user, unless a person started it with `warehouse start`. `version` is
    the PostgreSQL of a new folder, one of those in the wheel; default: the newest.
    """
    _check()
    with _locked(folder) as place:
        _ensure_running(place, version or programs.NEWEST)
        users = cluster.open_file(place, cluster.USERS)
        fcntl.flock(users, fcntl.LOCK_SH)
        url = _url(place)
    try:
        yield url
    finally:
        try:
            _leave(place, users)
        finally:
            os.close(users)


@contextmanager
def server_of(warehouse: Warehouse) -> Iterator[str]:
    """The URL of a warehouse; if it is the embedded server, that runs as long as the context."""
    if not warehouse.is_embedded:
        yield warehouse.url()
        return
    with running(warehouse.folder) as url:
        yield url


def start(folder: Path) -> str:
    """Start the server and leave it running; returns its URL."""
    _check()
    with _locked(folder) as place:
        _ensure_running(place, programs.NEWEST)
        os.close(cluster.open_file(place, _KEEP))
        return _url(place)


def stop(folder: Path) -> bool:
    """Stop the server; False if it was not running."""
    with _usable(folder):
        if not folder.exists():
            return False
    with _locked(folder) as place:
        if cluster.version(place) is None:
            return False
        (place / _KEEP).unlink(missing_ok=True)
        return _stop(place) or cluster.settle_earlier(place)


def is_there(folder: Path) -> bool:
    """Whether there are data in a folder; the server may run or not."""
    place = Path(os.path.realpath(folder))
    return place.is_dir() and cluster.version(place) is not None


def is_running(folder: Path) -> bool:
    """Whether a server runs on `folder`."""
    with _usable(folder):
        if not (folder / cluster.SERVER).exists():
            return False
    with _locked(folder) as place:
        return not _is_free(place)


def psql_command(url: str, arguments: Sequence[str]) -> list[str]:
    """The command that opens the wheel's own `psql` on the embedded server."""
    return [str(programs.bin_folder() / "psql"), "-X", url, *arguments]


def run_psql(url: str, arguments: Sequence[str]) -> int:
    """Run `psql` in the foreground; returns its exit code."""
    return subprocess.run(psql_command(url, arguments), check=False).returncode


class _Postmaster(NamedTuple):
    """What the server's own file `postmaster.pid` says."""

    pid: int
    sockets: Path
    is_ready: bool


def _check() -> None:
    """Before anything is made: whether there is a server, and whether it can know its user."""
    programs.bin_folder()
    cluster.name_of(os.geteuid())


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """The folder, where no other process starts or stops a server meanwhile."""
    folder = folder.absolute()
    while True:
        with _usable(folder):
            place = cluster.find(folder)
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with _usable(folder):
                # Another process may have moved or removed it before.
                if not place.exists() or not os.path.samestat(os.fstat(descriptor), place.stat()):
                    continue
                if not (place / "postmaster.pid").exists() and cluster.move_within_reach(
                    folder, place
                ):
                    continue
            yield place
            return
        finally:
            os.close(descriptor)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot use the folder {folder} for the embedded PostgreSQL: "
            f"{error.strerror or error}; set LOADER_WAREHOUSE_DIR to a folder of your own"
        ) from error


def _ensure_running(place: Path, version: int) -> None:
    if cluster.version(place) is not None:
        # It may be on its way up, or down, or a part of it may have been killed.
        end = time.monotonic() + _PATIENCE
        while not _is_free(place):
            found = _postmaster(place)
            if found is not None and found.is_ready and _listens(found):
                return
            if found is not None and not found.is_ready:  # a crash may take long to recover from
                end = time.monotonic() + _PATIENCE
            if time.monotonic() > end:
                raise _does_not_end(place)
            time.sleep(_LOOK_AGAIN)
    with _usable(place):
        _start(place, cluster.prepare(place, version))


def _start(place: Path, version: int) -> None:
    log = place / cluster.LOG
    with open(cluster.open_file(place, log.name, os.O_RDWR | os.O_APPEND), "rb") as file:
        begin = file.seek(0, os.SEEK_END)
        pid = _spawn(place, version, log=file.fileno())
        if _comes_up(place, pid):
            return
        file.seek(begin)
        said = file.read().decode(errors="replace")
    if not said and os.statvfs(place).f_bavail == 0:
        said = os.strerror(errno.ENOSPC)
    why = programs.reason(said or "it said nothing")
    raise WarehouseUnavailable(
        f"the embedded PostgreSQL in {place} did not start: {why} (log: {log})"
    )


def _spawn(place: Path, version: int, *, log: int) -> int:
    """Run a server that is no child of this process; returns its id, or 0."""
    settings = {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": f'"{_socket_folder(place)}"',
        "unix_socket_permissions": "0700",
    }
    server = cluster.open_file(place, cluster.SERVER)
    try:
        fcntl.flock(server, fcntl.LOCK_EX)  # the server and all its processes inherit it
        done = subprocess.run(
            [
                *("/bin/sh", "-c", '"$@" >&2 & echo $!', "sh"),
                *(programs.server_bin_folder(version) / "postgres", "-D", place),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=[server],
            cwd="/",
            env=programs.environment(),
            umask=0o077,
            start_new_session=True,
            check=False,
            **programs.as_server(),
        )
    finally:
        os.close(server)
    return int(done.stdout or 0)


def _comes_up(place: Path, pid: int) -> bool:
    """Wait until the server is ready or gone; how long a crash takes to recover from is open."""
    try:
        while not _is_free(place):
            found = _postmaster(place)
            if found is not None and found.pid == pid and found.is_ready:
                return True
            time.sleep(_LOOK_AGAIN)
    except BaseException:  # a person had enough
        _tell(pid, signal.SIGINT)
        raise
    return False


def _leave(place: Path, users: int) -> None:
    """Stop the server if this was its last user."""
    if not place.exists():
        return
    with _locked(place), suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (place / _KEEP).exists():
            _stop(place)


def _stop(place: Path) -> bool:
    """Stop the server, in the end by force, which costs the next start some time but no data."""
    if _is_free(place):
        return False
    for number in (signal.SIGINT, signal.SIGQUIT):  # a fast shutdown, one without a checkpoint
        found = _postmaster(place)
        if found is not None and (_listens(found) or not found.is_ready):
            _tell(found.pid, number)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if _is_free(place):
                if found is not None and found.sockets != place:
                    with suppress(OSError):
                        found.sockets.rmdir()
                return True
            time.sleep(_LOOK_AGAIN)
    raise _does_not_end(place)


def _does_not_end(place: Path) -> WarehouseUnavailable:
    return WarehouseUnavailable(
        f"a process that the PostgreSQL in {place} started does not end: end the one that has "
        f"{place / cluster.SERVER} open"
    )


def _tell(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


def _is_free(place: Path) -> bool:
    """Whether no process of a server of this folder lives."""
    descriptor = cluster.open_file(place, cluster.SERVER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _listens(found: _Postmaster) -> bool:
    """Whether the server is alive; its id may be that of a process that was killed."""
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(str(found.sockets / cluster.SOCKET)) == 0


def _postmaster(place: Path) -> _Postmaster | None:
    try:
        lines = (place / "postmaster.pid").read_text().split("\n")
        return _Postmaster(int(lines[0]), Path(lines[4]), lines[7].strip() == "ready")
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _socket_folder(place: Path) -> Path:
    """The data folder, or where the path of a socket in it would not do, one in /tmp."""
    if _SOCKET_PATH.fullmatch(str(place / cluster.SOCKET)):
        return place
    old = _postmaster(place)  # of a server that was killed
    if old is not None and old.sockets != place:
        with suppress(OSError):
            found = old.sockets.lstat()
            if found.st_uid == programs.server_id() and found.st_mode & 0o177777 == 0o040700:
                return old.sockets
    made = Path(tempfile.mkdtemp(prefix="customerio-loader-", dir="/tmp"))
    os.chown(made, programs.server_id(), -1)
    return made


def _url(place: Path) -> str:
    found = _postmaster(place)
    assert found is not None
    # With the port, or PGPORT would count.
    return f"postgresql://postgres@:{_PORT}/{_DATABASE}?host={found.sockets}"
