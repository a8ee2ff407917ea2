"""One spool file after another, written and synced."""

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from loader.errors import LoaderError
from loader.spool.files import new_name
from loader.spool.recovery import begin, end, locked, make_folder

FILE_BYTES = 64 << 20
_sync = getattr(os, "fdatasync", os.fsync)  # which macOS has not
FILE_SECONDS = 60.0


class SpoolFailed(LoaderError):
    """Lines could not be written and synced; nothing of them counts as received."""


class SpoolWriter:
    """Writes the lines of one source. Not for two threads at once.

    A file in which something failed is closed and cut behind the last synced line. Its descriptor
    is not synced again: the system reports a failure once, and takes the lost pages for written.
    Where the folder is removed, moved or replaced, it is made anew.
    """

    def __init__(
        self,
        spool_dir: Path,
        schema: str,
        *,
        min_free: int = 0,
        file_bytes: int = FILE_BYTES,
        file_seconds: float = FILE_SECONDS,
    ) -> None:
        self._spool_dir = spool_dir
        self._schema = schema
        self._min_free = min_free
        self._file_bytes = file_bytes
        self._file_seconds = file_seconds
        self._descriptor: int | None = None
        self._path = Path()
        self._size = 0  # up to which everything is synced
        self._began = 0.0
        self._to_end: list[tuple[Path, int]] = []  # files that are closed, and where to cut them

    def append(self, data: bytes) -> None:
        """Write whole lines; on return they are synced. Raises SpoolFailed."""
        try:
            self._end_closed()
            if self._descriptor is None:
                folder = make_folder(self._spool_dir, self._schema)
                self._check_free(folder)
                self._open(folder)
            else:
                self._check_free(self._path.parent)
            self._write(data)
        except BaseException as error:
            self.finish()
            if isinstance(error, OSError):
                raise SpoolFailed(self._explain(error)) from error
            raise
        if self._size >= self._file_bytes:
            self.finish()

    def finish_when_due(self) -> None:
        """Finish the file if it is old enough."""
        is_old = time.monotonic() - self._began >= self._file_seconds
        if self._to_end or (self._descriptor is not None and is_old):
            self.finish()

    def finish(self) -> bool:
        """Give the file to its readers; False if that failed and has to be tried again."""
        self._close()
        try:
            self._end_closed()
        except OSError:
            return False  # what is in it is synced, and the next call tries it again
        return True

    def _open(self, folder: Path) -> None:
        path = folder / f".{new_name()}"
        with locked(folder):
            self._descriptor = begin(path)
        self._path, self._size, self._began = path, 0, time.monotonic()

    def _check_free(self, folder: Path) -> None:
        if self._min_free:
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < self._min_free:
                raise SpoolFailed(
                    f"less than spool_min_free ({self._min_free:,} bytes) is free for the spool "
                    f"{str(self._spool_dir)!r}: make room, or run loads more often"
                )

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        _sync(self._descriptor)
        if not os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
            raise FileNotFoundError(errno.ENOENT, "its folder was replaced")
        self._size += len(data)

    def _close(self) -> None:
        """Give up the descriptor; the file is ended by its path."""
        if self._descriptor is None:
            return
        self._to_end.append((self._path, self._size))
        descriptor, self._descriptor = self._descriptor, None
        with suppress(OSError):  # of a write that was left undone: all that counts is synced
            os.close(descriptor)

    def _end_closed(self) -> None:
        while self._to_end:
            path, size = self._to_end[-1]
            with suppress(FileNotFoundError), locked(path.parent):  # its folder may be gone
                end(path, size)
            self._to_end.pop()

    def _explain(self, error: OSError) -> str:
        return (
            f"the spool {str(self._spool_dir)!r} cannot be written: {error.strerror}; see to its "
            "disk and its rights"
        )
