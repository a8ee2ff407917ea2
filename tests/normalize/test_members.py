"""Members of JSON texts, against a plain parser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.normalize.members import read_members

_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _VALUES), st.sampled_from([None, 2]))
def test_members_of_an_object_are_its_keys_and_the_texts_of_its_values(
    value: dict[str, object], indent: int | None
) -> None:
    found = read_members(f" {json.dumps(value, indent=indent)}\n".encode())
    assert [(one.key, json.loads(one.value)) for one in found] == list(value.items())
    assert [json.loads(one.spelled) for one in found] == list(value)


@given(st.lists(_VALUES))
def test_members_of_an_array_are_its_items(value: list[object]) -> None:
    assert [json.loads(one.value) for one in read_members(json.dumps(value).encode())] == value


def test_members_stay_as_they_stand() -> None:
    digits = "1" * 5_000
    text = '{"a":1.50,"\\u0061":"\\ud83d" , "b":[1e999, ' + digits + "]}"
    assert [(one.key, one.value.decode()) for one in read_members(text.encode())] == [
        ("a", "1.50"),
        ("a", '"\\ud83d"'),
        ("b", f"[1e999, {digits}]"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", '"a"', "{", "[", "[1,]", "[,1]", '{"a":1,}', "{a:1}", "{} {}", "[NaN]"),
        *('{"a" 1}', "[1 2]", "{]", "[}", '{"a":}', "[1]x", "\ufeff{}"),
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_members(text.encode())
