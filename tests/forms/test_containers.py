"""Envelopes, arrays and lists that nobody opens, as hostile or careless senders write them."""

import json
from typing import Any

import pytest
from load.loading import Loaded, load

A, B = b'{"event":"A","messageId":"a"}', b'{"event":"B","messageId":"b"}'


def rejects(found: Loaded) -> list[tuple[str, str]]:
    return [(position, reason) for position, reason, _ in found.rejects]


@pytest.mark.parametrize("key", ["batch", "events", "body"])
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb'["\u0000","\ud800"]', ["\ufffd", "\ufffd"]),
        (b"[1e131000]", ["1e131000"]),
        (b'[{"a":1,"a":2}]', [{"a": 1, "a#2": 2}]),
        (b"[]", []),
    ],
    ids=["text that cannot be stored", "long number", "repeated key", "empty"],
)
def test_a_list_that_holds_no_records_is_kept_as_it_can_be_stored(
    key: str, sent: bytes, kept: list[Any]
) -> None:
    """Only its brackets were looked at, and the server refused the whole batch."""
    line = b'{"event":"A","messageId":"m1","%b":%b}' % (key.encode(), sent)
    assert load(line).row("tracks")["_extra"] == {key: kept}
    beside = load(line + b'\n{"batch":[' + B + b"]}")
    assert beside.row("tracks")["_extra"] == {key: kept}


@pytest.mark.parametrize(
    ("sent", "reason"), [(b'["\xff"]', "invalid_utf8"), (b"[1,nul]", "invalid_json")]
)
def test_a_list_that_holds_no_records_is_checked(sent: bytes, reason: str) -> None:
    found = load(b'{"event":"A","messageId":"m1","events":%b}' % sent)
    assert rejects(found) == [("line 1", reason)]


def test_a_second_list_of_an_envelope_is_a_value() -> None:
    """Its elements were loaded, and kept as a value as well."""
    found = load(b'{"batch":[' + A + b'],"events":[' + B + rb',"\u0000"]}')
    assert found.ids == ["a"]
    assert found.row("tracks", "a")["_extra"] == {"_batch": {"events": [json.loads(B), "\ufffd"]}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"batch":"x","events":[%b]}' % B, "batch_not_array"),
        (b'{"batch":"x","batch":[%b]}' % B, "batch_not_array"),
        (b'{"batch":[],"events":[%b]}' % B, "empty_batch"),
        (b'{"batch":[%b],"events":["\xff"]}' % A, "invalid_utf8"),
        (b'{"batch":[%b,]}' % A, "invalid_json"),
        (b'{"batch":[%b,,%b]}' % (A, B), "invalid_json"),
    ],
)
def test_an_envelope_is_loaded_or_one_reject_and_never_both(line: bytes, reason: str) -> None:
    found = load(line)
    assert (found.ids, rejects(found)) == ([], [("line 1", reason)])
    assert found.rejects[0][2] == line


def test_of_an_envelope_with_two_batches_each_call_is_an_event() -> None:
    """A call without an id ended in an error, as it was looked for in the first list."""
    found = load(b'{"batch":[%b],"batch":[{"event":"B"},{"no":1}]}' % A)
    assert sorted(row["event"] for row in found.rows["tracks"].values()) == ["a", "b"]
    assert [(p, r, raw) for p, r, raw in found.rejects] == [
        ("line 1, item 3", "unknown_form", b'{"no":1}')
    ]


@pytest.mark.parametrize("broken", [b'{"event":"B",}', b'{"event":"\xff"}', b'{"event":'])
def test_a_broken_element_of_a_container_keeps_its_text(broken: bytes) -> None:
    """Its text was stored as `null`."""
    if broken.endswith(b":"):
        broken += b"nul}"
    for line in (b'{"batch":[%b,%b]}' % (A, broken), B + b"\n[%b,%b]" % (A, broken)):
        [(position, reason, raw)] = load(line).rejects
        assert position.endswith("item 2")
        assert reason in ("invalid_json", "invalid_utf8")
        assert raw == broken


@pytest.mark.parametrize("items", [b"1", b"{}", b'""'])
@pytest.mark.parametrize("around", [b"[%b]", b'{"batch":[%b]}'])
def test_how_many_records_there_are_does_not_depend_on_what_was_read_before(
    items: bytes, around: bytes
) -> None:
    """A load that went on behind its last batch would have passed over the difference."""
    line = around % b",".join([items] * 3_000)
    small = b'{"event":"A","messageId":"m1"}\n' + line
    large = b" " * 100_000 + small
    assert [load(small).records, load(large).records] == [3_001, 3_001]


def test_an_envelope_with_much_space_between_its_calls_says_no_more_for_that() -> None:
    line = (
        b'{"batch":[' + b",        ".join(b'{"event":"A","n":%d}' % n for n in range(5_000)) + b"]}"
    )
    assert len(load(line).ids) == 5_000


