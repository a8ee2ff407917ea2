"""The ledger of a schema: loads, their batches, files, columns that wait; rejects are beside it.

It records what happened, not what was sent: each statement must report the rows that it should.
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from loader.errors import RowsDropped
from loader.normalize.collections import Type
from loader.normalize.times import widest
from loader.warehouse.batch import FileProgress, Waiting
from loader.warehouse.tables import batches, files, listings, loads, waiting_columns

RUNNING = "running"
_MOST_NAME_BYTES = 2_600
_SHORT_NAME = _MOST_NAME_BYTES // 4  # characters, which have four bytes at most


class Load(NamedTuple):
    """A load that has begun."""

    id: int
    token: str  # by which it knows its row: after a failover the server may issue an id again
    started_at: str  # by the server's clock, ISO 8601


class WaitingRow(NamedTuple):
    """A column that waits for a lock on its table."""

    table: str
    column: str
    type: Type
    comment: str
    blocker: str
    since: datetime


@dataclass(kw_only=True)
class Counts:
    """What a load has done so far; columns of `_loads`."""

    batches: int = 0
    records_read: int = 0
    rows_loaded: int = 0
    duplicates: int = 0
    rejects: int = 0
    ignored: int = 0
    extra_values: int = 0
    replaced_characters: int = 0
    rows_per_table: dict[str, int] = field(default_factory=dict)
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    first_received_at: str | None = None
    last_received_at: str | None = None
    schema_changes: list[dict[str, str]] = field(default_factory=list)

    def balances(self) -> bool:
        """Whether every record read is a row, a duplicate, a reject or ignored."""
        settled = self.rows_loaded + self.duplicates + self.rejects + self.ignored
        return self.records_read == settled

    @property
    def wanted(self) -> int:
        """The records that are not left out on purpose."""
        return self.records_read - self.ignored

    def plus(self, more: "Counts") -> "Counts":
        """These and those of another load."""
        rows = Counter(self.rows_per_table) + Counter(more.rows_per_table)
        summed = {
            name: getattr(self, name) + getattr(more, name)
            for name, value in asdict(self).items()
            if isinstance(value, int | list)
        }
        both = replace(self, **summed, rows_per_table=dict(rows))
        for name in ("timestamp", "received_at"):
            first, last = getattr(more, f"first_{name}"), getattr(more, f"last_{name}")
            if first is not None:
                both.widen({name: (first, last)})
        return both

    def widen(self, times: Mapping[str, tuple[str, str]]) -> None:
        """Take the times of a batch into the span of the load."""
        for name, more in times.items():
            known = getattr(self, f"first_{name}"), getattr(self, f"last_{name}")
            first, last = widest(known if known[0] else None, more)
            setattr(self, f"first_{name}", first)
            setattr(self, f"last_{name}", last)


def require_rows(
    table: str, *, sent: int, stored: int, undone: str = "Nothing of this batch was loaded"
) -> None:
    """Raise RowsDropped unless the server did with each row what it was told to."""
    if stored != sent:
        rows = f"{sent:,} row" + "s" * (sent != 1)
        raise RowsDropped(
            f"the server took {rows} for the table {table} and kept {stored:,}: look for a trigger "
            f"or a rule on it that drops rows, and remove it; then load again. {undone}"
        )


def end_forgotten(connection: Connection) -> None:
    """Say of loads that still say `running` that they were interrupted.

    The caller holds the lock of the schema, so such a load was killed or has lost its connection,
    and the lock with it. Should it come back, this tells it that it is over.
    """
    connection.execute(
        update(loads)
        .where(loads.c.status == RUNNING)
        .values(
            status="interrupted",
            finished_at=func.now(),
            error="the load ended without a word: killed, its machine stopped, or it lost its "
            "connection",
        )
    )


def start_load(connection: Connection, source: str, version: str) -> Load:
    """A new row in `_loads`; the caller holds the lock of the schema."""
    end_forgotten(connection)
    token = secrets.token_hex(16)
    row = connection.execute(
        insert(loads)
        .values(source=source, status=RUNNING, loader_version=version, token=token)
        .returning(loads.c.id, loads.c.started_at)
    ).one_or_none()
    require_rows(loads.name, sent=1, stored=int(row is not None))
    assert row is not None
    return Load(row.id, token, row.started_at.isoformat())


def select_source(connection: Connection) -> str | None:
    """The source whose loads this schema has, or None before the first one."""
    statement = select(loads.c.source).order_by(loads.c.id.desc()).limit(1)
    return connection.scalar(statement)


def select_files(
    connection: Connection, uris: Sequence[str], version: str
) -> dict[str, FileProgress]:
    """How far the files were read before.

    Another `version` of the loader may have counted records by other rules, so a file that it left
    before its end is read from its start; and it may know more of what is no events.
    """
    is_own = loads.c.loader_version == version
    spelled = {_key_of(uri): uri for uri in uris}
    statement = (
        select(
            files.c.uri,
            files.c.size,
            files.c.modified_at,
            files.c.version,
            case((is_own, files.c.records_done), else_=0),
            case((is_own, files.c.finished), else_=files.c.finished & files.c.not_events.is_(None)),
            files.c.not_events,
        )
        .outerjoin(loads, loads.c.id == files.c.load_id)
        .where(files.c.uri == func.any(list(spelled)))
    )
    return {spelled[row[0]]: FileProgress(*row) for row in connection.execute(statement)}


def select_finished(connection: Connection, first: str, last: str, most: int) -> set[str]:
    """The marks (`InputFile.mark`) of files that need not be read while they stay as they are.

    Those from one name on up to another, so many at most: files that are listed together lie
    together in the index, and one walk over a part of it is far quicker than a search for each.
    Of a file that is not among them nothing is known.
    """
    since_1970 = func.extract("epoch", files.c.modified_at) * 1_000_000
    version = func.coalesce(files.c.version, cast(cast(since_1970, BigInteger), Text))
    statement = (
        select(cast(files.c.size, Text) + "\n" + version + "\n" + files.c.uri)
        .where(files.c.uri.between(first, last), files.c.finished, files.c.not_events.is_(None))
        .order_by(files.c.uri)
        .limit(most)
    )
    return set(connection.scalars(statement))


def _key_of(uri: str) -> str:
    """What a file is called in `_files`, whose index takes 2,704 bytes; a path may have more."""
    if len(uri) <= _SHORT_NAME or len(uri.encode()) <= _MOST_NAME_BYTES:
        return uri
    digest = hashlib.blake2b(uri.encode(), digest_size=16).hexdigest()
    return f"{uri[: _SHORT_NAME - 40]}... {digest}"


def select_newest_event(connection: Connection) -> datetime | None:
    """When the newest event happened that any load has loaded."""
    newest: datetime | None = connection.scalar(select(func.max(loads.c.last_timestamp)))
    return newest


class ListedBefore(NamedTuple):
    """What earlier loads know of an input in a bucket; see `_listings`."""

    day: date
    listed_at: datetime


class ListingRow(NamedTuple):
    """A row of `_listings`."""

    prefix: str  # the input, as it is configured
    selection: str
    day: date
    listed_at: datetime


def select_listings(connection: Connection, selection: str) -> dict[str, ListedBefore]:
    """What earlier loads know of inputs in buckets, by how these are configured."""
    rows = listings.c
    statement = select(rows.prefix, rows.day, rows.listed_at).where(rows.selection == selection)
    return {prefix: ListedBefore(*known) for prefix, *known in connection.execute(statement)}


def forget_listings(connection: Connection, prefixes: Sequence[str]) -> int:
    """Forget up to which day some inputs are loaded; returns how many were known."""
    done = connection.execute(delete(listings).where(listings.c.prefix == func.any(list(prefixes))))
    return done.rowcount


def select_unfinished(connection: Connection, since: datetime) -> list[str]:
    """The objects in buckets of which a load since then has read a part alone."""
    statement = select(files.c.uri).where(
        files.c.finished.is_(False), files.c.updated_at > since, files.c.uri.contains("://")
    )
    return list(connection.scalars(statement))


def record_listings(connection: Connection, load_id: int, listed: Sequence[ListingRow]) -> None:
    """Remember up to which day everything below some inputs is loaded."""
    if not listed:
        return
    values = [row._asdict() | {"load_id": load_id} for row in listed]
    _upsert(connection, listings, values, ("day", "listed_at", "load_id"))


def record_batch(
    connection: Connection, load_id: int, counts: Counts, progress: Iterable[FileProgress]
) -> None:
    """The counts of a load and the progress of its files, in the batch's transaction."""
    values = asdict(counts)
    del values["schema_changes"]  # which are recorded as they are made
    _update_load(connection, load_id, values)
    number = {"load_id": load_id, "number": counts.batches}
    done = connection.execute(insert(batches).values(number))
    require_rows(batches.name, sent=1, stored=done.rowcount)
    rows = [
        msgspec.structs.asdict(row) | {"uri": _key_of(row.uri), "load_id": load_id}
        for row in progress
    ]
    if rows:
        taken = [name for name in rows[0] if name != "uri"]
        _upsert(connection, files, rows, taken, updated_at=func.now())


