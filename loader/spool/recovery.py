"""How spool files begin and end: under a lock of their folder, and synced with it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.errors import LoaderError
from loader.spool.files import SpoolFile, spool_folder, unfinished

# The group of the spool may list and delete: the receiver and the loader may be two users.
_FOLDER_MODE = 0o2770
_FILE_MODE = 0o640
_STEP = 1 << 16
# Who is in the group may put anything there: links are not followed, and pipes are not waited for.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def make_folder(spool_dir: Path, schema: str) -> Path:
    """The folder of a source, made where it is missing; on return a crash cannot undo it.

    Its parents are synced whether they were there or not, as another process may have made them a
    moment ago.
    """
    folder = spool_folder(spool_dir.absolute(), schema)
    for path in (folder.parent, folder):
        missing = [one for one in (path, *path.parents) if not one.exists()]
        for one in reversed(missing):
            try:
                one.mkdir()
            except FileExistsError:
                continue
            if one in (folder, folder.parent):
                one.chmod(_FOLDER_MODE)
            sync_folder(one.parent)
        sync_folder(path.parent)
    return folder


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The lock of a folder, for which others wait."""
    descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_CREAT | _SAFELY, _FILE_MODE)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, _FILE_MODE)  # whatever the umask
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def begin(path: Path) -> int:
    """A new file with the lock that its writer holds; the caller has that of the folder."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        os.fchmod(descriptor, _FILE_MODE)  # whatever the umask
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        sync_folder(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def end(path: Path, size: int | None) -> bool:
    """Cut a file at `size`, or behind its last whole line, and finish it; an empty one is removed.

    The caller has the lock of the folder, and knows the size only of a file of its own. Returns
    False where a process holds the file, or another one has ended it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | _SAFELY)
    except FileNotFoundError:
        return False
    try:
        if size is None:
            if not _take(descriptor, fcntl.LOCK_EX):
                return False
            size = _end_of_lines(descriptor)
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
        if size:
            os.rename(path, path.with_name(path.name.removeprefix(".")))
        else:
            os.unlink(path)
        sync_folder(path.parent)
    finally:
        os.close(descriptor)
    return True


def recover(spool_dir: Path, schema: str) -> list[SpoolFile]:
    """Finish the files that dead receivers have left, without what was cut; returns them.

    Raises LoaderError, when all that can be finished is.
    """
    left = unfinished(spool_dir, schema)
    done, failed = [], []
    for file in left:
        try:
            with locked(file.path.parent):
                # That of a living receiver may be no more than read.
                if not is_held(file) and end(file.path, None):
                    done.append(file)
        except OSError as error:
            failed.append(f"{str(file.path)!r} cannot be finished: {error.strerror}")
    if failed:
        raise LoaderError(
            f"what a receiver has left stays: {'; '.join(failed)}; finish it as the user of that "
            "receiver with `customerio-loader spool recover`"
        )
    return done


def is_held(file: SpoolFile) -> bool:
    """Whether a process is writing to an unfinished file, as far as this user can see."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | _SAFELY)
    except OSError:  # who ends the file says why it cannot
        return False
    try:
        return not _take(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end:
        begin = max(0, end - _STEP)
        at = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0
