"""JSON texts: what is told of them without reading them twice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.normalize.event import Object
from loader.normalize.jsontext import may_repeat_keys, parse_json, read_value
from loader.normalize.numbers import number_text

# What may make a key, or what is none, hard to count.
PARTS = st.text(st.sampled_from('a\\":, '), max_size=4)
BLANKS = st.sampled_from(["", " ", "\t", " \t"])


@st.composite
def texts(draw: st.DrawFn, depth: int = 2) -> str:
    """An object of few keys, some of them twice."""
    values = PARTS.map(json.dumps) | (texts(depth=depth - 1) if depth else st.just("[1]"))
    blanks = draw(BLANKS)
    pairs = draw(st.lists(st.tuples(PARTS.map(json.dumps), BLANKS, values), max_size=4))
    text = ",".join(f"{blanks}{key}{blank}:{value}" for key, blank, value in pairs)
    return "{" + text + blanks + "}"


def repeats_keys(text: str) -> bool:
    """Whether a key stands twice in some object, found out the long way."""
    found: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> Object:
        found.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return any(found)


@given(st.lists(texts(), min_size=1, max_size=4))
def test_no_key_that_stands_twice_is_overlooked(found: list[str]) -> None:
    text = "[" + ",".join(found) + "]"
    if repeats_keys(text):
        assert may_repeat_keys(json.loads(text), text.encode())


@pytest.mark.parametrize(
    "spoiler", ['{"a" :1}', '{"a"\t:1}', '{"k\\\\":1}', '{"k\\\\" :1}'], ids=ascii
)
def test_no_other_object_hides_a_key_that_stands_twice(spoiler: str) -> None:
    """A blank before a colon, or a backslash at the end of a key, made up for it."""
    raw = b'[%b,{"b":2,"b":3},{"c":1}]' % spoiler.encode()
    assert may_repeat_keys(parse_json(raw)[0], raw)


@pytest.mark.parametrize("key", ['"a" ', '"a"  ', '"k\\\\"'])
def test_a_key_that_stands_twice_is_found_beside_any_other(key: str) -> None:
    raw = f'{{{key}:1,"b":2,"b":3}}'.encode()
    assert may_repeat_keys(parse_json(raw)[0], raw)


@pytest.mark.parametrize("digits", [18, 19, 20, 350, 351, 4_000, 4_299, 4_301, 9_000])
def test_numbers_of_any_length_are_read(digits: int) -> None:
    """Python does not convert integers of more than 4,300 digits, and the quick parser neither."""
    text = "9" * digits
    for read in (read_value(text), read_value(text.encode()), read_value(f"[{text}]")[0]):
        assert number_text(read) == text


BROKEN = "the JSON is cut short or broken"


@pytest.mark.parametrize(
    ("raw", "detail", "place"),
    [
        (b'{"a": }', BROKEN, "character 7"),
        ('{"ä": 1 2}'.encode(), BROKEN, "character 9"),
        (b'{"a": "x', BROKEN, "character 7"),
        (b'{"a": "\x01"}', BROKEN, "character 8"),  # "Invalid control character at at" before
        (b'{"a": "\\q"}', BROKEN, "character 8"),
        (b'{"a": NaN}', "NaN is not JSON", ""),
        (b'{"a": "\xff"}', "not UTF-8", "byte 8"),
    ],
)
def test_what_is_wrong_is_told_in_words_that_can_be_grouped_by(
    raw: bytes, detail: str, place: str
) -> None:
    value, reject = parse_json(raw)
    assert value is None
    assert reject is not None
    assert (reject.detail, reject.place) == (detail, place)
