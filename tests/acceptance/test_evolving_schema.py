"""What events bring: tables, columns, names, types, and what becomes of values that do not fit."""

import json
from decimal import Decimal
from typing import Any

import pytest
from acceptance.harness import Database, Run, Write, ndjson, track

EXTRA = "SELECT id, _extra FROM {} ORDER BY id"


def load(run: Run, *records: dict[str, Any] | str, **options: Any) -> Any:
    """Load records from stdin, which must succeed; returns the result."""
    result = run("load", "-", "--json", stdin=ndjson(*records), **options)
    assert result.code == 0, result.err
    return result.json


def test_an_unknown_event_gets_a_table_with_comments(run: Run, db: Database) -> None:
    load(run, track("Order Completed", messageId="1", total=9.90, items=[{"sku": "a"}]))
    assert db.rows("SELECT id, event, event_text, total, items FROM order_completed") == [
        ("1", "order_completed", "Order Completed", Decimal("9.9"), [{"sku": "a"}])
    ]
    shared = db.types("tracks")
    assert list(db.types("order_completed").items()) == [
        *shared.items(),
        ("total", "numeric"),
        ("items", "jsonb"),
    ]
    comments = dict(
        db.rows(
            "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute "
            "WHERE attrelid = 'order_completed'::regclass AND attnum > 0"
        )
    )
    assert None not in comments.values()
    assert (comments["total"], comments["items"]) == ('Property "total".', 'Property "items".')
    assert db.value("SELECT obj_description('order_completed'::regclass)") == (
        'One row per event "Order Completed".'
    )
    assert db.rows(
        "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = 'order_completed'::regclass AND contype = 'p'"
    ) == [("order_completed_pkey", "PRIMARY KEY (id)")]


def test_columns_are_typed_from_the_whole_batch(run: Run, db: Database) -> None:
    load(
        run,
        track("Typed", messageId="1", late=1, number=1, truth=True, mixed=True, list=[1], zip="001",
              day="2026-01-02", null=None, empty="", same=1, big=2**63, nested={"a": {"b": 1}}),
        *[track("Typed", messageId=f"filler {i}", same=1) for i in range(2500)],
        track("Typed", messageId="2", late="two", number=2.50, truth=False, mixed=2, list="x",
              zip=2, nested={"a": "flat"}, same=1),
    )  # fmt: skip
    own = list(db.types("typed").items())[len(db.types("tracks")) :]
    assert dict(own) == {
        "late": "text",
        "number": "numeric",
        "truth": "boolean",
        "mixed": "text",
        "list": "jsonb",
        "zip": "text",
        "day": "text",
        "empty": "text",
        "same": "bigint",
        "big": "numeric",
        "nested_a_b": "bigint",
        "nested_a": "text",
    }
    assert db.rows(
        "SELECT late, number, truth, mixed, list, zip, day, empty, big, nested_a_b, nested_a, "
        "_extra FROM typed WHERE id IN ('1', '2') ORDER BY id"
    ) == [
        ("1", 1, True, "true", [1], "001", "2026-01-02", "", Decimal(2**63), 1, None, None),
        ("two", Decimal("2.5"), False, "2", "x", "2", None, None, None, None, "flat", None),
    ]


def test_a_value_that_does_not_fit_keeps_its_row_and_is_in_extra(run: Run, db: Database) -> None:
    load(run, track("Typed", messageId="0", n=1, b=True, d=1.5, t="x"))
    result = load(
        run,
        track("Typed", messageId="1", n="33", b="true", d="2.25", t=7),
        track("Typed", messageId="2", n=33.0, b="yes", d="1e", t=1.10, j=None),
        track("Typed", messageId="3", n="033", b=1, d=[], t={"deep": [1]}),
        track("Typed", messageId="4", n=1.5, b=None, d=True, t=["list"]),
        track("Typed", messageId="5", n=2**63, n2={"a": 1}),
    )
    assert db.rows("SELECT id, n, b, d, t, _extra FROM typed WHERE id > '0' ORDER BY id") == [
        ("1", 33, True, Decimal("2.25"), "7", None),
        ("2", 33, None, None, "1.1", {"b": "yes", "d": "1e"}),
        ("3", None, None, None, None, {"n": "033", "b": 1, "d": []}),
        ("4", None, None, None, None, {"n": 1.5, "d": True, "t": ["list"]}),
        ("5", None, None, None, None, {"n": 2**63}),
    ]
    assert db.rows("SELECT t_deep, n2_a FROM typed WHERE id IN ('3', '5') ORDER BY id") == [
        ([1], None),
        (None, 1),
    ]
    assert db.value("SELECT count(*) FROM tracks WHERE _extra IS NOT NULL") == 0
    assert result["extra_values"] == 9


