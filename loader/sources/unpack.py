"""Stored bytes -> blocks of the bytes that were packed, by their content and not by a name."""

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from isal.igzip_lib import IgzipDecompressor

    _Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor | IgzipDecompressor

BLOCK_BYTES = 2 << 20


def unpack(raw: IO[bytes], start: bytes) -> Iterator[bytes]:
    """The bytes behind `raw`, whose first ones are `start`, in blocks.

    Raises an OSError, EOFError or ValueError where they cannot be read on; what there is until
    then comes first.
    """
    read = next((read for magic, read in _MAGIC if start.startswith(magic)), _read_plain)
    try:
        yield from _gather(read(raw))
    except Exception as error:  # zlib.error and ZstdError have no common base but Exception
        if type(error).__module__.partition(".")[0] not in _DECOMPRESSORS:
            raise
        words = str(error)
        if any(said in words for said in _TOO_MUCH_MEMORY):
            words = (
                f"to unpack it takes more than {_MOST_WINDOW >> 20} MB of memory: "
                "pack it again with a smaller window, as `xz -9` or `zstd --long` do"
            )
        raise ValueError(words) from error


def _read_plain(raw: IO[bytes]) -> Iterator[bytes]:
    while block := raw.read(BLOCK_BYTES):
        yield block


def _gather(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces as blocks; where reading fails, what there is until then comes first."""
    held: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            for at in range(0, len(piece), BLOCK_BYTES):
                held.append(piece[at : at + BLOCK_BYTES])
                size += len(held[-1])
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

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)
    frame: zstandard.ZstdDecompressionObj | None = None
    while piece := raw.read(_ZSTD_STEP):
        while piece:
            frame = frame or decompressor.decompressobj()
            yield frame.decompress(piece)
            piece = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the compressed data end before their end marker")


def _read_streams(raw: IO[bytes], make: "Callable[[], _Decompressor]") -> Iterator[bytes]:
    """Compressed streams, one after the other.

    The modules' own files pass over garbage between them, or drop what stands before a cut.
    """
    stream: _Decompressor | None = None
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


# A packed file can say how much of what was unpacked has to be remembered.
_MOST_WINDOW = 128 << 20
_TOO_MUCH_MEMORY = ("Memory usage limit exceeded", "requires too much memory")
_LzmaDecompressor = partial(lzma.LZMADecompressor, memlimit=_MOST_WINDOW + (1 << 20))

_STREAM_STEP = 1 << 16
# A kilobyte of zstd can become at most 32 MB.
_ZSTD_STEP = 1_024

# The first bytes of each form of compression, and how it is read.
_MAGIC: tuple[tuple[bytes, Callable[[IO[bytes]], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b", _read_gzip),
    (b"\x28\xb5\x2f\xfd", _read_zstd),
    *((bytes((0x50 + n, 0x2A, 0x4D, 0x18)), _read_zstd) for n in range(16)),  # pzstd begins so
    (b"BZh", lambda raw: _read_streams(raw, bz2.BZ2Decompressor)),
    (b"\xfd7zXZ\x00", lambda raw: _read_streams(raw, _LzmaDecompressor)),
)
# The modules of their errors.
_DECOMPRESSORS = ("zlib", "isal", "igzip_lib", "zstandard", "zstd", "_lzma")
MAGIC_BYTES = max(len(magic) for magic, _ in _MAGIC)
