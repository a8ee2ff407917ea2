"""How spool files are called, and which there are."""

import os
import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from loader.errors import InputUnreadable, UsageError
from loader.normalize.times import from_microseconds

SCHEME = "spool:"
_NAME = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{16}\.v(\d+)\.jsonl")
_VERSION = "1"  # of what stands in a file


class SpoolFile(NamedTuple):
    """A file of received events."""

    name: str
    path: Path
    size: int
    written_at: datetime  # last; to the microsecond


def spool_uri(schema: str, name: str) -> str:
    """What a spool file is called in the ledger, wherever the spool is mounted."""
    return f"{SCHEME}{schema}/{name}"


def spool_input(schema: str) -> str:
    """The input of a load that means all finished files of a source."""
    return f"{SCHEME}{schema}"


def spool_folder(spool_dir: Path, schema: str) -> Path:
    """The folder of a source. Raises UsageError where its schema cannot be the name of one."""
    if "/" in schema or schema.startswith("."):
        raise UsageError(
            f"the schema {schema!r} cannot be the name of a folder in the spool: set another "
            "`schema` for this source"
        )
    return spool_dir / schema


def new_name() -> str:
    """A name that no other process gives, and that sorts by time."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(8)}.v{_VERSION}.jsonl"


def began_at(name: str) -> datetime:
    """When a spool file was begun, by its name."""
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)


def finished(spool_dir: Path, schema: str) -> list[SpoolFile]:
    """The finished files of a source, by name; none where it has no folder.

    Raises InputUnreadable where the folder cannot be listed, or holds files of a newer version.
    """
    return _list(spool_folder(spool_dir, schema), "")


def unfinished(spool_dir: Path, schema: str) -> list[SpoolFile]:
    """The files that are being written, or were left by a receiver that died."""
    return _list(spool_folder(spool_dir, schema), ".")


def _list(folder: Path, prefix: str) -> list[SpoolFile]:
    files = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                named = _NAME.fullmatch(entry.name.removeprefix(prefix))
                if named is None or not entry.name.startswith(prefix):
                    continue
                if named[1] != _VERSION:
                    raise InputUnreadable(
                        f"{entry.path!r} was written by a newer version of customerio-loader: "
                        "upgrade this one"
                    )
                with suppress(FileNotFoundError):  # it was finished or pruned meanwhile
                    status = entry.stat(follow_symlinks=False)
                    written_at = from_microseconds(status.st_mtime_ns // 1000)
                    path = folder / entry.name
                    files.append(SpoolFile(entry.name, path, status.st_size, written_at))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputUnreadable(
            f"cannot list the spool folder {str(folder)!r}: {error.strerror}; give this user read "
            "access to it"
        ) from error
    return sorted(files)
