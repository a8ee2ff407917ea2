"""Usual senders with many keys: maps, many events, and what a source keeps whole."""

import json
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Run, Write, track


def carts(count: int, keys: int, **more: Any) -> list[dict[str, Any]]:
    """Calls with a map of products: each has keys of its own."""
    return [
        track("Cart Viewed", cart={f"sku-{n:05}-{at}": at for at in range(keys)}, **more)
        for n in range(count)
    ]


def values(db: Database) -> dict[str, dict[str, Any]]:
    """What is stored of the properties, by id, in columns and in `_extra`."""
    found = db.rows("SELECT to_jsonb(cart_viewed), coalesce(_extra, '{}') FROM cart_viewed")
    return {
        row["id"]: extra | {n: v for n, v in row.items() if n.startswith("cart_") and v is not None}
        for row, extra in found
    }


def test_a_map_of_products_fills_the_columns_and_then_extra(
    run: Run, db: Database, write: Write
) -> None:
    """Each value is there under the name its column has or would have had."""
    calls = carts(700, 10, total=3)
    result = run("load", write("a.ndjson", *calls), "--json", env={"LOADER_MAX_COLUMNS": "100"})
    assert result.code == 0, result.err
    assert len(db.types("cart_viewed")) == 100
    assert "total" in db.types("cart_viewed")  # a property that is no map comes first
    stored = values(db)
    for call in calls:
        expected = {
            f"cart_{key.replace('-', '_')}": value
            for key, value in call["properties"]["cart"].items()
        }
        assert {n: v for n, v in stored[call["messageId"]].items() if n != "total"} == expected
    added = 100 - len(db.types("tracks")) - 1
    assert result.json["extra_values"] == 7_000 - added


def test_a_later_load_goes_on_with_the_columns_there_are(
    run: Run, db: Database, write: Write
) -> None:
    env = {"LOADER_MAX_COLUMNS": "60"}
    first, second = carts(50, 10), carts(50, 10)
    assert run("load", write("a.ndjson", *first), env=env).code == 0
    before = db.types("cart_viewed")
    assert run("load", write("b.ndjson", *second), env=env).code == 0
    assert db.types("cart_viewed") == before
    stored = values(db)
    assert all(len(stored[call["messageId"]]) == 10 for call in (*first, *second))
    filled = [n for n in before if n.startswith("cart_")]
    for name in filled:
        assert db.value(f"SELECT count({name}) FROM cart_viewed") == 2


def test_maps_of_objects_and_with_usual_keys_lose_nothing(
    run: Run, db: Database, write: Write
) -> None:
    calls = [
        track(
            "Cart Viewed",
            cart={"total": n, f"sku{n}x": {"qty": 1, "price": 2.5}, f"Sku{n}X": {"qty": 2}},
        )
        for n in range(400)
    ]
    result = run("load", write("a.ndjson", *calls), "--json", env={"LOADER_MAX_COLUMNS": "60"})
    assert result.code == 0, result.err
    stored = values(db)
    for n, call in enumerate(calls):
        found = stored[call["messageId"]]
        assert found.pop("cart_total") == n
        assert sorted(found.values()) == [1, 2, 2.5]
        assert found[f"cart_sku{n}x_qty"] == 1
    assert db.value("SELECT count(cart_total) FROM cart_viewed") == 400


# whole objects

CONFIG = """
[[source]]
name = "Customer.io"
json_columns = ["cart", "order.items"]
"""


@pytest.mark.parametrize("count", [5, 900], ids=["by record", "by block"])
def test_an_object_that_the_source_keeps_whole_is_one_jsonb_column(
    count: int, run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "loader.toml").write_text(CONFIG)
    calls = carts(count, 5, order={"items": {f"a{count}": {"n": 1}}, "total": 7})
    result = run("load", write("a.ndjson", *calls), "--json", cwd=tmp_path)
    assert result.code == 0, result.err
    types = db.types("cart_viewed")
    assert (types["cart"], types["order_items"], types["order_total"]) == (
        "jsonb",
        "jsonb",
        "bigint",
    )
    assert not [name for name in types if name.startswith("cart_")]
    stored = dict(db.rows("SELECT id, cart FROM cart_viewed"))
    assert stored == {call["messageId"]: call["properties"]["cart"] for call in calls}
    assert db.value("SELECT count(*) FROM cart_viewed WHERE _extra IS NOT NULL") == 0


def test_a_column_for_whole_objects_is_jsonb_whatever_comes_first(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "loader.toml").write_text(CONFIG)
    assert run("load", write("a.ndjson", track("Cart Viewed", cart=1)), cwd=tmp_path).code == 0
    later = write("b.ndjson", track("Cart Viewed", cart={"a": {"b": [1, None]}}))
    assert run("load", later, cwd=tmp_path).code == 0
    found = db.rows("SELECT cart::text FROM cart_viewed ORDER BY id")
    assert found == [("1",), (json.dumps({"a": {"b": [1, None]}}),)]


# many events


@pytest.mark.parametrize("count", [30, 2_000], ids=["by record", "by block"])
def test_events_beyond_max_tables_go_to_tracks_alone(
    count: int, run: Run, db: Database, write: Write
) -> None:
    """Nothing is lost, and the load says so."""
    env = {"LOADER_MAX_TABLES": "9"}
    calls = [track(f"Event {n % 10}", n=n) for n in range(count)]
    result = run("load", write("a.ndjson", *calls), "--json", env=env)
    assert result.code == 0, result.err
    tables = [name for name in db.tables() if name.startswith("event_")]
    assert len(tables) == 2
    assert result.json["rows_loaded"] == count
    assert result.json["without_table"] == count * 8 // 10
    assert "max_tables" in result.err
    rows = "SELECT count(*) FROM tracks WHERE (_extra ->> 'n')::int % 10 = {} AND event_text = {}"
    assert db.value(rows.format(7, "'Event 7'")) == count // 10
    again = write("b.ndjson", track("Event 0", n=1), track("Another", n=1))
    result = run("load", again, "--json", env=env)
    assert result.json["without_table"] == 1
    assert [name for name in db.tables() if name.startswith("event_")] == tables
