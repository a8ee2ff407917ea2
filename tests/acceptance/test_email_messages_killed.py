"""A job that is stopped while it folds events into `email_messages`, and the load after it."""

import signal
from pathlib import Path

import pytest
from acceptance.faults import (
    NO_SESSION,
    Given,
    Start,
    check_settled,
    locked,
    mixed,
    sentence,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Run

GIVEN = mixed(300)
DIFFERENCE = """
    SELECT count(*) FROM (
        (TABLE email_messages EXCEPT ALL TABLE email_messages_now) UNION ALL
        (TABLE email_messages_now EXCEPT ALL TABLE email_messages)
    ) AS differing
"""
FOLDS = "WITH part AS"


def check_messages(db: Database, given: Given) -> None:
    """Every event counts once."""
    check_settled(db, given)
    assert db.value(DIFFERENCE) == 0
    assert db.value("SELECT count(*) FROM _batches WHERE NOT folded") == 0
    opens = db.value("SELECT count(*) FROM email_opened")
    assert (opens > 0, db.value("SELECT sum(opens) FROM email_messages")) == (True, opens)


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [(signal.SIGKILL, -9, "running"), (signal.SIGTERM, 143, "interrupted")],
)
def test_a_load_that_is_stopped_while_it_folds_is_made_good_by_the_next(
    run: Run, start: Start, db: Database, path: Path, number: int, code: int, status: str
) -> None:
    with locked(db, "email_messages", "SHARE", FOLDS) as waits:
        process = start("load", path, url=db.url)
        wait_until(db, waits)
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode == code
    wait_until(db, NO_SESSION)
    assert statuses(db) == [status]
    assert db.value("SELECT count(*) FROM email_messages") == 0
    after = run("load", path)
    assert (after.code, "nothing new" in after.out) == (0, True)
    check_messages(db, GIVEN)


def test_a_load_ends_well_where_somebody_holds_email_messages(
    run: Run, db: Database, path: Path
) -> None:
    with locked(db, "email_messages", "SHARE"):
        held = run("load", path, env={"LOADER_RETRY_TIMEOUT": "0.5"})
        sentence(held.code, held.err, 0, "email_messages lacks events", "lock")
    assert statuses(db) == ["success"]
    shown = run("status").out
    assert "lacks 1 of 1 batches" in shown
    assert run("load", path).code == 0
    assert "up to date" in run("status").out
    check_messages(db, GIVEN)


def test_a_rebuild_that_is_killed_is_made_good_by_the_next_load(
    run: Run, start: Start, db: Database, path: Path
) -> None:
    assert run("load", path).code == 0
    with trigger(db, "email_messages", "true") as waits:
        process = start("marts", "rebuild", url=db.url)
        wait_until(db, waits)
        process.kill()
        process.wait()
    assert db.value("SELECT count(*) FROM email_messages") == 0
    assert "lacks 1 of 1 batches" in run("status").out
    assert run("load", path).code == 0
    check_messages(db, GIVEN)


def test_a_rebuild_waits_for_nobody_and_says_who_is_in_the_way(
    run: Run, start: Start, db: Database, path: Path
) -> None:
    assert run("load", path).code == 0
    with locked(db, "email_messages", "ACCESS SHARE"):
        held = run("marts", "rebuild", env={"LOADER_RETRY_TIMEOUT": "0"})
        sentence(held.code, held.err, 1, "email_messages: held by", "rebuild again")
    with locked(db, "tracks", "ACCESS EXCLUSIVE") as waits:
        process = start("load", path, url=db.url)
        wait_until(db, waits)
        sentence(*(run("marts", "rebuild")[::2]), 75, "a load of 'Customer.io' is running")
        process.kill()
    off = run("marts", "rebuild", env={"LOADER_MART": "off"})
    sentence(off.code, off.err, 2, "the setting mart is off")
    db.execute("DELETE FROM email_opened")
    assert run("marts", "rebuild").code == 0
    assert db.value("SELECT sum(opens) FROM email_messages") == 0
    assert db.value(DIFFERENCE) == 0


def test_a_widening_ends_well_where_somebody_holds_email_messages(
    run: Run, db: Database, path: Path
) -> None:
    """It said that it had failed, and done once more that there was nothing to widen."""
    assert run("load", path).code == 0
    with locked(db, "email_messages", "SHARE"):
        env = {"LOADER_RETRY_TIMEOUT": "0", "LOADER_LOCK_TIMEOUT": "0.1"}
        db.execute("INSERT INTO _stale_messages SELECT message_key FROM email_messages LIMIT 1")
        done = run("columns", "widen", "email_opened", "campaign_id", "text", env=env)
        assert (done.code, done.err) == (0, "")
        assert "email_opened.campaign_id is text now" in done.out
        assert "email_messages: " in done.out
        assert "the next load tries again" in done.out
    assert run("load", path).code == 0
    check_messages(db, GIVEN)