def record_changes(
    connection: Connection, load_id: int, changes: Sequence[dict[str, str]]
) -> list[dict[str, str]]:
    """Add changes to those of a load, in their transaction; returns all that it has made."""
    so_far = func.coalesce(loads.c.schema_changes, cast([], JSONB))
    recorded = connection.execute(
        update(loads)
        .where(loads.c.id == load_id)
        .values(schema_changes=so_far.op("||")(cast(list(changes), JSONB)))
        .returning(loads.c.schema_changes)
    ).all()
    require_rows(loads.name, sent=1, stored=len(recorded))
    return list(recorded[0].schema_changes)


def record_waiting(connection: Connection, load_id: int, waiting: Sequence[Waiting]) -> None:
    """Remember columns whose values are in `_extra`, until their tables can get them."""
    if not waiting:
        return
    values = [
        {
            "table_name": column.table,
            "column_name": column.column,
            "type": column.type,
            "comment": column.comment,
            "blocker": blocker,
            "load_id": load_id,
        }
        for column, blocker in waiting
    ]
    _upsert(connection, waiting_columns, values, ("type", "blocker", "load_id"))


def _upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    taken: Iterable[str],
    **more: ColumnElement[Any],
) -> None:
    """Insert rows; where one is there already, it takes some columns of the new one."""
    statement = upsert(table)
    changed = {name: getattr(statement.excluded, name) for name in taken} | more
    key = list(table.primary_key)
    statement = statement.on_conflict_do_update(index_elements=key, set_=changed)
    stored = connection.execute(statement.returning(*key), rows).all()
    require_rows(table.name, sent=len(rows), stored=len(stored))


