"""Inputs: paths, globs, folders, stdin; and their bytes, decompressed by content."""

import bz2
import glob
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
BLOCK_BYTES = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it was when it was listed; a row in `_files`."""

    uri: str  # absolute path, or `-` for stdin
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
            if not name.startswith("."):
                yield os.path.join(parent, name)


def _describe(path: str) -> InputFile:
    if path == STDIN:
        return InputFile(uri=STDIN, size=None, modified_at=None)
    try:
        uri = os.path.realpath(path, strict=True)
        status = os.stat(uri)
    except OSError as error:
        raise _unreadable(path, error) from error
    regular = os.path.isfile(uri)
    return InputFile(
        uri=uri.encode("utf-8", "backslashreplace").decode(),
        size=status.st_size if regular else None,
        modified_at=_EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
        if regular
        else None,
    )


def _unreadable(path: str, error: Exception) -> InputUnreadable:
    reason = getattr(error, "strerror", None) or str(error)
    return InputUnreadable(
        f"cannot read {path!r}: {reason}; check that the file is whole and that the job may read it"
    )


# The first bytes of each form of compression, and how it is read.
_MAGIC: tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...]


def _open_gzip(raw: IO[bytes]) -> IO[bytes]:
    from isal import igzip

    return igzip.open(raw, "rb")  # type: ignore[no-any-return, no-untyped-call]


def _open_zstd(raw: IO[bytes]) -> IO[bytes]:
    import zstandard

    reader: Any = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return reader  # type: ignore[no-any-return]


_MAGIC = (
    (b"\x1f\x8b", _open_gzip),
    (b"\x28\xb5\x2f\xfd", _open_zstd),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


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
        raw: Any = sys.stdin.buffer if file.uri == STDIN else open(file.uri, "rb")  # noqa: SIM115
    except OSError as error:
        raise _unreadable(file.uri, error) from error
    try:
        yield OpenInput(_blocks(file.uri, raw), raw.tell if file.size is not None else lambda: 0)
    finally:
        if file.uri != STDIN:
            raw.close()


def _blocks(uri: str, raw: Any) -> Iterator[bytes]:
    try:
        start = raw.peek(6)[:6]
        stream: IO[bytes] = raw
        for magic, open_stream in _MAGIC:
            if start.startswith(magic):
                stream = open_stream(raw)
        while block := stream.read(BLOCK_BYTES):
            yield block
    except (OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise _unreadable(uri, error) from error
    except Exception as error:  # zlib.error and ZstdError have no common base but Exception
        if type(error).__module__.partition(".")[0] not in ("zlib", "isal", "zstandard", "zstd"):
            raise
        raise _unreadable(uri, error) from error


@contextmanager
def read_ahead(blocks: Iterable[bytes], depth: int = 4) -> Iterator[Iterator[bytes]]:
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
        while item := waiting.get():
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        # A reader that waits for a pipe cannot be woken; it ends with the process.
        thread.join(timeout=1)
