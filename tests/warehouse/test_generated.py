"""For any list of records: nothing lost, nothing twice, however it is split."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Server
from forms.generated import EXAMPLES, agreeing, anything
from hypothesis import given, settings
from hypothesis import strategies as st
from load.loading import load as load_bytes
from sources.test_records import read

import loader
from loader.config.source import OTHER_CALLS
from loader.normalize.collections import MARTS
from loader.normalize.ignoring import Ignore
from loader.normalize.numbers import number_text
from loader.warehouse.tables import LEDGER

fixed = settings(max_examples=EXAMPLES)

# loading them


class Place:
    """Databases made from one template, for one example after the other."""

    def __init__(self, server: Server, template: str, folder: Path) -> None:
        self.server, self.template, self.folder = server, template, folder
        self.numbers = count(1)

    @contextmanager
    def database(self) -> Iterator[Database]:
        name = f"generated_{os.getpid()}_{next(self.numbers)}"
        admin = self.server.database("postgres")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        try:
            yield self.server.database(name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def write(self, name: str, lines: list[bytes]) -> str:
        path = self.folder / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return str(path)


@pytest.fixture(scope="module")
def place(server: Server, template: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(server, template, tmp_path_factory.mktemp("generated"))


BY_DEFAULT = Ignore(types=frozenset(OTHER_CALLS))


def is_ignored(record: Any) -> bool:
    return isinstance(record, dict) and record.get("type") in OTHER_CALLS


def load(db: Database, *paths: str, **options: Any) -> tuple[int, int, int, int]:
    """Records that are not ignored, rows, duplicates, rejects; they add up."""
    result = loader.load(list(paths), warehouse_url=db.url, wait=True, **options)
    assert result.status == "success"
    one = result.counts
    assert one.wanted == one.rows_loaded + one.duplicates + one.rejects
    assert sum(result.ignored.values()) == one.ignored
    return one.wanted, one.rows_loaded, one.duplicates, one.rejects


def collections(db: Database) -> list[str]:
    return [
        name
        for name in db.tables()
        if name not in ("tracks", "alembic_version", *MARTS, *(table.name for table in LEDGER))
    ]


# No column can have this name, which would hide the row.
ROW = 'to_jsonb("the row")'


def name_as_row(table: str) -> str:
    return f'"{table}" AS "the row"'


def tables(db: Database, *without: str) -> dict[str, dict[str, Any]]:
    """The rows of all tables by their id, nulls left out."""
    found: dict[str, dict[str, Any]] = {}
    for name in ["tracks", *collections(db)]:
        rows = db.rows(f"SELECT id, {ROW} - %s::text[] FROM {name_as_row(name)}", list(without))
        kept = {key: {k: v for k, v in row.items() if v is not None} for key, row in rows}
        if kept:
            found[name] = kept
    return found


def agree(db: Database) -> None:
    """`tracks` and the collections hold the same events."""
    in_tracks = dict(db.rows("SELECT id, event FROM tracks"))
    found: dict[str, str] = {}
    for name in collections(db):
        for (key,) in db.rows(f'SELECT id FROM "{name}"'):
            assert key not in found
            found[key] = name
    assert found == in_tracks


# finding them again


def clean(text: str) -> str:
    """What the documentation says is stored of a text."""
    return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def leaf(value: Any) -> str:
    """A form in which what was sent and what is stored compare."""
    if type(value) is bool:
        return f"bool {value}"
    if type(value) in (int, Decimal):
        return "number " + ("0" if value == 0 else f"{Decimal(value):E}".lower())
    assert type(value) is str
    return f"text {clean(value)}"


def number(value: Any) -> Decimal | None:
    """A number that is stored as a number or as text."""
    try:
        found = Decimal(value)
    except (ArithmeticError, ValueError, TypeError):
        return None
    return found if found.is_finite() else None


def leaves(value: Any) -> Iterator[Any]:
    """The values of an object or array that are neither; an empty array is one, null is none."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            waiting += one.values()
        elif type(one) is list:
            waiting += one
        elif one is not None:
            yield one


def stored(row: Any) -> tuple[Counter[str], Counter[Decimal], str]:
    """The texts and the numbers of a row, and all of its texts one after the other."""
    texts: Counter[str] = Counter()
    numbers: Counter[Decimal] = Counter()
    for value in leaves(row):
        if type(value) is bool:
            texts["true" if value else "false"] += 1
            continue
        if type(value) is str:
            texts[value] += 1
        if (found := number(value)) is not None:
            numbers[found.normalize() if len(found.as_tuple().digits) < 28 else found] += 1
    return texts, numbers, "\n".join(texts)


