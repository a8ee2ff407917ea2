"""Properties of the rules, over whatever JSON can hold."""

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from loader.normalize.batch import Normalized, Rows, normalize_events
from loader.normalize.collections import SHARED_NAMES, Type, declared_tables
from loader.normalize.columns import coerce, infer
from loader.normalize.event import Event, Events
from loader.normalize.flatten import flatten, flatten_one
from loader.normalize.names import (
    context_column,
    identifier,
    property_column,
    property_columns,
    schema_name,
    snake_case,
    table_name,
)

TYPES: tuple[Type, ...] = ("text", "bigint", "numeric", "boolean", "jsonb", "timestamptz", "other")

names = st.one_of(
    st.text(),
    st.text("aB1_. -é日", max_size=90),
    st.sampled_from(["id", "timestamp", "user", "tracks", "context_x", "n" * 70, "1" * 63]),
)
numbers = st.one_of(
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from([Decimal("1E+400"), Decimal("1E+131072"), Decimal("1E-16384"), Decimal("-0")]),
)
scalars = st.one_of(
    st.booleans(),
    numbers,
    st.text(max_size=5),
    st.sampled_from(["", "33", "033", "-0.5", "true", "2026-09-15", "\0", "\ud800", "1e5"]),
)
leaves = st.one_of(scalars, st.lists(scalars, max_size=2))
# Few keys, so that they often become one column.
keys = st.sampled_from(["a", "A", "b", "a_b", "aB", "a.b", "a b", "", "_", "id", "_id", "é"])
few = st.sampled_from([None, 1, Decimal("1.50"), 2**64, True, "x", "7", "", [1, "y"], [], "\0"])
inner = st.dictionaries(keys, few | st.dictionaries(keys, few, max_size=2), max_size=3)
objects = st.dictionaries(keys, few | inner, max_size=5)

times = st.one_of(
    st.none(),
    st.integers(0, 2 * 10**9),
    st.booleans(),
    st.sampled_from([0, 1, "soon", "2026-09-15T08:23:32.000Z", "2026-02-31", [], Decimal("1.5")]),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
)
NOW = "2026-10-01T00:00:00.000Z"


@st.composite
def events(draw: st.DrawFn) -> Event:
    table = draw(st.sampled_from(["email_opened", "email_bounced", "other"]))
    return Event(
        id=draw(st.sampled_from(["1", "2", "\0"])),
        event=table,
        event_text=table.upper(),
        user_id=draw(st.sampled_from([None, "u"])),
        anonymous_id=None,
        received_at=draw(times),
        sent_at=draw(times),
        original_timestamp=draw(times),
        timestamp=draw(times),
        context=draw(objects),
        properties=draw(objects) | draw(st.sampled_from([{}, {"campaign_id": "x", "subject": 1}])),
        extra=draw(st.sampled_from([None, {"a": 1}, {"timestamp": 2}])),
    )


def count_leaves(value: Any) -> Counter[str]:
    if isinstance(value, dict):
        return sum(map(count_leaves, value.values()), Counter())
    return Counter() if value is None else Counter([repr(value)])


# names


@given(names)
def test_a_name_converted_twice_is_the_name_converted_once(name: str) -> None:
    for convert in (snake_case, identifier, property_column, table_name, schema_name):
        assert convert(name) == convert(convert(name))


@given(names)
def test_a_name_fits_and_is_never_empty(name: str) -> None:
    for convert in (identifier, property_column, table_name, context_column):
        assert 0 < len(convert(name).encode()) <= 63
    assert len(schema_name(name).encode()) <= 63


@given(names)
def test_a_name_needs_no_quotes(name: str) -> None:
    for convert in (identifier, property_column, table_name, context_column):
        actual = convert(name)
        assert actual.replace("_", "a").isascii()
        assert actual.replace("_", "a").isalnum()
        assert actual == actual.lower()
        assert not actual[0].isdigit()


@given(names)
def test_a_property_is_never_a_shared_column(name: str) -> None:
    assert property_column(name) not in SHARED_NAMES
    assert not property_column(name).startswith("context_")


# flatten


