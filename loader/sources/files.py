"""Inputs: paths, globs, folders, stdin; and their bytes, decompressed by content."""

import bz2
import glob
import io
import lzma
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any, NamedTuple

import msgspec

from loader.errors import InputUnreadable

STDIN = "-"
BLOCK_BYTES = 2 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it was when it was listed; a row in `_files`."""

    uri: str  # absolute path as text that PostgreSQL can hold, or `-` for stdin
    path: str = ""  # as the system knows it
    size: int | None  # bytes as stored; None where that has no meaning
    modified_at: datetime | None  # to the microsecond, as PostgreSQL keeps it


def list_inputs(paths: Iterable[str]) -> list[InputFile]:
    """The files that `paths` name, in order, each once. A folder means every file below it.

    Raises InputUnreadable where a path names nothing or a folder cannot be listed.
    """
    found: dict[str, InputFile] = {}
    for path in paths:
        for name in _expand(path):
            file = _describe(name)
            # Links and spellings of one file are one input.
            found.setdefault(file.uri, file)
    return list(found.values())


def _expand(path: str) -> Iterator[str]:
    if path == STDIN:
        yield path
    elif os.path.isdir(path):
        yield from _walk(path)
    elif os.path.lexists(path):
        yield path
    else:
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise InputUnreadable(f"no file matches {path!r}: check the path and its spelling")
        for match in matches:
            yield from _walk(match) if os.path.isdir(match) else [match]


def _walk(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise InputUnreadable(
            f"cannot list the folder {error.filename!r}: {error.strerror}; "
            "give the job's user read access to it"
        ) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(parent, name)
            # A pipe or device in a folder could hold up a load for ever.
            if not name.startswith(".") and (os.path.isfile(path) or not os.path.exists(path)):
                yield path


def _describe(path: str) -> InputFile:
    if path == STDIN:
        return InputFile(uri=STDIN, size=None, modified_at=None)
    uri = os.path.realpath(path)
    if not os.path.exists(uri):  # a pipe under /dev/fd has no other name; or it is gone
        uri = os.path.abspath(path)
    try:
        status = os.stat(uri)
    except OSError:  # said again, as the error of this one input, when it is opened
        return InputFile(uri=_as_text(uri), path=uri, size=None, modified_at=None)
    regular = os.path.isfile(uri)
    return InputFile(
        uri=_as_text(uri),
        path=uri,
        size=status.st_size if regular else None,
        modified_at=_EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
        if regular
        else None,
    )


def _as_text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unreadable(path: str, error: Exception) -> InputUnreadable:
    reason = getattr(error, "strerror", None) or str(error)
    return InputUnreadable(
        f"cannot read {path!r}: {reason}; check that the file is whole and that the job may read it"
    )


def _read_plain(raw: IO[bytes]) -> Iterator[bytes]:
    while block := raw.read(BLOCK_BYTES):
        yield block


def _gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces as blocks; where reading fails, what there is until then comes first."""
    held: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= BLOCK_BYTES:
                yield b"".join(held)
                held, size = [], 0
    except Exception:
        if size:
            yield b"".join(held)
        raise
    if size:
        yield b"".join(held)


def _read_zstd(raw: IO[bytes]) -> Iterator[bytes]:
    # Not `stream_reader`: that one takes a frame which was cut short for a whole one.
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=128 << 20)
    frame: Any = None
    while piece := raw.read(_ZSTD_STEP):
        while piece:
            frame = frame or decompressor.decompressobj()
            yield frame.decompress(piece)
            piece = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the compressed data end before their end marker")


def _read_streams(raw: IO[bytes], make: Callable[[], Any]) -> Iterator[bytes]:
    """Compressed streams, one after the other.

    The modules' own files pass over garbage between them, or drop what stands before a cut.
    """
    stream: Any = None
    rest = b""
    while True:
        if stream is None:
            rest = rest.lstrip(b"\0") or raw.read(_STREAM_STEP).lstrip(b"\0")
            if not rest:
                return
            stream = make()
        yield stream.decompress(rest, BLOCK_BYTES)
        rest = b""
        if stream.eof:
            rest, stream = stream.unused_data, None
        elif stream.needs_input:
            rest = raw.read(_STREAM_STEP)
            if not rest:
                raise EOFError("the compressed data end before their end marker")


def _read_gzip(raw: IO[bytes]) -> Iterator[bytes]:
    from isal import igzip_lib

    return _read_streams(raw, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))


_STREAM_STEP = 1 << 16
# A kilobyte of zstd can become at most 32 MB.
_ZSTD_STEP = 1_024

# The first bytes of each form of compression, and how it is read.
_MAGIC: tuple[tuple[bytes, Callable[[IO[bytes]], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b", _read_gzip),
    (b"\x28\xb5\x2f\xfd", _read_zstd),
    (b"BZh", lambda raw: _read_streams(raw, bz2.BZ2Decompressor)),
    (b"\xfd7zXZ\x00", lambda raw: _read_streams(raw, lzma.LZMADecompressor)),
)
_DECOMPRESSORS = ("zlib", "isal", "igzip_lib", "zstandard", "zstd")  # modules of their errors
_MAGIC_BYTES = max(len(magic) for magic, _ in _MAGIC)


class _Stored(io.RawIOBase):
    """The bytes of an input as stored, counted, with a look at the first ones."""

    def __init__(self, raw: Any) -> None:
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

    def readinto(self, buffer: Any) -> int:
        piece, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        piece = piece or self.raw.read1(len(buffer))
        buffer[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)


class OpenInput(NamedTuple):
    """An input that is being read."""

    blocks: Iterator[bytes]  # decompressed
    tell: Callable[[], int]  # bytes read so far, as stored


@contextmanager
def open_input(file: InputFile) -> Iterator[OpenInput]:
    """The decompressed bytes of a file, in blocks.

    Raises InputUnreadable at the block where the file cannot be opened or read on.
    """
    try:
        raw: Any = sys.stdin.buffer if file.uri == STDIN else open(file.path, "rb")  # noqa: SIM115
    except OSError as error:
        raise _unreadable(file.uri, error) from error
    stored = _Stored(raw)
    try:
        yield OpenInput(_blocks(file.uri, stored), lambda: stored.taken)
    finally:
        if file.size is not None or (not stored.reading and file.uri != STDIN):
            raw.close()
        else:
            # Closing a pipe would wait for a reader that waits for the pipe's writer.
            stored.abandoned = file.uri != STDIN


def _blocks(uri: str, stored: _Stored) -> Iterator[bytes]:
    stored.reading = True
    try:
        start = stored.look(_MAGIC_BYTES)
        read = next((read for magic, read in _MAGIC if start.startswith(magic)), _read_plain)
        yield from _gather(read(io.BufferedReader(stored, BLOCK_BYTES)))
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise _unreadable(uri, error) from error
    except Exception as error:  # zlib.error and ZstdError have no common base but Exception
        if type(error).__module__.partition(".")[0] not in _DECOMPRESSORS:
            raise
        raise _unreadable(uri, error) from error
    finally:
        stored.reading = False
        if stored.abandoned:
            stored.raw.close()


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