def missing(sent: Any, row: Any) -> list[Any]:
    """The leaves of `sent` that `row` has not: as often as it was sent, and as it was sent."""
    texts, numbers, whole = stored(row)
    lost = []
    for value, times_sent in Counter(
        (type(v).__name__, clean(v) if type(v) is str else v) for v in leaves(sent)
    ).items():
        kind, one = value
        if kind == "bool":
            there = texts["true" if one else "false"] >= times_sent
        elif kind == "str":
            there = texts[one] >= times_sent or number(one) in numbers
        elif kind == "LongNumber":
            there = number_text(one) in whole
        else:
            exact = Decimal(one)
            there = any(known == exact for known in numbers)
            there = there or f"{one}" in whole  # deep inside something that is kept as text
        if not there:
            lost.append(one)
    return lost


def values_sent(record: dict[str, Any]) -> Any:
    """The parts of a record that have to be found in its row."""
    if "data" in record:
        return {**record["data"], "of the envelope": record["metric"]}
    return [record.get("properties"), record.get("context"), record.get("more")]


# What makes a file one of events, whatever else is in it; it is ignored.
CALL = b'{"type":"identify"}'


@fixed
@given(anything)
def test_each_record_is_a_row_a_duplicate_or_a_reject_and_all_its_values_are_found(
    place: Place, lines: list[bytes]
) -> None:
    lines = [*lines, CALL]
    path = place.write("any.ndjson", lines)
    data = b"".join(line + b"\n" for line in lines)
    found, expected = read(data), load_bytes(data, ignore=BY_DEFAULT)
    with place.database() as db:
        records, loaded, known, rejected = load(db, path)
        assert records == expected.records - sum(expected.ignored.values())
        agree(db)
        rows = tables(db)
        firsts: dict[str, dict[str, Any]] = {}
        refused = {position for position, _, _ in expected.rejects}
        good = [
            record
            for position, record in found.records
            if position not in refused and not is_ignored(record)
        ]
        for key, record in zip(expected.ids, good, strict=True):
            firsts.setdefault(key, record)
        assert len(firsts) == loaded
        assert set(firsts) == set(rows.get("tracks", {}))
        for key, record in firsts.items():
            table = rows["tracks"][key]["event"]
            # `_extra` as text too: jsonb through a driver would make floats of its numbers.
            text = db.value(f"SELECT {ROW}::text FROM {name_as_row(table)} WHERE id = %s", key)
            row = json.loads(text, parse_float=Decimal, parse_int=Decimal)
            assert missing(values_sent(record), row) == [], (record, text)
        stored_raws = {raw for (raw,) in db.rows("SELECT raw FROM _rejects")}
        for _, _, raw in expected.rejects:
            assert clean(raw.decode("utf-8", "backslashreplace")) in stored_raws
        # Once more, and nothing new.
        before = tables(db)
        assert load(db, path, force=True) == (records, 0, records, 0)
        assert tables(db) == before
        assert known + loaded + rejected == records


@fixed
@given(anything, st.integers(0, 12), st.integers(1, 5))
def test_any_split_gives_tables_that_agree_and_the_same_ids(
    place: Place, lines: list[bytes], cut: int, batch: int
) -> None:
    whole = place.write("whole", [*lines, CALL])
    parts = [
        place.write("part 1", [*lines[:cut], CALL]),
        place.write("part 2", [*lines[cut:], CALL]),
    ]
    with place.database() as one, place.database() as two:
        expected = load(one, whole)
        if b"{" in lines or b'"' in lines:
            return  # a document may reach from one file's end into the next one's beginning
        first = load(two, parts[0], batch_records=batch)
        second = load(two, parts[1], batch_records=batch)
        assert first[0] + second[0] == expected[0]
        agree(two)
        ids = [[*dict(db.rows("SELECT id, event FROM tracks")).items()] for db in (one, two)]
        assert sorted(ids[0]) == sorted(ids[1])


@fixed
@given(agreeing, st.integers(0, 12), st.integers(1, 5))
def test_records_of_one_type_give_the_same_rows_in_any_split(
    place: Place, lines: list[bytes], cut: int, batch: int
) -> None:
    whole = place.write("whole", lines)
    parts = [place.write("part 1", lines[:cut]), place.write("part 2", lines[cut:])]
    # The start of a load stands in for times that were not sent, and is not the same.
    unlike = ("uuid_ts", "received_at", "timestamp")
    with place.database() as one, place.database() as two, place.database() as three:
        expected = load(one, whole)
        load(two, *parts)
        load(three, whole, batch_records=batch)
        for db in (two, three):
            assert tables(db, *unlike) == tables(one, *unlike)
            agree(db)
            counts = "SELECT sum(records_read), sum(rows_loaded) FROM _loads"
            assert tuple(map(int, db.rows(counts)[0])) == expected[:2]
