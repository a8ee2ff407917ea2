"""From Python: `loader.load`, `loader.normalize` and `loader.read`."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from acceptance.harness import ROOT, Database, Write, track, webhook

import loader

BIG = 9007199254740993


def test_load_loads_and_returns_counts(
    db: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write("a.ndjson", track("Email Opened", messageId="1"), "{bad")
    result = loader.load(str(path), warehouse_url=db.url)
    assert (result.source, result.schema, result.status) == ("Customer.io", "customerio", "success")
    assert (result.counts.records_read, result.counts.rows_loaded, result.counts.rejects) == (
        2,
        1,
        1,
    )
    assert result.reject_ratio == 0.5
    assert db.rows("SELECT id FROM email_opened") == [("1",)]
    again = loader.load([str(path)], warehouse_url=db.url, source="Customer.io", batch_records=10)
    assert (again.files_skipped, again.counts.records_read) == (1, 0)
    assert loader.load(str(path), warehouse_url=db.url, force=True).counts.duplicates == 2


def test_load_takes_one_path_or_several_as_texts_or_paths(
    db: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = write("1.ndjson", track("E")), write("2.ndjson", track("E"))
    for paths, files in ((one, 1), ([one, str(two)], 1), ((two,), 0), (iter([str(one)]), 0)):
        assert loader.load(paths, warehouse_url=db.url).files == files
    assert db.value("SELECT count(*) FROM tracks") == 2


def test_an_unknown_keyword_loads_nothing_anywhere(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`warehouse_uri=` was ignored, and the events went into an embedded database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOADER_WAREHOUSE_DIR", str(tmp_path / "wh"))
    wrong: Any = {"warehouse_uri": "postgresql://db/events"}
    with pytest.raises(TypeError, match="did you mean 'warehouse_url'") as refused:
        loader.load(write("a.ndjson", track("E")), **wrong)
    assert isinstance(refused.value, loader.UsageError)
    assert not (tmp_path / "wh").exists()


def test_a_source_that_is_not_configured_is_asked_for(
    db: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("loader.toml", '[[source]]\nname = "Shop"')
    path = write("a.ndjson", track("E"))
    with pytest.raises(loader.UsageError, match="did you mean 'Shop'"):
        loader.load(path, source="Shopp", warehouse_url=db.url)
    made = loader.load(path, source="Shopp", new_source=True, warehouse_url=db.url)
    assert (made.schema, made.is_first) == ("shopp", True)
    again = loader.load(path, source="Shopp", new_source=True, warehouse_url=db.url)
    assert again.is_first is False


def test_what_is_raised_and_returned_can_be_named() -> None:
    errors = vars(loader.errors).items()
    tree = {n for n, one in errors if isinstance(one, type) and issubclass(one, loader.LoaderError)}
    assert tree | {"LoadResult", "LoaderWarning"} <= set(loader.__all__)
    assert all(hasattr(loader, name) for name in loader.__all__)
    assert loader.LoadResult.__module__ == "loader.load.result"
    assert not hasattr(loader, "LoadResults")


def test_mypy_knows_the_settings(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import loader\n"
        "from pathlib import Path\n"
        "done: loader.LoadResult = loader.load(Path('x'), batch_records=5, auto_migrate=False)\n"
        "loader.load(['x', Path('y')], warehouse_url=None, schema_contract='freeze')\n"
        "loader.load('x', warehouse_uri='y')\n"
        "loader.load('x', max_columns='500')\n"
        "loader.load('x', schema_contract='thaw')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line]
    assert wrong == ["5", "6", "7"], done.stdout + done.stderr


def test_load_raises_the_errors_of_one_tree(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(loader.LoaderError, match="nope"):
        loader.load(str(tmp_path / "nope"), warehouse_url=db.url)
    with pytest.raises(loader.LoaderError, match="batch_records"):
        loader.load("x", warehouse_url=db.url, batch_records=0)
    with pytest.raises(loader.LoaderError, match="postgresql://"):
        loader.load(str(tmp_path), warehouse_url="nonsense")


def test_normalize_gives_a_frame_per_table_with_explicit_types() -> None:
    frames = loader.normalize(
        [
            track("Cart Seen", messageId="1", zip="001", count=1, big=BIG, tags=["a"], vip=True),
            track("Cart Seen", messageId="2", count=None, day="2026-01-02"),
            track("Cart Seen", messageId="3", count=3),
            '{"event": "Cart Seen", "messageId": "4", "properties": {"price": 1.10}}',
            webhook("email", "opened", event_id="5", campaign_id="7", prefetched=True),
        ]
    )
    assert set(frames) == {"tracks", "cart_seen", "email_opened"}
    seen = frames["cart_seen"].set_index("id")
    assert {name: str(seen[name].dtype) for name in ("zip", "count", "big", "vip", "day")} == {
        "zip": "string",
        "count": "Int64",
        "big": "Int64",
        "vip": "boolean",
        "day": "string",
    }
    assert (seen.loc["1", "zip"], seen.loc["1", "big"], seen.loc["1", "tags"]) == (
        "001",
        BIG,
        ["a"],
    )
    assert seen["count"].tolist() == [1, pd.NA, 3, pd.NA]
    price = seen.loc["4", "price"]
    assert (type(price), str(price)) == (Decimal, "1.10")
    assert seen.loc["1", "timestamp"] == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert str(seen["timestamp"].dtype) == "datetime64[us, UTC]"
    [opened] = frames["email_opened"].to_dict("records")
    assert (opened["campaign_id"], opened["prefetched"], opened["_extra"]) == (7, True, None)
    assert frames["tracks"]["id"].tolist() == ["1", "2", "3", "4", "5"]
    assert "uuid_ts" not in frames["tracks"]


def test_normalize_shows_what_a_load_would_reject() -> None:
    frames = loader.normalize(
        [track("E", messageId="1"), "{bad", {"type": "merge"}, b"\xff", track("E", messageId="1")]
    )
    assert frames["_rejects"][["position", "reason"]].to_records(index=False).tolist() == [
        ("record 2", "invalid_json"),
        ("record 3", "not_a_track_call"),
        ("record 4", "invalid_utf8"),
    ]
    assert frames["tracks"]["id"].tolist() == ["1"]
    assert set(loader.normalize([])) == {"tracks"}


def test_normalize_leaves_out_what_a_load_ignores_by_default() -> None:
    kinds = ("identify", "page", "screen", "group", "alias")
    calls = [track("E", messageId="1"), *({"type": kind, "userId": "u"} for kind in kinds)]
    frames = loader.normalize(calls)
    assert set(frames) == {"tracks", "e"}
    assert frames["tracks"]["id"].tolist() == ["1"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("events.ndjson", "str"),
        (b'{"event": "E"}', "bytes"),
        (PurePosixPath("events.ndjson"), "PurePosixPath"),
        ({"event": "E", "messageId": "1"}, "dict"),
        (pd.DataFrame({"event": ["E"]}), "DataFrame"),
        (None, "NoneType"),
    ],
    ids=["path", "text", "Path", "one record", "DataFrame", "nothing"],
)
def test_normalize_says_what_it_takes_instead_of_a_path_or_one_record(
    given: Any, kind: str
) -> None:
    with pytest.raises(TypeError, match=f"^normalize takes records, not a {kind}: give it a list"):
        loader.normalize(given)


@pytest.mark.parametrize("value", [np.int64(5), pd.NA, Path("x")], ids=repr)
def test_normalize_takes_no_value_that_json_does_not_have(value: object) -> None:
    """They became texts, without a word."""
    with pytest.raises(TypeError, match=f"a {type(value).__name__} is no value of JSON"):
        loader.normalize([track("E", value=value)])


def test_normalize_takes_the_lines_of_a_file(write: Write) -> None:
    path = write("a.ndjson", track("E", messageId="1"), track("E", messageId="2"))
    with path.open("rb") as lines:
        assert loader.normalize(lines)["e"]["id"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    "value", [Decimal("1.10"), Decimal("12345678901234567890.12"), Decimal(5)], ids=str
)
def test_normalize_takes_a_decimal_for_a_number(value: Decimal) -> None:
    frames = loader.normalize([track("Paid", amount=value)])
    amount: Any = frames["paid"]["amount"].tolist()[0]
    assert (type(amount) is str, amount) == (False, value)


def test_normalize_agrees_with_a_load(
    db: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records = [
        track("Cart Seen", messageId="1", a=1, b="x\ty", c={"d": [1, None]}, e=1.5),
        track("Cart Seen", messageId="2", a="two", context={"device": {"id": 7}}),
        track("Email Opened", messageId="3", campaign_id="none", timestamp="never"),
        webhook("email", "clicked", event_id="4", link_id=3, machine=False),
    ]
    loader.load(str(write("a.ndjson", *records)), warehouse_url=db.url)
    now = {"uuid_ts", "received_at", "timestamp"}
    for table, frame in loader.normalize(records).items():
        found = {row.pop("id"): row for row in db.dicts(f"SELECT * FROM {table}")}
        shown = {row.pop("id"): row for row in frame.to_dict("records")}
        assert set(found) == set(shown)
        for key, row in found.items():
            loaded = {name: value for name, value in row.items() if value is not None}
            framed = {
                name: value
                for name, value in shown[key].items()
                if isinstance(value, list | dict) or not pd.isna(value)
            }
            for name in now:
                loaded.pop(name, None)
                framed.pop(name, None)
            assert framed == loaded, table


def test_read_gives_the_types_and_values_of_normalize(
    db: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records = [
        track("Cart Seen", messageId="1", a=BIG, b="", c={"d": [1.10, None]}, e=1.50, f=True),
        track("Cart Seen", messageId="2", b="x\ty", timestamp="2026-05-01T00:00:00.123456Z"),
    ]
    loader.load(str(write("a.ndjson", *records)), warehouse_url=db.url)
    for table, made in loader.normalize(records).items():
        frame = loader.read(table, warehouse_url=db.url)
        assert set(frame) == {*made, "uuid_ts"}
        left = frame[list(made)].sort_values("id", ignore_index=True)
        pd.testing.assert_frame_equal(left, made.sort_values("id", ignore_index=True))
    assert loader.read("email_opened", warehouse_url=db.url).empty
    loads = loader.read("_loads", warehouse_url=db.url)
    assert loads["rows_per_table"].tolist() == [{"tracks": 2, "cart_seen": 2}]
    assert loads["rows_loaded"].dtype == "Int64"
    db.execute("CREATE VIEW days AS SELECT date '2026-05-01' AS day, 1.5::float8 AS share")
    days = loader.read("days", warehouse_url=db.url).to_dict("records")
    assert days == [{"day": "2026-05-01", "share": Decimal("1.5")}]


def test_read_takes_rows_from_one_time_on_until_before_another(
    db: Database, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    times = ["2026-05-01T00:00:00Z", "2026-05-01T23:59:59.999999Z", "2026-05-02T00:00:00Z"]
    records = [track("E", messageId=str(n), timestamp=time) for n, time in enumerate(times)]
    loader.load(str(write("a.ndjson", *records)), warehouse_url=db.url)

    def read(**bounds: Any) -> list[str]:
        return sorted(loader.read("tracks", warehouse_url=db.url, **bounds)["id"])

    assert read(since="2026-05-01", until="2026-05-02") == ["0", "1"]
    assert read(since=date(2026, 5, 2)) == ["2"]
    assert read(since=datetime(2026, 5, 2, 2, tzinfo=timezone(timedelta(hours=2)))) == ["2"]
    assert read(until=datetime(2026, 5, 1)) == []  # noqa: DTZ001 - as in a notebook
    with pytest.raises(loader.UsageError, match="since is no time"):
        read(since="yesterday")
    with pytest.raises(loader.UsageError, match=r"no table 'track'.*tracks"):
        loader.read("track", warehouse_url=db.url)
    with pytest.raises(loader.UsageError, match="no column with times"):
        loader.read("alembic_version", warehouse_url=db.url, since="2026-05-01")


def test_read_takes_names_and_days_of_views_of_analysts(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A percent sign began a parameter; and a day was no time to choose rows by."""
    monkeypatch.chdir(tmp_path)
    db.execute(
        'CREATE VIEW "open rate %" AS '
        "SELECT date '2026-05-01' + n AS day, n AS \"%s of all\" FROM generate_series(0, 3) AS n"
    )
    frame = loader.read(
        "open rate %", since="2026-05-02", until=date(2026, 5, 4), warehouse_url=db.url
    )
    assert frame["%s of all"].tolist() == [1, 2]