def test_a_context_key_becomes_a_column_of_one_type_everywhere(run: Run, db: Database) -> None:
    load(
        run,
        track("Email Opened", messageId="1", context={"device": {"id": 5, "tags": ["a"]}}),
        track("Cart Seen", messageId="2", context={"device": {"id": "six"}, "ip": "192.0.2.1"}),
        track("Email Bounced", messageId="3"),
    )
    for table in ("tracks", "email_opened", "cart_seen"):
        types = db.types(table)
        assert (types["context_device_id"], types.get("context_device_tags", "jsonb")) == (
            "text",
            "jsonb",
        ), table
    assert "context_device_id" not in db.types("email_bounced")
    assert db.rows("SELECT id, context_device_id, context_device_tags FROM tracks ORDER BY 1") == [
        ("1", "5", ["a"]),
        ("2", "six", None),
        ("3", None, None),
    ]
    load(run, track("Email Bounced", messageId="4", context={"device": {"id": {"now": "deep"}}}))
    load(run, track("Email Bounced", messageId="5", context={"device": {"id": 7}, "ip": ["x"]}))
    assert db.rows("SELECT id, context_device_id, context_ip, _extra FROM email_bounced "
                   "WHERE id > '3' ORDER BY id") == [
        ("4", None, None, None),
        ("5", "7", None, {"context_ip": ["x"]}),
    ]  # fmt: skip
    assert db.rows("SELECT _extra FROM tracks WHERE id = '5'") == [({"context_ip": ["x"]},)]


def test_a_table_gets_only_the_context_columns_that_its_own_events_have(
    run: Run, db: Database
) -> None:
    event = track("Email Opened", context={"device": {"id": "x"}})
    load(run, event)
    result = load(
        run,
        event | {"messageId": "another"},
        track("Email Bounced"),
        env={"LOADER_SCHEMA_CONTRACT": "freeze"},
    )
    assert result["schema_changes"] == []
    assert "context_device_id" not in db.types("email_bounced")


def test_two_keys_of_one_column_are_decided_by_rule(run: Run, db: Database) -> None:
    load(
        run,
        '{"event": "Keys", "messageId": "1", "properties": {"planName": 1, "plan_name": 2}}',
        '{"event": "Keys", "messageId": "2", "properties": {"Plan Name": 3, "planName": 4}}',
        '{"event": "Keys", "messageId": "3", "properties": {"plan": {"name": 5}, "plan name": 6}}',
        '{"event": "Keys", "messageId": "4", "properties": {"plan name": null, "planName": 7}}',
    )
    assert db.rows("SELECT id, plan_name, _extra FROM keys ORDER BY id") == [
        ("1", 2, {"planName": 1}),
        ("2", 3, {"planName": 4}),
        ("3", 5, {"plan name": 6}),
        ("4", 7, None),
    ]


def test_properties_named_like_shared_columns_get_an_underscore(run: Run, db: Database) -> None:
    properties = {
        "id": 5,
        "user_id": "p",
        "event": "e",
        "receivedAt": "r",
        "context_ip": "c",
        "_extra": "x",
        "timestamp": "t",
    }
    load(run, track("Email Opened", userId="u", properties=properties))
    names = ("_id", "_user_id", "_event", "_received_at", "_context_ip", "extra", "_timestamp")
    assert db.rows(f"SELECT {', '.join(names)}, user_id FROM email_opened") == [
        (5, "p", "e", "r", "c", "x", "t", "u")
    ]


