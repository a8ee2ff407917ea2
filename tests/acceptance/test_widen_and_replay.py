"""`rejects list`, `rejects replay`, `columns list`, `columns widen`, as a person types them."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from acceptance.faults import Start, check_settled, locked, mixed, sentence, statuses, wait_until
from acceptance.harness import Database, Run, Write, track, webhook


def alembic(*arguments: str, url: str) -> "subprocess.CompletedProcess[str]":
    """Run Alembic in the repository's root, as the owner of the database would."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        env=os.environ | {"LOADER_WAREHOUSE_URL": url},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def clean(db: Database) -> None:
    """Alembic sees no difference between the declared tables and those that are there."""
    done = alembic("check", url=db.url)
    assert done.returncode == 0, done.stdout + done.stderr


# rejects

WIDE = {"LOADER_MAX_REJECT_RATIO": "1"}
TINY = WIDE | {"LOADER_MAX_RECORD_BYTES": "1024"}


@pytest.fixture
def rejected(run: Run, db: Database, write: Write) -> tuple[Path, Path]:
    """Two files with rejects of several reasons."""
    first = write(
        "first.ndjson",
        track("Email Opened", messageId="good"),
        {"type": "merge", "userId": "u"},
        "{broken",
        "3",
    )
    second = write(
        "second.ndjson",
        {"type": "merge", "userId": "u2"},
        track("Email Opened", messageId="large", subject='ü\t"\\' * 600),
    )
    assert run("load", first, env=TINY).code == 0
    assert run("load", second, env=TINY).code == 0
    return first, second


def test_rejects_are_listed_by_load_file_and_reason(
    run: Run, db: Database, rejected: tuple[Path, Path]
) -> None:
    first, second = rejected
    everything = run("rejects", "list", "--json").json
    assert len(everything) == 5
    assert {one["reason"] for one in everything} >= {"not_a_track_call", "invalid_json"}

    def count(*options: str) -> int:
        return len(run("rejects", "list", "--json", *options).json)

    assert count("--load", "1") == 3
    assert count("--load", "2") == 2
    assert count("--file", str(first)) == 3
    assert count("--reason", "not_a_track_call") == 2
    assert count("--reason", "not_a_track_call", "--file", str(second)) == 1
    assert count("--load", "9") == 0
    text = run("rejects", "list", "--reason", "record_too_large").out
    assert (str(second) in text, "record_too_large" in text) == (True, True)
    assert run("rejects", "list", "--load", "9").out.strip() == "no rejects"


def test_raw_rejects_can_be_loaded_as_they_are_printed(
    run: Run, db: Database, rejected: tuple[Path, Path]
) -> None:
    result = run("rejects", "list", "--raw")
    assert result.code == 0
    lines = result.out.splitlines()
    assert len(lines) == 5
    again = run("load", "-", "--json", stdin=result.out.encode(), env=WIDE)
    assert (again.code, again.json["records_read"]) == (0, 5)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_records_over_several_lines_are_printed_on_one_and_can_be_loaded(
    run: Run, db: Database, tmp_path: Path, line_end: str
) -> None:
    large = track("Email Opened", messageId="large", subject="two\nlines" + "x" * 2_000)
    bad = [{"type": "merge", "userId": "u"}, {"batch": {}}, {"event": 1, "size": float("nan")}]
    path = tmp_path / "pretty.json"
    path.write_bytes(json.dumps([large, *bad], indent=2).replace("\n", line_end).encode())
    assert run("load", path, env=TINY).code == 0
    raws = [raw for (raw,) in db.rows("SELECT raw FROM _rejects ORDER BY id")]
    assert [line_end in raw for raw in raws] == [True] * 4
    out = run("rejects", "list", "--raw").out
    assert [line.split() for line in out.splitlines()] == [raw.split() for raw in raws]
    again = run("load", "-", "--json", stdin=out.encode(), env=WIDE).json
    assert (again["records_read"], again["rows_loaded"], again["rejects"]) == (4, 1, 3)
    subject = large["properties"]["subject"]
    assert db.rows("SELECT id, subject FROM email_opened") == [("large", subject)]


