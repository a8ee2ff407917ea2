"""JSON texts: what is told of them without reading them twice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.normalize.event import Object
from loader.sources.jsontext import may_repeat_keys
from loader.sources.records import read_chunks

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
    values, raws = [json.loads(text) for text in found], [text.encode() for text in found]
    if any(map(repeats_keys, found)):
        assert may_repeat_keys(values, raws)


@pytest.mark.parametrize(
    "spoiler", ['{"a" :1}', '{"a"\t:1}', '{"k\\\\":1}', '{"k\\\\" :1}'], ids=ascii
)
def test_no_other_record_hides_a_key_that_stands_twice(spoiler: str) -> None:
    """A blank before a colon, or a backslash at the end of a key, made up for it."""
    lines = f'{spoiler}\n{{"b":2,"b":3}}\n{{"c":1}}\n'.encode()
    (chunk,) = read_chunks([lines], max_record_bytes=1_000)
    assert chunk.records[1:] == [{"b": 2}, {"c": 1}]
    assert chunk.repeated == {1: {"b": 3}}


@pytest.mark.parametrize("key", ['"a" ', '"a"  ', '"k\\\\"'])
def test_a_key_that_stands_twice_is_found_beside_any_other(key: str) -> None:
    (chunk,) = read_chunks([f'{{{key}:1,"b":2,"b":3}}\n'.encode()], max_record_bytes=1_000)
    assert (chunk.records[0]["b"], chunk.repeated) == (2, {0: {"b": 3}})