EVENT_NAMES = [
    ("Tracks", "_tracks"),
    ("Alembic Version", "_alembic_version"),
    ("Loads", "loads"),
    ("_files", "files"),
    ("Order", "_order"),
    ("select", "_select"),
    ("2nd Visit", "_2nd_visit"),
    ("CamelCase HTTPCall", "camel_case_httpcall"),
    ("email_opened", "email_opened"),
    ("EMAIL-OPENED ", "email_opened"),
    ("Robert'); DROP TABLE tracks;--", "robert_drop_table_tracks"),
    ('100% "quoted" \\ :name', "_100_quoted_name"),
]


def test_event_names_become_safe_table_names(run: Run, db: Database) -> None:
    load(run, *[track(name, messageId=name, x=1) for name, _ in EVENT_NAMES])
    assert dict(db.rows("SELECT event_text, event FROM tracks")) == dict(EVENT_NAMES)
    for name, table in EVENT_NAMES:
        assert db.rows(f"SELECT event_text FROM {table} WHERE id = %s", name) == [(name,)]
    assert db.value("SELECT obj_description('_100_quoted_name'::regclass)") == (
        'One row per event "100% "quoted" \\ :name".'
    )
    assert db.value("SELECT count(*) FROM tracks") == len(EVENT_NAMES)


def test_names_that_are_long_or_have_no_ascii_letters_stay_apart(run: Run, db: Database) -> None:
    names = ["x" * 70 + "a", "x" * 70 + "b", "名前", "姓", "???", "ä" * 40, "Grüße Gott"]
    load(
        run,
        *[track(name, messageId=name, properties={name: name}) for name in names],
        track("All Names", messageId="all", properties={name: name for name in names}),
    )
    tables = dict(db.rows("SELECT event_text, event FROM tracks"))
    assert len(set(tables.values())) == len(names) + 1
    assert max(map(len, tables.values())) <= 63
    assert tables["Grüße Gott"] == "gr_e_gott"
    for name in names:
        table = tables[name]
        column = list(db.types(table))[-1]
        assert db.rows(f'SELECT "{column}" FROM "{table}"') == [(name,)]
        assert db.value(f"SELECT obj_description('\"{table}\"'::regclass)") == (
            f'One row per event "{name}".'
        )
        assert db.rows(f'SELECT "{column}" FROM all_names') == [(name,)]


@pytest.mark.parametrize("name", ["Tracks Pkey", "Email Opened Pkey", "Alembic Version Pkc"])
def test_an_event_named_like_an_index_is_loaded(run: Run, db: Database, name: str) -> None:
    load(run, track(name, messageId="1"))
    assert db.rows("SELECT id, event_text FROM tracks") == [("1", name)]


def test_an_event_named_like_a_view_of_an_analyst_is_loaded(run: Run, db: Database) -> None:
    db.execute("CREATE VIEW cart_seen AS SELECT id FROM tracks")
    load(run, track("Cart Seen", messageId="1"))
    assert db.rows("SELECT id FROM tracks") == [("1",)]


def test_past_max_columns_new_properties_go_to_extra(run: Run, db: Database) -> None:
    properties = {f"p{i:03}": i for i in range(60)}
    limited = {"LOADER_MAX_COLUMNS": "60"}
    result = load(run, track("Wide", messageId="1", **properties), env=limited)
    width = len(db.types("wide"))
    assert width == 60
    kept = 60 - len(db.types("tracks"))
    [(extra,)] = db.rows("SELECT _extra FROM wide")
    assert extra == {f"p{i:03}": i for i in range(kept, 60)}
    assert result["extra_values"] == 60 - kept
    load(run, track("Wide", messageId="2", p000="1", other=5), env=limited)
    assert db.rows("SELECT p000, _extra FROM wide WHERE id = '2'") == [(1, {"other": 5})]
    assert len(db.types("wide")) == width


def test_a_row_as_wide_as_max_columns_allows_is_loaded(run: Run, db: Database) -> None:
    texts = {f"p{i:03}": f"text of 23 characters {i % 10}" for i in range(600)}
    load(run, track("Wide", messageId="1", **texts))
    assert db.rows("SELECT id FROM wide") == db.rows("SELECT id FROM tracks") == [("1",)]


