"""A server that dies: no record is lost."""

import signal
import time
from pathlib import Path

import pytest
from acceptance.faults import (
    LATE_MIDDLE,
    SMALL,
    OwnServer,
    Start,
    Watcher,
    check_settled,
    finishes,
    mixed,
    sentence,
    server_deaths,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Run

GIVEN = mixed(3_000)


def test_a_load_goes_on_when_the_server_comes_back(
    start: Start, mortal: OwnServer, mortal_db: Database, path: Path
) -> None:
    with Watcher(mortal_db) as watcher, trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=mortal_db.url, env=SMALL)
        wait_until(mortal_db, waits)
        mortal.stop("immediate")
        time.sleep(3)  # longer than one attempt
        mortal.start()
        finishes(process)
    check_settled(mortal_db, GIVEN)
    assert statuses(mortal_db) == ["success"]
    assert (watcher.looks > 0, watcher.wrong) == (True, [])


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_load_says_so_when_the_server_stays_away_and_the_next_one_completes(
    start: Start, run: Run, mortal: OwnServer, mortal_db: Database, path: Path, mode: str
) -> None:
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        env = SMALL | {"LOADER_RETRY_TIMEOUT": "2"}
        process = start("load", path, url=mortal_db.url, env=env)
        wait_until(mortal_db, waits)
        mortal.stop(mode)
        _, err = process.communicate(timeout=30)
        mortal.start()
    sentence(process.returncode, err, 1, "cannot reach", "check that the server runs")
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN)
    assert statuses(mortal_db)[0] in ("interrupted", "failure")


def test_a_load_waits_for_a_server_that_is_starting(
    start: Start, mortal: OwnServer, mortal_db: Database, path: Path
) -> None:
    mortal.stop("immediate")
    process = start("load", path, url=mortal_db.url)
    time.sleep(1.5)
    assert process.poll() is None
    mortal.start()
    finishes(process)
    check_settled(mortal_db, GIVEN)


def test_a_server_that_dies_at_random_moments_costs_no_record(
    mortal: OwnServer, mortal_db: Database, start: Start, tmp_path: Path
) -> None:
    report = server_deaths(mortal, start, tmp_path, seed=11, deaths=3)
    assert report.looks > 0


def test_a_signal_ends_a_load_whose_server_is_away_within_ten_seconds(
    start: Start, run: Run, mortal: OwnServer, mortal_db: Database, path: Path
) -> None:
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=mortal_db.url, env=SMALL)
        wait_until(mortal_db, waits)
        mortal.stop("immediate")
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
        mortal.start()
    assert (process.returncode, b"Traceback" in err) == (143, False)
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN)
