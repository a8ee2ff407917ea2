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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loader
from loader.chunk import parse_chunk
from loader.normalize.flatten import flatten, flatten_one
from loader.normalize.names import property_column
from loader.sources.jsontext import parse_json
from loader.sources.records import Chunk, read_chunks

EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "10"))
fixed = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
quick = settings(fixed, max_examples=4 * EXAMPLES)

# records: what JSON allows and people do

KEYS = ["a", "A", "b", "a_b", "a b", "a.b", "aB", "id", "_id", "user", "select", "", "_", "\u00e9"]
KEYS += ["e\u0301", "\0", "\ud800", "\u0645", "k" * 80, "context_ip", "timestamp", "campaign_id"]
KEYS += ["subject", "proxied", "link_id", "list", "1", "tracks", "_extra", "k" * 80 + "2"]
TEXTS = [
    "",
    "x",
    "33",
    "033",
    "-0.5",
    "true",
    "a\tb\\N\r\n\\.",
    "\0",
    "\ud800",
    "\udc00x",
    "e\u0301",
]
TEXTS += ["\u202eabc", "\U0001f642", "2026-09-15", "null", "NaN", "x" * 3_000, " "]
NUMBERS = [
    "0",
    "-0",
    "7",
    "-0.0",
    "1.50",
    "1e5",
    "1e999",
    "1e-400",
    "9223372036854775808",
    "1E+131072",
]
NUMBERS += ["1234567890" * 40, "-9223372036854775808", "0.1234567890123456789012345", "1e-16384"]
TIMES = ["2026-03-04T05:06:07.000Z", "2026-03-04T05:06:07.123456+05:30", "0001-01-01T00:00:00Z"]
TIMES += ["0000-01-01T00:00:00Z", "294277-01-01", "2016-12-31T23:59:60Z", "2026-02-30", "soon", ""]
EVENTS = [
    "Email Opened",
    "Email Bounced",
    "tracks",
    "_loads",
    "alembic_version",
    "pg_x",
    "Cart Seen",
]
EVENTS += [
    '"; drop schema',
    "cart-seen",
    "cart seen",
    "Unsubscribed",
    "n" * 300,
    "\u65e5\u672c",
    "Odd\0",
]


class Raw(str):
    """A JSON text of its own, as a number with more digits than Python's would keep."""


raw_numbers = st.sampled_from(NUMBERS).map(Raw)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), raw_numbers, st.sampled_from(TEXTS)
)
scalars = scalars | st.text(max_size=4)
keys = st.sampled_from(KEYS) | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
deep = st.sampled_from([70, 130, 300]).map(lambda n: Raw("[" * n + "7" + "]" * n))
deep |= st.sampled_from([70, 130, 300]).map(lambda n: Raw('{"a":' * n + "7" + "}" * n))
objects = st.dictionaries(keys, values | deep, max_size=5)
times = st.sampled_from(TIMES) | st.sampled_from([None, 0, 1_772_600_767, True]) | raw_numbers
# The same in every record, so that a column's type does not depend on who comes first.
typed = st.fixed_dictionaries(
    {},
    optional={
        "a": st.sampled_from(TEXTS),
        "b": st.integers(-(2**60), 2**60),
        "yes": st.booleans(),
        "list": st.lists(scalars, max_size=2),
        "inner": st.fixed_dictionaries({}, optional={"text": st.sampled_from(TEXTS)}),
        # Bigint where it is declared, which some of these fit; text anywhere else.
        "campaign_id": st.sampled_from(TEXTS),
    },
)


