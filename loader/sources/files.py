"""Inputs: paths, globs, folders, stdin; which files they name, and the bytes of these."""

import glob
import io
import os
import queue
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from loader.errors import InputUnreadable
from loader.sources.unpack import BLOCK_BYTES, MAGIC_BYTES, unpack

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it was when it was listed; a row in `_files`."""

    uri: str  # absolute path, as `spell` writes it, or `-` for stdin
    path: str = ""  # as the system knows it
    size: int | None  # bytes as stored; None where that has no meaning
    modified_at: datetime | None  # to the microsecond, as PostgreSQL keeps it
    is_stream: bool = False  # stdin, or a pipe or device by its name: read anew each time
    skipped: str = ""  # why it is not read, if it is not
    version: str | None = None  # ETag of an object, without quotes


def list_inputs(paths: Iterable[str]) -> list[InputFile]:
    """The files that `paths` name, in order, each once. A folder means every file below it.

    Pipes, sockets and devices could hold up a load for ever: one in a folder, or matched by a
    glob, is `skipped`; one that is named itself is read like stdin.
    Raises InputUnreadable where a path names nothing or a folder cannot be listed.
    """
    found: dict[str, InputFile] = {}
    walked: set[tuple[int, int]] = set()
    for path in paths:
        is_named = path == STDIN or (os.path.lexists(path) and not os.path.isdir(path))
        for name in [path] if is_named else _expand(path, walked):
            file = _describe(name, is_named=is_named)
            # Links and spellings of one file are one input.
            if file.uri not in found or found[file.uri].skipped:
                found[file.uri] = file
    return list(found.values())


def spell(path: str) -> str:
    r"""A file name as text that PostgreSQL can hold; no two names have the same.

    Bytes that are not UTF-8 become `\xNN`, and so does a backslash that would read like one.
    """
    name = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", os.fsencode(path))
    return name.decode("utf-8", "backslashreplace")


# folders and globs


def _expand(path: str, walked: set[tuple[int, int]]) -> Iterator[str]:
    matches = [path] if os.path.isdir(path) else sorted(_glob(path))
    if not matches:
        raise InputUnreadable(f"no file matches {path!r}: check the path and its spelling")
    for match in matches:
        if os.path.isdir(match):
            for _, names in _walk(match, walked):
                yield from names
        else:
            yield match


def _glob(pattern: str) -> list[str]:
    """What a pattern matches.

    The module `glob` follows links in place of `**` as long as the system lets it: two of them to
    their own folder take it years.
    """
    head, *tails = re.split(r"(?:^|(?<=/))\*\*(?:/+|$)", pattern)
    if not tails:
        return glob.glob(pattern)
    matches = glob.glob(head) if head else [""]
    for tail in [*tails[:-1], tails[-1] or "*"]:
        seen: set[tuple[int, int]] = set()
        tops, matches = matches, []
        for top in filter(os.path.isdir, (top or os.curdir for top in tops)):
            for folder, _ in _walk(top, seen, follow_links=True):
                matches += glob.glob(os.path.join(glob.escape(folder), tail))
    return matches


def _walk(
    top: str, seen: set[tuple[int, int]], *, follow_links: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """The folders from `top` on down that were not `seen`, each once, with what else is in them."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            with os.scandir(folder) as entries:
                found = sorted(
                    (entry.name, _is_folder(entry), entry.is_symlink())
                    for entry in entries
                    if not entry.name.startswith(".")
                )
        except OSError as error:
            raise InputUnreadable(
                f"cannot list the folder {folder!r}: {error.strerror}; "
                "give the job's user read access to it"
            ) from error
        seen.add((status.st_dev, status.st_ino))
        yield folder, [os.path.join(folder, name) for name, is_folder, _ in found if not is_folder]
        waiting += [
            os.path.join(folder, name)
            for name, is_folder, is_link in reversed(found)
            if is_folder and (follow_links or not is_link)
        ]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads only to itself
        return False


# files


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _describe(path: str, *, is_named: bool) -> InputFile:
    if path == STDIN:
        return InputFile(uri=STDIN, size=None, modified_at=None, is_stream=True)
    real = os.path.realpath(path)
    if not os.path.exists(real):  # a pipe under /dev/fd has no other name; or it is gone
        real = os.path.abspath(path)
    file = InputFile(uri=spell(real), path=real, size=None, modified_at=None)
    try:
        status = os.stat(real)
    except OSError:  # said again, as the error of this one input, when it is opened
        return file
    if stat.S_ISREG(status.st_mode):
        return _as_it_is(file, status)
    if is_named:
        return msgspec.structs.replace(file, is_stream=True)
    skipped = f"skipped {file.uri!r}: it is {_kind(status)}, which is read only where it is named"
    return msgspec.structs.replace(file, skipped=skipped)


