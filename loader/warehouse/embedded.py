"""The embedded PostgreSQL: a real server out of a wheel, in a folder of the user's.

Its socket is in a folder that only its user can enter, and it asks the operating system who
connects (peer authentication), so other users of the machine get nowhere. It has no port, unless a
person asked for one (`analyst.py`): then it has it while that person wants it to run.

Who uses the server holds a shared lock on a file, and the server holds one on another, so that
both are known without fail: a lock ends with the process, however that ends. What starts and stops
a server does so under a lock on the folder itself.
"""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from loader.config import Warehouse
from loader.errors import LoaderError, UsageError, WarehouseUnavailable
from loader.warehouse import cluster, programs, sockets

if sys.platform == "win32":  # the loader's signals and paths are POSIX
    raise ImportError("customerio-loader runs on Linux and macOS")

# Its presence says that a person started the server and wants it to stay.
_KEEP = "started-by-hand"
_LOOK_AGAIN = 0.002  # seconds
_PATIENCE = 60.0  # seconds, for what takes a moment

_log = logging.getLogger(__name__)


@contextmanager
def running(folder: Path, *, version: int | None = None) -> Iterator[str]:
    """The URL of the server in `folder`, which runs at least as long as the context.

    It stops with its last user, unless a person started it with `warehouse start`. `version` is
    the PostgreSQL of a new folder, one of those in the wheel; default: the newest.
    """
    _check()
    with _locked(folder) as place:
        _ensure_usable(place, version or programs.NEWEST)
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


def start(folder: Path, *, port: int | None = None) -> str:
    """Start the server and leave it running; returns its URL.

    It listens on a port of this machine, too, if it is to have one: that is remembered, 0 forgets
    it, and by default it is as it was. Raises PortUnusable, and WarehouseUnavailable where the
    server would have to be started anew while it is used.
    """
    _check()
    with _locked(folder) as place:
        wanted = cluster.read_port(place) if port is None else port
        if cluster.version(place) is None or _is_free(place):
            sockets.require_usable(wanted)
        _ensure_running(place, programs.NEWEST, wanted)
        found = sockets.read_postmaster(place)
        if found is not None and found.port != wanted:
            sockets.require_usable(wanted)
            _restart(place, found.port, wanted)
        cluster.write_port(place, wanted)
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


def port_of(folder: Path) -> int:
    """The port that the server has after `start`; 0: none."""
    return cluster.read_port(Path(os.path.realpath(folder)))


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


def _ensure_usable(place: Path, version: int) -> None:
    """Have the server run; what uses it does not need a port, and does not fail for want of one."""
    port = cluster.read_port(place) if (place / _KEEP).exists() else 0
    try:
        _ensure_running(place, version, port)
    except sockets.PortUnusable as error:
        _log.warning("customerio-loader: the embedded PostgreSQL runs without a port: %s", error)
        _ensure_running(place, version, 0)


def _restart(place: Path, before: int, wanted: int) -> None:
    """Start the server anew on another port; where that fails it is on the one before."""
    users = cluster.open_file(place, cluster.USERS)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WarehouseUnavailable(
            "the embedded PostgreSQL has to be started anew for that, and a load or another "
            "command uses it: try again when that has ended"
        ) from error
    finally:
        os.close(users)
    _stop(place)
    try:
        _ensure_running(place, programs.NEWEST, wanted)
    except BaseException:
        with suppress(LoaderError):
            _ensure_running(place, programs.NEWEST, before)
        raise


def _ensure_running(place: Path, version: int, port: int) -> None:
    """Start the server on a port, unless it runs, on whichever."""
    if cluster.version(place) is not None:
        # It may be on its way up, or down, or a part of it may have been killed.
        end = time.monotonic() + _PATIENCE
        while not _is_free(place):
            found = sockets.read_postmaster(place)
            if found is not None and found.is_ready and sockets.listens(found):
                return
            if found is not None and not found.is_ready:  # a crash may take long to recover from
                end = time.monotonic() + _PATIENCE
            if time.monotonic() > end:
                raise _does_not_end(place)
            time.sleep(_LOOK_AGAIN)
    with _usable(place):
        _start(place, cluster.prepare(place, version, with_port=port != 0), port)


def _start(place: Path, version: int, port: int) -> None:
    log = place / cluster.LOG
    with open(cluster.open_file(place, log.name, os.O_RDWR | os.O_APPEND), "rb") as file:
        begin = file.seek(0, os.SEEK_END)
        pid = _spawn(place, version, port, log=file.fileno())
        if _comes_up(place, pid):
            return
        file.seek(begin)
        said = file.read().decode(errors="replace")
    if not said and os.statvfs(place).f_bavail == 0:
        said = os.strerror(errno.ENOSPC)
    if (without_port := sockets.why_unusable(said)) is not None:
        raise sockets.PortUnusable(port, without_port)
    why = programs.reason(said or "it said nothing")
    raise WarehouseUnavailable(
        f"the embedded PostgreSQL in {place} did not start: {why} (log: {log})"
    )


def _spawn(place: Path, version: int, port: int, *, log: int) -> int:
    """Run a server that is no child of this process; returns its id, or 0."""
    settings = {
        "listen_addresses": sockets.HOST if port else "",
        "port": str(port or sockets.DEFAULT),
        "unix_socket_directories": f'"{sockets.choose_folder(place)}"',
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
            found = sockets.read_postmaster(place)
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
        found = sockets.read_postmaster(place)
        if found is not None and (sockets.listens(found) or not found.is_ready):
            _tell(found.pid, number)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if _is_free(place):
                if found is not None:
                    sockets.remove(found, place)
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


def _url(place: Path) -> str:
    found = sockets.read_postmaster(place)
    assert found is not None
    sockets.link(found)
    # With the port, or PGPORT would count.
    return f"postgresql://postgres@:{sockets.DEFAULT}/{cluster.DATABASE}?host={found.sockets}"
