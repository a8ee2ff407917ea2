"""What is left out on purpose: which records, and what is left of the others."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from forms import model
from forms.generated import call, hook, legacy_hook, lines, senders
from forms.model import Rules
from forms.reading import events_of
from forms.test_model import by_column, comparable, generated
from hypothesis import given
from hypothesis import strategies as st

from loader.columns.tokens import Text
from loader.forms.events import Read
from loader.forms.read import Reader
from loader.normalize.ignoring import NOTHING_IGNORED, Ignore
from loader.normalize.names import table_name

STARTED = datetime(2026, 10, 1, tzinfo=UTC)
TYPES = ("identify", "page", "screen", "group", "alias")


def microseconds(moment: datetime | None) -> int | None:
    since = datetime(2000, 1, 1, tzinfo=UTC)
    return None if moment is None else (moment - since) // timedelta(microseconds=1)


def ignore_of(rules: Rules) -> Ignore:
    started = microseconds(rules.started)
    assert started is not None
    return Ignore(
        types=rules.types,
        tables=frozenset(map(table_name, rules.names)),
        after=microseconds(rules.after),
        before=microseconds(rules.before),
        started=started,
    )


def rules(
    *,
    types: Any = (),
    names: Any = (),
    after: datetime | None = None,
    before: datetime | None = None,
) -> Rules:
    return Rules(
        types=frozenset(types), names=frozenset(names), after=after, before=before, started=STARTED
    )


def read(ignore: Ignore, *found: Any) -> Read:
    texts = lines(*found)
    ends = np.cumsum([len(text) for text in texts])
    reader = Reader(max_record_bytes=1 << 20, ignore=ignore)
    (one,) = reader.read(Text(texts), np.append(0, ends[:-1]), ends)
    assert one.records == len(one.events) + len(one.refused) + sum(one.ignored.values())
    return one


@pytest.mark.parametrize("kind", TYPES)
def test_calls_of_an_ignored_type_are_no_events_and_no_rejects(kind: str) -> None:
    found = read(Ignore(types=frozenset(TYPES)), call(1), call(2, type=kind), {"type": kind})
    assert (found.events.ids, found.refused, found.ignored) == (["m1"], [], {"ignored_type": 2})


@pytest.mark.parametrize("kind", ["Identify", "TRACK", "", "merge", 5, [], {}], ids=repr)
def test_a_type_that_is_neither_loaded_nor_ignored_is_a_reject(kind: Any) -> None:
    found = read(Ignore(types=frozenset(TYPES)), call(1), call(2, type=kind))
    assert [one.reject.reason for one in found.refused] == ["not_a_track_call"]
    assert found.ignored == {}


def test_calls_without_a_type_are_track_calls() -> None:
    found = read(Ignore(types=frozenset({*TYPES, "null"})), call(1, type=None))
    assert found.events.ids == ["m1"]


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ([], ["m1", "m2", "m3", "m4", "h5", "l6"]),
        (["Cart Seen"], ["m1", "m4", "h5", "l6"]),
        (["cart_seen"], ["m1", "m4", "h5", "l6"]),
        (["EMAIL OPENED"], ["m2", "m3", "m4"]),
        (["Unsubscribed"], ["m1", "m2", "m3", "m4", "h5", "l6"]),
        (["Email Unsubscribed", "Email Opened"], ["m2", "m3"]),
        (["Email"], ["m1", "m2", "m3", "m4", "h5", "l6"]),
    ],
    ids=str,
)
def test_events_are_ignored_by_the_name_of_their_table(names: list[str], left: list[str]) -> None:
    found = read(
        Ignore(tables=frozenset(map(table_name, names))),
        call(1),
        call(2, event="Cart Seen"),
        call(3, event="cart-seen"),
        call(4, event="Unsubscribed", properties={"delivery_id": "d"}),
        hook(5),
        legacy_hook(6, {}),
    )
    assert left == found.events.ids
    assert found.ignored.get("ignored_event", 0) == 6 - len(left)


AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BEHIND = AT + timedelta(microseconds=1)
TEXT = "2026-03-04T05:06:07Z"
NO_TIMES = dict.fromkeys(("timestamp", "receivedAt", "sentAt", "originalTimestamp"))


@pytest.mark.parametrize(
    "record",
    [
        call(1, timestamp=TEXT),
        call(1, timestamp="2026-03-04T10:36:07+05:30"),
        call(1, timestamp=1_772_600_767),
        call(1, **NO_TIMES | {"originalTimestamp": TEXT}),
        call(1, **NO_TIMES | {"original_timestamp": TEXT}),
        call(1, **NO_TIMES | {"receivedAt": TEXT}),
        # By Segment's rule for clocks that are wrong.
        call(
            1,
            **NO_TIMES
            | {
                "receivedAt": "2026-03-04T05:06:09Z",
                "sentAt": "2020-01-01T00:00:02Z",
                "originalTimestamp": "2020-01-01T00:00:00Z",
            },
        ),
        hook(1, timestamp=1_772_600_767),
        hook(1, timestamp=TEXT),
        legacy_hook(1, {}) | {"timestamp": TEXT},
    ],
    ids=lambda record: json.dumps({k: v for k, v in record.items() if "_at" in k or "A" in k}),
)
def test_the_time_that_counts_is_that_of_the_column_timestamp(record: Any) -> None:
    """`after` is the first moment that is loaded, `before` the first one that is not."""
    for after, before, is_left in (
        (AT, None, True),
        (BEHIND, None, False),
        (None, AT, False),
        (None, BEHIND, True),
        (AT, BEHIND, True),
        (AT, AT, False),
    ):
        found = read(ignore_of(rules(after=after, before=before)), record)
        assert ({} if is_left else {"out_of_range": 1}) == found.ignored, (after, before)


def test_an_event_without_a_time_happens_when_the_load_starts() -> None:
    record = call(1, **NO_TIMES)
    second = timedelta(seconds=1)
    assert read(ignore_of(rules(after=STARTED, before=STARTED + second)), record).ignored == {}
    found = read(ignore_of(rules(before=STARTED)), record)
    assert found.ignored == {"out_of_range": 1}


EVERY = rules(types=TYPES, names=["Email Opened"], before=datetime(2026, 4, 1, tzinfo=UTC))
JUNE = "2026-06-01T00:00:00Z"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (call(1, type="page", timestamp=JUNE), "ignored_type"),
        (call(1, timestamp=JUNE), "ignored_event"),
        (call(1, event="Other", timestamp=JUNE), "out_of_range"),
        (call(1, type="page", properties=[]), "ignored_type"),
        (call(1, type="merge"), "ignored_event"),
        (call(1, properties=[]), "ignored_event"),
        (call(1, event=None, timestamp=JUNE), "out_of_range"),
        (hook(1, metric="sent", timestamp=JUNE) | {"data": None}, "out_of_range"),
    ],
    ids=str,
)
def test_the_rules_are_asked_in_turn_and_before_anything_is_rejected(record: Any, why: str) -> None:
    found = read(ignore_of(EVERY), record)
    assert (0, [], {why: 1}) == (len(found.events), found.refused, found.ignored)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b'{"type": "identify", "traits": {"a": ', "invalid_json"),
        (b'{"type": "identify", "traits": {"a": "\xff"}}', "invalid_utf8"),
        (b'{"type": "identify", "a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "too_deep"),
        (call(1, type="identify", traits="x" * (1 << 20)), "record_too_large"),
        ({"batch": [], "type": "identify"}, "empty_batch"),
        ({"userId": "u", "timestamp": JUNE}, "unknown_form"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_a_reject_whatever_it_says(record: Any, reason: str) -> None:
    found = read(ignore_of(EVERY), record)
    assert [reason] == [one.reject.reason for one in found.refused]
    assert found.ignored == {}


def test_each_call_of_an_envelope_counts_by_itself() -> None:
    calls = [call(1), call(2, type="identify"), call(3, event=5), call(4, type="page")]
    inner = {"batch": [call(5, type="alias"), call(6)], "context": {"ip": "192.0.2.1"}}
    some: list[Any] = [{"batch": [*calls, inner]}, [call(7), call(8, type="group"), [call(9)]]]
    found = read(Ignore(types=frozenset(TYPES)), *some, {"type": "screen"})
    assert found.events.ids == ["m1", "m6", "m7", "m9"]
    assert [(one.record, one.items) for one in found.refused] == [(0, (3,))]
    assert (found.records, found.ignored) == (10, {"ignored_type": 5})


def test_the_time_of_an_envelope_counts_for_its_calls() -> None:
    late = {"batch": [call(1, **NO_TIMES), call(2)], "receivedAt": JUNE}
    found = read(ignore_of(rules(before=AT + timedelta(days=1))), late)
    assert (found.events.ids, found.ignored) == (["m2"], {"out_of_range": 1})


def test_what_is_ignored_asks_for_no_column() -> None:
    odd = [call(n, type="page", properties={f"odd{n}": 1}, context={"odd": n}) for n in range(3)]
    found = read(Ignore(types=frozenset(TYPES)), *odd, call(4))
    columns = {found.events.columns.names[n] for n in found.events.values.column.tolist()}
    assert columns == {*("context_traits_email", "context_ip", "campaign_id", "subject", "proxied")}
    assert len(found.events.extra.event) == 0


names = st.sampled_from(
    ["Email Opened", "cart_seen", "New One", "unsubscribed", "Email Unsubscribed", "Odd"]
)
moments = st.none() | st.sampled_from(
    [AT, datetime(2012, 11, 4, 22, 12, 10, tzinfo=UTC), datetime(2026, 9, 15, tzinfo=UTC), STARTED]
)
any_rules = st.builds(
    rules,
    types=st.sets(st.sampled_from([*TYPES, "x"])),
    names=st.sets(names, max_size=2),
    after=moments,
    before=moments,
)
other_calls = st.builds(
    lambda kind, more: call(1, type=kind, **more),
    st.sampled_from([*TYPES, "merge", "x"]),
    st.sampled_from([{}, {"properties": []}, {"event": None}, {"timestamp": None}]),
).map(lambda record: lines(record)[0])


@st.composite
def mixed(draw: st.DrawFn) -> list[bytes]:
    """Lines of a sender, with calls of other types between them."""
    found = [line for line in draw(senders) if not line.startswith(b"[")]
    return list(draw(st.permutations([*found, *draw(st.lists(other_calls, max_size=4))])))


@generated
@given(mixed(), any_rules)
def test_whoever_sends_the_tables_leave_out_what_the_rules_say(
    sent: list[bytes], asked: Rules
) -> None:
    expected = [model.read(line, asked) for line in sent]
    found = read(ignore_of(asked), *sent) if sent else None
    if found is None:
        return
    events = [one for one in expected if not isinstance(one, str)]
    ignored = Counter(one for one in expected if one in WHYS)
    refused = [
        (n, one) for n, one in enumerate(expected) if isinstance(one, str) and one not in WHYS
    ]
    assert ignored == found.ignored
    assert refused == [(one.record, one.reject.reason) for one in found.refused]
    actual = [comparable(by_column(one)) for one in events_of(found.events)]
    assert list(map(comparable, events)) == actual


WHYS = ("ignored_type", "ignored_event", "out_of_range")


def test_without_rules_nothing_is_ignored() -> None:
    found = read(NOTHING_IGNORED, call(1, type="identify"), call(2))
    assert (found.events.ids, found.ignored) == (["m2"], {})
    assert [one.reject.reason for one in found.refused] == ["not_a_track_call"]
