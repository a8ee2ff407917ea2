"""What is left out on purpose: counted everywhere, and no reject."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptance.faults import NO_SESSION, statuses, wait_until
from acceptance.harness import Database, Run, Write, ndjson, track, webhook

Start = Callable[..., "subprocess.Popen[bytes]"]
KINDS = ("identify", "page", "screen", "group", "alias")
COUNTS = "SELECT records_read, rows_loaded, duplicates, rejects, ignored FROM _loads ORDER BY id"
KEPT = {"LOADER_SOURCE": json.dumps([{"ignore_types": []}]), "LOADER_MAX_REJECT_RATIO": "1"}


def rules(**keys: Any) -> dict[str, str]:
    """The settings of a source with some keys."""
    return {"LOADER_SOURCE": json.dumps([keys])}


def others(number: int) -> list[dict[str, Any]]:
    """Segment's calls that are no events, with keys of their own."""
    return [
        {"type": KINDS[n % 5], "messageId": f"o{n}", "userId": "u", "traits": {f"t{n}": n}}
        for n in range(number)
    ]


def test_an_archive_of_segment_is_loaded_and_its_other_calls_are_counted(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *others(8), track("Email Opened", messageId="1"), *others(2), "{bad")
    columns = db.types("tracks")
    result = run("load", path, "--json", env={"LOADER_MAX_REJECT_RATIO": "0.5"})
    assert (result.code, result.err) == (0, "")
    assert result.json["ignored"] == {"ignored_type": 10}
    assert db.rows(COUNTS) == [(12, 1, 0, 1, 10)]
    assert db.value("SELECT count(*) FROM tracks") == 1
    assert db.rows("SELECT reason FROM _rejects") == [("invalid_json",)]
    assert db.rows("SELECT records_done, finished FROM _files") == [(12, True)]
    assert db.types("tracks") == columns
    assert "pages" not in db.tables()


def test_the_share_of_rejects_is_that_of_the_records_that_are_not_ignored(
    run: Run, write: Write
) -> None:
    path = write("a.ndjson", *others(98), track("E"), "{bad")
    result = run("load", path)
    assert result.code == 3
    assert "1 of 2 records were rejected (0.5)" in result.err


def test_the_sum_and_the_reasons_are_printed(run: Run, write: Write) -> None:
    path = write(
        "a.ndjson",
        *others(3),
        track("Cart Seen"),
        webhook("email", "opened", event_id="1", timestamp=1_500_000_000),
        track("E"),
    )
    result = run("load", path, env=rules(ignore_events=["Cart seen"], after="2020-01-01"))
    assert (
        "records 6 = rows 1 + duplicates 0 + rejects 0 "
        "+ ignored 5 (ignored_type 3, ignored_event 1, out_of_range 1); values in _extra 0"
    ) in result.out.splitlines()
    status = run("status").out.splitlines()
    head = next(line.split() for line in status if "duplicates" in line)
    row = next(line.split() for line in status if "success" in line)
    assert head[7] == "ignored"
    assert row[3:9] == ["00:00:00", "6", "1", "0", "0", "5"] or row[4:9] == list("61005")


