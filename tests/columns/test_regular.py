"""What is written again is accepted by the tokenizer, and says what a plain JSON parser reads."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from forms.generated import EXAMPLES, anything
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loader.columns.paths import Path, Paths
from loader.columns.regular import Room, make_regular
from loader.columns.tokenize import Found, Scratch, Tokenizer
from loader.columns.tokens import EMPTY, NULL, OPEN, Text, Tokens
from loader.forms.recognize import named_paths

generated = settings(max_examples=10 * EXAMPLES)


def tokenize(*records: bytes) -> tuple[Found, Tokens, Paths]:
    paths = Paths(named_paths())
    ends = np.cumsum([len(one) for one in records])
    tokenizer = Tokenizer(Text(records), paths, Scratch())
    found = tokenizer.read(ends - [len(one) for one in records], ends, np.arange(len(records)))
    return found, tokenizer.tokens(records=len(records)), paths


def told(tokens: Tokens, paths: Paths, record: int) -> list[tuple[Path, Any]]:
    """The values of a record as its tokens have them, in their order."""
    found: list[tuple[Path, Any]] = []
    for token in np.flatnonzero(tokens.record == record).tolist():
        if token:
            kind = tokens.kind[token]
            value = {NULL: None, OPEN: OPEN, EMPTY: {}}.get(kind, ...)
            value = tokens.value(token) if value is ... else value
            found.append((paths[tokens.path[token]], value))
    return found


def expected(record: dict[str, Any], paths: Paths, above: Path = ()) -> list[tuple[Path, Any]]:
    """The same of a value: which objects are opened is up to the paths."""
    found: list[tuple[Path, Any]] = []
    for key, value in record.items():
        path = (*above, key)
        is_opened = type(value) is dict and (
            path[0] in ("context", "properties", "data") and len(path) <= 64
        )
        if is_opened and value:
            found += [(path, OPEN), *expected(value, paths, path)]
        else:
            found.append((path, value))
    return found


def plain(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal)


def check(raw: bytes) -> None:
    """A record as it stands, and written again, gives the same tokens."""
    regular = make_regular(raw)
    found, tokens, paths = tokenize(raw)
    if regular.reject is not None:
        assert found.rejects[0].reason == regular.reject.reason
        return
    value = plain(regular.text)
    if type(value) is not dict:
        return
    assert not found.rejects
    again, same, same_paths = tokenize(regular.text)
    assert not again.rejects, "what is written again is accepted"
    assert repr(told(tokens, paths, 0)) == repr(told(same, same_paths, 0))
    assert repr(told(same, same_paths, 0)) == repr(expected(value, same_paths))
    assert (found.repeated.get(0, []), found.replaced.get(0, 0)) == (
        regular.repeated,
        regular.replaced,
    )
    if not regular.repeated and not regular.replaced and b"[" * 60 not in raw:
        assert is_same(value, plain(raw))


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal; numbers that are too long to write out are texts."""
    if type(one) is str and type(other) in (Decimal, int):
        return Decimal(one) == other
    if type(one) is not type(other):
        return type(one) in (int, Decimal) and type(other) in (int, Decimal) and one == other
    if type(one) is dict:
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["\0", "\ud800", '"', "\\", "2026-09-15T08:23:32.000Z", "\U0001f642", "\x7f"]),
)
keys = st.text(max_size=3) | st.sampled_from(
    ["properties", "context", "data", "event", "traits", "timestamp", "batch", "a"]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@generated
@given(st.dictionaries(keys, values, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_any_object_is_read_as_a_plain_parser_reads_it(
    record: dict[str, Any], is_escaped: bool, indent: int | None
) -> None:
    # What a list holds that may hold records is read with these.
    record = {
        key: 0 if type(value) is list and key == "batch" else value for key, value in record.items()
    }
    text = json.dumps(record, ensure_ascii=is_escaped, indent=indent)
    check(text.encode("utf-8", "surrogatepass"))


@generated
@given(st.lists(st.tuples(keys, values), min_size=1, max_size=5))
def test_keys_that_stand_twice_are_read_once(pairs: list[tuple[str, Any]]) -> None:
    inner = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
    check(f'{{{inner},"properties":{{{inner}}},{inner}}}'.encode())


@generated
@given(anything)
def test_records_as_people_send_them(lines: list[bytes]) -> None:
    for line in lines:
        check(line)


PIECES = [bytes([one]) for one in b'"\\{}[]:, \t\r\n0-.eE+1u\x00\x1f\x80\xc3\xff']
PIECES += [b'"a":', b"true", b"null", b"\\u00", b"\\ud83d", b"\\ude42", b"1e5", b'{"a":1}', b"[1]"]
PIECES += [b'"properties":{', b'"batch":[', b'"timestamp":', b'"2026-09-15T08:23:32.000Z"']


@generated
@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join) | st.binary(max_size=40))
@example(b"")
@example(b"{")
@example(b'{"a":1')
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"batch":[1}')
def test_any_bytes_are_read_or_refused_alike(text: bytes) -> None:
    check(text)
    check(b"{" + text + b"}")


@generated
@given(
    st.sampled_from(
        [b'{"a":{"b":[1,"x]"]},"properties":{"n":-1.5,"t":"q\\"\\\\","d":{}},"e":null}']
    ),
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2), st.sampled_from(PIECES)), min_size=1),
)
def test_a_harmed_record_is_read_or_refused_alike(
    record: bytes, harms: list[tuple[int, int, bytes]]
) -> None:
    for place, taken, put in harms[:3]:
        at = place % (len(record) + 1)
        record = record[:at] + put + record[at + taken :]
    check(record)


