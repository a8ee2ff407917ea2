"""Records that could not be loaded: the table `_rejects`."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, Numeric, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from loader.normalize.text import clean_text
from loader.warehouse.batch import RejectRow, Replay
from loader.warehouse.ledger import require_rows
from loader.warehouse.tables import rejects


class RejectFilter(TypedDict, total=False):
    """Which rejects are meant."""

    load: int | None
    file: str | None
    reason: str | None
    everything: bool  # also those that a replay has settled


# Of a page of rejects, whose raw texts may have some megabytes each.
_PAGE_ROWS = 1_000
_PAGE_BYTES = 4 << 20


def record_rejects(connection: Connection, load_id: int, rows: Sequence[RejectRow]) -> int:
    """Store rejects; returns how many were not there yet."""
    if not rows:
        return 0
    statement = upsert(rejects).on_conflict_do_nothing().returning(rejects.c.id)
    values = [row._asdict() | {"load_id": load_id} for row in rows]
    new = set(connection.scalars(statement, values))
    # The others must be there already, or somebody drops them.
    others = {row.id for row in rows} - new
    there = select_known_rejects(connection, list(others)) if others else set()
    require_rows(rejects.name, sent=len(others), stored=len(there))
    return len(new)


def record_replays(
    connection: Connection, load_id: int, replays: Sequence[Replay], repeated: Collection[str]
) -> None:
    """Mark rejects as tried again; the events in `repeated` were there already."""
    for replay in replays:
        values: dict[str, Any] = {
            "replayed_at": func.now(),
            "replayed_by": load_id,
            "outcome": "loaded",
        }
        if replay.problems:
            first = replay.problems[0]
            values |= {"outcome": "rejected", "reason": first.reason}
            values["detail"] = clean_text(first.detail)
            values["place"] = first.place or None
        elif replay.is_ignored:
            values["outcome"] = "ignored"
        elif all(event in repeated for event in replay.events):
            values["outcome"] = "duplicate"
        statement = update(rejects).where(rejects.c.id == replay.reject_id).values(**values)
        require_rows(rejects.name, sent=1, stored=connection.execute(statement).rowcount)


def select_rejects(
    connection: Connection, after: str = "", **filters: Unpack[RejectFilter]
) -> list[dict[str, Any]]:
    """A page of rejects by their id, bounded in number and bytes.

    The next page is the one `after` the last id of this one; the last page is empty.
    """
    size = func.octet_length(rejects.c.raw)
    # Those before each one, so that the first one is always on the page.
    before = func.sum(size).over(order_by=rejects.c.id) - size
    page = (
        select(rejects.c.id, before.label("before"))
        .where(rejects.c.id > after, *_conditions(**filters))
        .order_by(rejects.c.id)
        .limit(_PAGE_ROWS)
        .subquery()
    )
    statement = (
        select(rejects)
        .join(page, page.c.id == rejects.c.id)
        .where(page.c.before < _PAGE_BYTES)
        .order_by(rejects.c.id)
    )
    return [dict(row._mapping) for row in connection.execute(statement)]


def select_all_rejects(
    connection: Connection, **filters: Unpack[RejectFilter]
) -> Iterator[dict[str, Any]]:
    """All rejects by their id, of which a page is in memory at a time."""
    after = ""
    while page := select_rejects(connection, after, **filters):
        yield from page
        after = page[-1]["id"]


def select_first_rejects(
    connection: Connection, limit: int, **filters: Unpack[RejectFilter]
) -> tuple[list[dict[str, Any]], int]:
    """The first rejects by load, file and position, each with its beginning; and how many exist."""
    which = _conditions(**filters)
    # The numbers of a position decide: line 9 stands before line 10.
    numbers = func.btrim(func.regexp_replace(rejects.c.position, r"\D+", " ", "g"))
    statement = (
        select(
            *(rejects.c[name] for name in _SHOWN), func.left(rejects.c.raw, _EXCERPT).label("raw")
        )
        .where(*which)
        .order_by(
            rejects.c.load_id,
            rejects.c.file,
            cast(func.string_to_array(numbers, " "), ARRAY(Numeric)),
            rejects.c.id,
        )
        .limit(limit)
    )
    count = connection.scalar(select(func.count()).select_from(rejects).where(*which))
    return [dict(row._mapping) for row in connection.execute(statement)], int(count or 0)


_SHOWN = ("load_id", "file", "position", "reason", "detail", "place", "outcome")
_EXCERPT = 60  # characters


def _conditions(**filters: Unpack[RejectFilter]) -> list[ColumnElement[bool]]:
    asked = {
        rejects.c.load_id: filters.get("load"),
        rejects.c.file: filters.get("file"),
        rejects.c.reason: filters.get("reason"),
    }
    found = [] if filters.get("everything") else [is_waiting()]
    return found + [column == value for column, value in asked.items() if value is not None]


def is_waiting() -> ColumnElement[bool]:
    """Whether a reject was not settled by a replay."""
    return func.coalesce(rejects.c.outcome, "rejected") == "rejected"


def select_known_rejects(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of some rejects are stored already."""
    return set(connection.scalars(select(rejects.c.id).where(rejects.c.id == func.any(list(ids)))))


def count_rejects(connection: Connection, *, everything: bool = False) -> dict[str, int]:
    """Rejects by reason; those that a replay has settled only with `everything`."""
    number = func.count()
    statement = (
        select(rejects.c.reason, number)
        .where(*_conditions(everything=everything))
        .group_by(rejects.c.reason)
        .order_by(number.desc(), rejects.c.reason)
    )
    return {reason: count for reason, count in connection.execute(statement)}  # noqa: C416
