"""One chunk on its way: records -> events -> rows -> lines, with what is left by the way."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from loader.chunk import Work, parse_chunk, process_chunk
from loader.normalize.collections import TRACKS, declared_tables
from loader.sources.records import Chunk, read_chunks
from loader.warehouse.encode import Layouts, Segment

STARTED = "2026-10-01T00:00:00.000Z"


def track(message_id: str = "m1", **values: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Email Opened",
        "messageId": message_id,
        "userId": "u_1",
        "timestamp": "2026-09-15T08:23:32.000Z",
    } | values


def chunk_of(*records: Any, limit: int = 1 << 20) -> Chunk:
    """The chunk that the reader makes of a line per record; bytes stand as they are."""
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    data = b"".join(line + b"\n" for line in lines)
    (chunk,) = read_chunks(iter([data]), max_record_bytes=limit)
    return chunk


def process(
    *records: Any,
    layouts: Layouts | None = None,
    only: frozenset[str] | None = None,
    existing: Callable[[Sequence[str]], set[str]] | None = None,
    limit: int = 1 << 20,
) -> Work:
    parsed = parse_chunk(chunk_of(*records, limit=limit))
    there = existing(parsed.ids) if existing is not None and parsed.ids else frozenset()
    (work,) = process_chunk(
        parsed,
        tables=declared_tables(),
        layouts={} if layouts is None else layouts,
        load_started_at=STARTED,
        only=only,
        there=there,
    )
    return work


def rows(segment: Segment) -> list[dict[str, str]]:
    """The lines of a segment, by column."""
    fields = [line.decode().split("\t") for line in segment.lines]
    return [dict(zip(segment.columns, one, strict=True)) for one in fields]


def test_events_become_lines_of_tracks_and_of_their_collections() -> None:
    work = process(
        track("m1", properties={"campaign_id": 5}), track("m2", event="Email Bounced"), track("m3")
    )
    assert work.ids == ["m1", "m2", "m3"]
    found = {s.table: [row["id"] for row in rows(s)] for s in work.segments}
    assert found == {
        "tracks": ["m1", "m2", "m3"],
        "email_opened": ["m1", "m3"],
        "email_bounced": ["m2"],
    }
    opened = work.segments[1]
    assert opened.event_text == "Email Opened"
    assert list(opened.members) == [0, 2]
    assert [row["campaign_id"] for row in rows(opened)] == ["5", r"\N"]
    assert work.spans["timestamp"](set()) == ("2026-09-15T08:23:32.000Z",) * 2
    assert work.spans["received_at"](set()) == (STARTED, STARTED)
    assert (work.rejects, work.known, work.replaced_characters) == ([], 0, 0)


def test_both_forms_go_through_one_chunk() -> None:
    webhook = {
        "event_id": "w1",
        "object_type": "email",
        "metric": "opened",
        "timestamp": 1789460612,
        "data": {"delivery_id": "dg9"},
    }
    work = process(track(), webhook)
    assert [s.table for s in work.segments] == ["tracks", "email_opened"]
    assert work.ids == ["m1", "w1"]


def test_a_chunk_without_events_has_no_segments() -> None:
    work = process(b"{", {"type": "identify", "userId": "u_1"})
    assert work.ids == []
    assert work.segments == []
    assert {name: span(set()) for name, span in work.spans.items()} == {
        "timestamp": None,
        "received_at": None,
    }
    assert len(work.rejects) == 2


# rejects


def test_what_the_reader_and_what_the_forms_refuse_are_both_rejects() -> None:
    """Each with its position and its text, and the good records between them go on."""
    identify = {"type": "identify", "userId": "u_1"}
    work = process(track("m1"), b'{"cut', identify, {"odd": 1}, track("m2"))
    found = sorted((position, reject.reason, raw) for position, reject, raw in work.rejects)
    assert found == [
        ("line 2", "invalid_json", b'{"cut'),
        ("line 3", "not_a_track_call", json.dumps(identify).encode()),
        ("line 4", "unknown_form", b'{"odd": 1}'),
    ]
    assert work.ids == ["m1", "m2"]


def test_a_record_that_is_too_large_is_rejected_with_its_whole_text() -> None:
    large = json.dumps(track("m2", properties={"x": "x" * 500})).encode()
    work = process(track("m1"), large, limit=300)
    assert [(position, raw) for position, _, raw in work.rejects] == [("line 2", large)]
    assert work.ids == ["m1"]


# ids that are there


def test_events_that_are_there_are_dropped_and_counted() -> None:
    asked: list[list[str]] = []

    def existing(ids: Sequence[str]) -> set[str]:
        asked.append(list(ids))
        return {"m1", "m3"}

    work = process(track("m1"), track("m2"), b"{", track("m3"), existing=existing)
    assert asked == [["m1", "m2", "m3"]]
    assert work.ids == ["m2"]
    assert work.known == 2
    assert [[row["id"] for row in rows(s)] for s in work.segments] == [["m2"], ["m2"]]
    assert len(work.rejects) == 1


def test_ids_are_asked_for_as_they_are_stored() -> None:
    work = process(track("m\0"), existing=lambda ids: {"m\ufffd"} & set(ids))
    assert (work.known, work.ids) == (1, [])


def test_nobody_is_asked_about_no_events() -> None:
    def existing(ids: Sequence[str]) -> set[str]:
        raise AssertionError(ids)

    assert process(b"{", existing=existing).known == 0


def test_where_all_are_there_nothing_is_written() -> None:
    work = process(track("m1"), track("m2"), existing=set)
    assert (work.known, work.ids, work.segments) == (2, [], [])


def test_a_new_property_of_an_event_that_is_there_makes_no_column() -> None:
    work = process(
        track("m1", properties={"Old Thing": 1}), track("m2"), existing=lambda ids: {"m1"}
    )
    assert all(not s.new for s in work.segments)


# columns and values


def test_events_of_other_tables_go_to_tracks_only() -> None:
    work = process(
        track("m1"),
        track("m2", event="SMS Sent", properties={"text": "hi"}),
        only=frozenset({"email_opened"}),
    )
    assert [s.table for s in work.segments] == ["tracks", "email_opened"]
    assert work.segments[0].extra == {1: {"text": "hi"}}


def test_late_values_come_beside_the_lines() -> None:
    work = process(
        track("m1"), track("m2", properties={"Plan Name": "pro"}, context={"app": {"build": 7}})
    )
    tracks, opened = work.segments
    assert tracks.new == {}
    assert opened.new == {"plan_name": {1: "pro"}}
    assert tracks.new_shared == opened.new_shared == {"context_app_build": {1: 7}}
    assert opened.keys == {"plan_name": "Plan Name", "context_app_build": "app.build"}
    assert "plan_name" not in opened.columns


def test_a_load_that_has_met_a_context_column_sends_it_for_every_later_table() -> None:
    """Context columns are shared, so one layout serves all of a load's tables."""
    layouts: Layouts = {}
    before = process(track("m1"), layouts=layouts)
    process(track("m2", context={"ip": "192.0.2.7"}), layouts=layouts)
    after = process(track("m3", event="SMS Sent"), layouts=layouts)
    assert all("context_ip" not in s.columns for s in before.segments)
    assert [rows(s)[0]["context_ip"] for s in after.segments] == [r"\N", r"\N"]
    assert "context_ip" in layouts[TRACKS]


def test_characters_that_cannot_be_stored_are_counted_in_columns_and_in_extra() -> None:
    work = process(
        track("m1", userId="u\0", properties={"subject": "\ud800\0", "campaign_id": "n\0"})
    )
    assert work.segments[1].extra == {0: {"campaign_id": "n\0"}}
    assert work.replaced_characters == 4
