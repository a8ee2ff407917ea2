"""A batch as the warehouse takes it: what one transaction writes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from loader.normalize.collections import Type
from loader.normalize.event import IgnoreReason, Reject
from loader.normalize.text import clean_text
from loader.warehouse.evolve import AddColumn
from loader.warehouse.ids import Known

if TYPE_CHECKING:  # numpy is not imported until there is a batch
    from loader.columns.binary import EncodedRows

# The largest `max_record_bytes`: what is longer could never be replayed, so its head is enough.
MAX_RAW = 16 << 20
RAW_HEAD = 1 << 20


class RejectRow(NamedTuple):
    """A row of `_rejects`."""

    id: str
    file: str
    position: str
    reason: str
    detail: str
    raw: str
    place: str | None  # where in the record it is wrong


def reject_row(file: str, position: str, reject: Reject, raw: bytes) -> RejectRow:
    """A reject as it is stored; its id is the same whenever the same record is met again."""
    shown, detail = clean_text(raw.decode("utf-8", "backslashreplace")), clean_text(reject.detail)
    if len(shown) > MAX_RAW:
        detail += f" (its first {RAW_HEAD} characters of {len(shown)} are kept)"
        shown = shown[:RAW_HEAD]
    content = "\0".join((file, position, reject.reason, shown))
    key = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return RejectRow(key, file, position, reject.reason, detail, shown, reject.place or None)


class Replay(NamedTuple):
    """A reject that was tried again, in one batch."""

    reject_id: str
    events: tuple[str, ...]  # ids of its events that are new to the batch
    problems: tuple[Reject, ...]  # why it, or a part of it, is still a reject
    is_ignored: bool = False  # it, or every part of it that is no problem, is left out


class FileProgress(msgspec.Struct, frozen=True, gc=False):
    """How far a file was read; a row of `_files`, of which a load may look up millions."""

    uri: str
    size: int | None
    modified_at: datetime | None
    version: str | None
    records_done: int
    finished: bool
    not_events: str | None = None  # what it is, if it holds none


class Copy(NamedTuple):
    """Rows of one table for one COPY."""

    table: str
    columns: tuple[str, ...]  # `id` is the first
    rows: "EncodedRows"  # in the order of their ids, or nearly so

    def without(self, at: Sequence[int]) -> "Copy":
        """The same without some of the rows."""
        return self._replace(rows=self.rows.without(at))


class Waiting(NamedTuple):
    """A column that a table could not get yet; a row of `_waiting_columns`."""

    column: AddColumn
    blocker: str  # who held the table, for people


@dataclass(kw_only=True)
class SealedBatch:
    """What one transaction writes."""

    number: int
    types: dict[str, dict[str, Type]]  # what the rows were encoded for, by table and column
    waiting: list[Waiting]  # columns whose values are in `_extra` meanwhile
    copies: list[Copy]  # that of `tracks` first
    rejects: list[RejectRow]
    replays: list[Replay]
    files: list[FileProgress]
    records: int
    duplicates: int  # within the batch, or known before
    ignored: dict[IgnoreReason, int]  # left out on purpose
    known: Known  # of those, what was dropped because the server was said to have it
    extra_values: dict[str, int]  # by id, where there are some
    replaced_characters: int
    times: dict[str, tuple[str, str]]  # first and last `timestamp` and `received_at`
