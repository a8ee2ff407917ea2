"""Records that cannot be loaded: each is a row that says where it stood and what was wrong."""

import json
from pathlib import Path

import pytest
from acceptance.harness import Database, Run, Write, ndjson, track, webhook

ANY = {"LOADER_MAX_REJECT_RATIO": "1"}


def test_each_reason_has_its_code_position_and_raw_text(
    run: Run, db: Database, tmp_path: Path
) -> None:
    large = json.dumps(track("Email Opened", text="x" * 2000))
    lines: list[tuple[str | None, bytes]] = [
        (None, json.dumps(track("Email Opened", messageId="good 1")).encode()),
        ("invalid_json", b'{"event": "Email Opened", "messageId": "cut'),
        ("invalid_json", b'{"event": NaN}'),
        ("invalid_utf8", b'{"event": "Email \xff Opened"}'),
        ("not_an_object", b'"just a text"'),
        ("not_an_object", b"17"),
        ("not_a_track_call", b'{"type": "merge", "userId": "u"}'),
        ("no_event_name", b'{"type": "track", "userId": "u"}'),
        ("no_event_name", b'{"type": "track", "event": "  "}'),
        ("event_not_string", b'{"type": "track", "event": 5}'),
        ("context_not_object", b'{"event": "E", "context": "c"}'),
        ("properties_not_object", b'{"event": "E", "properties": [1]}'),
        ("data_not_object", b'{"object_type": "email", "metric": "opened", "data": 1}'),
        ("no_event_name", b'{"object_type": 5, "metric": "opened", "data": {}}'),
        ("unknown_form", b'{"hello": "world"}'),
        ("record_too_large", large.encode()),
        ("empty_batch", b'{"batch": []}'),
        ("batch_not_array", b'{"batch": {"event": "E"}}'),
        ("invalid_json", b"no json at all"),
        (None, json.dumps(track("Email Opened", messageId="good 2")).encode()),
    ]
    path = tmp_path / "bad lines.ndjson"
    path.write_bytes(b"".join(line + b"\n" for _, line in lines))
    result = run("load", path, "--json", env=ANY | {"LOADER_MAX_RECORD_BYTES": "1024"})
    expected = [
        (f"line {number}", reason, raw.decode("utf-8", "backslashreplace")[:1024])
        for number, (reason, raw) in enumerate(lines, 1)
        if reason is not None
    ]
    in_order = "FROM _rejects ORDER BY substr(position, 6)::int"
    assert db.rows(f"SELECT position, reason, left(raw, 1024) {in_order}") == expected
    assert db.rows("SELECT DISTINCT file, load_id, replayed_at FROM _rejects") == [
        (str(path.resolve()), 1, None)
    ]
    assert db.value("SELECT count(*) FROM _rejects WHERE detail !~ '[a-z]{3}'") == 0
    # What is wrong can be grouped by; where stands in a column of its own.
    broken = "reason IN ('invalid_json', 'invalid_utf8')"
    assert db.rows(f"SELECT detail, place, count(*) FROM _rejects WHERE {broken} "
                   "GROUP BY 1, 2 ORDER BY 1, 2") == [
        ("NaN is not JSON", None, 1),
        ("not UTF-8", "byte 18", 1),
        ("the JSON is cut short or broken", "character 1", 1),
        ("the JSON is cut short or broken", None, 1),  # it goes on to the end of the input
    ]  # fmt: skip
    assert db.rows("SELECT id FROM email_opened ORDER BY id") == [("good 1",), ("good 2",)]
    counts = {name: result.json[name] for name in ("records_read", "rows_loaded", "rejects")}
    assert counts == {"records_read": len(lines), "rows_loaded": 2, "rejects": len(expected)}
    assert db.rows(
        "SELECT records_read, rows_loaded + duplicates + rejects + ignored, rejects FROM _loads"
    ) == [(len(lines), len(lines), len(expected))]


def test_items_of_arrays_and_envelopes_have_a_position_of_their_own(run: Run, db: Database) -> None:
    bad = {"type": "merge", "name": "p"}
    text = json.dumps([track("E"), bad]) + "\n" + json.dumps({"batch": [bad, track("E")]}) + "\n"
    assert run("load", "-", stdin=text.encode(), env=ANY).code == 0
    assert db.rows("SELECT file, position, reason FROM _rejects ORDER BY position") == [
        ("-", "line 1, item 2", "not_a_track_call"),
        ("-", "line 2, item 1", "not_a_track_call"),
    ]


def test_too_many_rejects_are_exit_code_3_and_the_rest_is_loaded(run: Run, db: Database) -> None:
    lines = ndjson(*[track("E") for _ in range(17)], "{bad", "{bad", "{bad")
    assert run("load", "-", stdin=lines).code == 3
    assert db.rows("SELECT status, rows_loaded, rejects FROM _loads") == [("success", 17, 3)]
    few = ndjson(*[track("E") for _ in range(19)], "{worse")
    assert run("load", "-", stdin=few).code == 0  # exactly the ratio is not more than it


def test_the_same_reject_twice_is_one_row(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", "{bad", track("E"))
    run("load", path, env=ANY)
    again = run("load", path, "--force", "--json", env=ANY).json
    assert db.value("SELECT count(*) FROM _rejects") == 1
    assert (again["records_read"], again["duplicates"], again["rejects"]) == (2, 2, 0)


def test_nul_and_broken_bytes_of_a_reject_can_be_stored(run: Run, db: Database) -> None:
    assert run("load", "-", stdin=b'{"a\x00\xff\\": \n', env=ANY).code == 0
    assert db.rows("SELECT raw FROM _rejects") == [('{"a\ufffd\\xff\\": ',)]


@pytest.mark.parametrize("metric", ["unheard_of", "undeliverable"])
def test_a_metric_without_a_documented_name_gets_one_by_the_pattern(
    run: Run, db: Database, metric: str
) -> None:
    run("load", "-", stdin=ndjson(webhook("email", metric, event_id="1")))
    name = f"Email {metric.replace('_', ' ').title()}"
    assert db.rows(f"SELECT id, event_text FROM email_{metric}") == [("1", name)]
