"""Where the server of a data folder listens: a socket, and a port if it is asked to.

A server on a port has the port in the name of its socket, too. So that a URL of the socket stays
good whatever the port is, the name without one is a link to it then.
"""

import os
import re
import socket
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from loader.errors import UsageError
from loader.warehouse import programs

# Of a server without a port, and of every URL.
DEFAULT = 5432
HOST = "127.0.0.1"
_PREFIX = ".s.PGSQL."
_LONGEST = f"{_PREFIX}65535"
# A path of a socket has at most 103 bytes on macOS, 107 on Linux; libpq parts hosts at commas, and
# blanks in a URL are written in two ways, of which each library knows but one.
_PATH = re.compile(r"[\w./-]{1,103}", re.ASCII)


class PortUnusable(UsageError):
    """The server cannot listen on a port."""

    def __init__(self, port: int, why: str) -> None:
        super().__init__(
            f"the port {port} of {HOST} cannot be used ({why}): choose another with "
            "`customerio-loader warehouse start --port`, or none with --no-port"
        )


class Postmaster(NamedTuple):
    """What the server's own file `postmaster.pid` says."""

    pid: int
    number: int  # in the name of its socket
    sockets: Path  # the folder of that
    port: int  # 0: none
    is_ready: bool


def read_postmaster(place: Path) -> Postmaster | None:
    """What is said of the server of a folder, which may be dead; None where that is not whole."""
    try:
        lines = (place / "postmaster.pid").read_text().split("\n")
        number = int(lines[3])
        port = number if lines[5] else 0
        return Postmaster(int(lines[0]), number, Path(lines[4]), port, lines[7].strip() == "ready")
    except (FileNotFoundError, ValueError, IndexError):
        return None


def name(number: int) -> str:
    """The name of the socket of a server."""
    return f"{_PREFIX}{number}"


def listens(found: Postmaster) -> bool:
    """Whether the server is alive; its id may be that of a process that was killed."""
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(str(found.sockets / name(found.number))) == 0


def choose_folder(place: Path) -> Path:
    """The data folder, or where the path of a socket in it would not do, one in /tmp."""
    if _PATH.fullmatch(str(place / _LONGEST)):
        return place
    old = read_postmaster(place)  # of a server that was killed
    if old is not None and old.sockets != place and _is_of_server(old.sockets):
        return old.sockets
    made = Path(tempfile.mkdtemp(prefix="customerio-loader-", dir="/tmp"))
    os.chown(made, programs.server_id(), -1)
    return made


def link(found: Postmaster) -> None:
    """See that the socket of a server that runs has the name of every URL, and is the only one."""
    if not _is_of_server(found.sockets):
        return
    wanted = name(found.number)
    for path in found.sockets.glob(f"{_PREFIX}*"):  # of servers that were killed
        is_link = path.is_symlink() and os.readlink(path) == wanted
        if path.name.removesuffix(".lock") != wanted and not is_link:
            path.unlink(missing_ok=True)
    if found.number != DEFAULT:
        with suppress(FileExistsError):
            (found.sockets / name(DEFAULT)).symlink_to(wanted)


def remove(found: Postmaster, place: Path) -> None:
    """Remove what a server that has ended leaves."""
    path = found.sockets / name(DEFAULT)
    if _is_of_server(found.sockets) and path.is_symlink():
        path.unlink()
    if found.sockets != place:
        with suppress(OSError):
            found.sockets.rmdir()


def _is_of_server(folder: Path) -> bool:
    """Whether a folder is one for sockets only; for root, the server's user may say another."""
    with suppress(OSError):
        found = folder.lstat()
        return found.st_uid == programs.server_id() and found.st_mode & 0o177777 == 0o040700
    return False


def require_usable(port: int) -> None:
    """Raise PortUnusable where another program has the port; 0 is none."""
    if port:
        try:
            # The server binds it in the same way.
            socket.create_server((HOST, port)).close()
        except OSError as error:
            raise PortUnusable(port, os.strerror(error.errno or 0)) from error


def why_unusable(said: str) -> str | None:
    """Why a server that did not start could not have its port; None if that was not the reason."""
    if "could not create any TCP/IP sockets" not in said:
        return None
    found = re.search(r"could not bind \S+ address .*?: (.+)", said)
    return found[1] if found else "the server's log says why"