def test_text_that_is_not_json_does_not_become_json_by_being_printed(
    run: Run, db: Database
) -> None:
    broken = b'[\n{"event":\n"E",\n"subject": "a\rb"}\n]\n'
    assert run("load", "-", stdin=broken, env=WIDE).code == 0
    out = run("rejects", "list", "--raw").out
    assert out == '{"event": "E", "subject": "a\rb"}\n'
    again = run("load", "-", "--json", stdin=out.encode(), env=WIDE).json
    assert (again["records_read"], again["rejects"]) == (1, 1)


def large_ids(number: int) -> list[dict[str, Any]]:
    return [
        track("Email Opened", messageId=f"large{i}", subject="x" * 2_000) for i in range(number)
    ]


def test_rejects_are_replayed_once_and_marked_with_when_and_by_which_load(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *large_ids(3), {"type": "merge"})
    assert run("load", path, env=TINY).code == 0
    assert db.value("SELECT count(*) FROM tracks") == 0
    still = run("rejects", "replay", "--json", env=TINY).json
    assert (still["rows_loaded"], still["rejects"], still["records_read"]) == (0, 4, 4)
    done = run("rejects", "replay", "--json", env=WIDE).json
    assert (done["rows_loaded"], done["rejects"], done["duplicates"]) == (0, 4, 0) or (
        done["rows_loaded"],
        done["rejects"],
        done["duplicates"],
    ) == (3, 1, 0)
    if done["rows_loaded"] == 0:
        # What was too large is stored up to the limit, and cannot be loaded from there.
        assert db.value("SELECT count(*) FROM _rejects WHERE outcome = 'rejected'") == 4
        return
    assert db.value("SELECT count(*) FROM email_opened") == 3
    assert db.value("SELECT count(*) FROM _rejects WHERE outcome = 'loaded'") == 3


@pytest.fixture
def mended(run: Run, db: Database, write: Write) -> Path:
    """Rejects whose raw text a person has mended since."""
    path = write("a.ndjson", *[{"type": "merge", "userId": f"u{i}"} for i in range(5)])
    assert run("load", path, env=WIDE).code == 0
    for i in range(3):
        db.execute(
            "UPDATE _rejects SET raw = %s WHERE raw LIKE %s",
            json.dumps(track("Cart Seen", messageId=f"mended{i}", size=i)),
            f"%u{i}%",
        )
    # This one's event is there already.
    there = write("b.ndjson", track("Email Opened", messageId="there"))
    assert run("load", there).code == 0
    db.execute(
        "UPDATE _rejects SET raw = %s WHERE raw LIKE '%%u3%%'",
        json.dumps(track("Email Opened", messageId="there")),
    )
    return path


def test_a_replay_loads_what_was_mended_and_never_twice(
    run: Run, db: Database, mended: Path
) -> None:
    done = run("rejects", "replay", "--json").json
    counts = {name: done[name] for name in ("records_read", "rows_loaded", "duplicates", "rejects")}
    assert counts == {"records_read": 5, "rows_loaded": 3, "duplicates": 1, "rejects": 1}
    assert db.rows("SELECT id, size FROM cart_seen ORDER BY id") == [
        (f"mended{i}", i) for i in range(3)
    ]
    assert db.rows("SELECT outcome, count(*) FROM _rejects GROUP BY 1 ORDER BY 1") == [
        ("duplicate", 1),
        ("loaded", 3),
        ("rejected", 1),
    ]
    [load] = db.dicts("SELECT * FROM _loads ORDER BY id DESC LIMIT 1")
    assert load["rows_per_table"] == {"tracks": 3, "cart_seen": 3}
    assert load["schema_changes"] != []
    assert set(db.rows("SELECT replayed_by FROM _rejects")) == {(load["id"],)}
    assert db.value("SELECT bool_and(replayed_at >= rejected_at) FROM _rejects")
    assert db.value("SELECT count(*) FROM tracks") == 4
    assert db.value("SELECT count(*) FROM _files") == 2  # a reject is no file

    again = run("rejects", "replay", "--json").json
    assert (again["records_read"], again["rows_loaded"], again["rejects"]) == (1, 0, 1)
    assert db.value("SELECT count(*) FROM cart_seen") == 3
    assert len(run("rejects", "list", "--json").json) == 1
    assert len(run("rejects", "list", "--json", "--all").json) == 5
    status = run("status", "--json").json
    assert status["rejects"] == {"not_a_track_call": 1}
    # Loading the file again makes no reject of what was replayed.
    assert run("load", mended, "--force", env=WIDE).code == 0
    assert db.value("SELECT count(*) FROM _rejects") == 5
    clean(db)


