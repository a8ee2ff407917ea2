"""A load without a server: bytes -> batches -> the rows that COPY would get, read back."""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from loader.columns.binary import READ_VALUE
from loader.forms.read import Reader
from loader.load.batch import Batch
from loader.load.context import LoadContext
from loader.normalize.collections import Type, declared_tables
from loader.normalize.jsontext import encode_json
from loader.sources.records import read_blocks
from loader.warehouse.batch import SealedBatch, Waiting
from loader.warehouse.evolve import Change

STARTED = "2026-10-01T00:00:00+00:00"
Row = dict[str, Any]


@dataclass(kw_only=True)
class Loaded:
    """What a load would write."""

    tables: dict[str, dict[str, Type]]
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)  # by table and id, without nulls
    changes: list[Change] = field(default_factory=list)
    rejects: list[tuple[str, str, bytes]] = field(default_factory=list)  # position, reason, text
    batches: list[SealedBatch] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)  # of all events, in order
    records: int = 0
    rewritten: int = 0
    known: int = 0

    @property
    def duplicates(self) -> int:
        """Events that another one has the id of."""
        return sum(batch.duplicates for batch in self.batches)

    @property
    def ignored(self) -> dict[str, int]:
        """Records that are left out on purpose, by reason."""
        return dict(sum((Counter(batch.ignored) for batch in self.batches), Counter[str]()))

    @property
    def replaced(self) -> int:
        """Code points that cannot be stored."""
        return sum(batch.replaced_characters for batch in self.batches)

    def row(self, table: str, key: str = "m1") -> Row:
        """One row."""
        return self.rows[table][key]


def load(
    *data: bytes,
    most_records: int = 5_000,
    batch_records: int = 1_000_000,
    there: Set[str] = frozenset(),
    limit: int = 1 << 20,
    keeps_layouts: bool = True,
    tables: dict[str, dict[str, Type]] | None = None,
    **options: Any,
) -> Loaded:
    """Load the bytes of one file, as they come, into given tables, or the declared ones."""
    tables = {name: dict(types) for name, types in (tables or declared_tables()).items()}
    context = LoadContext(started_at=STARTED, tables=tables, **options)
    reader = Reader(max_record_bytes=limit, ignore=context.ignore)
    found = Loaded(tables=tables)
    before: list[Set[str]] = []
    batch = Batch(number=1, context=context)
    for block in read_blocks(data, most_records=most_records):
        found.rejects += [(bad.position, bad.reject.reason, bad.raw) for bad in block.bad]
        batch.records += len(block.bad)
        for read in reader.read(*block.spans):
            batch.records += read.records
            batch.ignored.update(read.ignored)
            found.rewritten += read.rewritten
            found.ids += read.events.ids
            found.known += batch.add(read.events, there)
            for one in read.refused:
                position = block.position(read.first + one.record, one.items)
                found.rejects.append((position, one.reject.reason, one.raw))
        if batch.records >= batch_records:
            before.append(batch.seen)
            seal(batch, found)
            layouts = batch.layouts if keeps_layouts else {}
            batch = Batch(number=batch.number + 1, context=context, before=before, layouts=layouts)
    seal(batch, found)
    return found


def load_records(*records: dict[str, Any] | bytes, **options: Any) -> Loaded:
    """Load a line for each record."""
    return load(lines(*records), **options)


def lines(*records: dict[str, Any] | bytes) -> bytes:
    """A line for each record; texts stand as they are."""
    texts = [each if isinstance(each, bytes) else encode_json(each) for each in records]
    return b"".join(text + b"\n" for text in texts)


def seal(batch: Batch, found: Loaded) -> None:
    def make(changes: Sequence[Change]) -> list[Waiting]:
        found.changes += changes
        return []

    sealed = batch.seal(make)
    found.batches.append(sealed)
    found.records += sealed.records
    for copy in sealed.copies:
        rows = found.rows.setdefault(copy.table, {})
        types = found.tables[copy.table]
        assert len(set(copy.columns)) == len(copy.columns)
        for fields in copy.rows.fields():
            row = {
                name: READ_VALUE[types[name]](value)
                for name, value in zip(copy.columns, fields, strict=True)
                if value is not None
            }
            assert row["id"] not in rows
            rows[row["id"]] = row


def shown(rows: dict[str, dict[str, Row]], *without: str) -> dict[str, dict[str, str]]:
    """Rows as texts, so that 1 is not 1.0 and True is not 1."""
    return {
        table: {
            key: repr(sorted((k, v) for k, v in row.items() if k not in without))
            for key, row in by_id.items()
        }
        for table, by_id in rows.items()
    }


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces."""
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]
