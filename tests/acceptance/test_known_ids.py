"""Where a load meets ids that are there, the server is asked ahead, and gets no row in vain."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Run, track

# Blocks of a thousand lines: many batches are begun between a question and what it was asked for.
SETTINGS = {"LOADER_BATCH_RECORDS": "1000"}
FIRST = 2_000
# How far apart copies stand: in one block, and in the one to the twentieth batch behind.
DISTANCES = (1, 700, 1_300, 2_900, 7_100, 17_900, 19_900)


def calls(first: int, behind: int) -> Iterator[dict[str, Any]]:
    for number in range(first, behind):
        yield track(
            ("Email Opened", "Cart Seen")[number % 2],
            messageId=f"e{number:06}",
            receivedAt="2026-03-04T05:06:07.000Z",
            n=number,
        )


def write(path: Path, records: list[dict[str, Any]], **options: Any) -> Path:
    path.write_text("".join(json.dumps(record, **options) + "\n" for record in records))
    return path


def sent(db: Database, least: int) -> int:
    """How many rows were sent to `tracks`, those that were rolled back too."""
    statement = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'tracks'"
    for _ in range(100):  # a session tells what it did when it ends
        found: int = db.value(statement)
        if found >= least:
            break
        time.sleep(0.1)
    return found


@pytest.fixture
def there(run: Run, tmp_path: Path) -> None:
    """The first calls, so that there is something to ask for."""
    done = run("load", write(tmp_path / "first.ndjson", [*calls(0, FIRST)]), env=SETTINGS)
    assert done.code == 0


@pytest.mark.usefixtures("there")
def test_copies_are_found_however_many_batches_they_stand_apart(
    run: Run, db: Database, tmp_path: Path
) -> None:
    records = []
    for number, call in enumerate(calls(FIRST, FIRST + 24_000)):
        copied = number - DISTANCES[number % len(DISTANCES)]
        if number % 3 == 0 and copied >= 0:
            call["messageId"] = records[copied]["messageId"]
        records.append(call)
    # What is there already stands in every block, too.
    records[::1_000] = calls(0, 24)
    new = {record["messageId"] for record in records} - {f"e{number:06}" for number in range(FIRST)}
    path = write(tmp_path / "copies.ndjson", records)

    planned = run("plan", path, "--json", env=SETTINGS)
    done = run("load", path, "--json", env=SETTINGS)

    assert done.code == planned.code == 0
    for result in (planned, done):
        assert result.json["rows_loaded"] == len(new)
        assert result.json["duplicates"] == len(records) - len(new)
    assert sent(db, FIRST + len(new)) == FIRST + len(new)
    assert db.value("SELECT count(*) FROM tracks") == FIRST + len(new)
    # The first copy stays.
    first: dict[str, int] = {}
    for record in records:
        first.setdefault(record["messageId"], record["properties"]["n"])
    stored = dict(db.rows("SELECT id, n FROM email_opened UNION ALL SELECT id, n FROM cart_seen"))
    assert {key: stored[key] for key in new} == {key: first[key] for key in new}


@pytest.mark.usefixtures("there")
def test_ids_that_cannot_be_guessed_before_the_lines_are_parsed_are_asked_for_too(
    run: Run, db: Database, tmp_path: Path
) -> None:
    again = list(calls(0, FIRST))
    hidden = [
        json.dumps(call).replace('"messageId": "e', '"messageId": "\\u0065') + "\n"
        if at % 2
        else json.dumps(call).replace('"messageId"', '"message\\u0049d"') + "\n"
        for at, call in enumerate(again)
    ]
    assert not any('"messageId": "e' in line for line in hidden)
    path = tmp_path / "hidden.ndjson"
    path.write_text("".join(hidden))
    done = run("load", path, "--json", env=SETTINGS)
    assert (done.json["rows_loaded"], done.json["duplicates"]) == (0, FIRST)
    assert sent(db, FIRST) == FIRST


@pytest.mark.usefixtures("there")
def test_ids_of_other_objects_in_a_line_are_no_ids_of_the_call(
    run: Run, db: Database, tmp_path: Path
) -> None:
    """What was asked for too much changes nothing."""
    records = [
        call | {"properties": {"messageId": f"e{at % FIRST:06}", "n": at}}
        for at, call in enumerate(calls(FIRST, FIRST + 3_000))
    ]
    done = run("load", write(tmp_path / "nested.ndjson", records), "--json", env=SETTINGS)
    assert (done.json["rows_loaded"], done.json["duplicates"]) == (3_000, 0)
    assert db.value("SELECT count(*) FROM email_opened WHERE message_id = 'e000002'") == 2
