"""What becomes of the lines of a spool file: calls pass, webhooks become calls, filters hold."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from acceptance.harness import ndjson, track, webhook

from loader import normalize
from loader.config import Destination
from loader.forward.calls import Call, CallReader, Line, Refused, read_lines

PAYLOADS = sorted((Path(__file__).parent.parent / "forms" / "payloads").glob("*.json"))


def destination(kind: str, **keys: Any) -> Destination:
    return Destination(name="D", kind=kind, url="https://x.example.com", key="env:K", **keys)


def read(
    *records: dict[str, Any] | str | bytes, kind: str = "webhook", limit: int = 1 << 20, **keys: Any
) -> tuple[list[Call], list[Refused]]:
    reader = CallReader(destination(kind, **keys), max_record_bytes=limit)
    return reader.read(read_lines(io.BytesIO(ndjson(*records)), 0))


def bodies(*records: dict[str, Any] | str | bytes, **keys: Any) -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in read(*records, **keys)[0]]


def rows(record: dict[str, Any] | bytes) -> dict[str, list[dict[str, Any]]]:
    """The rows of a record by table; without what transport changes."""
    found = {}
    for table, frame in normalize([record]).items():
        kept = frame.drop(columns=["received_at", "sent_at"], errors="ignore")
        found[table] = [
            {
                key: value
                for key, value in row.items()
                if isinstance(value, list | dict) or pd.notna(value)
            }
            for row in kept.to_dict("records")
        ]
    return found


def test_a_call_passes_as_it_stands() -> None:
    line = (
        b'{"receivedAt":"2026-03-04T05:06:09.000Z","type":"identify","messageId":"m\\u00e9","b":1.10,'
        b'"traits":{"n":12345678901234567890.12,"a":null},"a":1e400,"timestamp":"2026-03-04"}\n'
    )
    [call] = read(line)[0]
    assert call.body == line.rstrip()
    assert call.id == "mé"
    [call] = read(line, kind="segment")[0]
    assert call.body == b"{" + line.rstrip().partition(b",")[2]


def test_stamps_of_transport_do_not_go_to_a_tracking_api() -> None:
    sent = track("Email Opened", writeKey="", a=1)
    [found] = bodies(sent, kind="segment")
    assert found == {
        key: value for key, value in sent.items() if key not in ("receivedAt", "sentAt", "writeKey")
    }
    assert bodies(sent) == [sent]


@pytest.mark.parametrize(
    ("times", "timestamp"),
    [
        ({"timestamp": "2026-01-01T00:00:00Z"}, "2026-01-01T00:00:00Z"),
        (
            {"timestamp": None, "originalTimestamp": "2026-03-04T05:00:00Z", "sentAt": ...},
            "2026-03-04T05:00:00+00:00",
        ),
        # The clock of the sender is ten seconds behind.
        (
            {
                "timestamp": ...,
                "originalTimestamp": "2026-03-04T05:00:00Z",
                "sentAt": "2026-03-04T05:00:10Z",
                "receivedAt": "2026-03-04T05:00:20Z",
            },
            "2026-03-04T05:00:10+00:00",
        ),
        ({"timestamp": ..., "originalTimestamp": ...}, "2026-03-04T05:06:09+00:00"),
        ({"timestamp": ..., "originalTimestamp": ..., "receivedAt": ...}, None),
    ],
)
@pytest.mark.parametrize("type_", ["track", "identify"])
def test_a_call_says_when_it_happened(
    times: dict[str, Any], timestamp: str | None, type_: str
) -> None:
    other = track("Email Sent")
    found = bodies(other, track("Email Opened", **times) | {"type": type_}, other, kind="segment")
    assert found[1].get("timestamp") == timestamp
    assert found[0]["timestamp"] == found[2]["timestamp"] == other["timestamp"]


WEBHOOKS = [
    webhook("email", "opened", proxied=True, prefetched=False, recipient="p@example.com"),
    webhook("email", "clicked", href="https://x.example.com/?a=1.10", link_id=12345678901234567890),
    webhook("email", "bounced", failure_message="a\u00e9\ud83d\ude00\x01\"\\"),
    webhook("email", "unsubscribed"),
    webhook("email", "unsubscribed", delivery_id=...),
    webhook("customer", "subscribed", email_address="p@example.com"),
    webhook("push", "sent", recipients=[{"device_id": "d", "device_platform": "ios"}]),
    webhook("sms", "delivered", recipient="+49 1", nested={"a": {"b": 1, "c": [1, {"d": None}]}}),
    webhook("email", "sent", headers={"X-A": ["1"], "b.c": ["2"]}, content="<p>x</p>" * 10_000),
    webhook("email", "opened", event_id=..., unknown={"a": 1}),
    webhook("email", "opened", timestamp=1_772_600_767.25, receivedAt="2026-03-04T05:06:09Z"),
    webhook("email", "opened", price=1.10, Price=2, customer_id="", identifiers={"id": None}),
    {
        "event_type": "email_clicked",
        "event_id": "old",
        "timestamp": 1_500_000_000,
        "data": {"customer_id": "u", "email_address": "p@example.com", "href": "https://x",
                 "variables": {"campaign": {"id": 5, "name": "N"}, "email_id": 6}},
    },
]  # fmt: skip


@pytest.mark.parametrize("kind", ["segment", "webhook"])
@pytest.mark.parametrize("record", WEBHOOKS)
def test_a_webhook_is_sent_as_the_call_that_gives_the_same_rows(
    record: dict[str, Any], kind: str
) -> None:
    calls, refused = read(record, kind=kind)
    assert refused == []
    [call] = calls
    parsed = json.loads(call.body)
    assert parsed["type"] == "track"
    assert call.id == parsed["messageId"]
    assert rows(call.body) == rows(record)


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_every_payload_gives_the_same_rows_or_is_refused_for_the_same_reason(path: Path) -> None:
    record = json.loads(path.read_bytes())
    calls, refused = read(record)
    expected = rows(record)
    if "_rejects" not in expected:
        assert [rows(call.body) for call in calls] == [expected]
    elif not calls:
        [one] = refused
        assert one.reason.startswith(expected["_rejects"][0]["reason"])


def test_a_body_of_a_gateway_with_several_calls_is_one_line_with_several() -> None:
    body = json.dumps({"batch": [track("Email Opened", messageId=one) for one in "abc"]})
    calls, refused = read(track("Email Sent"), {"headers": {}, "body": body}, track("Email Sent"))
    assert refused == []
    assert [(call.number, call.line.at > 0) for call in calls] == [
        *((0, False), (0, True), (1, True), (2, True), (0, True))
    ]
    assert [call.id for call in calls[1:4]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no json", "invalid_json"),
        (b'{"type":"track","event":"a","messageId":"\xff"}', "invalid_utf8"),
        (b"[]", None),
        (b"{}", "unknown_form"),
        (b'{"type":"merge","messageId":"m"}', "not_a_track_call"),
        (b'{"type":"identify"}', "not_a_track_call"),
        (b'{"headers":{},"body":"x"}', None),
        (json.dumps(webhook("email", "sent", content="x" * 5_000)).encode(), "record_too_large"),
    ],
)
def test_what_is_no_call_is_refused_as_a_load_would(line: bytes, reason: str | None) -> None:
    calls, refused = read(track("Email Sent"), line, track("Email Sent"), limit=2_000)
    assert len(calls) == 2
    assert len(refused) <= 1
    if reason:
        [one] = refused
        assert one.reason.startswith(reason)
        assert one.line.text.rstrip() == line


def test_only_named_events_are_sent() -> None:
    records = [
        track("Email Opened"),
        track("email_opened"),
        track("Email Sent"),
        track("Email Opened") | {"type": "page"},
        webhook("email", "opened"),
        webhook("email", "sent"),
    ]
    found = bodies(*records, events=["Email Opened"])
    assert [one["event"] for one in found] == ["Email Opened", "email_opened", "Email Opened"]
    assert len(bodies(*records)) == 6


@pytest.mark.parametrize(
    ("said", "is_sent"),
    [
        ({"All": False}, False),
        ({"All": False, "D": True}, True),
        ({"All": False, "D": {"option": 1}}, True),
        ({"All": False, "E": True}, False),
        ({"D": False}, False),
        ({"All": True, "D": False}, False),
        ({"All": False, "D": None}, False),
        ({"All": False, "D": 0}, False),
        ({"D": None}, True),
        ({"All": True}, True),
        ({}, True),
        (None, True),
        ([], True),
    ],
)
def test_what_the_sender_says_of_integrations_is_obeyed(said: Any, is_sent: bool) -> None:
    assert bool(bodies(track("Email Opened", integrations=said))) is is_sent


def test_what_is_said_around_a_call_or_in_it_counts() -> None:
    """Calls of arrays, gateways and envelopes lost what the sender says of them."""
    calls = [
        track("Email Opened", messageId="none"),
        track("Email Opened", messageId="no", integrations={"All": False}),
        track("Email Opened", messageId="yes", integrations={"All": False, "D": True}),
        track("Email Opened", messageId="own", integrations={"D": True}),
        track("Email Opened", messageId="other", integrations={"E": True}),
    ]
    envelope = {"batch": calls, "integrations": {"All": False}}
    for around in (calls, {"headers": {}, "body": json.dumps(calls)}):
        found = bodies(json.dumps(around).encode())
        assert [one["messageId"] for one in found] == ["none", "yes", "own", "other"]
    for around in (envelope, {"headers": {}, "body": json.dumps(envelope)}, [envelope]):
        found = bodies(json.dumps(around).encode())
        assert [one["messageId"] for one in found] == ["yes", "own"]
    assert bodies(webhook("email", "opened") | {"integrations": {"All": False}}) == []


def test_each_of_several_that_are_refused_in_a_line_is_another_one() -> None:
    """Dead letters of one line with the same number were one."""
    calls, refused = read(json.dumps([{"a": 1}, track("Email Opened"), {"b": 1}]).encode())
    numbers = [one.number for one in (*calls, *refused)]
    assert len(set(numbers)) == 3


CALL = '"receivedAt":"2026-11-01T00:00:00Z","timestamp":"2026-11-01T00:00:00Z"'


@pytest.mark.parametrize(
    "said",
    [
        '"type":"track","event":"x","messageId":"m","properties":{"a":"\\ud83d","n":null,"e":{}}',
        '"type":"track","event":"x","messageId":5,"version":2,"channel":"server"',
        '"type":"track","event":"x","messageId":"\\ud800","context":{"ip":"1.2.3.4"}',
        '"type":"track","event":1e999,"messageId":"m"',
        '"type":"identify","messageId":"m","traits":{"name":"\\ud83d"}',
        '"type":"identify","messageId":-5,"traits":{"1":123456789012345678901234567890}',
    ],
)
def test_an_odd_call_passes_as_it_stands_or_not_at_all(said: str) -> None:
    line = f"{{{CALL},{said}}}"
    [call] = read(line)[0]
    assert call.body.decode() == line
    assert read(line.replace('"type"', '"integrations":{"All":false},"type"')) == ([], [])


def test_of_a_repeated_key_the_first_value_counts_as_in_a_load() -> None:
    said = '"type":"track","event":"x","event":"y","messageId":"m","messageId":"n"'
    line = f"{{{CALL},{said}}}"
    [call] = read(line, events=["x"])[0]
    assert call.id == "m"
    assert json.loads(call.body)["event"] == "x"
    assert rows(call.body)["tracks"][0]["event_text"] == "x"
    blocked = '"integrations":{"All":false},"integrations":{}'
    assert read(line.replace('"type"', f'{blocked},"type"', 1)) == ([], [])


@pytest.mark.parametrize("key", ["null", '""'])
def test_a_call_without_an_id_gets_that_of_its_row_and_is_else_as_it_stands(key: str) -> None:
    said = f'"type":"track","event":"x","messageId":{key},"integrations":{{"E":true}}'
    line = f"{{{CALL},{said}}}"
    [call] = read(line)[0]
    parsed = json.loads(call.body)
    assert rows(line.encode())["tracks"][0]["id"] == parsed["messageId"] == call.id
    assert parsed["integrations"] == {"E": True}
    assert read(line.replace('"E":true', '"All":false')) == ([], [])


def test_what_a_sender_calls_the_time_of_arrival_is_not_sent() -> None:
    for kind in ("segment", "webhook"):
        [call] = bodies(track("Email Sent") | {"receivedAt#2": "2020-01-01"}, kind=kind)
        assert "receivedAt#2" not in call


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('"integrations":{"All":1e999}', None),
        ('"integrations":{"\\ud800":true}', None),
        ('"event":1e999', None),
        ('"sentAt":"%s"' % ("x" * 3_000), None),
        ('"originalTimestamp":1e999', None),
        ('"originalTimestamp":"0001-01-01T00:00:00Z","sentAt":"9999-12-31T00:00:00Z"', None),
        ('"integrations":' + "[" * 200_000 + "]" * 200_000, "too_deep"),
        ('"properties":{"a":NaN}', "invalid_json"),
    ],
)
@pytest.mark.parametrize("events", [None, ["x"]])
def test_no_line_holds_up_those_behind_it(
    said: str, reason: str | None, events: list[str] | None
) -> None:
    line = '{"receivedAt":"2026-11-01T00:00:00Z",%s,"type":"track","event":"x","messageId":"m"}'
    calls, refused = read(line % said, track("x", messageId="n"), limit=2_000, events=events)
    assert calls[-1].id == "n"
    is_named = events is None or "event" not in said
    assert len(calls) == 1 + (reason is None and is_named)
    assert [one.reason.partition(":")[0] for one in refused] == [reason] * (reason is not None)


def test_a_defect_in_reading_a_line_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> str:
        raise KeyError("s3cr3t") if name == "bad" else AssertionError

    reader = CallReader(destination("segment", events=["x"]), max_record_bytes=1 << 20)
    monkeypatch.setattr("loader.forward.calls.table_name", fail)
    records = [webhook("email", "opened"), track("bad"), track("Email Sent") | {"type": "page"}]
    calls, refused = reader.read(read_lines(io.BytesIO(ndjson(*records)), 0))
    assert calls == []
    assert sorted(one.reason for one in refused) == [
        "unreadable: reading it failed with AssertionError",
        "unreadable: reading it failed with KeyError",
    ]


def test_lines_are_read_in_the_same_pieces_from_the_same_place() -> None:
    data = ndjson(*(track("Email Sent", text="x" * (at * 37 % 5_000)) for at in range(3_000)))
    file, at, pieces = io.BytesIO(data), 0, []
    while lines := read_lines(file, at):
        assert lines == read_lines(file, at)
        assert lines[0].at == at
        at = lines[-1].at + len(lines[-1].text)
        pieces.append(lines)
    assert b"".join(line.text for lines in pieces for line in lines) == data
    assert all(sum(len(line.text) for line in lines) <= 450_000 for lines in pieces)
    assert max(map(len, pieces)) <= 1_000


def test_a_line_of_any_size_is_read() -> None:
    data = b"x" * 2_000_000 + b"\nrest without an end"
    assert read_lines(io.BytesIO(data), 0) == [Line(0, data[:2_000_001])]
    assert read_lines(io.BytesIO(data), 2_000_001) == [Line(2_000_001, b"rest without an end")]
    assert read_lines(io.BytesIO(data), len(data)) == []