def test_a_plan_counts_what_a_load_counts(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", *others(3), track("Cart Seen", size=1), track("E"))
    env = rules(ignore_events=["Cart Seen"])
    names = ("records_read", "rows_loaded", "duplicates", "rejects", "ignored")
    plan, load = (run(command, path, "--json", env=env).json for command in ("plan", "load"))
    assert {name: plan[name] for name in names} == {name: load[name] for name in names}
    assert plan["schema_changes"] == load["schema_changes"]
    assert "cart_seen" not in db.tables()


def test_times_are_those_of_the_column_timestamp(run: Run, db: Database, write: Write) -> None:
    days = [f"2026-01-0{day}T12:00:00Z" for day in range(1, 8)]
    path = write("a.ndjson", *(track("E", messageId=day[8:10], timestamp=day) for day in days))
    env = rules(after="2026-01-02T12:00:00Z", before="2026-01-05T12:00:00Z")
    assert run("load", path, "--json", env=env).json["ignored"] == {"out_of_range": 4}
    assert db.rows("SELECT id FROM tracks ORDER BY id") == [("02",), ("03",), ("04",)]
    # With other rules, the rest of a finished file comes with --force, and nothing comes twice.
    again = run("load", path, "--force", "--json", env=rules(after="2026-01-02T12:00:00Z")).json
    assert (again["rows_loaded"], again["duplicates"]) == (3, 3)
    assert again["ignored"] == {"out_of_range": 1}


def test_what_was_ignored_can_be_loaded_by_other_rules(run: Run, db: Database) -> None:
    """Its id is not known, as that of a duplicate would be."""
    data = ndjson(track("Cart Seen", messageId="1"), track("Cart Seen", messageId="1"))
    assert run("load", "-", stdin=data, env=rules(ignore_events=["Cart Seen"])).code == 0
    assert run("load", "-", stdin=data).code == 0
    assert db.rows(COUNTS) == [(2, 0, 0, 0, 2), (2, 1, 1, 0, 0)]


def test_calls_in_envelopes_count_each(run: Run, db: Database) -> None:
    envelope = {"batch": [*others(3), track("E"), {"type": "merge"}]}
    array = [*others(2), track("E"), envelope]
    data = json.dumps(envelope).encode() + b"\n" + json.dumps(array, indent=1).encode()
    ratio = {"LOADER_MAX_REJECT_RATIO": "1"}
    assert run("load", "-", stdin=data, env=ratio).code == 0
    assert db.rows(COUNTS) == [(13, 2, 1, 2, 8)]
    assert db.rows("SELECT position FROM _rejects ORDER BY position") == [
        ("line 1, item 5",),
        ("line 31, item 4, item 5",),
    ]


def test_a_load_that_was_killed_goes_on_counting_where_it_stopped(
    run: Run, start: Start, db: Database, tmp_path: Path
) -> None:
    records = [
        record for n in range(4_000) for record in (track("E", messageId=f"m{n}"), *others(2))
    ]
    path = tmp_path / "a.ndjson"
    path.write_bytes(ndjson(*records))
    db.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id = 'm2000' THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER wait BEFORE INSERT ON tracks FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    process = start("load", path, url=db.url, env={"LOADER_BATCH_RECORDS": "1000"})
    wait_until(db, "SELECT count(*) > 0 FROM tracks")
    wait_until(db, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    process.kill()
    process.wait()
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    )
    db.execute("DROP TRIGGER wait ON tracks")
    wait_until(db, NO_SESSION)
    result = run("load", path, "--json", env={"LOADER_BATCH_RECORDS": "1000"})
    assert result.code == 0
    assert statuses(db) == ["interrupted", "success"]
    first, second = db.rows(COUNTS)
    assert (0 < first[4] < 8_000, second[4]) == (True, 8_000 - first[4])
    assert result.json["ignored"] == {"ignored_type": second[4]}
    assert [a + b for a, b in zip(first, second, strict=True)] == [12_000, 4_000, 0, 0, 8_000]
    assert db.rows("SELECT records_done, finished FROM _files") == [(12_000, True)]


@pytest.fixture
def rejected(run: Run, write: Write) -> Path:
    """Rejects of calls that a version before this one did not ignore."""
    path = write("a.ndjson", *others(3), {"type": "merge"}, json.dumps([{"batch": others(2)}]))
    assert run("load", path, env=KEPT).code == 0
    return path


def test_a_replay_settles_rejects_that_are_ignored_now(
    run: Run, db: Database, rejected: Path
) -> None:
    assert db.value("SELECT count(*) FROM _rejects") == 6
    done = run("rejects", "replay", "--json").json
    assert (done["records_read"], done["rejects"]) == (6, 1)
    assert done["ignored"] == {"ignored_type": 5}
    outcomes = "SELECT outcome, count(*) FROM _rejects GROUP BY 1 ORDER BY 1"
    assert db.rows(outcomes) == [("ignored", 5), ("rejected", 1)]
    assert [one["outcome"] for one in run("rejects", "list", "--json").json] == ["rejected"]
    assert len(run("rejects", "list", "--json", "--all").json) == 6
    assert run("status", "--json").json["rejects"] == {"not_a_track_call": 1}
    again = run("rejects", "replay", "--json").json
    assert (again["records_read"], again["rejects"], again["ignored"]) == (1, 1, {})


def test_a_reject_of_which_some_is_loaded_now_and_the_rest_is_ignored_is_loaded(
    run: Run, db: Database, rejected: Path
) -> None:
    raw = json.dumps({"batch": [*others(2), track("E", messageId="1")]})
    db.execute("UPDATE _rejects SET raw = %s WHERE raw LIKE '%%merge%%'", raw)
    done = run("rejects", "replay", "--json").json
    assert (done["records_read"], done["rows_loaded"]) == (8, 1)
    assert done["ignored"] == {"ignored_type": 7}
    outcomes = "SELECT outcome, count(*) FROM _rejects GROUP BY 1 ORDER BY 1"
    assert db.rows(outcomes) == [("ignored", 5), ("loaded", 1)]


def test_the_settings_of_a_source_are_shown(run: Run, tmp_path: Path) -> None:
    env = rules(ignore_types=["page"], ignore_events=["Cart Seen"], after="2026-01-31")
    shown = run("config", "show", env=env).out
    assert "page, Cart Seen, before 2026-01-31T00:00:00+00:00" in shown
    [source] = run("config", "show", "--json", env=env).json["sources"]
    assert (source["ignore_types"], source["ignore_events"]) == (["page"], ["Cart Seen"])
    assert source["after"].startswith("2026-01-31")
