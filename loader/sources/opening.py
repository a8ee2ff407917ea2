"""The bytes of an input, wherever it is: counted, unpacked, read ahead."""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from loader.errors import InputUnreadable
from loader.sources.page import InputFile
from loader.sources.unpack import BLOCK_BYTES, MAGIC_BYTES, unpack

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Raw(Protocol):
    """Bytes as stored."""

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer only at the end."""

    def read1(self, size: int, /) -> bytes:
        """Some bytes, at most so many; none only at the end."""

    def close(self) -> None: ...


class Stored(io.RawIOBase):
    """The bytes of an input as stored, counted, with a look at the first ones."""

    def __init__(self, raw: Raw) -> None:
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

    def blocks(self, uri: str) -> Iterator[bytes]:
        """What was packed, in blocks. Raises InputUnreadable, which names the input."""
        try:
            start = self.look(MAGIC_BYTES)
            yield from unpack(io.BufferedReader(self, BLOCK_BYTES), start)
        except (OSError, EOFError, ValueError) as error:
            raise unreadable(uri, error) from error


def unreadable(uri: str, error: Exception) -> InputUnreadable:
    """The error of an input that cannot be opened or read on."""
    reason = getattr(error, "strerror", None) or str(error)
    return InputUnreadable(
        f"cannot read {uri!r}: {reason}; check that the file is whole and that the job may read it"
    )


class OpenInput(NamedTuple):
    """An input that is being read."""

    file: InputFile  # as it was when it was opened
    blocks: Iterator[bytes]  # decompressed
    tell: Callable[[], int]  # bytes read so far, as stored
