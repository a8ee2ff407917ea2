"""The same events give the same rows, in whatever form and in whatever pieces they come."""

import json
import random
from typing import Any

import pytest
from forms.generated import EXAMPLES, anything, call, hook, senders, text_of
from hypothesis import given, settings
from hypothesis import strategies as st
from load.loading import Loaded, load, shown, split

from loader.normalize.collections import declared_tables
from loader.normalize.jsontext import parse_json
from loader.normalize.types import Type

generated = settings(max_examples=3 * EXAMPLES)


def is_whole(line: bytes) -> bool:
    """Whether a text can be an item of an array: an object, which is no envelope itself."""
    value, reject = parse_json(line)
    return reject is None and type(value) is dict


def facts(found: Loaded) -> Any:
    reasons = sorted(reason for _, reason, _ in found.rejects)
    return shown(found.rows), reasons, found.records, found.duplicates, found.replaced


def as_array(lines: list[bytes], between: bytes = b",") -> bytes:
    return b"[" + between.join(lines) + b"]"


def pretty(data: bytes) -> bytes:
    """The same tokens, each on a line of its own, where they are no part of a string."""
    found, is_string, is_escaped = bytearray(), False, False
    for byte in data:
        if is_string:
            is_string = is_escaped or byte != ord('"')
            is_escaped = not is_escaped and byte == ord("\\")
        elif byte == ord('"'):
            is_string = True
        elif byte in b"{}[],:":
            found += b"\n  " if byte in b"}]" else b""
            found.append(byte)
            found += b"\n  \t" if byte in b"{[," else b" "
            continue
        found.append(byte)
    return bytes(found)


def check_forms(lines: list[bytes], size: int) -> None:
    """As lines, as an array, in an array in envelopes; and split into pieces of bytes."""
    expected = facts(load(b"".join(line + b"\n" for line in lines)))
    array = as_array(lines)
    forms = {
        "no line feed at the end": b"\n".join(lines),
        "an array": array,
        "an array over lines": b"[\n" + b",\n".join(lines) + b"\n]\n",
        "a pretty array": pretty(array),
        "pretty documents": b"\n".join(map(pretty, lines)),
        "in one line": b" ".join(lines),
    }
    for name, data in forms.items():
        pieces = split(data, range(0, len(data), size))
        assert (name, facts(load(*pieces))) == (name, expected)
    if lines:
        for name, data in {
            "an envelope": b'{"batch":%b}' % array,
            "a pretty envelope": pretty(b'{"batch":%b}' % array),
            "envelopes": b"\n".join(b'{"batch":[%b]}' % line for line in lines),
            "envelopes in an array": as_array([b'{"batch":[%b]}' % line for line in lines]),
            "an array in an array": b"[[%b]]" % array,
        }.items():
            actual = facts(load(*split(data, range(0, len(data), size))))
            assert (name, actual) == (name, expected)


@generated
@given(senders, st.sampled_from([1, 7, 64, 5_000]))
def test_any_form_gives_the_rows_of_lines(lines: list[bytes], size: int) -> None:
    check_forms([line for line in lines if is_whole(line)], size)


@generated
@given(anything, st.sampled_from([1, 7, 64, 5_000]))
def test_any_form_of_any_record_gives_the_rows_of_lines(lines: list[bytes], size: int) -> None:
    check_forms([line for line in lines if is_whole(line)], size)


@generated
@given(
    senders | anything,
    st.sampled_from([1, 7, 5_000]),
    st.lists(st.integers(0, 1 << 20), max_size=9),
    st.integers(1, 9),
)
def test_any_pieces_give_the_same_rows(
    lines: list[bytes], most_records: int, cuts: list[int], batch_records: int
) -> None:
    """Where the columns are declared before: the type of a new one depends on its batch."""
    data = b"".join(line + b"\n" for line in lines)
    whole = load(data)
    pieces = load(
        *split(data, cuts),
        most_records=most_records,
        batch_records=batch_records,
        tables=whole.tables,
    )
    assert pieces.tables == whole.tables
    assert facts(pieces) == facts(load(data, tables=whole.tables))
    # Within a block, what is no record comes before what is no event.
    assert sorted(pieces.rejects) == sorted(whole.rejects)


