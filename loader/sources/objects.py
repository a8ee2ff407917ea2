"""The bytes of objects in buckets. Threads fetch them, some of them before their turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from loader.errors import InputUnreadable
from loader.sources.ahead import Ahead
from loader.sources.opening import OpenInput, Pieces, Stored
from loader.sources.page import InputFile, ObjectGone
from loader.sources.store import Bucket

# So much of an object waits for whoever reads it: pieces of a quarter of a megabyte.
_PIECES_AHEAD = 4


class ObjectReader(Pieces):
    """An object whose bytes are fetched from the moment it is made."""

    def __init__(self, bucket: Bucket, file: InputFile) -> None:
        self._opened: list[InputFile] = []
        self._ahead = Ahead(partial(_fetch, bucket, file, self._opened), _PIECES_AHEAD)
        super().__init__(self._ahead)

    def wait(self) -> InputFile:
        """The object as it was when it was opened; only once, before anything is read.

        Raises InputUnreadable, ObjectChanged, ObjectGone; the last one from nothing else.
        """
        next(self._ahead)
        return self._opened[0]

    def close(self) -> None:
        """Fetch no more."""
        super().close()
        self._ahead.close()


def _fetch(bucket: Bucket, file: InputFile, opened: list[InputFile]) -> Iterator[bytes]:
    """The pieces of an object, behind an empty one: it is opened then, and `opened` has it."""
    with bucket.open(file) as stored:
        opened.append(stored.file)
        yield b""
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