def calls(properties: st.SearchStrategy[Any], contexts: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries(
        {"type": st.just("track"), "event": st.sampled_from(EVENTS)},
        optional={
            "messageId": st.sampled_from([f"m{n}" for n in range(8)]) | st.sampled_from(TEXTS),
            "userId": st.sampled_from(["u", "", "\0", 7, None]),
            "anonymousId": st.sampled_from(["a", None]),
            "timestamp": times,
            "sentAt": times,
            "receivedAt": times,
            "originalTimestamp": times,
            "properties": properties,
            "context": contexts,
            "more": scalars,
        },
    )


webhooks = st.fixed_dictionaries(
    {
        "object_type": st.sampled_from(["email", "sms", "customer"]),
        "metric": st.sampled_from(["opened", "clicked", "unsubscribed", "undeliverable"]),
        "data": objects,
    },
    optional={"event_id": st.sampled_from(["w1", "w2", ""]), "timestamp": times},
)
junk = st.sampled_from(
    [b"{", b"null", b"[1,2]", b'{"type":"identify"}', b"\xff", b'{"a":NaN}', b"x", b'{"event":"E"']
)
junk |= st.sampled_from([b'{"type":"track"}', b'{"data":1,"metric":"m"}', b"[" * 5_000, b'"'])


def dump(value: Any) -> str:
    """JSON, with the numbers that are texts already."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def text_of(record: Any) -> bytes:
    return record if isinstance(record, bytes) else dump(record).encode()


anything = st.lists(st.one_of(calls(objects, objects), webhooks, junk).map(text_of), max_size=12)
agreeing = st.lists(calls(typed, typed.map(lambda one: {"c": one})).map(text_of), max_size=12)


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


def load(db: Database, *paths: str, **options: Any) -> tuple[int, int, int, int]:
    """Records, rows, duplicates, rejects; they add up."""
    result = loader.load(list(paths), warehouse_url=db.url, wait=True, **options)
    assert result.status == "success"
    one = result.counts
    assert one.records_read == one.rows_loaded + one.duplicates + one.rejects
    return one.records_read, one.rows_loaded, one.duplicates, one.rejects


def collections(db: Database) -> list[str]:
    return [
        name
        for name in db.tables()
        if name not in ("tracks", "alembic_version", "_loads", "_files", "_rejects")
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


@fixed
@given(anything)
def test_each_record_is_a_row_a_duplicate_or_a_reject_and_all_its_values_are_found(
    place: Place, lines: list[bytes]
) -> None:
    path = place.write("any.ndjson", lines)
    chunks = list(read_chunks([b"".join(line + b"\n" for line in lines)], max_record_bytes=1 << 20))
    with place.database() as db:
        records, loaded, known, rejected = load(db, path)
        assert records == sum(map(len, chunks))
        agree(db)
        rows = tables(db)
        firsts: dict[str, dict[str, Any]] = {}
        for chunk in chunks:
            parsed = parse_chunk(chunk)
            refused = {position for position, _, _ in parsed.rejects}
            good = [i for i in range(len(chunk.records)) if chunk.position(i) not in refused]
            for index, key in zip(good, parsed.ids, strict=True):
                firsts.setdefault(key, chunk.records[index])
        assert len(firsts) == loaded
        assert set(firsts) == set(rows.get("tracks", {}))
        for key, record in firsts.items():
            table = rows["tracks"][key]["event"]
            # `_extra` as text too: jsonb through a driver would make floats of its numbers.
            text = db.value(f"SELECT {ROW}::text FROM {name_as_row(table)} WHERE id = %s", key)
            row = json.loads(text, parse_float=Decimal, parse_int=Decimal)
            assert missing(values_sent(record), row) == [], (record, text)
        stored_raws = {raw for (raw,) in db.rows("SELECT raw FROM _rejects")}
        for chunk in chunks:
            for _, _, raw in parse_chunk(chunk).rejects:
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
    whole = place.write("whole", lines)
    parts = [place.write("part 1", lines[:cut]), place.write("part 2", lines[cut:])]
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


# quick ways are only quicker


def records_of(chunks: list[Chunk]) -> list[Any]:
    return [
        (repr(record), raw, chunk.position(index))
        for chunk in chunks
        for index, (record, raw) in enumerate(zip(chunk.records, chunk.raws, strict=True))
    ]


@quick
@given(anything, st.sampled_from([1, 2, 3, 1_000]))
def test_lines_are_read_alike_however_many_at_a_time(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    many = list(read_chunks([data], max_record_bytes=1 << 20))
    few = list(read_chunks([data], max_record_bytes=1 << 20, chunk_records=size))
    assert records_of(many) == records_of(few)
    bad = [[one for chunk in chunks for one in chunk.bad] for chunks in (many, few)]
    assert bad[0] == bad[1]


@quick
@given(st.lists(calls(objects, objects).map(text_of), max_size=8))
def test_lines_that_are_read_together_are_the_ones_read_one_by_one(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    [*chunks] = read_chunks([data], max_record_bytes=1 << 20)
    alone = [parse_json(line) for line in lines]
    assert all(reject is None for _, reject in alone)
    assert [repr(r) for chunk in chunks for r in chunk.records] == [repr(v) for v, _ in alone]


parsed_objects = objects.map(lambda one: parse_json(dump(one).encode())[0])


@quick
@given(
    st.lists(parsed_objects, min_size=1, max_size=9),
    st.integers(64, 200),
    st.randoms(use_true_random=False),
)
def test_rare_columns_give_the_rows_that_each_record_gives_alone(
    odd: list[dict[str, Any]], size: int, rng: Any
) -> None:
    """From 64 records on, a key that few of them have is kept by row."""
    usual = {"plain": 1, "campaign_id": 5, "user": {"name": "x"}}
    records = [*odd, *[dict(usual) for _ in range(size - len(odd))]]
    rng.shuffle(records)
    flat = flatten(records, property_column)
    assert flat.columns.keys().isdisjoint(flat.rare)
    for row, record in enumerate(records):
        expected, losers = flatten_one(record, property_column)
        actual = {name: column[row] for name, column in flat.columns.items()}
        actual |= {name: by_row.get(row) for name, by_row in flat.rare.items()}
        kept = {name: value for name, value in actual.items() if value is not None}
        assert repr(sorted(kept.items())) == repr(sorted(expected.items()))
        assert repr(losers) == repr(flat.extra.get(row, {}))