def _as_it_is(file: InputFile, status: os.stat_result) -> InputFile:
    modified_at = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    return msgspec.structs.replace(file, size=status.st_size, modified_at=modified_at)


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "no file")


def _unreadable(uri: str, error: Exception) -> InputUnreadable:
    reason = getattr(error, "strerror", None) or str(error)
    return InputUnreadable(
        f"cannot read {uri!r}: {reason}; check that the file is whole and that the job may read it"
    )


# bytes


class _Stored(io.RawIOBase):
    """The bytes of an input as stored, counted, with a look at the first ones."""

    def __init__(self, raw: io.BufferedReader) -> None:
        self.taken = 0
        self.reading = False  # a thread is inside a read, or between two
        self.abandoned = False  # whoever opened it has left; the reader closes it
        self.raw = raw
        self._start = b""

    def look(self, count: int) -> bytes:
        """The first bytes, which are read again afterwards. A pipe may give them one by one."""
        self._start = self.raw.read(count)
        return self._start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        room = memoryview(buffer)
        piece, self._start = self._start[: len(room)], self._start[len(room) :]
        piece = piece or self.raw.read1(len(room))
        room[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)


class OpenInput(NamedTuple):
    """An input that is being read."""

    file: InputFile  # as it was when it was opened
    blocks: Iterator[bytes]  # decompressed
    tell: Callable[[], int]  # bytes read so far, as stored


@contextmanager
def open_input(file: InputFile) -> Iterator[OpenInput]:
    """The decompressed bytes of a file, in blocks.

    Raises InputUnreadable at the block where the file cannot be opened or read on, and behind the
    last one where it was cut or written over meanwhile. What is written behind its end meanwhile
    may be among the blocks.
    """
    try:
        if file.is_stream:
            raw = _open_stream(file)
        else:
            raw = _open_regular(file.path)
            file = _as_it_is(file, os.fstat(raw.fileno()))
    except OSError as error:
        raise _unreadable(file.uri, error) from error
    stored = _Stored(raw)
    try:
        yield OpenInput(file, _blocks(file, stored), lambda: stored.taken)
    finally:
        if not file.is_stream or (not stored.reading and file.uri != STDIN):
            raw.close()
        else:
            # Closing a pipe would wait for a reader that waits for the pipe's writer.
            stored.abandoned = file.uri != STDIN


def _open_stream(file: InputFile) -> io.BufferedReader:
    if file.uri == STDIN:
        return cast(io.BufferedReader, sys.stdin.buffer)
    return open(file.path, "rb")


def _open_regular(path: str) -> io.BufferedReader:
    # A pipe may have taken the name since it was listed, and opening that would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(f"it has become {_kind(status)}")
    return open(descriptor, "rb")


def _blocks(file: InputFile, stored: _Stored) -> Iterator[bytes]:
    stored.reading = True
    try:
        start = stored.look(MAGIC_BYTES)
        yield from unpack(io.BufferedReader(stored, BLOCK_BYTES), start)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(file.uri, error) from error
    else:
        if not file.is_stream:
            _check_unchanged(file, os.fstat(stored.raw.fileno()), stored.taken)
    finally:
        stored.reading = False
        if stored.abandoned:
            stored.raw.close()


def _check_unchanged(file: InputFile, status: os.stat_result, taken: int) -> None:
    """Raise InputUnreadable if a file is not what it was when it was opened.

    Some more behind its end is no harm: by its size and time it is another file for the next load.
    """
    after = _as_it_is(file, status)
    assert file.size is not None
    if min(status.st_size, taken) < file.size:
        what = f"it had {file.size} bytes and then {min(status.st_size, taken)}"
    elif status.st_size == file.size and after.modified_at != file.modified_at:
        what = "it was written to"
    else:
        return
    raise InputUnreadable(
        f"{file.uri!r} has changed while it was read: {what}; the next load reads it from its start"
    )


@contextmanager
def read_ahead(blocks: Iterable[bytes], depth: int = 2) -> Iterator[Iterator[bytes]]:
    """`blocks`, read by a thread that stays up to `depth` of them ahead."""
    waiting: queue.Queue[bytes | BaseException] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: bytes | BaseException) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for block in blocks:
                put(block)
                if stopped.is_set():
                    return
            put(b"")
        except BaseException as error:  # raised again where the blocks are used
            put(error)

    def taken() -> Iterator[bytes]:
        while True:
            try:
                item = waiting.get(timeout=1)
            except queue.Empty:
                if thread.is_alive():
                    continue
                raise MemoryError("the reading thread ended without a word") from None
            if isinstance(item, BaseException):
                raise item
            if not item:
                return
            yield item

    thread = threading.Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        # A reader that waits for a pipe cannot be woken; it ends with the process.
        thread.join(timeout=1)