@pytest.mark.parametrize("depth", [1, 17, 63, 64, 65, 66, 100, 180, 300, 900])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("key", [b"properties", b"x"])
def test_any_depth_is_read(key: bytes, opening: bytes, closing: bytes, depth: int) -> None:
    if opening == b"[" and key == b"properties":
        key = b"y"
    raw = b'{"%b":%b1%b}' % (key, opening * depth, closing * depth)
    assert make_regular(raw).reject is None
    found, tokens, paths = tokenize(raw)
    assert found.rejects == {}
    again, same, same_paths = tokenize(make_regular(raw).text)
    assert again.rejects == {}
    assert told(tokens, paths, 0) == told(same, same_paths, 0)


@pytest.mark.parametrize(
    "number", ["0", "-0", "1.50", "1e5", "1E+131071", "1E+131072", "1e-16384", "9" * 5_000]
)
def test_numbers_keep_every_digit(number: str) -> None:
    _, tokens, paths = tokenize(f'{{"properties":{{"n":{number}}}}}'.encode())
    ((_, value),) = [one for one in told(tokens, paths, 0) if one[0] == ("properties", "n")]
    assert Decimal(value) == Decimal(number)


def test_records_are_told_apart() -> None:
    records = [b'{"a":1}', b'{"a":1,"a":2}', b'{"b":"\\u0000"}', b"{", b'{"a":[1, 2]}']
    found, tokens, paths = tokenize(*records)
    assert (found.rewritten, sorted(found.rejects)) == ([1, 2], [3])
    assert found.repeated == {1: [("a", 2)]}
    assert found.replaced == {2: 1}
    assert [told(tokens, paths, n) for n in range(5)] == [
        [(("a",), 1)],
        [(("a",), 1)],
        [(("b",), "\ufffd")],
        [],
        [(("a",), [1, 2])],
    ]


def test_values_beyond_the_room_for_paths_are_among_the_repeated_ones() -> None:
    room = Room([("event",), ("properties",), ("properties", "z")], 3)
    one = make_regular(
        b'{"event":"X","properties":{"a":1,"b":{"c":2,"d":3},"e":4,"z":0},"c":{"x":{"y":1}},"d":1}',
        room,
    )
    assert plain(one.text) == {"event": "X", "properties": {"a": 1, "e": 4, "z": 0}, "c": {}}
    assert dict(one.repeated) == {"properties.b.c": 2, "properties.b.d": 3, "c.x.y": 1, "d": 1}
    other = make_regular(b'{"properties":{"a.b":1,"a":5},"f":{"g.h":{"i":2}}}', room)
    assert plain(other.text) == {"properties": {"a": 5}}
    assert dict(other.repeated) == {"properties.a.b": 1, "f.g.h.i": 2}


@generated
@given(st.lists(st.tuples(st.text(max_size=40), st.booleans()), min_size=1, max_size=60))
def test_the_texts_of_escapes_find_room_behind_a_block(found: list[tuple[str, bool]]) -> None:
    """Also where the record before them was refused when it had taken some."""
    texts = [(json.dumps(text), is_refused) for text, is_refused in found]
    records = [
        f'{{"a":"\\n","properties":{{"b":{text}}}{",x" * is_refused}}}'.encode()
        for text, is_refused in texts
    ]
    _, tokens, paths = tokenize(*records)
    for number, (text, is_refused) in enumerate(texts):
        expected_text = json.loads(text).replace("\0", "\ufffd")
        values = [] if is_refused else ["\n", OPEN, expected_text]
        assert [value for _, value in told(tokens, paths, number)] == values