def test_an_envelope_whose_calls_have_keys_of_their_own_is_loaded() -> None:
    calls = [
        {
            "event": "A",
            "messageId": f"m{n}",
            "properties": {f"k{n}_{k}": k for k in range(1_000)} | {"plan": "basic"},
            "timestamp": "2026-10-01T00:00:00Z",
        }
        for n in range(20)
    ]
    found = load(json.dumps({"batch": calls}).encode(), max_columns=300)
    assert (len(found.ids), found.rejects) == (20, [])
    for n, call in enumerate(calls):
        row = found.row("a", f"m{n}")
        kept = row | row.get("_extra", {})
        for key, value in call["properties"].items():  # type: ignore[attr-defined]
            assert kept.get(key, kept.get(f"properties.{key}")) == value


def test_an_envelope_that_says_much_twice_is_one_reject() -> None:
    """A first list of one call hid the second one from the limit."""
    calls = b",".join(b'{"event":"A","messageId":"%d"}' % n for n in range(3_000))
    line = b'{"context":{"a":"%b"},"batch":[%b],"batch":[%b]}' % (b"x" * 2_000, A, calls)
    assert rejects(load(line)) == [("line 1", "record_too_large")]


def test_an_envelope_of_very_many_calls_is_one_reject() -> None:
    line = b'{"batch":[' + b",".join([b"{}"] * 200_001) + b"]}"
    assert rejects(load(line, limit=4 << 20)) == [("line 1", "record_too_large")]


def test_an_envelope_in_an_envelope_hands_on_what_it_was_given() -> None:
    """The outer one's values were in no column."""
    line = {
        **{"context": {"a": 1, "b": 0}, "x": 5, "sentAt": "2026-10-01T00:00:00Z"},
        "batch": [
            {
                **{"context": {"b": 2}, "y": 6},
                "batch": [{"event": "A", "messageId": "m1", "context": {"c": 3}}],
            },
            {"event": "A", "messageId": "m2"},
        ],
    }
    found = load(json.dumps(line).encode())
    first, second = found.row("a", "m1"), found.row("a", "m2")
    assert [first[f"context_{key}"] for key in "abc"] == [1, 2, 3]
    assert first["sent_at"] == second["sent_at"]
    assert first["_extra"] == {"_batch": {"y": 6, "_batch": {"x": 5}}}
    assert (second["context_a"], second["context_b"]) == (1, 0)
    assert second["_extra"] == {"_batch": {"x": 5}}


def test_what_follows_a_nul_byte_is_not_lost() -> None:
    found = load(b'{"event":"A","messageId":"a"}\0{"event":"B"}\n{}\0xx')
    assert found.records == len(found.ids) + len(found.rejects)
    assert b"".join(raw for _, _, raw in found.rejects).count(b"\0") == 2


HALF = rb"{\"event\":\"A\",\"properties\":{\"w\":\"\ud800\"}}"


@pytest.mark.parametrize(
    ("line", "events", "rejected"),
    [
        (b'{"headers":{},"body":"%b"}' % HALF, 1, 0),
        (rb'{"headers":{},"body":"[{\"type\":\"identify\"},{x}]","x":"\u0000"}', 0, 2),
        (rb'{"headers":{},"x":"\u0000","body":"{\"batch\":[{\"event\":\"A\"},{}]}"}', 1, 1),
        (rb'{"headers":{},"body":"{\"headers\":{},\"body\":\"\",\"\u0000\":\"\"}"}', 0, 1),
        (rb'{"headers":{},"body":"{\"event\":\"A\"}","body":[{"event":"B"}]}', 2, 0),
    ],
)
def test_the_body_that_a_gateway_hands_on_may_be_anything(
    line: bytes, events: int, rejected: int
) -> None:
    """What was hashed for an event, or kept of a reject, was looked for where it was not."""
    found = load(line)
    assert (len(set(found.ids)), len(found.rejects), found.duplicates) == (events, rejected, 0)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", [1_023, 1_024, 1_028, 1_040, 2_048, 70_000])
@pytest.mark.parametrize("digit", ["0", "5"])
def test_a_fraction_of_any_length_is_its_value_or_its_text(
    sign: str, digits: int, digit: str
) -> None:
    """The number of digits lost a bit, so that 7.000... was stored as -7."""
    number = f"{sign}7.{digit * digits}"
    lines = [b'{"event":"A","messageId":"m0","properties":{"a":1.5}}']
    lines.append(b'{"event":"A","messageId":"m1","properties":{"a":%b}}' % number.encode())
    found = load(b"\n".join(lines), most_records=1, batch_records=1)
    assert found.tables["a"]["a"] == "numeric"
    assert "a" not in found.row("a")
    assert found.row("a")["_extra"] == {"a": number}
