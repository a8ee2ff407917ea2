"""Calls, batches and webhooks as lines: what is added, what stays, and what loads read of it."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from forms.reading import Event, parse, parse_all
from hypothesis import given
from hypothesis import strategies as st

from loader.receive import lines as reading
from loader.receive.answering import Refused, lines_of_batch
from loader.receive.lines import (
    MOST_READ,
    NotAnObject,
    call_line,
    claimed_key,
    read_list,
    read_object,
    webhook_lines,
)

STAMP = b'"2026-03-04T05:06:07.000Z"'
TIME = "2026-03-04T05:06:07.000Z"


def line_of(call: bytes | dict[str, Any], kind: str = "track") -> bytes:
    text = call if isinstance(call, bytes) else json.dumps(call).encode()
    return call_line(read_object(text), STAMP, kind=kind)


def webhook_line(body: bytes, stamp: bytes) -> bytes:
    [line] = webhook_lines(body, stamp)
    return line


def lines_of(batch: bytes | dict[str, Any]) -> list[dict[str, Any]]:
    text = batch if isinstance(batch, bytes) else json.dumps(batch).encode()
    return [json.loads(line) for line in lines_of_batch(read_object(text))]


# spelled in whatever way

KEYS = st.text(max_size=6) | st.sampled_from(["event", "type", "messageId", "a b", '"', "\\", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(KEYS, VALUES, max_size=6),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_an_object_is_read_however_it_is_spelled(
    value: dict[str, Any], separators: tuple[str, str], indent: int | None, is_ascii: bool
) -> None:
    """Each member as it stands there: nothing is written anew."""
    text = json.dumps(value, separators=separators, indent=indent, ensure_ascii=is_ascii)
    members = list(read_object(text.encode()).members())
    assert [member.key for member in members] == list(value)
    assert [json.loads(bytes(member.value)) for member in members] == list(value.values())
    assert all(bytes(member.value) in text.encode() for member in members)
    assert all(json.loads(member.spelled) == member.key for member in members)


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 2]))
def test_a_list_is_read_however_it_is_spelled(values: list[Any], indent: int | None) -> None:
    text = json.dumps(values, indent=indent).encode()
    assert [json.loads(item) for item in read_list(text) or []] == values
    # The decoder refuses this one, so that it is cut by hand.
    odd = json.dumps([*values, "\ud800"], indent=indent).encode()
    assert [json.loads(item) for item in read_list(odd) or []] == [*values, "\ud800"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b'"a"',
        b"{",
        b'{"a":1',
        b'{"a":1}{"b":2}',
        b'{"a":NaN}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(NotAnObject):
        read_object(text)


def test_repeated_and_escaped_keys_are_told_apart() -> None:
    text = rb'{"a":1,"\u0061":2,"b":{"a":3},"a":"{\"a\":4}","\ud800":5}'
    found = read_object(text)
    assert [(m.key, m.value) for m in found.members()] == [
        ("a", b"1"),
        ("a", b"2"),
        ("b", b'{"a":3}'),
        ("a", rb'"{\"a\":4}"'),
        ("\ud800", b"5"),
    ]
    assert found.value("a") == b"1"


# calls


def test_a_call_is_spliced() -> None:
    """Numbers, the order of keys and odd texts stay as they were sent."""
    text = b'{"event":"A","z":1.10,"a":12345678901234567890.12,"properties":{"x":1e400,"x":2}}'
    line = line_of(text)
    assert line.endswith(b"," + text[1:] + b"\n")
    said = json.loads(line)
    assert list(said)[:3] == ["receivedAt", "type", "messageId"]
    assert said["receivedAt"] == TIME
    assert said["type"] == "track"


def test_a_call_over_several_lines_becomes_one() -> None:
    line = line_of(json.dumps({"event": "A", "properties": {"x": "a\nb"}}, indent=2).encode())
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line)["properties"] == {"x": "a\nb"}


@pytest.mark.parametrize("own", [None, "", ...])
def test_a_call_without_an_id_gets_a_fresh_one(own: object) -> None:
    """Two equal calls are two events, as at Segment; a hash of them would be one row."""
    call = {"event": "A"} if own is ... else {"event": "A", "messageId": own}
    ids = {json.loads(line_of(call))["messageId"] for _ in range(3)}
    assert len(ids) == 3
    assert all(len(one) == 36 for one in ids)


@pytest.mark.parametrize("key", ["messageId", "message_id"])
@pytest.mark.parametrize("own", ["m-1", 5, {"a": 1}])
def test_an_id_of_its_own_stays(key: str, own: object) -> None:
    said = json.loads(line_of({"event": "A", key: own}))
    assert said.pop("receivedAt") == TIME
    assert said == {"type": "track", "event": "A", key: own}


def test_the_time_by_the_clock_of_a_client_is_its_original_timestamp() -> None:
    said = json.loads(line_of({"event": "A", "timestamp": "2026-01-01T00:00:00Z"}))
    assert said["originalTimestamp"] == said["timestamp"] == "2026-01-01T00:00:00Z"
    for key in ("originalTimestamp", "original_timestamp"):
        call = {"event": "A", "timestamp": "2026-01-01T00:00:00Z", key: "2025-01-01T00:00:00Z"}
        said = json.loads(line_of(call))
        assert said[key] == "2025-01-01T00:00:00Z"
        assert len({"originalTimestamp", "original_timestamp"} & said.keys()) == 1


def test_the_request_gives_the_type_and_the_time_of_arrival() -> None:
    """What a call says of them does not count; its own times of arrival are kept beside."""
    line = line_of(
        b'{"\\u0074ype":"identify","event":"A","receivedAt":"2020-01-01T00:00:00Z",'
        b'"receivedAt":"2021-01-01T00:00:00Z","receivedAt#2":"mine"}'
    )
    assert json.loads(line)["type"] == "track"
    event = parse(line.strip())
    assert isinstance(event, Event)
    assert event.times["received_at"].isoformat() == "2026-03-04T05:06:07+00:00"
    assert set(event.extra.values()) == {"2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "mine"}


@pytest.mark.parametrize("text", [b"{}", b" { } ", b"{\n   \n}", b'{"writeKey":"k"}'])
def test_an_empty_call_is_a_line(text: bytes) -> None:
    said = json.loads(line_of(text.strip()))
    assert said.keys() == {"receivedAt", "type", "messageId"}


@pytest.mark.parametrize(
    "spelled",
    [b'"writeKey":"k-1"', b'"write\\u004bey" : "\\u006b-1"', b'"writeKey":"\\u006b\\u002d1"'],
)
def test_the_write_key_is_not_kept_and_the_same_text_elsewhere_is(spelled: bytes) -> None:
    text = b'{"event":"A",' + spelled + b',"properties":{"writeKey":"k-1","x":"k-1"}}'
    assert claimed_key(text) == "k-1"
    said = json.loads(line_of(text))
    assert "writeKey" not in said
    assert said["properties"] == {"writeKey": "k-1", "x": "k-1"}


# batches


def test_a_batch_says_things_for_its_calls() -> None:
    batch = {
        "batch": [
            {"type": "track", "event": "A", "messageId": "1", "context": {"ip": "::1"}},
            {"type": "track", "event": "B", "messageId": "2", "sentAt": "2026-01-02T00:00:00Z"},
            {"type": "track", "event": "C", "messageId": "3", "context": None, "sentAt": None},
        ],
        "context": {"ip": "::2", "app": {"name": "x"}},
        "sentAt": "2026-01-01T00:00:00Z",
        "integrations": {"All": False},
        "writeKey": "k",
        "more": 1,
    }
    first, second, third = lines_of(batch)
    assert first["context"] == {"ip": "::1", "app": {"name": "x"}}
    assert first["sentAt"] == "2026-01-01T00:00:00Z"
    assert second["context"] == third["context"] == batch["context"]
    assert second["sentAt"] == "2026-01-02T00:00:00Z"
    assert third["sentAt"] == "2026-01-01T00:00:00Z"
    for line in (first, second, third):
        assert line["integrations"] == {"All": False}
        assert line["_batch"] == {"more": 1}
        assert line["receivedAt"] == TIME or line["receivedAt"]
        assert "writeKey" not in line


def test_a_call_of_a_batch_has_its_own_type() -> None:
    calls = [{"type": "page", "name": "x"}, {"event": "A"}, {"event": "A", "type": None}, {}]
    types = [line.get("type") for line in lines_of({"batch": calls})]
    assert types == ["page", "track", "track", None]


def test_an_item_that_is_no_object_becomes_a_reject_of_the_loader() -> None:
    text = b'{"batch":[1,"x",null,[],{"event":"A"}]}'
    lines = lines_of_batch(read_object(text))
    found = parse_all(*(line.strip() for line in lines[:3]))
    assert [one.reason for one in found if not isinstance(one, Event)] == ["not_an_object"] * 3
    assert isinstance(parse(lines[4].strip()), Event)


def test_calls_in_arrays_of_arrays_are_read_and_deep_ones_rejected() -> None:
    calls = b'{"event":"A"},{"event":"B"}'
    for depth in (2, 8):
        lines = lines_of({"batch": json.loads(b"[" * depth + calls + b"]" * depth)})
        assert [line["event"] for line in lines] == ["A", "B"]
    deep = b"[" * 100 + calls + b"]" * 100
    [line] = lines_of_batch(read_object(b'{"batch":%b}' % deep))
    found = parse(line.strip())
    assert not isinstance(found, Event)
    assert found.reason == "too_deep"
    assert calls.decode() in json.loads(line)["body"]


def _context(count: int) -> bytes:
    return b"{%b}" % b",".join(b'"k%d" :1' % number for number in range(count))


@pytest.mark.parametrize(
    "text",
    [
        b'{"batch":%b"%b"%b}' % (b"[" * 900, b"x" * 100_000, b"]" * 900),
        b'{"context":%b,"batch":[%b{}]}' % (_context(1_000), b'{"context":{}},' * 100),
    ],
    ids=["arrays in arrays", "a context of many keys"],
)
def test_what_is_sent_is_not_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    """For each array of an array, or for each call: bodies of a known sender took seconds."""
    read = 0

    def count(function: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def counting(text: bytes) -> Any:
            nonlocal read
            read += len(text)
            return function(text)

        return counting

    for name in ("_decode", "_decode_list", "read_members"):
        monkeypatch.setattr(reading, name, count(getattr(reading, name)))
    with suppress(Refused):
        lines_of_batch(read_object(text))
    assert 0 < read < 12 * len(text)


# Envelopes that the loader reads as they are, and their calls as lines.
_TIMES = st.sampled_from([..., None, "2026-01-01T00:00:00Z"])
_CONTEXTS = st.sampled_from(
    [..., None, {}, {"ip": "1"}, {"ip": "2", "app": {"name": "n", "build": 1}}, {"app": {"v": 2}}]
)


def _said(**keys: object) -> dict[str, object]:
    return {key: value for key, value in keys.items() if value is not ...}


@given(
    st.lists(st.tuples(_TIMES, _TIMES, _CONTEXTS), min_size=1, max_size=4),
    _TIMES,
    _CONTEXTS,
    st.sampled_from([{}, {"more": [1, {"a": 2}], "other": None}]),
)
def test_the_loader_makes_the_same_of_a_batch_and_of_its_lines(
    calls: list[tuple[Any, Any, Any]], sent_at: Any, context: Any, more: dict[str, Any]
) -> None:
    """Its rules for envelopes and those of the receiver are the same."""
    batch = _said(
        batch=[
            _said(
                type="track",
                event="A",
                messageId=f"m-{number}",
                originalTimestamp=original,
                sentAt=sent,
                context=own,
                properties={"x": number},
            )
            for number, (original, sent, own) in enumerate(calls)
        ],
        sentAt=sent_at,
        context=context,
        **more,
    )
    shared_lines = [
        line.replace(json.loads(line)["receivedAt"].encode(), TIME.encode(), 1).strip()
        for line in lines_of_batch(read_object(json.dumps(batch).encode()))
    ]
    whole = parse_batch(json.dumps(batch | {"receivedAt": TIME}).encode())
    assert parse_all(*shared_lines) == whole


def parse_batch(text: bytes) -> list[Any]:
    """The events that the loader reads of an envelope."""
    import numpy as np
    from forms.reading import LIMIT, events_of

    from loader.columns.tokens import Text
    from loader.forms.read import Reader

    reader = Reader(max_record_bytes=LIMIT)
    reads = reader.read(Text([text]), np.array([0]), np.array([len(text)]))
    return [event for read in reads for event in events_of(read.events)]


# webhooks


def test_a_webhook_is_stamped_and_else_as_it_was_signed() -> None:
    body = b'{"event_id":"e-1","object_type":"email","metric":"sent","data":{"x":1.10}}'
    line = webhook_line(body, STAMP)
    assert line == b'{"receivedAt":' + STAMP + b"," + body[1:] + b"\n"
    event = parse(line.strip())
    assert isinstance(event, Event)
    assert event.id == "e-1"
    assert event.times["received_at"].isoformat() == "2026-03-04T05:06:07+00:00"
    assert event.extra == {}


def test_a_webhook_without_an_id_is_called_by_its_hash() -> None:
    """So that one that is repeated is a duplicate, whenever it arrives."""
    body = b'{"object_type":"email","metric":"sent","data":{}}'
    first, again = webhook_line(body, STAMP), webhook_line(body, b'"2027-01-01T00:00:00Z"')
    other = webhook_line(body + b" ", STAMP)
    ids = [parse(line.strip()).id for line in (first, again, other)]  # type: ignore[union-attr]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 64


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "invalid_json"),
        (b"x", "invalid_json"),
        (b'{"a":', "invalid_json"),
        (b'{"a":\n\r"\n', "invalid_json"),
        (b"1", "not_an_object"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
    ],
)
def test_a_body_that_is_no_object_is_wrapped_and_rejected_with_its_text(
    body: bytes, reason: str
) -> None:
    line = webhook_line(body, STAMP)
    assert line.count(b"\n") == 1
    kept = json.loads(line)["body"]
    assert kept == body.decode("utf-8", "backslashreplace")
    found = parse(line.strip())
    assert not isinstance(found, Event)
    assert found.reason == reason


def test_an_array_of_webhooks_is_wrapped_and_read() -> None:
    hooks = [
        {"event_id": f"e-{n}", "object_type": "email", "metric": "sent", "data": {}}
        for n in range(3)
    ]
    line = webhook_line(json.dumps(hooks).encode(), STAMP)
    assert [event.id for event in parse_batch(line.strip())] == ["e-0", "e-1", "e-2"]


def test_lines_of_calls_and_webhooks_take_the_fast_road() -> None:
    """The compiled part reads them: none has to be rewritten first."""
    import numpy as np
    from forms.reading import LIMIT

    from loader.columns.tokens import Text
    from loader.forms.read import Reader

    calls = {"batch": [{"type": "track", "event": "A", "timestamp": TIME, "context": {"a": 1}}] * 3}
    lines = lines_of_batch(read_object(msgspec.json.encode({**calls, "context": {"b": 2}})))
    lines += [line_of({"event": "A", "type": "track", "messageId": None})]
    lines += [webhook_line(b'{"object_type":"email","metric":"sent","data":{}}', STAMP)]
    ends = np.cumsum([len(line) for line in lines])
    reader = Reader(max_record_bytes=LIMIT)
    reads = reader.read(Text(lines), np.append(0, ends[:-1]), ends)
    assert sum(len(read.events) for read in reads) == len(lines)
    assert sum(read.rewritten for read in reads) == 0


# nothing that was sent is lost


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b'{"batch":[{"event":"A"}],"context":{"ip":"1"},"context":{"ip":"2","os":"z"}}', "z"),
        (b'{"batch":[{"event":"A","_batch":"mine"}],"more":"other"}', "mine"),
        (b'{"batch":[{"event":"A"}],"receivedAt":"2020-01-01T00:00:00Z"}', "2020-01-01T00:00:00Z"),
        (b'{"batch":[{"event":"A","context":{"a":1},"context":{"b":"z"}}],"context":{}}', "z"),
        (b'{"batch":[{"event":"A","event":"second"}]}', "second"),
    ],
)
def test_what_a_batch_says_twice_is_kept(text: bytes, kept: str) -> None:
    [line] = lines_of_batch(read_object(text))
    event = parse(line.strip())
    assert isinstance(event, Event)
    assert kept in json.dumps(event.extra)


def test_a_batch_that_stands_twice_is_all_of_its_calls() -> None:
    said = lines_of(b'{"batch":[{"event":"A"}],"batch":[{"event":"B"},[{"event":"C"}]]}')
    assert [one["event"] for one in said] == ["A", "B", "C"]


def test_a_write_key_in_an_array_among_the_calls_is_not_kept() -> None:
    said = lines_of(b'{"batch":[[{"event":"A","writeKey":"k"},[{"event":"B","writeKey":"k"}]],[]]}')
    assert [one.get("event") for one in said] == ["A", "B", None]
    assert "writeKey" not in json.dumps(said)


def test_the_id_of_a_call_counts_wherever_it_stands() -> None:
    for text in (b'{"messageId":null,"messageId":"m"}', b'{"messageId":"m","messageId":null}'):
        line = line_of(text)
        assert line.count(b"messageId") == 2
    line = line_of(b'{"messageId":null,"message_id":"m"}')
    assert json.loads(line)["message_id"] == "m"


def test_a_webhook_keeps_its_own_times_of_arrival_and_its_nameless_key() -> None:
    body = b'{"event_id":"e","object_type":"email","metric":"sent","data":{},"":"nameless",'
    line = webhook_line(body + b'"receivedAt":"t-1","receivedAt":"t-2"}', STAMP)
    event = parse(line.strip())
    assert isinstance(event, Event)
    assert event.id == "e"
    assert {"t-1", "t-2", "nameless"} <= set(re.findall(r"t-\d|nameless", json.dumps(event.extra)))


def test_webhooks_on_lines_of_their_own_are_several() -> None:
    hook = b'{"event_id":"e-%d","object_type":"email","metric":"sent","data":{}}'
    lines = webhook_lines(b"\r\n".join([hook % 1, b"", hook % 2]), STAMP)
    assert [parse(line.strip()).id for line in lines] == ["e-1", "e-2"]  # type: ignore[union-attr]
    [line] = webhook_lines(hook % 1 + b"\n{", STAMP)
    assert "body" in json.loads(line)


# large webhooks


@pytest.mark.parametrize("own", [b"", b'"event_id":"e",', b'"event_id":null,"receivedAt":"t",'])
def test_of_a_large_webhook_everything_is_kept(own: bytes) -> None:
    body = b"{" + own + b'"n":1.10,"n":2,"s":"\xc3\xa9' + b"x" * MOST_READ + b'"}'
    line = webhook_line(body, STAMP)
    assert line.endswith(b"," + body[1:] + b"\n")
    said = json.loads(line, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert len(said["event_id"]) == (64 if b"null" in own or not own else 1)


@pytest.mark.parametrize(
    "odd", [b"\xff", b"\0", b"[" * 5_000], ids=["no UTF-8", "control", "brackets"]
)
def test_a_large_body_that_is_no_json_does_not_grow(odd: bytes) -> None:
    """The loader keeps as much of the text of a reject."""
    body = odd * (4 * MOST_READ // len(odd))
    line = webhook_line(body, STAMP)
    assert len(line) <= 6 * MOST_READ + 200
    assert odd[:1] == b"[" or json.loads(line)["cut"] == "1048576 of 4194304 bytes are kept"
    assert ("cut" in json.loads(line)) == (odd[:1] != b"[")


def test_a_large_body_that_a_load_can_read_is_whole() -> None:
    hook = b'{"event_id":"e-%d","object_type":"email","metric":"sent","data":{"x":"\\ud800%b"}}'
    body = b"[" + b",".join([hook % (n, b"\\n" * 200_000) for n in range(4)]) + b"]"
    said = json.loads(webhook_line(body, STAMP))
    assert said["body"].encode() == body
    assert "cut" not in said
