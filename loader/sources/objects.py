"""The bytes of objects in buckets. Threads fetch them, some of them before their turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from loader.errors import InputUnreadable
from loader.sources.ahead import Ahead
from loader.sources.opening import OpenInput, Stored
from loader.sources.page import InputFile, ObjectGone
from loader.sources.store import Bucket

# So much of an object waits for whoever reads it: pieces of a quarter of a megabyte.
_PIECES_AHEAD = 4


class ObjectReader:
    """An object whose bytes are fetched from the moment it is made."""

    def __init__(self, bucket: Bucket, file: InputFile) -> None:
        self._ahead = Ahead(partial(_fetch, bucket, file), _PIECES_AHEAD)
        self._piece = memoryview(b"")

    def wait(self) -> InputFile:
        """The object as it was when it was opened; only once, before anything is read.

        Raises InputUnreadable, ObjectChanged, ObjectGone; the last one from nothing else.
        """
        file = next(self._ahead)
        assert isinstance(file, InputFile)
        return file

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes, as they come; none only at the end. Raises the same errors."""
        if not self._piece:
            piece = next(self._ahead, b"")
            assert isinstance(piece, bytes)
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer only at the end."""
        pieces: list[bytes] = []
        while size and (piece := self.read1(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Fetch no more."""
        self._ahead.close()


def _fetch(bucket: Bucket, file: InputFile) -> Iterator[InputFile | bytes]:
    with bucket.open(file) as stored:
        yield stored.file
        try:
            while piece := stored.read1():
                yield piece
        except ObjectGone as error:
            raise InputUnreadable(
                f"{file.uri!r} was deleted while it was read: only its beginning is loaded"
            ) from error


@contextmanager
def open_object(reader: ObjectReader) -> Iterator[OpenInput]:
    """The decompressed bytes of an object, in blocks; errors as of `ObjectReader`."""
    try:
        file = reader.wait()
        stored = Stored(reader)
        yield OpenInput(file, stored.blocks(file.uri), lambda: stored.taken)
    finally:
        reader.close()