def test_a_frozen_schema_keeps_its_columns_and_loses_no_value(run: Run, db: Database) -> None:
    load(run, track("Known", messageId="1", a=1))
    tables = {table: db.types(table) for table in db.tables()}
    result = load(
        run,
        track("Known", messageId="2", a=2, b={"c": [3]}, context={"device": {"id": "x"}}),
        track("Email Opened", messageId="3", campaign_id=4, utm="y"),
        env={"LOADER_SCHEMA_CONTRACT": "freeze"},
    )
    assert {table: db.types(table) for table in db.tables()} == tables
    assert result["schema_changes"] == []
    assert db.rows("SELECT id, a, _extra FROM known ORDER BY id") == [
        ("1", 1, None),
        ("2", 2, {"b_c": [3], "context_device_id": "x"}),
    ]
    assert db.rows("SELECT campaign_id, _extra FROM email_opened") == [(4, {"utm": "y"})]
    assert db.rows(EXTRA.format("tracks")) == [
        ("1", None),
        ("2", {"context_device_id": "x"}),
        ("3", None),
    ]


def test_a_list_of_collections_narrows_the_tables(run: Run, db: Database, write: Write) -> None:
    write(
        "loader.toml",
        '[[source]]\nname = "Customer.io"\ncollections = ["Email Opened", "Order Completed"]',
    )
    load(
        run,
        track("Email Opened", messageId="1", campaign_id=1),
        track("Order Completed", messageId="2", total=5),
        track("Cart Seen", messageId="3", total=6, nested={"a": 1}),
        track("Email Bounced", messageId="4", campaign_id=7),
    )
    assert "cart_seen" not in db.tables()
    assert db.rows("SELECT id, event, _extra FROM tracks ORDER BY id") == [
        ("1", "email_opened", None),
        ("2", "order_completed", None),
        ("3", "cart_seen", {"total": 6, "nested_a": 1}),
        ("4", "email_bounced", {"campaign_id": 7}),
    ]
    assert db.rows("SELECT id, total FROM order_completed") == [("2", 5)]
    assert db.rows("SELECT id FROM email_bounced") == []


def test_a_column_of_a_type_that_is_not_ours_gets_nothing_and_loses_nothing(
    run: Run, db: Database
) -> None:
    load(run, track("Cart Seen", messageId="1", price=1))
    db.execute("ALTER TABLE cart_seen ALTER price TYPE double precision")
    load(run, track("Cart Seen", messageId="2", price=2))
    assert db.rows("SELECT price, _extra FROM cart_seen ORDER BY id") == [
        (1.0, None),
        (None, {"price": 2}),
    ]


def test_a_context_column_of_a_type_that_is_not_ours_does_not_stop_a_load(
    run: Run, db: Database
) -> None:
    load(run, track("Email Opened", messageId="1", context={"build": 1}))
    db.execute("ALTER TABLE tracks ALTER context_build TYPE integer")
    load(run, track("Email Bounced", messageId="2", context={"build": 2}))
    assert db.rows("SELECT _extra FROM email_bounced") == [({"context_build": 2},)]


def test_keys_outside_the_known_envelope_are_kept_in_extra(run: Run, db: Database) -> None:
    event = track("Email Opened", messageId="1") | {"sourceNote": {"a": [1]}, "messageid": "x"}
    load(run, json.dumps(event))
    assert db.rows("SELECT _extra FROM tracks") == [({"sourceNote": {"a": [1]}, "messageid": "x"},)]


def test_a_column_that_a_person_narrowed_loses_no_value(run: Run, db: Database) -> None:
    load(run, track("Cart Seen", messageId="1", note="x", total=1.5))
    db.execute("ALTER TABLE cart_seen ALTER note TYPE varchar(3), ALTER total TYPE numeric(5, 1)")
    load(run, track("Cart Seen", messageId="2", note="long", total=1.25))
    assert db.rows("SELECT note, total, _extra FROM cart_seen WHERE id = '2'") == [
        (None, None, {"note": "long", "total": 1.25})
    ]
