"""Events are encoded when they come, where the batch before had the same columns."""

from typing import Any

import pytest
from acceptance.harness import track
from forms.generated import EXAMPLES, anything, senders
from hypothesis import given, settings
from hypothesis import strategies as st
from load.loading import STARTED, lines, load, shown

from loader.forms.read import Reader
from loader.load import batch as batches
from loader.load.batch import Batch
from loader.load.context import LoadContext
from loader.normalize.collections import declared_tables
from loader.sources.records import read_blocks
from loader.warehouse.batch import SealedBatch


@settings(max_examples=10 * EXAMPLES)
@given(senders | anything, st.sampled_from([1, 2, 5]), st.integers(1, 9))
def test_rows_are_the_same_whenever_they_are_encoded(
    records: list[bytes], most_records: int, batch_records: int
) -> None:
    """Also where tables get columns on the way."""
    data = b"".join(line + b"\n" for line in records)
    early, late = (
        load(data, most_records=most_records, batch_records=batch_records, keeps_layouts=keeps)
        for keeps in (True, False)
    )
    assert early.tables == late.tables
    assert early.changes == late.changes
    assert shown(early.rows) == shown(late.rows)
    for one, other in zip(early.batches, late.batches, strict=True):
        assert one.extra_values == other.extra_values
        assert one.types.keys() == other.types.keys()
        for table, types in other.types.items():
            both = types.keys() & one.types[table].keys()
            assert {name: types[name] for name in both} == {
                name: one.types[table][name] for name in both
            }
        # Either may name a column more, which has a value in the rows of another table.
        for sealed in (one, other):
            for copy in sealed.copies:
                for fields in copy.rows.fields():
                    row = dict(zip(copy.columns, fields, strict=True))
                    given = {name for name, value in row.items() if value is not None}
                    assert given <= sealed.types[copy.table].keys()


def context(**options: Any) -> LoadContext:
    return LoadContext(started_at=STARTED, tables=declared_tables(), **options)


def add(batch: Batch, *records: dict[str, Any]) -> Batch:
    for block in read_blocks([lines(*records)]):
        for read in Reader(max_record_bytes=1 << 20).read(*block.spans):
            batch.add(read.events)
    return batch


def after(known: LoadContext, *records: dict[str, Any]) -> Batch:
    """An empty batch behind one of some records."""
    first = add(Batch(number=1, context=known), *records)
    first.seal(lambda _changes: [])
    return Batch(number=2, context=known, layouts=first.layouts)


def opened(number: int, **properties: Any) -> dict[str, Any]:
    return track("Email Opened", messageId=f"m{number}", **properties)


def ids(sealed: SealedBatch, table: str) -> list[list[str]]:
    """The ids of the rows, by COPY."""
    return [sorted(copy.rows.ids()) for copy in sealed.copies if copy.table == table]


def test_what_needs_a_change_waits_for_the_whole_batch() -> None:
    known = context()
    batch = after(known, opened(1, size=1))
    add(batch, opened(2, size=2))
    add(batch, opened(3, size=3, weight=1))
    add(batch, opened(4, size=4))
    add(batch, opened(5, weight=1.5))
    sealed = batch.seal(lambda _changes: [])
    assert known.tables["email_opened"]["weight"] == "numeric"
    for table in ("tracks", "email_opened"):
        assert ids(sealed, table) == [["m2", "m4"], ["m3", "m5"]]
    assert [copy.table for copy in sealed.copies] == 2 * ["tracks", "email_opened"]
    # The next batch knows both.
    next_one = Batch(number=3, context=known, layouts=batch.layouts)
    sealed = add(next_one, opened(6, size=1), opened(7, weight=1)).seal(lambda _changes: [])
    assert ids(sealed, "email_opened") == [["m6", "m7"]]


@pytest.mark.parametrize("shared", [{"sentAt": "2026-03-04T05:06:07Z"}, {"userId": "u"}])
def test_a_shared_column_that_the_batch_before_lacked_is_not_lost(shared: dict[str, str]) -> None:
    lacking = {"sentAt": None, "userId": None, "anonymousId": "a"}
    batch = after(context(), opened(1) | lacking)
    sealed = add(batch, opened(2) | lacking, opened(3) | lacking | shared).seal(lambda _: [])
    (column,) = ("sent_at" if name == "sentAt" else "user_id" for name in shared)
    (copy,) = [copy for copy in sealed.copies if copy.table == "tracks"]
    fields = dict(zip(copy.rows.ids(), copy.rows.fields(), strict=True))
    assert fields["m3"][copy.columns.index(column)] is not None


def test_rows_keep_the_types_that_they_were_encoded_for() -> None:
    """Whoever writes them sees that the tables have others by then, and refuses them."""
    known = context()
    batch = add(after(known, opened(1, size=1)), opened(2, size=2))
    assert known.adopt({"email_opened": known.tables["email_opened"] | {"size": "text"}})
    batch.forget_layouts()
    sealed = add(batch, opened(3, size=3)).seal(lambda _changes: [])
    assert sealed.types["email_opened"]["size"] == "bigint"
    assert ids(sealed, "email_opened") == [["m2"], ["m3"]]


def test_a_defect_of_one_event_costs_that_event(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = after(context(), opened(1))
    encode = batches.encode

    def with_defect(part: Any, *rest: Any) -> Any:
        if "m3" in part.events.ids:
            raise ValueError("a defect")
        return encode(part, *rest)

    monkeypatch.setattr(batches, "encode", with_defect)
    batch.replays.append(batches.Replay("r", ("m3",), ()))
    sealed = add(batch, opened(2), opened(3), opened(4)).seal(lambda _changes: [])
    assert ids(sealed, "email_opened") == [["m2", "m4"]]
    assert [replay.events for replay in sealed.replays] == [()]
