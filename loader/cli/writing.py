"""Write the file that a command was asked for."""

import errno
import os
from pathlib import Path

from loader.errors import LoaderError, UsageError


def require_file(target: str) -> None:
    """Refuse what cannot be written to before anything is asked of the server."""
    path = Path(target)
    if path.is_dir() or not path.parent.is_dir():
        why = "it is a folder: name a file in it" if path.is_dir() else "its folder is not there"
        raise UsageError(f"-o {target} cannot be written: {why}")


def write_file(target: str, content: bytes) -> None:
    """A file appears as a whole or not at all; a pipe or a device is written to."""
    from loader.config.editing import replace_file

    try:
        _refuse_planted(Path(target))
        path = Path(os.path.realpath(target))
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            replace_file(path, content)
    except OSError as error:
        raise LoaderError(f"{target} cannot be written ({error.strerror})") from None


def _refuse_planted(path: Path) -> None:
    """Refuse a link of another user's in a folder such as /tmp, as the system does for opening."""
    if path.is_symlink():
        folder, link = path.parent.stat(), path.lstat()
        if folder.st_mode & 0o1002 == 0o1002 and link.st_uid not in (os.geteuid(), folder.st_uid):
            raise PermissionError(errno.EACCES, "it is a link that another user has made")
