"""What is likely an id in a block, before its records are read."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from loader.load.prefetch import likely_ids


def test_likely_ids_are_those_of_the_calls() -> None:
    lines = [
        b'{"messageId":"one","event":"E"}',
        b'{"event":"E", "messageId" \t: "tw\xc3\xb6 \xf0\x9f\x99\x82" }',
        b'{"properties":{"messageId":"inner"}}',
        b'{"messageId":""}',
        b'{"messageId":null}{"messageId":7}',
        b'{"messageId":"with \\" escape"}',
        b'{"messageId":"with \x1f control"}',
        b'{"messageId":"' + b"l" * 1_025 + b'"}',
        b'{"messageId":"' + b"m" * 1_024 + b'"}',
        b'{"messageid":"lower"}{"messageId","x"}',
        b'{"messageId":"cut off',
    ]
    expected = ["one", "twö 🙂", "inner", "m" * 1_024]
    assert likely_ids(b"\n".join(lines)).split("\n") == expected
    assert likely_ids(b"") == likely_ids(b'"messageId"') == likely_ids(b'"messageId":"') == ""
    assert likely_ids(b'{"event_id":"h1"}{"event_id":"h2"}') == "h1\nh2"
    assert likely_ids(b'{"messageId":"not \xff UTF-8"}') == "not \ufffd UTF-8"


@settings(max_examples=300)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\'), min_size=1)
    )
)
def test_each_id_without_an_escape_is_likely(ids: list[str]) -> None:
    block = "\n".join(json.dumps({"messageId": key}, ensure_ascii=False) for key in ids)
    plain = [key for key in ids if min(key) >= " " and len(key.encode()) <= 1_024]
    assert likely_ids(block.encode()).split("\n") == (plain or [""])


@given(st.lists(st.sampled_from([b'"messageId"', b":", b'"', b"\\", b" ", b"x", b"\n", b"\xc3"])))
def test_nothing_is_read_behind_a_block(pieces: list[bytes]) -> None:
    """The sanitizers look at this one: see `tests/soak/test_native.py`."""
    likely_ids(b"".join(pieces))
