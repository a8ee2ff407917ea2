"""Events -> rows per table, with the values that fit no column in `_extra`."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from load.loading import STARTED, Loaded, load_records

from loader.normalize.collections import COLLECTIONS, Type, declared_tables
from loader.normalize.types import TYPES

TABLES = declared_tables()


def event(key: str = "m1", /, **values: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "type": "track",
        "event": "Email Opened",
        "messageId": key,
        "userId": "u_1",
        "timestamp": "2026-09-15T08:23:32.000Z",
    }
    return defaults | values


def opened(found: Loaded, key: str = "m1") -> dict[str, Any]:
    return found.row("email_opened", key)


def extra(found: Loaded, table: str = "email_opened", key: str = "m1") -> dict[str, Any]:
    kept: dict[str, Any] = found.row(table, key).get("_extra", {})
    return kept


def added(found: Loaded) -> dict[tuple[str, str], tuple[str, str]]:
    """The columns that were made: their type and comment."""
    changes = [change for change in found.changes if hasattr(change, "column")]
    return {(c.table, c.column): (c.type, c.comment) for c in changes}


def test_no_events_are_no_rows() -> None:
    found = load_records()
    assert (found.rows, found.changes, found.records) == ({}, [], 0)
    assert found.batches[0].times == {}


def test_every_event_has_a_row_in_tracks_and_one_in_its_collection() -> None:
    found = load_records(event("1"), event("2", event="Email Bounced"), event("3"))
    assert found.ids == ["1", "2", "3"]
    assert {table: sorted(rows) for table, rows in found.rows.items()} == {
        "tracks": ["1", "2", "3"],
        "email_opened": ["1", "3"],
        "email_bounced": ["2"],
    }
    names = [found.row("tracks", key)["event"] for key in "123"]
    assert names == ["email_opened", "email_bounced", "email_opened"]


def test_both_forms_go_through_one_block() -> None:
    hook = {
        "event_id": "w1",
        "object_type": "email",
        "metric": "opened",
        "timestamp": 1789460612,
        "data": {"delivery_id": "dg9"},
    }
    found = load_records(event(), hook)
    assert sorted(found.rows["email_opened"]) == sorted(found.rows["tracks"]) == ["m1", "w1"]


def test_the_first_spelling_of_an_event_names_its_table() -> None:
    found = load_records(event("1", event="Cart Seen"), event("2", event="cart-seen"))
    (made,) = [change for change in found.changes if not hasattr(change, "column")]
    assert (made.table, "Cart Seen" in made.comment) == ("cart_seen", True)
    texts = [found.row("cart_seen", key)["event_text"] for key in "12"]
    assert texts == ["Cart Seen", "cart-seen"]


@pytest.mark.parametrize("table", ["tracks", "email_opened"])
@pytest.mark.parametrize("column", ["event_text", "user_id", "anonymous_id"])
@pytest.mark.parametrize("type_", sorted(TYPES))
def test_a_shared_text_that_does_not_fit_its_column_is_in_extra(
    table: str, column: str, type_: Type
) -> None:
    """Somebody gave it another type. For `event_text`, every event was a defect."""
    tables = {name: types | {column: "text"} for name, types in TABLES.items()}
    tables[table][column] = type_
    name = 'Email "Opened"'
    found = load_records(
        event("1", event=name, anonymousId=name, userId=name),
        event("2", event=name, anonymousId=name, userId=name),
        tables=tables,
    )
    for key in "12":
        row = found.row(table, key) if table == "tracks" else opened(found, key)
        assert row.get(column, extra(found, table, key).get(column)) == name
        assert (column in row) == (type_ in ("text", "jsonb"))


def test_declared_properties_have_their_type() -> None:
    found = load_records(
        event("1", properties={"campaign_id": "33", "proxied": False, "subject": "Hello"}),
        event("2", properties={"campaign_id": 34, "proxied": "true"}),
    )
    first, second = (opened(found, key) for key in "12")
    assert (first["campaign_id"], second["campaign_id"]) == (33, 34)
    assert (first["proxied"], second["proxied"]) == (False, True)
    assert (first["subject"], second.get("subject")) == ("Hello", None)
    assert extra(found, key="1") == extra(found, key="2") == {}
    assert found.changes == []


def test_a_value_that_does_not_fit_keeps_its_row_and_is_in_extra() -> None:
    found = load_records(
        event("1", properties={"campaign_id": "n/a"}), event("2", properties={"campaign_id": 5})
    )
    assert "campaign_id" not in opened(found, "1")
    assert extra(found, key="1") == {"campaign_id": "n/a"}
    assert opened(found, "2")["campaign_id"] == 5
    assert found.batches[0].extra_values == {"1": 1}


def test_a_new_property_gets_the_type_that_the_whole_batch_asks_for() -> None:
    found = load_records(
        event("1", properties={"Plan Name": "pro"}),
        event("2", event="SMS Sent"),
        event("3", properties={"plan_name": 7, "price": Decimal("1.10")}),
    )
    assert {key: type_ for key, (type_, _) in added(found).items()} == {
        ("email_opened", "plan_name"): "text",
        ("email_opened", "price"): "numeric",
    }
    assert "Plan Name" in added(found)["email_opened", "plan_name"][1]
    assert [opened(found, key)["plan_name"] for key in "13"] == ["pro", "7"]
    assert str(opened(found, "3")["price"]) == "1.10"


def test_a_flag_that_is_missing_or_null_stays_unknown() -> None:
    found = load_records(
        event("1", properties={"proxied": None}),
        event("2"),
        event("3", properties={"proxied": False}),
    )
    assert [opened(found, key).get("proxied") for key in "123"] == [None, None, False]


def test_an_empty_text_is_kept() -> None:
    assert opened(load_records(event(properties={"customer_id": ""})))["customer_id"] == ""


def test_two_keys_of_one_record_keep_both_values() -> None:
    found = load_records(event(properties={"campaignId": 1, "campaign_id": 2, "CampaignID": 3}))
    assert opened(found)["campaign_id"] == 2
    assert extra(found) == {"campaignId": 1, "CampaignID": 3}
    assert extra(found, "tracks") == {}


def test_a_misfit_and_a_loser_of_one_name_are_both_kept() -> None:
    found = load_records(
        event(properties={"Campaign Id": "a", "campaign.id": "b", "campaign": {"id": "c"}})
    )
    kept = extra(found)
    assert sorted(kept) == ["campaign.id", "campaign.id#2", "campaign_id"]
    assert sorted(kept.values()) == ["a", "b", "c"]
    assert kept["campaign_id"] == "a"


def test_properties_named_like_shared_columns_move_aside() -> None:
    found = load_records(event(properties={"id": 7, "timestamp": "x", "context_ip": "y"}))
    row = opened(found)
    assert (row["_id"], row["_timestamp"], row["_context_ip"]) == (7, "x", "y")
    assert row["id"] == "m1"


def test_context_goes_to_the_shared_columns_of_every_table() -> None:
    found = load_records(
        event(context={"ip": "192.0.2.7", "traits": {"email": "a@example.com", "age": 30}})
    )
    for table in ("tracks", "email_opened"):
        row = found.row(table)
        assert (row["context_ip"], row["context_traits_email"]) == ("192.0.2.7", "a@example.com")
        assert row["context_traits_age"] == 30
        assert "traits.age" in added(found)[table, "context_traits_age"][1]


def test_a_context_value_that_does_not_fit_stays_on_its_own_row() -> None:
    found = load_records(event("1"), event("2", context={"ip": ["192.0.2.7"]}))
    for table in ("tracks", "email_opened"):
        assert extra(found, table, "1") == {}
        assert extra(found, table, "2") == {"context_ip": ["192.0.2.7"]}


def test_what_the_record_had_beside_its_columns_is_kept() -> None:
    found = load_records(event("1"), event("2", shard=4, note="x"))
    for table in ("tracks", "email_opened"):
        assert extra(found, table, "2") == {"shard": 4, "note": "x"}
        assert extra(found, table, "1") == {}


def test_text_that_cannot_be_stored_is_replaced_and_counted() -> None:
    found = load_records(
        event("a\0", userId="u\ud800", event="Email\0Opened", properties={"subject": "\0"})
    )
    row = found.row("tracks", "a\ufffd")
    assert (row["user_id"], row["event_text"]) == ("u\ufffd", "Email\ufffdOpened")
    assert found.row("email_opened", "a\ufffd")["subject"] == "\ufffd"
    assert (found.replaced, found.rewritten) == (4, 1)


def test_characters_that_cannot_be_stored_are_counted_in_extra_too() -> None:
    found = load_records(
        event(userId="u\0", properties={"subject": "\ud800\0", "campaign_id": "n\0"})
    )
    assert extra(found) == {"campaign_id": "n\ufffd"}
    assert found.replaced == 4


def test_nobody_is_null() -> None:
    found = load_records(event(userId=None, anonymousId=None))
    assert {"user_id", "anonymous_id"}.isdisjoint(found.row("tracks"))
    assert {"user_id", "anonymous_id"}.isdisjoint(found.batches[0].copies[0].columns)


# collections that are left out


def test_events_of_other_tables_go_to_tracks_only_with_their_properties_in_extra() -> None:
    found = load_records(
        event("1"),
        event("2", event="SMS Sent", properties={"to": "+15550100", "a": {"b": 1}, "n": None}),
        only=frozenset({"email_opened"}),
    )
    assert sorted(found.rows) == ["email_opened", "tracks"]
    assert extra(found, "tracks", "2") == {"_to": "+15550100", "a_b": 1}
    assert found.changes == []


def test_events_whose_table_cannot_be_made_go_to_tracks_only() -> None:
    found = load_records(
        event(event="My View", properties={"a": 1}), reserved=frozenset({"my_view"})
    )
    assert sorted(found.rows) == ["tracks"]
    assert extra(found, "tracks") == {"a": 1}


def test_colliding_properties_of_other_tables_are_both_kept() -> None:
    found = load_records(
        event(properties={"aB": 1, "a_b": 2}, a_b=3, context={"x y": 4, "X-Y": 5}),
        only=frozenset(),
    )
    kept = extra(found, "tracks")
    assert sorted(kept) == ["X-Y", "aB", "a_b", "a_b#2"]
    assert sorted(kept.values()) == [1, 2, 3, 5]
    assert found.row("tracks")["context_x_y"] == 4


def test_without_evolution_new_values_are_in_extra() -> None:
    found = load_records(
        event(properties={"a": 1, "campaign_id": 2}, context={"b": 3}), evolve=False
    )
    assert found.changes == []
    assert opened(found)["campaign_id"] == 2
    assert extra(found) == {"a": 1, "context_b": 3}
    assert extra(found, "tracks") == {"context_b": 3}


def test_a_table_gets_no_more_columns_than_allowed() -> None:
    most = len(TABLES["email_opened"]) + 2
    found = load_records(event(properties={f"p{n}": n for n in range(5)}), max_columns=most)
    assert len(found.tables["email_opened"]) == most
    row = opened(found)
    values = {name: row.get(name, row["_extra"].get(name)) for name in (f"p{n}" for n in range(5))}
    assert values == {f"p{n}": n for n in range(5)}


def test_what_is_known_makes_no_column() -> None:
    found = load_records(
        event("m1", properties={"Old Thing": 1}), event("m2"), there=frozenset({"m1"})
    )
    assert found.changes == []
    assert (found.known, found.duplicates, sorted(found.rows["tracks"])) == (1, 1, ["m2"])


def test_the_first_of_several_events_with_one_id_stays() -> None:
    records = [event(properties={"campaign_id": n}) for n in range(4)]
    for options in ({}, {"most_records": 1}, {"batch_records": 2, "most_records": 1}):
        found = load_records(*records, **options)  # type: ignore[arg-type]
        assert (opened(found)["campaign_id"], found.duplicates, found.known) == (0, 3, 0)


# rejects


def test_what_is_refused_has_its_position_its_reason_and_its_text() -> None:
    """The good records between go on."""
    found = load_records(event("m1"), b'{"cut', b'{"type": "identify"}', b'{"odd": 1}', event("m2"))
    assert sorted(found.rejects) == [
        ("line 2", "invalid_json", b'{"cut'),
        ("line 3", "not_a_track_call", b'{"type": "identify"}'),
        ("line 4", "unknown_form", b'{"odd": 1}'),
    ]
    assert found.ids == ["m1", "m2"]
    assert found.records == 5


def test_a_record_that_is_too_large_is_rejected_with_its_whole_text() -> None:
    large = b'{"event": "X", "x": "%b"}' % (b"x" * 500)
    found = load_records(event("m1"), large, limit=300)
    assert found.rejects == [("line 2", "record_too_large", large)]
    assert found.ids == ["m1"]


# times


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_times_are_as_sent_where_they_are_there() -> None:
    row = load_records(
        event(
            receivedAt="2026-09-15T08:00:04Z",
            sentAt=1789459203,
            originalTimestamp="2026-09-15T10:00:02+02:00",
            timestamp="2026-09-15T08:00:01.000Z",
        )
    ).row("tracks")
    names = ("timestamp", "original_timestamp", "sent_at", "received_at")
    expected = [moment(f"2026-09-15T08:00:0{n}Z") for n in (1, 2, 3, 4)]
    assert [row[name] for name in names] == expected


def test_a_record_without_an_arrival_arrives_with_the_load() -> None:
    found = load_records(event("1"), event("2", receivedAt="2026-09-15T08:00:00.000Z"))
    arrivals = [found.row("tracks", key)["received_at"] for key in "12"]
    assert arrivals == [moment(STARTED), moment("2026-09-15T08:00:00Z")]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param({}, STARTED, id="none: the load"),
        pytest.param({"receivedAt": 1789459200}, "2026-09-15T08:00:00Z", id="the arrival"),
        pytest.param(
            {"originalTimestamp": 1789459100, "receivedAt": 1789459200},
            "2026-09-15T07:58:20Z",
            id="the original",
        ),
        pytest.param(
            {"originalTimestamp": 1789462700, "sentAt": 1789462790, "receivedAt": 1789459200},
            "2026-09-15T07:58:30Z",
            id="corrected",
        ),
        pytest.param(
            {"timestamp": "31 February", "receivedAt": 1789459200},
            "2026-09-15T08:00:00Z",
            id="an impossible one",
        ),
        pytest.param(
            {"originalTimestamp": "2024-01-01T00:00:00Z", "sentAt": "2024-01-01T00:00:01Z"},
            "2024-01-01T00:00:00Z",
            id="the start of a load is no clock to correct by",
        ),
        pytest.param(
            {
                "originalTimestamp": "9999-12-31T23:00:00Z",
                "sentAt": "0001-01-01T00:00:00Z",
                "receivedAt": "2026-09-15T08:00:00Z",
            },
            "9999-12-31T23:00:00Z",
            id="corrected beyond the year 9999",
        ),
    ],
)
def test_when_it_happened(times: dict[str, Any], expected: str) -> None:
    found = load_records(event(**({"timestamp": None} | times)))
    assert found.row("tracks")["timestamp"] == moment(expected)
    assert opened(found)["timestamp"] == moment(expected)


@pytest.mark.parametrize(
    "value", ["soon", "2026-02-31", True, [1], {"at": 1}, "", 10**20], ids=repr
)
@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("timestamp", "timestamp"),
        ("originalTimestamp", "original_timestamp"),
        ("sentAt", "sent_at"),
        ("receivedAt", "received_at"),
    ],
)
def test_a_time_that_is_no_time_is_in_extra(key: str, name: str, value: Any) -> None:
    found = load_records(event(**{key: value}))
    assert extra(found) == extra(found, "tracks") == {name: value}
    assert "timestamp" in found.row("tracks")


def test_extra_of_the_record_does_not_hide_a_time_that_was_no_time() -> None:
    found = load_records(event(sentAt="soon", sent_at="later"))
    assert extra(found) == {"sent_at": "soon", "sent_at#2": "later"}


def test_a_time_finer_than_microseconds_is_stored_and_kept_whole_in_extra() -> None:
    value = "2026-09-15T08:23:32.123456789Z"
    found = load_records(event(timestamp=value))
    assert found.row("tracks")["timestamp"] == moment("2026-09-15T08:23:32.123456Z")
    assert extra(found) == {"timestamp": value}


def test_an_empty_array_is_no_time() -> None:
    assert extra(load_records(event(timestamp=[]))) == {"timestamp": []}


@pytest.mark.parametrize("order", [[1, True], [True, 1], [0, False], [False, 0]], ids=repr)
def test_true_is_no_time_though_python_takes_it_for_one(order: list[Any]) -> None:
    found = load_records(*[event(str(n), timestamp=value) for n, value in enumerate(order)])
    for number, value in enumerate(order):
        kept = {"timestamp": value} if type(value) is bool else {}
        assert extra(found, key=str(number)) == kept


def test_two_times_of_one_event_are_told_apart() -> None:
    assert extra(load_records(event(originalTimestamp=1, timestamp=True))) == {"timestamp": True}


def test_the_neighbours_do_not_decide_what_is_kept() -> None:
    odd = event(originalTimestamp="soon", timestamp="soon")
    alone = extra(load_records(odd))
    beside = extra(load_records(odd, event("m2", originalTimestamp=None)))
    assert beside == alone == {"original_timestamp": "soon", "timestamp": "soon"}


def test_the_span_of_times_compares_moments_and_not_texts() -> None:
    found = load_records(
        event("1", timestamp="2026-09-15T08:00:00.000Z"),
        event("2", timestamp="2026-09-15T09:30:00.000+02:00"),
        event("3", timestamp=1789459201),
    )
    times = {name: tuple(map(moment, both)) for name, both in found.batches[0].times.items()}
    assert times == {
        "timestamp": (moment("2026-09-15T07:30:00Z"), moment("2026-09-15T08:00:01Z")),
        "received_at": (moment(STARTED), moment(STARTED)),
    }


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_moment_are_times(text: str) -> None:
    row = load_records(event(timestamp=text)).row("tracks")
    assert row["timestamp"] == moment(text)


# columns of both kinds


@pytest.mark.parametrize("key", ["", "日本", "ip", "x"])
def test_a_collection_has_no_column_of_its_own_that_is_shared(key: str) -> None:
    found = load_records(
        event(context={key: "a"}, properties={"context": "b", f"context_{key}": "c"})
    )
    for copy in found.batches[0].copies:
        assert len(set(copy.columns)) == len(copy.columns)
    row = opened(found)
    kept = [v for v in (*row.values(), *extra(found).values()) if v in ("a", "b", "c")]
    assert sorted(kept) == ["a", "b", "c"]


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: c.table)
def test_no_declared_property_is_a_shared_column(collection: Any) -> None:
    names = [column.name for column in collection.properties]
    assert len(set(names)) == len(names)
    assert set() == set(names) & set(TABLES["tracks"])
