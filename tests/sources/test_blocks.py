"""What is found in a block before its lines are parsed: whole lines, likely ids."""

import json
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loader import native
from loader.sources import likely_ids, records
from loader.sources.records import WholeLines, read_lines

LIMIT = 40
LINES = st.sampled_from(
    [b"", b"\r", b"{", b"}", b"{}", b"{}\r", b" {}", b'{"a":1}', b"{" + b" " * 39 + b"}", b"x\r}"]
)


def find_lines(block: bytes, room: int) -> tuple[int, list[int], list[bool]]:
    ends, are_whole = np.full(room + 1, -7), np.zeros(room + 1, bool)
    count = native.find_lines(
        block, len(block), LIMIT, ends.ctypes.data, are_whole.ctypes.data, room
    )
    assert ends[room] == -7  # nothing is written behind the room
    return count, ends[: max(count, 0)].tolist(), are_whole[: max(count, 0)].tolist()


@given(st.lists(LINES), st.booleans())
@example([b"{}", b"{"], True)
def test_lines_are_whole_from_brace_to_brace(lines: list[bytes], is_ended: bool) -> None:
    block = b"\n".join(lines) + b"\n" * (is_ended and bool(lines))
    lines = block.removesuffix(b"\n").split(b"\n") if block else []
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    whole = [len(line) <= LIMIT and bool(re.fullmatch(rb"\{.*\}\r?", line)) for line in lines]
    assert find_lines(block, len(lines)) == (len(lines), ends.tolist(), whole)
    if lines:
        assert find_lines(block, len(lines) - 1)[0] == -1


def test_a_block_of_very_short_lines_is_read_record_by_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "_ENOUGH_BYTES", 0)
    for line, is_whole in ((b"{}\n", False), (b'{"a":"0123456789"}\n', True)):
        parts = list(read_lines([line * 1_000], max_record_bytes=LIMIT))
        assert {isinstance(part, WholeLines) for part in parts} == {is_whole}
        assert (
            sum(part.lines if isinstance(part, WholeLines) else len(part) for part in parts)
            == 1_000
        )


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