def select_waiting(connection: Connection) -> list[WaitingRow]:
    """The columns that wait, oldest first."""
    rows = waiting_columns.c
    statement = select(
        rows.table_name, rows.column_name, rows.type, rows.comment, rows.blocker, rows.since
    ).order_by(rows.since, rows.table_name, rows.column_name)
    return [WaitingRow(*row) for row in connection.execute(statement)]


def forget_waiting(connection: Connection, table: str, column: str) -> bool:
    """Forget a column that waited; whether it did."""
    rows = waiting_columns.c
    done = connection.execute(
        delete(waiting_columns).where(rows.table_name == table, rows.column_name == column)
    )
    return done.rowcount == 1


def _update_load(connection: Connection, load_id: int, values: dict[str, Any]) -> None:
    done = connection.execute(update(loads).where(loads.c.id == load_id).values(values))
    require_rows(loads.name, sent=1, stored=done.rowcount)


def select_counts(connection: Connection, load_id: int) -> Counts:
    """The counts of a load as they are committed."""
    columns = [loads.c[item.name] for item in fields(Counts)]
    row = connection.execute(select(*columns).where(loads.c.id == load_id)).one()
    values: dict[str, Any] = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row._mapping.items()
        if value is not None
    }
    return Counts(**values)


def finish_load(
    connection: Connection,
    load_id: int,
    status: str,
    error: str | None,
    listed: Sequence[ListingRow] = (),
) -> None:
    """The end of a load, and what it has listed to the end."""
    record_listings(connection, load_id, listed)
    values = {"status": status, "error": error, "finished_at": func.now()}
    _update_load(connection, load_id, values)


def select_loads(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The last loads, newest first."""
    shown = [column for column in loads.columns if column is not loads.c.token]
    statement = select(*shown).order_by(loads.c.id.desc()).limit(limit)
    return [dict(row._mapping) for row in connection.execute(statement)]
