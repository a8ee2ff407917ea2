"""What the warehouses and destinations of a source have of its spool, and what can go."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from loader import __version__
from loader.errors import InputUnreadable, LoaderError
from loader.sources.page import PAGE_FILES
from loader.spool import SpoolFile, spool_uri
from loader.warehouse import ledger
from loader.warehouse.batch import FileProgress

_BLOCK = 1 << 20


def find_loaded(
    connection: Connection | None, schema: str, files: Sequence[SpoolFile]
) -> frozenset[str]:
    """The names of the spool files that are loaded to their end, by a connection to the schema.

    Without a schema there is no connection, and nothing is loaded.
    """
    return frozenset(
        file.name for file, before in _progress(connection, schema, files) if _is_done(file, before)
    )


def count_waiting(connection: Connection | None, schema: str, files: Sequence[SpoolFile]) -> int:
    """The events in spool files that are not loaded yet."""
    return sum(
        max(count_events(file) - (before.records_done if before else 0), 0)
        for file, before in _progress(connection, schema, files)
        if not _is_done(file, before)
    )


def _progress(
    connection: Connection | None, schema: str, files: Sequence[SpoolFile]
) -> Iterator[tuple[SpoolFile, FileProgress | None]]:
    for at in range(0, len(files), PAGE_FILES):
        some = {spool_uri(schema, file.name): file for file in files[at : at + PAGE_FILES]}
        known = {} if connection is None else ledger.select_files(connection, [*some], __version__)
        for uri, file in some.items():
            yield file, known.get(uri)


def _is_done(file: SpoolFile, before: FileProgress | None) -> bool:
    return before is not None and before.finished and before.size == file.size


def count_events(file: SpoolFile) -> int:
    """The lines of a spool file, none if it is gone."""
    try:
        with file.path.open("rb", buffering=0) as opened:
            return sum(block.count(b"\n") for block in iter(lambda: opened.read(_BLOCK), b""))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise InputUnreadable(f"cannot read {str(file.path)!r}: {error.strerror}") from error


@dataclass
class Pruned:
    """What became of the spool files of a source."""

    files: int = 0  # deleted
    bytes: int = 0
    young: int = 0  # kept because of their age
    held: dict[str, int] = field(default_factory=dict)  # old ones, by who does not have them yet


def prune(
    files: Sequence[SpoolFile],
    have: Mapping[str, Collection[str]],
    before: datetime,
    *,
    dry_run: bool,
) -> Pruned:
    """Delete the files that all have and that were written before a moment.

    `have` says for each warehouse and destination which files it has, by name. Without any,
    nobody has taken what was received, and nothing is deleted.
    """
    done = Pruned()
    for file in files:
        if file.written_at >= before:
            done.young += 1
            continue
        missing = list(_missing(file, have)) if have else ["nobody takes them"]
        for who in missing:
            done.held[who] = done.held.get(who, 0) + 1
        if not missing:
            done.files += 1
            done.bytes += file.size
            if not dry_run:
                _delete(file)
    return done


def _missing(file: SpoolFile, have: Mapping[str, Collection[str]]) -> Iterator[str]:
    return (who for who, names in have.items() if file.name not in names)


def _delete(file: SpoolFile) -> None:
    try:
        file.path.unlink(missing_ok=True)
    except OSError as error:
        raise LoaderError(
            f"cannot delete {str(file.path)!r}: {error.strerror}; this user has to be in the group "
            "of the spool"
        ) from error