@generated
@given(anything, st.booleans(), st.integers(0, 1 << 20))
def test_a_reject_in_arrays_has_the_text_that_stood_there(
    lines: list[bytes], is_nested: bool, cut: int
) -> None:
    """In an array that was no first line it was written again, and repeated keys were lost."""
    bad = b'{"type" : "identify", "a":1, "a":"\\ud800,]"}'
    elements = [*filter(is_whole, lines), bad]
    array = as_array([as_array(elements, b" , ") if is_nested else b", ".join(elements)])
    line = text_of(call(1)) + b"\n"
    for before in (b"", line, 2 * line):
        data = before + array
        found = load(*split(data, [cut])).rejects
        assert {raw for _, _, raw in found} <= set(elements)
        assert bad in {raw for _, _, raw in found}
        assert sorted(found) == sorted(load(data).rejects)


def test_many_records_give_the_rows_that_each_gives_alone() -> None:
    """Columns that few records have, in blocks of many."""
    rng = random.Random(7)
    values = ["x", "7", 7, 1.5, True, [1], {"y": 1}, None, "2026-03-04T05:06:07Z"]
    records = []
    for number in range(600):
        extra = {f"k{rng.randrange(90)}": rng.choice(values) for _ in range(rng.randrange(4))}
        make = rng.choice((call, hook))
        changes = {"properties" if make is call else "data": extra}
        records.append(text_of(make(number, **changes)))
    whole = load(b"\n".join(records))
    tables = whole.tables
    expected = shown(load(b"\n".join(records), tables=tables).rows)
    for number, record in enumerate(records):
        for table, rows in shown(load(record, tables=tables).rows).items():
            for key, row in rows.items():
                assert expected[table][key] == row, number


@pytest.mark.parametrize("key", ["context", "sentAt", "receivedAt"])
def test_what_an_envelope_says_counts_as_if_each_call_said_it(key: str) -> None:
    value = {"context": {"ip": "192.0.2.7", "app": {"build": 7}}}.get(key, "2026-03-04T05:06:08Z")
    calls = [call(n, **{key: None}) for n in range(3)]
    lines = [text_of(one | {key: value}) for one in calls]
    envelope = json.dumps({"batch": calls, key: value}).encode()
    assert facts(load(envelope)) == facts(load(b"\n".join(lines)))


@generated
@given(
    records=st.lists(
        st.tuples(
            st.sampled_from(["Email Opened", "Cart Seen"]),
            st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, {"q": 1}])),
            st.dictionaries(
                st.sampled_from("pqrst"), st.sampled_from([1, "x", [], None, {"q": 1}])
            ),
        ),
        min_size=2,
        max_size=12,
    ),
    room=st.integers(0, 6),
    room_in_tracks=st.integers(0, 3),
    size=st.integers(1, 5),
)
def test_the_columns_that_have_room_are_those_that_come_first(
    records: list[Any], room: int, room_in_tracks: int, size: int
) -> None:
    """They were those of the context, of whatever had come into the batch so far.

    Those of the context that had no room in `tracks` took the room of properties.
    """
    data = b"".join(
        json.dumps(
            {"event": name, "messageId": f"m{at}", "context": context, "properties": properties}
        ).encode()
        + b"\n"
        for at, (name, context, properties) in enumerate(records)
    )
    tables = declared_tables()
    most = len(tables["email_opened"]) + room
    taken: dict[str, Type] = {f"taken_{n}": "text" for n in range(most)}
    tables["tracks"] |= dict(list(taken.items())[: most - len(tables["tracks"]) - room_in_tracks])
    whole = load(data, max_columns=most, tables=tables)
    for options in ({"most_records": size}, {"most_records": size, "batch_records": size}):
        pieces = load(data, max_columns=most, tables=tables, **options)  # type: ignore[arg-type]
        assert {table: set(columns) for table, columns in pieces.tables.items()} == {
            table: set(columns) for table, columns in whole.tables.items()
        }