def test_a_replay_of_some_leaves_the_others(run: Run, db: Database, mended: Path) -> None:
    assert run("rejects", "replay", "--file", "nowhere", "--json").json["records_read"] == 0
    assert run("rejects", "replay", "--load", "9", "--json").json["records_read"] == 0
    assert run("rejects", "replay", "--reason", "invalid_json", "--json").json["records_read"] == 0
    assert db.value("SELECT count(*) FROM _rejects WHERE replayed_at IS NOT NULL") == 0
    assert run("rejects", "replay", "--file", mended, "--json").json["rows_loaded"] == 3


def test_a_killed_replay_is_completed_by_the_next_one(
    run: Run, start: Start, db: Database, mended: Path
) -> None:
    with locked(db, "tracks", "SHARE", "lock table") as waits:
        process = start("rejects", "replay", url=db.url)
        wait_until(db, waits)
        process.kill()
        process.wait()
    assert db.value("SELECT count(*) FROM _rejects WHERE replayed_at IS NOT NULL") == 0
    assert run("rejects", "replay").code == 0
    assert db.value("SELECT count(*) FROM cart_seen") == 3
    assert statuses(db)[-2:] == ["interrupted", "success"]


@pytest.mark.parametrize("records", [1, 2])
def test_the_same_event_in_two_rejects_is_loaded_once(
    run: Run, db: Database, write: Write, records: int
) -> None:
    """In two batches, both were marked as loaded."""
    path = write("a.ndjson", *[{"type": "merge", "userId": f"u{i}"} for i in range(2)])
    assert run("load", path, env=WIDE).code == 0
    db.execute("UPDATE _rejects SET raw = %s", json.dumps(track("Cart Seen", messageId="one")))
    batches = {"LOADER_BATCH_RECORDS": str(records)}
    done = run("rejects", "replay", "--json", env=batches).json
    assert (done["rows_loaded"], done["duplicates"], done["rejects"]) == (1, 1, 0)
    outcomes = sorted(one for (one,) in db.rows("SELECT outcome FROM _rejects"))
    assert outcomes == ["duplicate", "loaded"]
    assert db.value("SELECT count(*) FROM cart_seen") == 1


# columns