@given(st.lists(objects, max_size=5))
@example([{"a": {"b": 1}, "a_b": 2}, {"a_b": "x"}, {"aB": 3, "a": 4}])
@example([{"a": "x", "A": "y"}, {"a": "z", "A": None}])
def test_flatten_is_flatten_one_for_each_record(records: list[dict[str, Any]]) -> None:
    flat = flatten(records, property_column)
    for row, record in enumerate(records):
        expected, losers = flatten_one(record, property_column)
        actual = {name: column[row] for name, column in flat.columns.items()}
        kept = {name: value for name, value in actual.items() if value is not None}
        assert repr(sorted(expected.items())) == repr(sorted(kept.items()))
        assert repr(losers) == repr(flat.extra.get(row, {}))
    assert all(len(column) == len(records) for column in flat.columns.values())
    assert flat.columns.keys() == flat.keys.keys()


# Maps: each record has keys of its own.
maps = st.dictionaries(
    st.sampled_from(["a", "A", "a b", "a_b", "b", "x1", "X 1", "x_1", "y", "é", "id", "1", "a\nb"])
    | st.text(max_size=3),
    few | st.dictionaries(st.text("xyz", max_size=2), few, max_size=3),
    max_size=6,
)


@given(
    st.lists(maps | maps.map(lambda inner: {"a": inner, "total": 1, "x_1": 2}), max_size=5),
    st.frozensets(st.sampled_from(["a", "a_b", "x_1", "a_a", "a_x_1", "total", "b_xx"])),
)
@example([{"a": {"b": 1}, "a_b": 2}, {"a": {"c": 1}}], frozenset())
@example([{"a": {"b": 1, "B": 3}}, {"a": {"c": 1}}], frozenset({"a_b"}))
@example([{"a": {"b": 1}}, {"a": {"c": 1}}, {"a_b": 2}], frozenset())
def test_a_map_fills_the_columns_there_are_and_loses_nothing(
    records: list[dict[str, Any]], known: frozenset[str]
) -> None:
    flat = flatten(records, property_column, claim=lambda names: known)
    for row, record in enumerate(records):
        expected, losers = flatten_one(record, property_column)
        kept = {
            name: values[row] for name, values in flat.columns.items() if values[row] is not None
        }
        kept |= {name: by_row[row] for name, by_row in flat.rare.items() if row in by_row}
        extra = flat.extra.get(row, {})
        assert expected.keys() & known <= kept.keys()
        assert repr({name: (kept | extra)[name] for name in expected}) == repr(expected)
        said = Counter(map(repr, [*expected.values(), *losers.values()]))
        assert said == Counter(map(repr, [*kept.values(), *extra.values()]))


@given(st.lists(names | st.text("aB1_-. ", max_size=70), max_size=6), st.sampled_from(["", "a."]))
def test_many_names_are_made_like_each_of_them(found: list[str], prefix: str) -> None:
    assert property_columns(prefix, found) == [property_column(prefix + name) for name in found]


@given(st.lists(objects, max_size=5))
@example([{"a": "x"}, {"a": "y"}])
def test_a_column_that_is_known_to_be_text_is_text(records: list[dict[str, Any]]) -> None:
    flat = flatten(records, property_column)
    for name, joined in flat.joined.items():
        assert joined == "".join(flat.columns[name])


@given(objects)
def test_flatten_loses_no_leaf(record: dict[str, Any]) -> None:
    kept, losers = flatten_one(record, property_column)
    actual = Counter(map(repr, [*kept.values(), *losers.values()]))
    assert count_leaves(record) == actual


# infer and coerce


@given(st.lists(leaves, min_size=1, max_size=6))
def test_the_inferred_type_holds_every_value(column: list[Any]) -> None:
    type_ = infer(column)
    texts, misfits = coerce(column, type_)[0].texts, coerce(column, type_)[1]
    assert misfits == {}
    assert all(text is not None for text in texts)


@given(st.lists(leaves, min_size=1, max_size=6))
def test_the_inferred_type_does_not_depend_on_the_order(column: list[Any]) -> None:
    assert infer(column) == infer(column[::-1])


@given(st.lists(st.one_of(st.none(), leaves), max_size=6), st.sampled_from(TYPES))
def test_a_value_is_a_text_or_a_misfit_and_never_both(column: list[Any], type_: Type) -> None:
    actual, misfits = coerce(column, type_)
    assert len(column) == len(actual.texts)
    for row, (value, text) in enumerate(zip(column, actual.texts, strict=True)):
        assert (value is None) == (text is None and row not in misfits)
        assert text is None or row not in misfits
        assert row not in misfits or misfits[row] is value
    assert not actual.full or None not in actual.texts


