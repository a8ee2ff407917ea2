"""Columns that have to wait: what is planned, and how a batch is sealed without and with them."""

from collections.abc import Sequence
from typing import Any

import pytest
from acceptance.harness import track
from load.loading import STARTED, lines

from loader.forms.read import Reader
from loader.load.batch import Batch
from loader.load.context import LoadContext
from loader.normalize.collections import Type, declared_tables
from loader.sources.records import read_blocks
from loader.warehouse.batch import SealedBatch, Waiting
from loader.warehouse.changes import TablesDiffer
from loader.warehouse.evolve import AddColumn, Change, CreateTable


class Server:
    """Makes changes but those of tables that are held; not a database."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.asked: list[list[Change]] = []

    def make(self, changes: Sequence[Change]) -> list[Waiting]:
        self.asked.append(list(changes))
        return [
            Waiting(change, "somebody")
            for change in changes
            if isinstance(change, AddColumn) and change.table in self.held
        ]

    def columns(self) -> list[tuple[str, str, str]]:
        """What was asked for last."""
        return [(c.table, c.column, c.type) for c in self.asked[-1] if isinstance(c, AddColumn)]


def context(**options: Any) -> LoadContext:
    return LoadContext(started_at=STARTED, tables=declared_tables(), **options)


def batch(known: LoadContext, *records: dict[str, Any]) -> Batch:
    made = Batch(number=1, context=known)
    for block in read_blocks([lines(*records)]):
        for read in Reader(max_record_bytes=1 << 20).read(*block.spans):
            made.add(read.events)
    return made


def opened(number: int, **properties: Any) -> dict[str, Any]:
    return track("Email Opened", messageId=f"m{number}", **properties)


def extra(sealed: SealedBatch, table: str) -> list[bytes | None]:
    [copy] = [copy for copy in sealed.copies if copy.table == table]
    return [fields[copy.columns.index("_extra")] for fields in copy.rows.fields()]


def test_values_of_a_column_that_waits_are_in_extra_and_its_type_covers_all_batches() -> None:
    known, server = context(), Server("email_opened")
    sealed = batch(known, opened(1, size=1)).seal(server.make)
    assert sealed.waiting == [Waiting(server.asked[0][0], "somebody")]  # type: ignore[arg-type]
    assert "size" not in sealed.types["email_opened"]
    assert extra(sealed, "email_opened") == [b'\x01{"size":1}']
    assert sealed.extra_values == {"m1": 1}

    # A batch without such values asks for the column too; one with others widens it.
    batch(known, opened(2)).seal(server.make)
    assert server.columns() == [("email_opened", "size", "bigint")]
    batch(known, opened(3, size="large")).seal(server.make)
    assert server.columns() == [("email_opened", "size", "text")]
    batch(known, opened(4, size=4)).seal(server.make)
    assert server.columns() == [("email_opened", "size", "text")]

    sealed = batch(known, opened(5, size=5)).seal(Server().make)
    assert sealed.waiting == []
    assert sealed.types["email_opened"]["size"] == "text"
    assert extra(sealed, "email_opened") == [None]
    assert known.tables["email_opened"]["size"] == "text"
    last = Server()
    batch(known, opened(6, size=6)).seal(last.make)
    assert last.asked == []


def test_a_column_that_waits_keeps_its_place_among_those_that_a_table_may_have() -> None:
    most = len(declared_tables()["email_opened"]) + 2
    known, server = context(max_columns=most), Server("email_opened")
    batch(known, opened(1, a=1)).seal(server.make)
    batch(known, opened(2, b=1, c=1)).seal(server.make)
    assert [name for _, name, _ in server.columns()] == ["a", "b"]
    batch(known, opened(3, d=1)).seal(Server().make)
    assert {"a", "b"} <= known.tables["email_opened"].keys()
    assert not {"c", "d"} & known.tables["email_opened"].keys()
    assert known.slots["email_opened"] == most


def test_a_context_column_waits_for_tracks_and_has_its_type() -> None:
    known = context()
    server = Server("tracks", "email_opened")
    batch(known, opened(1, context={"a": 1})).seal(server.make)
    assert server.columns() == [
        ("tracks", "context_a", "bigint"),
        ("email_opened", "context_a", "bigint"),
    ]
    server = Server("email_opened")
    batch(known, opened(2, context={"a": "x"})).seal(server.make)
    assert server.columns()[0] == ("tracks", "context_a", "text")
    # From here on `tracks` has it, so values that do not fit stay in `_extra`.
    server = Server()
    known.tables["tracks"]["context_a"] = "bigint"
    batch(known, opened(3, context={"a": "y"})).seal(server.make)
    assert server.columns() == [("email_opened", "context_a", "bigint")]


def test_nothing_waits_where_new_columns_are_frozen() -> None:
    known, server = context(), Server("email_opened")
    batch(known, opened(1, a=1)).seal(server.make)
    frozen = LoadContext(
        started_at=STARTED, tables=known.tables, waiting=known.waiting, evolve=False
    )
    sealed = batch(frozen, opened(2, a=1)).seal(server.make)
    assert (len(server.asked), sealed.waiting) == (1, [])
    assert extra(sealed, "email_opened") == [b'\x01{"a":1}']


def test_changes_that_were_not_made_are_planned_again() -> None:
    known = context()
    before = known.copy()
    made = batch(known, opened(1, a=1), track("Cart Seen", total=1, context={"d": 1}))

    def differ(_changes: Sequence[Change]) -> list[Waiting]:
        there: dict[str, dict[str, Type]] = {"tracks": {"id": "text"}}
        raise TablesDiffer(there)

    with pytest.raises(TablesDiffer):
        made.seal(differ)
    assert known.tables == before.tables
    # Meanwhile somebody made the column, and dropped a table.
    assert known.adopt({"email_opened": {**known.tables["email_opened"], "a": "text"}})
    assert known.adopt({"email_bounced": {}})
    assert not known.adopt({"email_bounced": {}})
    assert "email_bounced" not in known.tables
    server = Server()
    sealed = made.seal(server.make)
    assert [c.table for c in server.asked[0] if isinstance(c, CreateTable)] == ["cart_seen"]
    assert ("email_opened", "a") not in [(t, c) for t, c, _ in server.columns()]
    assert sealed.types["email_opened"]["a"] == "text"