def facts(run: Run, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = run("columns", "list", "--json", *arguments).json
    return {(one["table"], one["column"]): one for one in found}


def test_the_list_of_columns_says_what_is_known_of_each(
    run: Run, db: Database, write: Write
) -> None:
    records = [
        track("Email Opened", messageId="1", planName=1, campaign_id=3),
        track("Email Opened", messageId="2", planName=2, campaign_id="word"),
        track("Email Opened", messageId="3", campaign_id="other"),
        track("Email Opened", messageId="4", context={"app": {"name": "x"}}),
    ]
    assert run("load", write("a.ndjson", *records)).code == 0
    found = facts(run)
    plan = found["email_opened", "plan_name"]
    assert (plan["type"], plan["key"], plan["null_share"], plan["in_extra"]) == (
        "bigint",
        "planName",
        0.5,
        0,
    )
    assert plan["added_at"] == db.value("SELECT started_at FROM _loads").isoformat(
        timespec="seconds"
    )
    campaign = found["email_opened", "campaign_id"]
    assert (campaign["added_at"], campaign["null_share"], campaign["in_extra"]) == ("", 0.75, 2)
    assert found["tracks", "context_app_name"]["type"] == "text"
    assert found["email_bounced", "subject"]["null_share"] is None
    assert {table for table, _ in facts(run, "email_opened")} == {"email_opened"}
    text = run("columns", "list", "email_opened").out
    assert ("planName" in text, "declared" in text, "50.0%" in text) == (True, True, True)
    missing = run("columns", "list", "nope")
    sentence(missing.code, missing.err, 2, "'nope'")


def test_a_bigint_becomes_numeric_and_then_text_and_takes_its_values_back(
    run: Run, db: Database, write: Write
) -> None:
    records = [
        track("Email Opened", messageId="1", campaign_id=33),
        track("Email Opened", messageId="2", campaign_id=1.5),
        track("Email Opened", messageId="3", campaign_id="12345678901234567890123.25"),
        track("Email Opened", messageId="4", campaign_id="word"),
        track("Email Opened", messageId="5", campaign_id=[1, 2]),
        track("Email Opened", messageId="6", campaign_id="007"),
        track("Email Opened", messageId="7", campaign_id=True),
    ]
    assert run("load", write("a.ndjson", *records)).code == 0
    query = "SELECT id, campaign_id, _extra -> 'campaign_id' FROM email_opened ORDER BY id"

    result = run("columns", "widen", "email_opened", "campaign_id", "numeric")
    assert (result.code, "2 values moved" in result.out) == (0, True)
    assert db.rows(query) == [
        ("1", Decimal(33), None),
        ("2", Decimal("1.5"), None),
        ("3", Decimal("12345678901234567890123.25"), None),
        ("4", None, "word"),
        ("5", None, [1, 2]),
        ("6", None, "007"),
        ("7", None, True),
    ]
    clean(db)

    result = run("columns", "widen", "email_opened", "campaign_id", "text")
    assert (result.code, "3 values moved" in result.out) == (0, True)
    assert db.rows(query) == [
        ("1", "33", None),
        ("2", "1.5", None),
        ("3", "12345678901234567890123.25", None),
        ("4", "word", None),
        ("5", None, [1, 2]),
        ("6", "007", None),
        ("7", "true", None),
    ]
    assert db.value("SELECT count(*) FROM email_opened WHERE _extra = '{}'") == 0
    assert facts(run)["email_opened", "campaign_id"]["in_extra"] == 1
    clean(db)
    changes = db.rows("SELECT status, schema_changes, error FROM _loads ORDER BY id")[1:]
    assert [(status, error) for status, _, error in changes] == [("success", None)] * 2
    assert [change for _, [change], _ in changes] == [
        {
            "change": "widen column",
            "table": "email_opened",
            "column": "campaign_id",
            "before": before,
            "type": after,
        }
        for before, after in (("bigint", "numeric"), ("numeric", "text"))
    ]
    # The next load writes the new type.
    more = write("b.ndjson", track("Email Opened", messageId="8", campaign_id="another word"))
    assert run("load", more).code == 0
    assert db.value("SELECT campaign_id FROM email_opened WHERE id = '8'") == "another word"
    # `tracks` has the event too, without the property.
    assert db.value("SELECT count(*) FROM tracks") == 8
    assert run("status").code == 0


def test_a_boolean_becomes_text(run: Run, db: Database, write: Write) -> None:
    records = [
        track("Email Opened", messageId="1", machine=True),
        track("Email Opened", messageId="2", machine="perhaps"),
        track("Email Opened", messageId="3", machine=False),
    ]
    assert run("load", write("a.ndjson", *records)).code == 0
    refused = run("columns", "widen", "email_opened", "machine", "numeric")
    sentence(refused.code, refused.err, 2, "boolean", "text")
    assert run("columns", "widen", "email_opened", "machine", "text").code == 0
    assert db.rows("SELECT machine FROM email_opened ORDER BY id") == [
        ("true",),
        ("perhaps",),
        ("false",),
    ]
    clean(db)


def test_a_text_becomes_jsonb_and_takes_lists_and_objects_back(
    run: Run, db: Database, write: Write
) -> None:
    records = [
        track("Email Opened", messageId="1", subject='say "hi"'),
        track("Email Opened", messageId="2", subject=["a", 1]),
    ]
    assert run("load", write("a.ndjson", *records)).code == 0
    assert run("columns", "widen", "email_opened", "subject", "jsonb").code == 0
    assert db.rows("SELECT subject, _extra FROM email_opened ORDER BY id") == [
        ('say "hi"', None),
        (["a", 1], None),
    ]
    clean(db)
    more = write("b.ndjson", track("Email Opened", messageId="3", subject="again"))
    assert run("load", more).code == 0
    assert db.value("SELECT subject FROM email_opened WHERE id = '3'") == "again"


def test_a_context_column_is_widened_in_every_table(run: Run, db: Database, write: Write) -> None:
    records = [
        track("Email Opened", messageId="1", context={"screen": {"width": 10}}),
        track("Cart Seen", messageId="2", context={"screen": {"width": 20}}),
        track("Cart Seen", messageId="3", context={"screen": {"width": 20}}),
    ]
    assert run("load", write("a.ndjson", *records)).code == 0
    wide = track("Cart Seen", messageId="4", context={"screen": {"width": "wide"}})
    assert run("load", write("b.ndjson", wide)).code == 0
    result = run("columns", "widen", "cart_seen", "context_screen_width", "text")
    assert result.code == 0, result.err
    for table in ("tracks", "email_opened", "cart_seen"):
        assert db.types(table)["context_screen_width"] == "text"
    for table in ("tracks", "cart_seen"):
        assert db.rows(f"SELECT context_screen_width, _extra FROM {table} WHERE id = '4'") == [
            ("wide", None)
        ]
    clean(db)
    new = track("Sofa Seen", messageId="5", context={"screen": {"width": "huge"}})
    assert run("load", write("c.ndjson", new)).code == 0
    assert db.rows("SELECT context_screen_width FROM sofa_seen") == [("huge",)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tracks", "id", "jsonb"], ("'id'",)),
        (["email_opened", "received_at", "text"], ("'received_at'",)),
        (["email_opened", "_extra", "text"], ("'_extra'",)),
        (["email_opened", "nope", "text"], ("'nope'", "columns list")),
        (["nope", "subject", "text"], ("'nope'", "columns list")),
        (["_rejects", "raw", "jsonb"], ("'_rejects'",)),
        (["email_opened", "subject", "bigint"], ("jsonb",)),
        (["email_opened", "campaign_id", "bigint"], ("numeric",)),
        (["email_opened", "campaign_id", "text; drop schema customerio"], ("numeric",)),
        (["email_opened", 'a"; drop schema customerio --', "text"], ("columns list",)),
    ],
)
def test_what_cannot_be_widened_is_refused_and_nothing_changes(
    run: Run, db: Database, arguments: list[str], words: tuple[str, ...]
) -> None:
    before = db.dump()
    result = run("columns", "widen", *arguments)
    sentence(result.code, result.err, 2, *words)
    assert db.dump() == before