@given(st.lists(st.one_of(st.none(), leaves), max_size=6), st.sampled_from(TYPES))
def test_a_column_is_coerced_like_its_values_one_by_one(column: list[Any], type_: Type) -> None:
    one_by_one = [coerce([value], type_)[0] for value in column]
    actual = coerce(column, type_)[0]
    assert [one.texts[0] for one in one_by_one] == actual.texts
    assert sum(one.replaced for one in one_by_one) == actual.replaced
    assert any(one.rough for one in one_by_one) == actual.rough


@given(st.lists(numbers, min_size=1, max_size=4))
def test_a_stored_number_is_the_number_that_was_sent(column: list[Any]) -> None:
    for type_ in ("bigint", "numeric", "text", "jsonb"):
        for value, text in zip(column, coerce(column, type_)[0].texts, strict=True):  # type: ignore[arg-type]
            assert text is None or Decimal(value) == Decimal(text.strip('"'))


# batch


def normalize(batch: list[Event]) -> Normalized:
    return normalize_events(Events.of(batch), declared_tables(), load_started_at=NOW)


def by_row(rows: Rows) -> dict[int, dict[str, Any]]:
    """Columns, new values and extras of each row; times as moments, not as texts."""
    found: dict[int, dict[str, Any]] = {place: {} for place in rows.members}
    for name, column in rows.columns.items():
        for place, text in zip(rows.members, column.spread(len(rows.members)), strict=True):
            moment = text and declared_tables()["tracks"].get(name) == "timestamptz"
            if text is not None:
                found[place][name] = datetime.fromisoformat(text) if moment else text
    for name, values in rows.new.items():
        for place, value in values.items():
            found[place][f"new {name}"] = repr(value)
    for place, extra in rows.extra.items():
        found[place]["extra"] = repr(extra)
    return found


def same_times_twice(batch: list[Event]) -> bool:
    """Two equal times of one event that are none: kept once or twice, see test_batch."""
    return any(
        value == other and value is not None
        for e in batch
        for value, other in (
            (e.received_at, e.sent_at),
            (e.sent_at, e.original_timestamp),
            (e.original_timestamp, e.timestamp),
        )
    )


@settings(max_examples=60)
@given(st.lists(events(), max_size=4), st.integers(0, 4))
def test_a_batch_may_be_split_anywhere(batch: list[Event], cut: int) -> None:
    if same_times_twice(batch):
        return
    whole, first, second = normalize(batch), normalize(batch[:cut]), normalize(batch[cut:])
    size = len(batch[:cut])
    assert whole.ids == first.ids + second.ids
    moved = {place + size: row for place, row in by_row(second.shared).items()}
    assert by_row(whole.shared) == by_row(first.shared) | moved
    for table, rows in whole.collections.items():
        parts: dict[int, dict[str, Any]] = {}
        for part, by in ((first, 0), (second, size)):
            if table in part.collections:
                found = by_row(part.collections[table])
                parts |= {place + by: row for place, row in found.items()}
        assert by_row(rows) == parts


@settings(max_examples=60)
@given(st.lists(events(), min_size=1, max_size=4))
def test_no_value_of_an_event_is_lost(batch: list[Event]) -> None:
    """Each leaf of context and properties is a text, a new value, or in extra."""
    actual = normalize(batch)
    own = {"id", "received_at", "sent_at", "original_timestamp", "timestamp"}
    own |= {"anonymous_id", "user_id", "event", "event_text"}
    for row, one in enumerate(batch):
        rows = actual.collections[one.event]
        place = list(rows.members).index(row)
        stored = [c.texts[row] for n, c in actual.shared.columns.items() if n not in own]
        stored += [c.spread(len(rows.members))[place] for c in rows.columns.values()]
        count = sum(text is not None for text in stored)
        for part in (actual.shared, rows):
            count += sum(row in values for values in part.new.values())
            count += len(part.extra.get(row, {}))
        times = (one.received_at, one.sent_at, one.original_timestamp, one.timestamp)
        sent = count_leaves(one.context) + count_leaves(one.properties)
        least = sent.total() + len(one.extra or {})
        assert least <= count <= least + len(times)


@settings(max_examples=60)
@given(st.lists(events(), min_size=1, max_size=4))
def test_every_row_has_an_id_an_arrival_and_a_time(batch: list[Event]) -> None:
    shared = normalize(batch).shared
    for name in ("id", "received_at", "timestamp"):
        assert None not in shared.columns[name].texts