def test_read_keeps_every_digit_and_refuses_in_words(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    db.execute(
        "CREATE VIEW floats AS SELECT 0.1::float8 + 0.2::float8 AS f; "
        "CREATE VIEW far AS SELECT timestamptz '20000-01-01' AS t"
    )
    assert loader.read("floats", warehouse_url=db.url)["f"].tolist() == [
        Decimal("0.30000000000000004")
    ]
    with pytest.raises(loader.UsageError, match="years 1 to 9999"):
        loader.read("far", warehouse_url=db.url)
    assert loader.read("far", until="2030-01-01", warehouse_url=db.url).empty
    for name in ("tracks\0", "\ud800"):
        with pytest.raises(loader.UsageError, match="there is no table"):
            loader.read(name, warehouse_url=db.url)


def test_objects_that_are_to_stay_whole_are_normalized_so() -> None:
    records = [track("Cart", cart={"a": 1}), track("Cart", cart={"b": {"c": 2}}, order={"n": 1})]
    frame = loader.normalize(records, json_columns=["cart"])["cart"]
    assert frame["cart"].tolist() == [{"a": 1}, {"b": {"c": 2}}]
    assert "order_n" in frame


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "dict"])
def test_an_integer_of_any_length_is_normalized(as_text: bool) -> None:
    """Python refuses to write integers of more than 4,300 digits."""
    digits = "9" * 5_000
    record: Any = f'{{"event":"Email Opened","messageId":"x","properties":{{"v":[{digits}]}}}}'
    if not as_text:
        value = sum(9 * 10**n for n in range(5_000))
        record = {"event": "Email Opened", "messageId": "x", "properties": {"v": [value]}}
    frames = loader.normalize([record])
    assert frames["email_opened"]["v"].tolist() == [[digits]]
