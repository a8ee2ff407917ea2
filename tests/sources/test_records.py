"""Containers -> records: every form, every position, whatever the size of the blocks."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.columns.paths import Paths
from loader.columns.tokenize import Scratch
from loader.columns.tokens import Longs
from loader.errors import InputUnreadable
from loader.forms.content import content, raw_text
from loader.forms.model import too_large
from loader.forms.read import Reader
from loader.forms.recognize import is_container, named_paths
from loader.forms.records import read_records
from loader.normalize.jsontext import parse_json
from loader.normalize.numbers import LongNumber
from loader.sources.blocks import Block
from loader.sources.records import read_blocks

BLOCKS = [1, 2, 3, 7, 64, 1 << 20]
LIMIT = 1 << 20


class Read(NamedTuple):
    records: list[tuple[str, Any]]
    bad: list[tuple[str, str]]
    raws: list[bytes]
    bad_raws: list[bytes]


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def read(data: bytes | Iterator[bytes], size: int = 1 << 20, limit: int = LIMIT) -> Read:
    found = Read([], [], [], [])
    given_blocks = blocks(data, size) if isinstance(data, bytes) else data
    for block in read_blocks(given_blocks):
        read_block(block, limit, found)
    return found


def read_block(block: Block, limit: int, found: Read) -> None:
    """What stands in the containers of a block, before any rule is asked."""
    found.bad.extend((bad.position, bad.reject.reason) for bad in block.bad)
    found.bad_raws.extend(bad.raw for bad in block.bad)
    if not len(block.starts):
        return
    records = read_records(*block.spans, Paths(named_paths()), Scratch())
    for number in records.in_order(np.ones(len(records.form), bool)).tolist():
        position = block.position(records.number(number), records.items(number))
        size = int(records.end[number] - records.start[number])
        reject = records.rejects.get(number)
        if reject is None and is_container(records.form[number]):
            continue
        if reject is None and size > limit:
            reject = too_large(size, limit)
        if reject is not None:
            found.bad.append((position, reject.reason))
            found.bad_raws.append(raw_text(records, number))
        else:
            found.records.append((position, content(records, number)))
            found.raws.append(raw_text(records, number))


A, B, C = {"a": 1}, {"b": {"c": [2]}}, {"c": "}{][,"}
a, b, c = (json.dumps(value).encode() for value in (A, B, C))

FORMS: list[Any] = [
    pytest.param(b"", [], [], id="empty"),
    pytest.param(b"\n\n \n", [], [], id="blank lines only"),
    pytest.param(b"\xef\xbb\xbf", [], [], id="BOM only"),
    pytest.param(a + b"\n" + b + b"\n", [("line 1", A), ("line 2", B)], [], id="NDJSON"),
    pytest.param(a + b"\n" + c, [("line 1", A), ("line 2", C)], [], id="no final newline"),
    pytest.param(a + b"\r\n" + b + b"\r\n", [("line 1", A), ("line 2", B)], [], id="CRLF"),
    pytest.param(
        a + b"\r" + b + b"\r",
        [("line 1, item 1", A), ("line 1, item 2", B)],
        [],
        id="CR alone",
    ),
    pytest.param(
        b"\f[1]\n" + a,
        [("line 2", A)],
        [("line 1", "invalid_json")],
        id="a form feed before an array",
    ),
    pytest.param(b"\xef\xbb\xbf" + a + b"\n", [("line 1", A)], [], id="BOM and NDJSON"),
    pytest.param(b"\xef\xbb\xbf[" + a + b"]\n", [("line 1, item 1", A)], [], id="BOM and an array"),
    pytest.param(
        b"\n" + a + b"\n\n \t\r\n" + b + b"\n\n",
        [("line 2", A), ("line 5", B)],
        [],
        id="blank lines between",
    ),
    pytest.param(b"  " + a + b"  \n", [("line 1", A)], [], id="blanks around"),
    pytest.param(b'{\n  "a": 1\n}\n', [("line 1", A)], [], id="a pretty-printed document"),
    pytest.param(
        b'{\n  "a": 1\n}\n{\n  "b": {\n    "c": [\n      2\n    ]\n  }\n}\n',
        [("line 1", A), ("line 4", B)],
        [],
        id="two pretty-printed documents",
    ),
    pytest.param(
        b'{\n"a": 1\n}\n' + b + b'\n{\n"a": 1\n}',
        [("line 1", A), ("line 4", B), ("line 5", A)],
        [],
        id="documents and lines",
    ),
    pytest.param(b"[]", [], [], id="an empty array"),
    pytest.param(b"[\n]\n" + a + b"\n", [("line 3", A)], [], id="an empty array, then a line"),
    pytest.param(
        b"[" + a + b", " + b + b"]\n",
        [("line 1, item 1", A), ("line 1, item 2", B)],
        [],
        id="an array on one line",
    ),
    pytest.param(
        b"[\n" + a + b",\n" + b + b"\n]\n",
        [("line 2, item 1", A), ("line 3, item 2", B)],
        [],
        id="an array over lines",
    ),
    pytest.param(
        b'[\n  {\n    "a": 1\n  },\n\n  {"b": {"c": [2]}}\n]',
        [("line 2, item 1", A), ("line 6, item 2", B)],
        [],
        id="a pretty-printed array",
    ),
    pytest.param(
        a + b"\n[" + a + b"," + b + b"]\n" + c + b"\n",
        [("line 1", A), ("line 2, item 1", A), ("line 2, item 2", B), ("line 3", C)],
        [],
        id="an array between lines",
    ),
    pytest.param(
        a + b" " + b + b"," + c + b"\n" + a,
        [
            ("line 1, item 1", A),
            ("line 1, item 2", B),
            ("line 1, item 3", C),
            ("line 2", A),
        ],
        [],
        id="several values on one line",
    ),
    pytest.param(
        b'{"batch": [' + a + b", " + b + b"]}\n" + c,
        [("line 1, item 1", A), ("line 1, item 2", B), ("line 2", C)],
        [],
        id="a batch envelope",
    ),
    pytest.param(
        b'{\n "batch": [\n  ' + a + b",\n  " + b + b"\n ]\n}\n",
        [("line 1, item 1", A), ("line 1, item 2", B)],
        [],
        id="a pretty-printed batch envelope",
    ),
    pytest.param(
        b'[{"batch": [' + a + b'], "sentAt": 5}]',
        [("line 1, item 1, item 1", A | {"sentAt": 5})],
        [],
        id="a batch envelope in an array",
    ),
    pytest.param(b'{"batch": []}', [], [("line 1", "empty_batch")], id="an empty batch"),
    pytest.param(
        b'{"batch": {"a": 1}}', [], [("line 1", "batch_not_array")], id="a batch that is no array"
    ),
    pytest.param(
        b'{"batch": [1, ' + a + b"]}",
        [("line 1, item 2", A)],
        [("line 1, item 1", "not_an_object")],
        id="a batch with something else in it",
    ),
    pytest.param(
        b'{"event": "X", "batch": 5}',
        [("line 1", {"event": "X", "batch": 5})],
        [],
        id="an event with a key named batch",
    ),
    pytest.param(
        b'12\n"text"\nnull\ntrue\n' + a,
        [("line 5", A)],
        [(f"line {n}", "not_an_object") for n in (1, 2, 3, 4)],
        id="values that are no objects",
    ),
    pytest.param(
        a + b'\n{"a": 1, "b"\n' + b + b"\n",
        [("line 1", A), ("line 3", B)],
        [("line 2", "invalid_json")],
        id="a cut line",
    ),
    pytest.param(
        a + b'\n{"a": "cut in a te\n' + b + b"\n",
        [("line 1", A), ("line 3", B)],
        [("line 2", "invalid_json")],
        id="a line cut in a text",
    ),
    pytest.param(
        a + b'\n{"a": "cut at the en', [("line 1", A)], [("line 2", "invalid_json")], id="a cut end"
    ),
    pytest.param(
        b'{"a": 1, "b":\n{"a": 2, "b":\n' + a + b"\n" + b + b"\n",
        [("line 3", A), ("line 4", B)],
        [("line 1", "invalid_json"), ("line 2", "invalid_json")],
        id="two cut lines",
    ),
    pytest.param(
        b"[\n" + a + b",\n" + b + b',\n{"a": 1, "b"',
        [("line 2, item 1", A), ("line 3, item 2", B)],
        [("line 4, item 3", "invalid_json")],
        id="a cut array",
    ),
    pytest.param(
        b"[" + a + b",",
        [("line 1, item 1", A)],
        [("line 1, item 2", "invalid_json")],
        id="an array cut at a comma",
    ),
    pytest.param(b"[", [], [("line 1, item 1", "invalid_json")], id="an opening bracket"),
    pytest.param(
        b"]\n}\n" + a,
        [("line 3", A)],
        [("line 1", "invalid_json"), ("line 2", "invalid_json")],
        id="closing brackets",
    ),
    pytest.param(
        b'{"a": "\xff"}\n' + a, [("line 2", A)], [("line 1", "invalid_utf8")], id="invalid UTF-8"
    ),
    pytest.param(
        b'{"a": "\xed\xa0\x80"}\n' + a,
        [("line 2", A)],
        [("line 1", "invalid_utf8")],
        id="a surrogate in UTF-8",
    ),
    pytest.param(
        b'{"a": NaN}\n{"a": Infinity}\n{"a": -Infinity}\n' + a,
        [("line 4", A)],
        [(f"line {n}", "invalid_json") for n in (1, 2, 3)],
        id="NaN and infinity",
    ),
    pytest.param(
        b'{\'a\': 1}\n{a: 1}\n{"a": 1,}\n{"a": 01}\n{"a": "\t"}\n' + a,
        [("line 6", A)],
        [(f"line {n}", "invalid_json") for n in (1, 2, 3, 4, 5)],
        id="almost JSON",
    ),
    pytest.param(
        b'{"a": "\\ud800", "b": "\\u0000"}\n',
        [("line 1", {"a": "\ud800", "b": "\0"})],
        [],
        id="a lone surrogate and NUL",
    ),
    pytest.param(
        b'{"a": 18446744073709551616, "b": -9223372036854775809}\n',
        [("line 1", {"a": 2**64, "b": -(2**63) - 1})],
        [],
        id="integers past 64 bits",
    ),
    pytest.param(
        b'{"a": 12345678901234567890.120, "b": 1e300, "c": 1e-400}\n',
        [
            (
                "line 1",
                {
                    "a": Decimal("12345678901234567890.120"),
                    "b": Decimal("1E+300"),
                    "c": LongNumber("1e-400"),
                },
            )
        ],
        [],
        id="fractions with every digit",
    ),
    pytest.param(
        b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n" + a,
        [("line 2", A)],
        [("line 1", "too_deep")],
        id="too deep",
    ),
    pytest.param(
        b"<html>\n<body>no events</body>\n" + a,
        [("line 3", A)],
        [("line 1", "invalid_json"), ("line 2", "invalid_json")],
        id="a page of HTML",
    ),
    pytest.param(
        b"plain words\n" + a, [("line 2", A)], [("line 1", "invalid_json")], id="plain words"
    ),
]


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize(("data", "records", "bad"), FORMS)
def test_each_form_is_read_with_exact_positions(
    data: bytes, records: list[Any], bad: list[Any], size: int
) -> None:
    actual = read(data, size)
    assert records == actual.records
    assert bad == actual.bad


@pytest.mark.parametrize(
    "data",
    [
        b"\n" + a + b" " + b + b"\n",
        b'{"a":\n1}\n' + b + c + b"\n",
        a + b"\n\n" + b + b"," + c + b"\n",
    ],
    ids=["a blank line", "a document over two lines", "two on one"],
)
@pytest.mark.parametrize("size", BLOCKS)
def test_a_record_comes_with_its_own_text(data: bytes, size: int) -> None:
    """Also where the number of lines happens to be the number of records."""
    actual = read(data, size)
    assert [value for _, value in actual.records] == [json.loads(raw) for raw in actual.raws]
    assert read(data, 1).records == actual.records


@pytest.mark.parametrize("size", BLOCKS)
def test_huge_integers_keep_every_digit(size: int) -> None:
    digits = "9" * 5000
    (record,) = [value for _, value in read(b'{"a": ' + digits.encode() + b"}", size).records]
    assert record == {"a": LongNumber(digits)}


@pytest.mark.parametrize("number", ["1e99999999999999999999", "-1e-99999999999999999999"])
def test_a_number_with_an_absurd_exponent_keeps_its_text(number: str) -> None:
    """Decimal cannot hold it, which must not end the load."""
    actual = read(b'{"x": ' + number.encode() + b"}\n" + a + b"\n")
    assert actual.records == [("line 1", {"x": LongNumber(number)}), ("line 2", A)]
    assert actual.bad == []


@pytest.mark.parametrize("depth", [100, 900, 980, 990, 1000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [(b"[", b"]"), (b'{"a":', b"}"), (b'{"batch":[', b"]}"), (b'{"x":[', b"]}")],
    ids=["[", "{", "batch", "{["],
)
def test_no_depth_ends_the_load(opening: bytes, closing: bytes, depth: int) -> None:
    """What is behind the deep value is read."""
    data = opening * depth + b"1" + closing * depth + b"\n" + a + b"\n"
    assert ("line 2", A) in read(data).records


def test_no_depth_of_batches_ends_the_load() -> None:
    for depth in range(380, 500):
        data = b'{"batch":[' * depth + a + b"]}" * depth + b"\n" + b + b"\n"
        assert ("line 2", B) in read(data).records


# the batch envelope


def test_a_batch_says_for_its_calls_what_they_do_not_say() -> None:
    envelope = {
        "batch": [
            {"event": "X"},
            {"event": "Y", "sentAt": 1, "context": {"ip": "192.0.2.9", "library": {"name": "y"}}},
        ],
        "sentAt": 2,
        "receivedAt": 3,
        "context": {"library": {"name": "x"}, "app": 5},
    }
    first, second = [value for _, value in read(json.dumps(envelope).encode()).records]
    assert first == {
        "event": "X",
        "sentAt": 2,
        "receivedAt": 3,
        "context": {"library": {"name": "x"}, "app": 5},
    }
    assert second == {
        "event": "Y",
        "sentAt": 1,
        "receivedAt": 3,
        "context": {"library": {"name": "y"}, "app": 5, "ip": "192.0.2.9"},
    }


def test_a_null_context_is_a_missing_one() -> None:
    data = b'{"batch": [{"event": "X", "context": null}], "context": {"ip": "192.0.2.9"}}'
    assert read(data).records[0][1]["context"] == {"ip": "192.0.2.9"}


def test_an_unknown_key_of_a_batch_is_not_lost() -> None:
    data = b'{"batch": [{"event": "X"}], "workspace": "eu"}'
    assert "eu" in str(read(data).records)


@pytest.mark.parametrize("key", ["messageId", "message_id"])
def test_what_identifies_a_batch_identifies_none_of_its_calls(key: str) -> None:
    """Else all of its calls but one are dropped as duplicates."""
    data = {"batch": [{"event": "X"}, {"event": "X", "n": 2}], key: "of the batch"}
    (block,) = read_blocks([json.dumps(data).encode()])
    (found,) = Reader(max_record_bytes=LIMIT).read(*block.spans)
    ids = set(found.events.ids)
    assert len(ids) == 2
    assert "of the batch" not in ids


def test_a_call_of_a_batch_has_a_text_of_its_own() -> None:
    """So that it can be replayed without the others."""
    actual = read(b'{"batch": [{"event": "X", "n": 1.10}], "sentAt": 2}')
    value, reject = parse_json(actual.raws[0])
    assert reject is None
    assert {"event": "X", "n": Decimal("1.10"), "sentAt": 2} == value


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize(
    ("data", "expected"),
    [(a + b",\n" + b + b",\n", [A, B]), (a + b", " + b + b",\r\n" + c + b"\n", [A, B, C])],
    ids=["a comma behind every line", "a comma behind two"],
)
def test_a_comma_at_the_end_of_a_line_is_no_fault(
    data: bytes, expected: list[Any], size: int
) -> None:
    actual = read(data, size)
    assert expected == [value for _, value in actual.records]
    assert actual.bad == []


# limits


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize(
    ("before", "after", "position"),
    [
        (b"", b"\n", "line 1"),
        (b"[", b"]\n", "line 1, item 1"),
        (a + b"\n[", b"]\n", "line 2, item 1"),
        (b'{"batch": [', b"]}\n", "line 1, item 1"),
    ],
    ids=["a line", "in an array", "in an array behind a line", "in a batch"],
)
def test_a_record_above_the_limit_is_rejected_with_its_whole_text(
    before: bytes, after: bytes, position: str, size: int
) -> None:
    """So that it can be replayed under a higher limit."""
    large = b'{"x":"' + b"x" * 100 + b'"}'
    actual = read(before + large + after + b + b"\n", size, limit=60)
    assert [(position, "record_too_large")] == actual.bad
    assert actual.records[-1][1] == B
    assert [large] == actual.bad_raws


def test_a_record_at_the_limit_is_read() -> None:
    assert read(a + b"\n", limit=len(a)).records == [("line 1", A)]


def test_a_line_too_long_to_hold_is_skipped_and_only_its_beginning_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loader.sources.records.MAX_DOCUMENT_BYTES", 1000)
    monkeypatch.setattr("loader.sources.records._HEAD_BYTES", 100)
    data = a + b"\n" + b'{"x":"' + b"x" * 5000 + b'"}\n' + b + b"\n"
    actual = read(data, 64)
    assert actual.records == [("line 1", A), ("line 3", B)]
    assert actual.bad == [("line 2", "record_too_large")]
    assert actual.bad_raws == [b'{"x":"' + b"x" * 94]


def test_an_array_of_any_length_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loader.sources.records.MAX_DOCUMENT_BYTES", 1000)
    actual = read(b"[" + b",\n".join([b] * 2000) + b"]", 64)
    assert [value for _, value in actual.records] == [B] * 2000
    assert actual.records[-1] == ("line 2000, item 2000", B)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_an_array_may_have_more_elements_than_a_block_records(most: int) -> None:
    """The entry behind the last one that there was room for was read."""
    found = list(read_blocks([b"[" + b",".join([a] * 7) + b"]"], most_records=most))
    assert sum(len(block.starts) for block in found) == 7
    assert max(len(block.starts) for block in found) <= most


@pytest.mark.parametrize("broken", [b'{"a": "never', b"}"], ids=ascii)
@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_a_broken_element_may_stand_where_a_block_is_full(
    most: int, broken: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much was searched in vain was then read from memory that nothing had been written to,
    and a large number there ended the array: its last elements were rejected as broken lines."""

    def used_before(shape: tuple[int, int], dtype: type[np.int64]) -> Longs:
        return np.full(shape, np.iinfo(dtype).max // 2, dtype)

    pretty = b'{\n"n": 1\n},\n'
    data = b"[\n" + 6 * pretty + broken + b"\n" + 6 * pretty + b"]\n"
    monkeypatch.setattr("loader.sources.records.np.empty", used_before)
    found = list(read_blocks([data], most_records=most))
    assert sum(len(block.starts) for block in found) == 12
    assert [bad.position for block in found for bad in block.bad] == ["line 20, item 7"]


def test_lines_of_many_chunks_keep_their_numbers() -> None:
    actual = read(b"".join(b'{"n": %d}\n' % n for n in range(1, 3501)), 777)
    assert [(f"line {n}", {"n": n}) for n in range(1, 3501)] == actual.records


# broken containers


@pytest.mark.parametrize("size", BLOCKS)
def test_good_lines_behind_a_cut_array_are_read(size: int) -> None:
    """As where two files were put together, and the first was cut."""
    actual = read(b"[" + a + b', {"b":\n' + b + b"\n" + c + b"\n", size)
    assert [value for _, value in actual.records] == [A, B, C]
    assert [reason for _, reason in actual.bad] == ["invalid_json"]


@pytest.mark.parametrize(
    "data",
    [
        b'"x"\n[' + a + b",]\n",
        b'"x"\n[' + a + b',{"b"]\n' + b + b"\n",
        pytest.param(
            b'[\n{"a": "never\n},\n' + a + b"\n]\n",
        ),
        pytest.param(
            b'[{"a":1}}\n' + b + b"\n",
        ),
    ],
    ids=ascii,
)
def test_a_broken_array_is_read_alike_for_every_size_of_block(data: bytes) -> None:
    assert [read(data)[:2]] * len(BLOCKS) == [read(data, size)[:2] for size in BLOCKS]


@pytest.mark.parametrize(
    "data", [b'{\n"a": 1\n},\n' + b + b"\n", b"[" + a + b"],\n" + b], ids=ascii
)
def test_a_comma_behind_a_document_may_be_in_the_next_block(data: bytes) -> None:
    for size in BLOCKS:
        assert (size, []) == (size, read(data, size).bad)


@pytest.mark.parametrize("size", BLOCKS)
def test_an_array_closed_by_a_brace_is_rejected(size: int) -> None:
    """It must not vanish without a trace."""
    assert ("line 1, item 1", "invalid_json") in read(b"[}\n", size).bad


def test_an_array_closed_by_a_brace_is_rejected_once() -> None:
    assert read(b"[}\n").bad == [("line 1, item 1", "invalid_json")]


@pytest.mark.parametrize("head", [b"[}\n", b'[{"a":1}}\n'], ids=ascii)
def test_good_lines_behind_an_array_closed_by_a_brace_are_read(head: bytes) -> None:
    assert [value for _, value in read(head + b + b"\n" + c + b"\n").records] == [B, C]


def test_a_broken_element_behind_a_line_break_is_one_reject() -> None:
    actual = read(b'[\n{"a": "never\n' + a + b"\n]\n")
    assert b"" not in actual.bad_raws


@pytest.mark.parametrize("lines", [50, 500])
def test_lines_without_their_closing_brace_do_not_take_quadratic_work(
    lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be the head of a document, but what is scanned in vain has a limit."""
    import loader.sources.records as module

    scanned = 0
    original = module._Reader._value_end

    def count(self: Any, start: int, end: int) -> tuple[int, int]:
        nonlocal scanned
        scanned += end - start
        return original(self, start, end)

    limit = 5_000
    monkeypatch.setattr(module, "_MOST_SEARCHED_IN_VAIN", limit)
    monkeypatch.setattr(module._Reader, "_value_end", count)
    data = b'{"event":"X","userId":"u"\n' * lines
    assert len(read(data).bad) == lines
    assert scanned < limit + 5 * len(data)


# input that fails


def failing(*parts: bytes) -> Iterator[bytes]:
    yield from parts
    raise InputUnreadable("the file ends too early")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param((a + b"\n", b + b"\n"), [A, B], id="behind a whole line"),
        pytest.param((a + b"\n" + b[:4],), [A], id="in a line"),
        pytest.param((a + b"\n", b), [A], id="behind a line without its end"),
        pytest.param((b"[" + a + b",", b[:4]), [A], id="in an array"),
        pytest.param((a + b'\n{\n"a":', b"\n"), [A], id="in a document"),
        pytest.param((), [], id="at once"),
    ],
)
def test_whole_records_come_before_the_failure(
    parts: tuple[bytes, ...], expected: list[Any]
) -> None:
    """What was cut by the failure is no reject: it may be whole when the file is."""
    found = Read([], [], [], [])

    def read_all() -> None:
        for block in read_blocks(failing(*parts)):
            read_block(block, LIMIT, found)

    with pytest.raises(InputUnreadable):
        read_all()
    assert expected == [value for _, value in found.records]
    assert found.bad == []


# whatever JSON holds

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(['"', "\\", '\\"', "}", "{[", "],", "\n", "\r\n", "\0", "\u2028", "batches"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)


@settings(max_examples=80)
@given(st.lists(objects, max_size=5), st.sampled_from(BLOCKS), st.booleans())
def test_records_come_back_equal(records: list[dict[str, Any]], size: int, escaped: bool) -> None:
    lines = [json.dumps(record, ensure_ascii=escaped) for record in records]
    forms = {
        "NDJSON": "".join(line + "\n" for line in lines),
        "CRLF": "\r\n".join(lines),
        "array": json.dumps(records, ensure_ascii=escaped),
        "array over lines": "[\n" + ",\n".join(lines) + "\n]\n",
        "pretty array": json.dumps(records, ensure_ascii=escaped, indent=2),
        "pretty documents": "".join(
            json.dumps(record, ensure_ascii=escaped, indent=1) + "\n" for record in records
        ),
        "one line": " ".join(lines),
        "a batch": json.dumps({"batch": records or [{}]}, ensure_ascii=escaped),
    }
    for form, text in forms.items():
        actual = read(text.encode(), size)
        expected = records or ([{}] if form == "a batch" else [])
        assert (form, expected, []) == (form, [value for _, value in actual.records], actual.bad)
        assert expected == [json.loads(raw) for raw in actual.raws]


@settings(max_examples=80)
@given(
    st.lists(
        st.sampled_from(
            [
                a,
                b,
                c,
                b"\n",
                b"\r\n",
                b"[",
                b"]",
                b"{",
                b"}",
                b",",
                b'"',
                b"\\",
                b"1",
                b"\xff",
                b" ",
            ]
        ),
        max_size=12,
    ).map(b"".join),
    st.sampled_from(BLOCKS),
)
def test_no_input_ends_the_load(data: bytes, size: int) -> None:
    actual = read(data, size)
    assert len(actual.records) == len(actual.raws)


@settings(max_examples=80)
@given(
    st.lists(
        st.sampled_from(
            [
                a,
                b,
                a + b" " + c,
                b"",
                b" ",
                b"1",
                b'"x"',
                b'{"a',
                b'{"a":"x',
                b"\xff",
                b"}",
                b"words",
                b'{"batch":[{}]}',
                b'[{"a":1},{}]',
                b'{\n"a":\n1}',
            ]
        ),
        max_size=6,
    ).map(b"\n".join),
)
def test_lines_are_read_alike_for_every_size_of_block(data: bytes) -> None:
    first = read(data)[:2]
    assert [first] * len(BLOCKS) == [read(data, size)[:2] for size in BLOCKS]


@pytest.mark.parametrize("size", [7, 64, 100, 5_000])
def test_all_blocks_but_the_last_one_are_full(size: int) -> None:
    """What stood behind the most records of a block became a small block of its own."""
    data = b"".join(b'{"n": %d}\n' % n for n in range(100))
    found = list(read_blocks(blocks(data, size), most_records=15))
    assert [len(block.starts) for block in found] == [15] * 6 + [10]
    assert np.concatenate([block.lines for block in found]).tolist() == list(range(1, 101))
    assert all(len(block.bytes) == block.size == block.ends[-1] for block in found)


@pytest.mark.parametrize("broken", [b"{", b'{"a":', b'{"a":1,', b" {"])
def test_what_follows_a_record_that_is_cut_short_is_read(broken: bytes) -> None:
    """Where it was the last whole line of a chunk, lines of the next one were skipped unseen."""
    data = b"\n".join([a, broken, b, c, a, broken, c]) + b"\n"
    whole = read(data)
    assert [value for _, value in whole.records] == [A, B, C, A, C]
    assert [position for position, _ in whole.bad] == ["line 2", "line 6"]
    for cut in range(1, len(data)):
        found = read(iter([data[:cut], data[cut:]]))
        assert (found.records, found.bad, found.bad_raws) == (
            (whole.records, whole.bad, whole.bad_raws)
        ), cut


def test_a_bad_record_is_in_the_block_of_the_one_in_front_of_it() -> None:
    """All were in the first block, so a load that went on with smaller blocks lost records."""
    lines = [b"{a", *[b'{"a":1}'] * 5, b"{b", b"{c", *[b'{"a":1}'] * 2, b"{d"]
    for size in (1, 2, 3, 5, 7, 100):
        seen = 0
        for block in read_blocks([b"\n".join(lines)], most_records=size):
            numbers = [int(bad.position.split()[1]) for bad in block.bad]
            numbers += block.lines.tolist()
            assert sorted(numbers) == list(range(seen + 1, seen + 1 + len(numbers)))
            seen += len(numbers)
        assert seen == len(lines)
