"""Batch: events -> rows per table, times, and the values that have no column."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from loader.normalize.batch import (
    MAX_CONTEXT_VALUES,
    MAX_PROPERTY_VALUES,
    Normalized,
    Rows,
    normalize_events,
    span,
)
from loader.normalize.collections import COLLECTIONS, declared_tables
from loader.normalize.event import Event, Events

TABLES = declared_tables()
STARTED = "2026-10-01T00:00:00.000Z"


def event(**values: Any) -> Event:
    defaults: dict[str, Any] = {
        "id": "e1",
        "event": "email_opened",
        "event_text": "Email Opened",
        "user_id": "u_1",
        "anonymous_id": None,
        "received_at": None,
        "sent_at": None,
        "original_timestamp": None,
        "timestamp": "2026-09-15T08:23:32.000Z",
        "context": {},
        "properties": {},
    }
    return Event(**(defaults | values))


def normalize(*events: Event, **options: Any) -> Normalized:
    return normalize_events(Events.of(events), TABLES, load_started_at=STARTED, **options)


def texts(rows: Rows, column: str) -> list[str | None]:
    return rows.columns[column].spread(len(rows.members))


def moments(rows: Rows, column: str) -> list[datetime | None]:
    return [text and datetime.fromisoformat(text) for text in texts(rows, column)]  # type: ignore[misc]


def test_no_events_are_no_rows() -> None:
    actual = normalize()
    assert actual.ids == []
    assert actual.collections == {}
    assert actual.times == {"timestamp": [], "received_at": []}


def test_every_event_has_a_row_in_tracks_and_one_in_its_collection() -> None:
    actual = normalize(
        event(id="1"),
        event(id="2", event="email_bounced", event_text="Email Bounced"),
        event(id="3"),
    )
    assert actual.ids == ["1", "2", "3"]
    assert list(actual.shared.members) == [0, 1, 2]
    assert {table: list(rows.members) for table, rows in actual.collections.items()} == {
        "email_opened": [0, 2],
        "email_bounced": [1],
    }
    assert texts(actual.shared, "event") == ["email_opened", "email_bounced", "email_opened"]


def test_the_first_spelling_of_an_event_names_its_table() -> None:
    actual = normalize(event(event_text="Email Opened"), event(event_text="email_opened"))
    assert actual.event_texts == {"email_opened": "Email Opened"}
    assert texts(actual.shared, "event_text") == ["Email Opened", "email_opened"]


def test_declared_properties_are_settled_with_their_type() -> None:
    rows = normalize(
        event(properties={"campaign_id": "33", "proxied": False, "subject": "Hello"}),
        event(properties={"campaign_id": 34, "proxied": "true"}),
    ).collections["email_opened"]
    assert texts(rows, "campaign_id") == ["33", "34"]
    assert texts(rows, "proxied") == ["false", "true"]
    assert texts(rows, "subject") == ["Hello", None]
    assert rows.extra == {}
    assert rows.new == {}


def test_a_value_that_does_not_fit_keeps_its_row_and_is_in_extra() -> None:
    rows = normalize(
        event(properties={"campaign_id": "n/a"}), event(properties={"campaign_id": 5})
    ).collections["email_opened"]
    assert texts(rows, "campaign_id") == [None, "5"]
    assert rows.extra == {0: {"campaign_id": "n/a"}}


def test_a_column_in_which_nothing_fits_is_not_sent() -> None:
    rows = normalize(event(properties={"campaign_id": "n/a"})).collections["email_opened"]
    assert "campaign_id" not in rows.columns
    assert rows.extra == {0: {"campaign_id": "n/a"}}


def test_a_new_property_waits_for_the_whole_batch() -> None:
    rows = normalize(
        event(properties={"Plan Name": "pro"}),
        event(event="sms_sent"),
        event(properties={"plan_name": 7, "price": Decimal("1.10")}),
    ).collections["email_opened"]
    assert {"plan_name": {0: "pro", 2: 7}, "price": {2: Decimal("1.10")}} == rows.new
    assert rows.keys == {"plan_name": "Plan Name", "price": "price"}


def test_a_flag_that_is_missing_or_null_stays_unknown() -> None:
    rows = normalize(
        event(properties={"proxied": None}), event(), event(properties={"proxied": False})
    ).collections["email_opened"]
    assert texts(rows, "proxied") == [None, None, "false"]


def test_an_empty_text_is_kept() -> None:
    rows = normalize(event(properties={"customer_id": ""})).collections["email_opened"]
    assert texts(rows, "customer_id") == [""]


def test_two_keys_of_one_record_keep_both_values() -> None:
    rows = normalize(
        event(properties={"campaignId": 1, "campaign_id": 2, "CampaignID": 3})
    ).collections["email_opened"]
    assert texts(rows, "campaign_id") == ["2"]
    assert rows.extra == {0: {"campaignId": 1, "CampaignID": 3}}


def test_a_misfit_and_a_loser_of_one_name_are_both_kept() -> None:
    rows = normalize(
        event(properties={"Campaign Id": "a", "campaign.id": "b", "campaign": {"id": "c"}})
    ).collections["email_opened"]
    assert rows.extra == {0: {"campaign_id": "a", "campaign.id": "b", "campaign.id#2": "c"}}


def test_properties_named_like_shared_columns_move_aside() -> None:
    actual = normalize(event(properties={"id": 7, "timestamp": "x", "context_ip": "y"}))
    assert (actual.collections["email_opened"].new) == {
        "_id": {0: 7},
        "_timestamp": {0: "x"},
        "_context_ip": {0: "y"},
    }
    assert texts(actual.shared, "id") == ["e1"]


def test_context_goes_to_the_shared_columns() -> None:
    shared = normalize(
        event(context={"ip": "192.0.2.7", "traits": {"email": "a@example.com", "age": 30}})
    ).shared
    assert texts(shared, "context_ip") == ["192.0.2.7"]
    assert texts(shared, "context_traits_email") == ["a@example.com"]
    assert shared.new == {"context_traits_age": {0: 30}}
    assert shared.keys == {"context_traits_age": "traits.age"}


def test_a_context_value_that_does_not_fit_stays_on_its_own_row() -> None:
    shared = normalize(event(), event(context={"ip": ["192.0.2.7"]})).shared
    assert shared.extra == {1: {"context_ip": ["192.0.2.7"]}}


def test_the_canonical_key_of_a_context_column_wins() -> None:
    shared = normalize(event(context={"userAgent": "first", "user_agent": "canonical"})).shared
    assert texts(shared, "context_user_agent") == ["canonical"]
    assert shared.extra == {0: {"userAgent": "first"}}


def test_what_the_record_had_beside_its_columns_is_kept() -> None:
    shared = normalize(event(), event(extra={"shard": 4, "note": "x"})).shared
    assert shared.extra == {1: {"shard": 4, "note": "x"}}


def test_extra_of_the_record_does_not_hide_a_time_that_was_no_time() -> None:
    shared = normalize(event(timestamp="soon", extra={"timestamp": "later"})).shared
    assert shared.extra == {0: {"timestamp": "soon", "timestamp#2": "later"}}


def test_text_that_cannot_be_stored_is_replaced_and_counted() -> None:
    actual = normalize(
        event(id="a\0", user_id="u\ud800", event_text="Email\0Opened", properties={"subject": "\0"})
    )
    assert actual.ids == ["a\ufffd"]
    assert texts(actual.shared, "user_id") == ["u\ufffd"]
    assert texts(actual.shared, "event_text") == ["Email\ufffdOpened"]
    counted = [actual.shared.columns[name].replaced for name in ("id", "user_id", "event_text")]
    assert counted == [1, 1, 1]
    assert actual.collections["email_opened"].columns["subject"].replaced == 1


def test_nobody_is_null() -> None:
    shared = normalize(event(user_id=None, anonymous_id=None)).shared
    assert "user_id" not in shared.columns
    assert "anonymous_id" not in shared.columns


# collections that are left out


def test_events_of_other_tables_go_to_tracks_only_with_their_properties_in_extra() -> None:
    actual = normalize(
        event(),
        event(event="sms_sent", properties={"to": "+15550100", "a": {"b": 1}, "n": None}),
        only=frozenset({"email_opened"}),
    )
    assert list(actual.collections) == ["email_opened"]
    assert actual.shared.extra == {1: {"_to": "+15550100", "a_b": 1}}
    assert actual.shared.new == {}


def test_colliding_properties_of_other_tables_are_both_kept() -> None:
    actual = normalize(
        event(properties={"aB": 1, "a_b": 2}, extra={"a_b": 3}, context={"x y": 4, "X-Y": 5}),
        only=frozenset(),
    )
    assert actual.shared.extra == {0: {"a_b": 3, "X-Y": 5, "a_b#2": 2, "aB": 1}}


def test_a_record_with_more_values_than_a_row_can_hold_keeps_them_all() -> None:
    """Declared columns come first; the neighbours are not touched."""
    many = {f"p{n}": n for n in range(MAX_PROPERTY_VALUES + 20)} | {"campaign_id": 5}
    rows = normalize(event(properties=many), event(properties={"p249": "x"})).collections[
        "email_opened"
    ]
    kept = [name for name, values in rows.new.items() if 0 in values]
    assert texts(rows, "campaign_id")[0] == "5"
    assert len(kept) + 1 == MAX_PROPERTY_VALUES
    assert many == {name: rows.new[name][0] for name in kept} | rows.extra[0] | {"campaign_id": 5}
    assert rows.new["p249"] == {1: "x"}
    assert 1 not in rows.extra


def test_a_context_with_more_values_than_a_row_can_hold_keeps_them_all() -> None:
    many = {f"c{n}": n for n in range(MAX_CONTEXT_VALUES + 5)} | {"ip": "192.0.2.7"}
    shared = normalize(event(context=many), event(context={"c44": "x"})).shared
    kept = {name: values[0] for name, values in shared.new.items() if 0 in values}
    assert texts(shared, "context_ip") == ["192.0.2.7", None]
    assert len(kept) + 1 == MAX_CONTEXT_VALUES
    assert kept | shared.extra[0] == {f"context_c{n}": n for n in range(MAX_CONTEXT_VALUES + 5)}
    assert shared.new["context_c44"] == {1: "x"}
    assert 1 not in shared.extra


@pytest.mark.parametrize("beyond", [0, 1])
def test_values_that_get_no_column_begin_behind_the_limit(beyond: int) -> None:
    """Nulls do not count, and nested keys count one by one."""
    actual = normalize(
        event(
            context={"a": {f"c{n}": n for n in range(40 + beyond)}, "n": None},
            properties={"a": {f"p{n}": n for n in range(230 + beyond)}, "n": None},
        )
    )
    rows = actual.collections["email_opened"]
    assert (len(rows.new), len(actual.shared.new)) == (230, 40)
    assert ({0: {"a_p230": 230}} if beyond else {}) == rows.extra
    assert ({0: {"context_a_c40": 40}} if beyond else {}) == actual.shared.extra


def test_a_value_beyond_the_limit_and_a_loser_of_its_name_are_both_kept() -> None:
    many: dict[str, Any] = {f"p{n}": n for n in range(MAX_PROPERTY_VALUES)}
    rows = normalize(event(properties=many | {"last_one": "a", "Last One": "b"})).collections[
        "email_opened"
    ]
    assert rows.extra == {0: {"Last One": "b", "last_one": "a"}}


def test_the_limit_holds_for_each_event_and_not_for_the_batch() -> None:
    halves = [{f"{half}{n}": n for n in range(200)} for half in "pq"]
    rows = normalize(*[event(properties=half) for half in halves]).collections["email_opened"]
    assert len(rows.new) == 400
    assert rows.extra == {}


# times


def test_times_are_as_sent_where_they_are_there() -> None:
    shared = normalize(
        event(
            received_at="2026-09-15T08:00:04Z",
            sent_at=1789459203,
            original_timestamp="2026-09-15T10:00:02+02:00",
            timestamp="2026-09-15T08:00:01.000Z",
        )
    ).shared
    actual = [
        moments(shared, name)[0]
        for name in ("timestamp", "original_timestamp", "sent_at", "received_at")
    ]
    assert [datetime.fromisoformat(f"2026-09-15T08:00:0{n}Z") for n in (1, 2, 3, 4)] == actual


def test_a_record_without_an_arrival_arrives_with_the_load() -> None:
    shared = normalize(event(), event(received_at="2026-09-15T08:00:00.000Z")).shared
    assert [
        texts(shared, "received_at")[0],
        moments(shared, "received_at")[1].isoformat(),  # type: ignore[union-attr]
    ] == [STARTED, "2026-09-15T08:00:00+00:00"]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param({}, STARTED, id="none: the load"),
        pytest.param({"received_at": 1789459200}, "2026-09-15T08:00:00Z", id="the arrival"),
        pytest.param(
            {"original_timestamp": 1789459100, "received_at": 1789459200},
            "2026-09-15T07:58:20Z",
            id="the original",
        ),
        pytest.param(
            {
                "original_timestamp": 1789462700,
                "sent_at": 1789462790,
                "received_at": 1789459200,
            },
            "2026-09-15T07:58:30Z",
            id="corrected",
        ),
        pytest.param(
            {"timestamp": "31 February", "received_at": 1789459200},
            "2026-09-15T08:00:00Z",
            id="an impossible one",
        ),
    ],
)
def test_when_it_happened(times: dict[str, Any], expected: str) -> None:
    shared = normalize(event(**({"timestamp": None} | times))).shared
    assert [datetime.fromisoformat(expected)] == moments(shared, "timestamp")


def test_the_start_of_a_load_is_no_clock_to_correct_by() -> None:
    shared = normalize(
        event(
            timestamp=None,
            original_timestamp="2024-01-01T00:00:00Z",
            sent_at="2024-01-01T00:00:01Z",
        )
    ).shared
    assert [datetime.fromisoformat("2024-01-01T00:00:00Z")] == moments(shared, "timestamp")


@pytest.mark.parametrize(
    "value", ["soon", "2026-02-31", True, [1], {"at": 1}, "", 10**20], ids=repr
)
@pytest.mark.parametrize("name", ["timestamp", "original_timestamp", "sent_at", "received_at"])
def test_a_time_that_is_no_time_is_in_extra(name: str, value: Any) -> None:
    shared = normalize(event(**{name: value})).shared
    assert {0: {name: value}} == shared.extra
    assert len(moments(shared, "timestamp")) == 1


def test_a_time_finer_than_microseconds_is_stored_and_kept_whole_in_extra() -> None:
    value = "2026-09-15T08:23:32.123456789Z"
    shared = normalize(event(timestamp=value)).shared
    assert texts(shared, "timestamp") == ["2026-09-15T08:23:32.123456+00:00"]
    assert {0: {"timestamp": value}} == shared.extra


def test_an_empty_object_is_no_time_and_an_array_neither() -> None:
    shared = normalize(event(timestamp=[], sent_at={})).shared
    assert shared.extra == {0: {"timestamp": [], "sent_at": {}}}


@pytest.mark.parametrize("order", [[1, True], [True, 1], [0, False], [False, 0]], ids=repr)
def test_true_is_no_time_though_python_takes_it_for_one(order: list[Any]) -> None:
    shared = normalize(*[event(timestamp=value) for value in order]).shared
    place = next(i for i, value in enumerate(order) if type(value) is bool)
    assert {place: {"timestamp": order[place]}} == shared.extra


def test_two_times_of_one_event_are_told_apart() -> None:
    shared = normalize(event(original_timestamp=1, timestamp=True)).shared
    assert shared.extra == {0: {"timestamp": True}}


def test_the_neighbours_do_not_decide_what_is_kept() -> None:
    odd = event(original_timestamp="soon", timestamp="soon")
    alone = normalize(odd).shared.extra[0]
    beside = normalize(odd, event(original_timestamp=None)).shared.extra[0]
    assert beside == alone


def test_the_span_of_times_compares_moments_and_not_texts() -> None:
    actual = normalize(
        event(timestamp="2026-09-15T08:00:00.000Z"),
        event(timestamp="2026-09-15T09:30:00.000+02:00"),
        event(timestamp=1789459201),
    )
    first, last = map(datetime.fromisoformat, span(actual.times["timestamp"]))
    assert datetime.fromisoformat("2026-09-15T07:30:00Z") == first
    assert datetime.fromisoformat("2026-09-15T08:00:01Z") == last
    assert actual.times["received_at"] == [STARTED] * 3


# columns of both kinds


@pytest.mark.parametrize(
    "key",
    [
        "",
        "日本",
        "ip",
        "x",
    ],
)
def test_a_collection_has_no_column_of_its_own_that_is_shared(key: str) -> None:
    actual = normalize(
        event(context={key: "a"}, properties={"context": "b", f"context_{key}": "c"})
    )
    rows = actual.collections["email_opened"]
    shared = {*actual.shared.columns, *actual.shared.new}
    assert set() == shared & {*rows.columns, *rows.new}


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: c.table)
def test_no_declared_property_is_a_shared_column(collection: Any) -> None:
    names = [column.name for column in collection.properties]
    assert len(set(names)) == len(names)
    assert set() == set(names) & set(TABLES["tracks"])
