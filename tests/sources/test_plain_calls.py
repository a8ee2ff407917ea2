"""The quick way through plain track calls gives what the plain way gives."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.normalize.event import Event, Events
from loader.sources import parse_events, segment

KEYS = (
    *("type", "event", "messageId", "userId", "anonymousId", "context", "properties"),
    *("receivedAt", "sentAt", "originalTimestamp", "timestamp", "channel", "version", "odd"),
)
COMMON: dict[str, Any] = {
    "type": "track",
    "event": "Email Opened",
    "messageId": "m1",
    "userId": "u1",
    "anonymousId": None,
    "context": {"traits": {"email": "lin@example.com"}},
    "properties": {"campaign_id": 3},
    "receivedAt": "2026-09-15T08:23:35.530Z",
    "sentAt": None,
    "originalTimestamp": None,
    "timestamp": 1789460612,
}
ODD = st.sampled_from(
    [None, "", " ", "x", "Unsubscribed", "m" * 300, 7, True, [], {}, {"email": "a@example.com"}]
)


@st.composite
def calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A few calls, most of them plain, some with a key that is odd or missing."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        call = COMMON | {"messageId": f"m{number}"}
        for key in draw(st.lists(st.sampled_from(KEYS), max_size=2)):
            call[key] = draw(ODD)
        for key in draw(st.lists(st.sampled_from(KEYS), max_size=1)):
            call.pop(key, None)
        if draw(st.booleans()):
            call["userId"] = draw(st.sampled_from(["u1", None]))
        found.append(call)
    return found


@settings(derandomize=True, deadline=None, max_examples=400)
@given(calls())
def test_the_quick_way_gives_what_the_plain_way_gives(records: list[dict[str, Any]]) -> None:
    plain = segment.parse_plain(records)
    if plain is None:
        return
    events = [segment.parse(record) for record in records]
    assert all(type(event) is Event for event in events)
    assert Events.of(events) == plain  # type: ignore[arg-type]


def test_plain_calls_go_the_quick_way() -> None:
    """Otherwise the test above would prove nothing."""
    people = [COMMON, COMMON | {"userId": None}, COMMON | {"anonymousId": "a1"}]
    missing = {key: value for key, value in COMMON.items() if key != "anonymousId"}
    assert segment.parse_plain([*people, missing]) is not None


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "page"},
        {"event": "Unsubscribed"},
        {"event": " "},
        {"messageId": 7},
        {"messageId": ""},
        {"userId": 7},
        {"anonymousId": ""},
        {"context": None},
        {"properties": []},
        {"secret": 1},
    ],
    ids=str,
)
def test_a_call_that_needs_a_decision_takes_its_chunk_the_plain_way(odd: dict[str, Any]) -> None:
    assert segment.parse_plain([COMMON, COMMON | odd]) is None


def test_events_and_rejects_of_a_mixed_chunk_keep_their_places() -> None:
    events, rejects = parse_events([COMMON, COMMON | {"type": "page"}, COMMON | {"odd": 1}])
    assert events.id == ["m1", "m1"]
    assert events.extra == {1: {"odd": 1}}
    assert {place: reject.reason for place, reject in rejects.items()} == {1: "not_a_track_call"}


def test_events_can_be_left_out() -> None:
    events, _ = parse_events([COMMON | {"messageId": f"m{n}", "odd": n} for n in range(4)])
    left = events.without({0, 2})
    assert (left.id, left.extra) == (["m1", "m3"], {0: {"odd": 1}, 1: {"odd": 3}})
