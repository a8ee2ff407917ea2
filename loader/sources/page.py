"""What a listing of inputs consists of, wherever they are."""

from datetime import date, datetime
from typing import NamedTuple

import msgspec

from loader.errors import InputUnreadable
from loader.normalize.times import from_microseconds

# Files of a listing that are looked up in the ledger together.
PAGE_FILES = 10_000


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file or object as it was when it was listed; a row in `_files`."""

    uri: str  # absolute path, as `spell` writes it; URL of an object; or `-` for stdin
    path: str = ""  # of a file, as the system knows it
    size: int | None  # bytes as stored; None where that has no meaning
    modified: int | None  # microseconds since 1970: there may be millions, which no one looks at
    version: str | None = None  # of an object: ETag or generation, which tells if it is the same
    is_stream: bool = False  # stdin, or a pipe or device by its name: read anew each time
    is_named: bool = False  # by its own name, and not by a folder or a glob
    skipped: str = ""  # why it is not read, if it is not

    @property
    def modified_at(self) -> datetime | None:
        """When it was written, to the microsecond, as PostgreSQL keeps it."""
        return None if self.modified is None else from_microseconds(self.modified)

    @property
    def mark(self) -> str:
        """What is equal only for one that has not changed; the same as `ledger.select_finished`."""
        return f"{self.size}\n{self.modified if self.version is None else self.version}\n{self.uri}"


class Page(NamedTuple):
    """Some files of a listing."""

    files: list[InputFile]
    day: date | None = None  # the last one that their folder can hold, in a bucket; None: any
    failure: InputUnreadable | None = None  # why the rest of a folder cannot be listed
    excluded: int = 0  # further files, which the selection leaves out


class ObjectChanged(InputUnreadable):
    """An object was replaced after it was listed, or while it was read."""


class ObjectGone(InputUnreadable):
    """An object that was listed is not there any more."""
