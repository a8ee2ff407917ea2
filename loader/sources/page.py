"""What a listing of inputs consists of, wherever they are."""

from datetime import date, datetime
from typing import NamedTuple

import msgspec

from loader.errors import InputUnreadable

# Files of a listing that are looked up in the ledger together.
PAGE_FILES = 10_000


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file or object as it was when it was listed; a row in `_files`."""

    uri: str  # absolute path, as `spell` writes it; URL of an object; or `-` for stdin
    path: str = ""  # of a file, as the system knows it
    size: int | None  # bytes as stored; None where that has no meaning
    modified_at: datetime | None  # to the microsecond, as PostgreSQL keeps it
    version: str | None = None  # of an object: ETag or generation, which tells if it is the same
    is_stream: bool = False  # stdin, or a pipe or device by its name: read anew each time
    is_named: bool = False  # by its own name, and not by a folder or a glob
    skipped: str = ""  # why it is not read, if it is not


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