def test_a_killed_widening_has_changed_nothing(
    run: Run, start: Start, db: Database, tmp_path: Path
) -> None:
    given = mixed(300)
    assert run("load", given.write(tmp_path / "a.ndjson")).code == 0
    before = db.dump()
    # The first statement on the ledger ends forgotten loads; the columns are changed by then.
    with locked(db, "_loads", "SHARE", "update .*_loads") as waits:
        process = start("columns", "widen", "email_opened", "amount", "text", url=db.url)
        wait_until(db, waits)
        process.kill()
        process.wait()
    assert db.dump() == before
    assert run("columns", "widen", "email_opened", "amount", "text").code == 0
    check_settled(db, given)


def test_a_widening_does_not_wait_for_ever_for_a_reader(
    run: Run, start: Start, db: Database, tmp_path: Path
) -> None:
    env = {"LOADER_LOCK_TIMEOUT": "0.5", "LOADER_RETRY_TIMEOUT": "1"}
    with locked(db, "email_opened", "ACCESS SHARE"):
        process = start(
            "columns", "widen", "email_opened", "campaign_id", "text", url=db.url, env=env
        )
        _, err = process.communicate(timeout=20)
        sentence(process.returncode, err, 1, "email_opened: held by session", "widen again")
        # Short tries, between which others go on; and nothing is changed without `--dry-run`.
        dry = run("columns", "widen", "email_opened", "campaign_id", "text", "--dry-run")
        assert dry.code == 0
        assert "email_opened has 0.1 MB: it is rewritten" in dry.out
        assert "ALTER TABLE customerio.email_opened ALTER COLUMN campaign_id TYPE TEXT" in dry.out
    assert db.types("email_opened")["campaign_id"] == "bigint"
    assert run("columns", "widen", "email_opened", "campaign_id", "text").code == 0
    assert db.types("email_opened")["campaign_id"] == "text"


def test_a_webhook_that_was_rejected_can_be_replayed(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", webhook("email", "opened", data=["no", "object"]))
    assert run("load", path, env=WIDE).code == 0
    assert db.value("SELECT reason FROM _rejects") == "data_not_object"
    db.execute("UPDATE _rejects SET raw = %s", json.dumps(webhook("email", "opened")))
    assert run("rejects", "replay").code == 0
    assert db.value("SELECT count(*) FROM email_opened") == 1
