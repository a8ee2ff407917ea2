"""`status --check`: what is wrong, for cron and whoever is woken by it."""

import json

import pytest
from acceptance.harness import Database, Run, Write, track


@pytest.fixture
def loaded(db: Database, run: Run, write: Write) -> Database:
    """A database with one good load, of an event that arrived just now."""
    assert (
        run("load", write("a.json", track("Email Opened", receivedAt=None)), url=db.url).code == 0
    )
    return db


def test_nothing_is_said_where_nothing_is_wrong(loaded: Database, run: Run) -> None:
    done = run("status", "--check", url=loaded.url)
    assert (done.code, done.out, done.err) == (0, "", "")
    shown = json.loads(run("status", "--check", "--json", url=loaded.url).out)
    assert shown == {"source": "Customer.io", "warehouse": None, "alerts": []}


def test_old_loads_and_old_events_are_told(loaded: Database, run: Run) -> None:
    loaded.execute(
        "UPDATE _loads SET finished_at = now() - interval '27 hours', "
        "last_received_at = now() - interval '49 hours'"
    )
    done = run("status", "--check", url=loaded.url)
    assert done.code == 1
    first, second = done.out.splitlines()
    assert first.startswith("Customer.io: no successful load since 20")
    assert second.startswith("Customer.io: no event received since 20")
    done = run("status", "--check", "--load-age", "28", "--event-age", "50", url=loaded.url)
    assert (done.code, done.out) == (0, "")


def test_an_age_that_is_no_time_ago_is_refused(loaded: Database, run: Run) -> None:
    """It ended in a defect of the loader."""
    for age in ("inf", "1e9"):
        done = run("status", "--check", "--load-age", age, url=loaded.url)
        assert (done.code, "--load-age" in done.err) == (2, True)


def test_rejects_are_told_until_a_good_load_with_records(
    loaded: Database, run: Run, write: Write
) -> None:
    """A run that found nothing new made the alert go away."""
    bad = write("b.json", track("E", messageId="b"), "{bad")
    assert run("load", bad, url=loaded.url).code == 3
    for _ in range(2):
        done = run("status", "--check", url=loaded.url)
        assert (done.code, done.out) == (
            1,
            "Customer.io: 1 of 2 records were rejected since load 2\n",
        )
        assert run("load", bad, url=loaded.url).code == 0  # nothing new
    lenient = {"LOADER_MAX_REJECT_RATIO": "0.5"}
    assert run("status", "--check", url=loaded.url, env=lenient).code == 0
    assert run("load", write("c.json", track("E", messageId="c")), url=loaded.url).code == 0
    assert run("status", "--check", url=loaded.url).code == 0


def test_a_failed_load_is_told_until_a_good_one(loaded: Database, run: Run, write: Write) -> None:
    broken = write("b.json.gz", b"no gzip")
    assert run("load", broken, url=loaded.url).code == 1
    done = run("status", "--check", url=loaded.url)
    assert done.code == 1
    assert done.out.startswith("Customer.io: load 2 has ended as partial")
    assert run("load", write("c.json", track("E", messageId="c")), url=loaded.url).code == 0
    assert run("status", "--check", url=loaded.url).code == 0


def test_a_widening_is_no_good_load(loaded: Database, run: Run, write: Write) -> None:
    """It has a row in the ledger, which made the alert of the load before it go away."""
    assert run("load", write("b.json.gz", b"no gzip"), url=loaded.url).code == 1
    widen = ("columns", "widen", "email_opened", "campaign_id", "text")
    assert run(*widen, url=loaded.url).code == 0
    done = run("status", "--check", url=loaded.url)
    assert done.out.startswith("Customer.io: load 2 has ended as partial")
    loaded.execute(
        "UPDATE _loads SET finished_at = finished_at - interval '27 hours' WHERE id < 3; "
        "UPDATE _loads SET status = 'success' WHERE id = 2"
    )
    done = run("status", "--check", url=loaded.url)
    assert done.out.startswith("Customer.io: no successful load since 20")


def test_an_event_of_the_future_does_not_end_the_alerts(
    loaded: Database, run: Run, write: Write
) -> None:
    """One clock that ran ahead by years, and nobody was told that events no longer came."""
    ahead = write("b.json", track("E", receivedAt="2099-01-01T00:00:00Z"))
    assert run("load", ahead, url=loaded.url).code == 0
    assert run("status", "--check", url=loaded.url).code == 0
    loaded.execute(
        "UPDATE _loads SET finished_at = finished_at - interval '49 hours'; "
        "UPDATE _loads SET last_received_at = last_received_at - interval '49 hours' WHERE id = 1"
    )
    done = run("status", "--check", "--load-age", "50", url=loaded.url)
    assert (done.code, "no event received since 20" in done.out) == (1, True)


def test_a_schema_without_loads_is_wrong(db: Database, empty_db: Database, run: Run) -> None:
    done = run("status", "--check", url=db.url)
    assert done.code == 1
    assert "no successful load ever" in done.out
    assert "no event received ever" in done.out
    done = run("status", "--check", url=empty_db.url)
    assert done.code != 0
    assert "nothing" in done.err


def test_messages_that_lack_the_last_events_are_told(
    loaded: Database, run: Run, write: Write
) -> None:
    """A fold that failed with each load was a notice of each, and nobody's alert."""
    loaded.execute("ALTER TABLE email_messages RENAME COLUMN opens TO theirs")
    later = write("b.json", track("Email Opened", receivedAt=None))
    assert run("load", later, url=loaded.url).code == 0
    done = run("status", "--check", url=loaded.url)
    told = "Customer.io: email_messages lacks events of load 2: see its log\n"
    assert (done.code, done.out) == (1, told)
    loaded.execute("ALTER TABLE email_messages RENAME COLUMN theirs TO opens")
    assert run("load", later, url=loaded.url).code == 0
    assert run("status", "--check", url=loaded.url).out == ""
