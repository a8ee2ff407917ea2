"""The bytes of an input, wherever it is: counted, unpacked, read ahead."""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from loader.errors import InputUnreadable
from loader.sources.page import InputFile
from loader.sources.unpack import BLOCK_BYTES, MAGIC_BYTES, unpack

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import Bytes

    Buffer = bytes | Bytes


class Raw(Protocol):
    """Bytes as stored."""

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer only at the end."""

    def read1(self, size: int, /) -> bytes:
        """Some bytes, at most so many; none only at the end."""

    def close(self) -> None: ...


class Pieces:
    """A stream of bytes that come in pieces, of any size."""

    def __init__(self, pieces: "Iterator[Buffer]") -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def read1(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, as they come; none only at the end. Raises what the pieces do."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        if size < 0:
            size = len(self._piece)
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, or as many as there are; without a size, the rest."""
        found: list[bytes] = []
        left = size
        while left and (piece := self.read1(left)):
            found.append(piece)
            left -= len(piece) if size >= 0 else 0
        return b"".join(found)

    def close(self) -> None:
        """Read no more; what is on its way is dropped."""
        self._pieces, self._piece = iter(()), memoryview(b"")


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
