"""Sessions that end, connections that are cut, networks that fall silent: no record is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from acceptance.faults import (
    LATE_MIDDLE,
    SESSIONS,
    SMALL,
    Given,
    OwnServer,
    Proxy,
    Start,
    check_settled,
    finishes,
    mixed,
    sentence,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Run, track

GIVEN = mixed(3_000)
# A peer that says nothing is given up after about two seconds.
QUICK = (
    "?connect_timeout=2&keepalives_idle=1&keepalives_interval=1&keepalives_count=2"
    "&tcp_user_timeout=2000"
)


def test_a_load_goes_on_when_its_sessions_are_ended(start: Start, db: Database, path: Path) -> None:
    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=db.url, env=SMALL)
        wait_until(db, waits)
        db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        time.sleep(0.2)
    finishes(process)
    check_settled(db, GIVEN)
    assert statuses(db) == ["success"]


def test_a_session_ended_in_a_copy_shows_no_record(
    start: Start, mortal_db: Database, mortal: OwnServer, path: Path
) -> None:
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        env = SMALL | {"LOADER_RETRY_TIMEOUT": "0.1"}
        process = start("load", path, url=mortal_db.url, env=env)
        wait_until(mortal_db, waits)
        mortal.stop("fast")
        _, err = process.communicate(timeout=30)
        mortal.start()
    assert b"COPY email_opened" not in err
    assert b"k002" not in err


def test_a_fold_goes_on_when_its_session_is_ended(start: Start, db: Database, path: Path) -> None:
    with trigger(db, "email_messages", "true") as waits:
        process = start("load", path, url=db.url)
        wait_until(db, waits)
        db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
    finishes(process)
    assert db.value("SELECT count(*) FROM _batches WHERE NOT folded") == 0


def test_a_load_goes_on_when_its_sessions_are_ended_again_and_again(
    start: Start, db: Database, path: Path
) -> None:
    process = start("load", path, url=db.url, env={"LOADER_BATCH_RECORDS": "200"})
    ended = 0
    while ended < 4 and process.poll() is None:
        time.sleep(0.35 if ended else 0.05)
        ended += len(db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")) > 0
    finishes(process)
    assert ended
    check_settled(db, GIVEN)


def test_a_load_goes_on_when_its_connection_is_cut(
    start: Start, mortal_db: Database, mortal: OwnServer, path: Path
) -> None:
    with Proxy(mortal.port) as proxy:
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/")
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=url, env=SMALL)
            wait_until(mortal_db, waits)
            proxy.cut()
            # A backend that waits for a lock does not see that its client is gone.
            time.sleep(0.5)
        finishes(process)
    check_settled(mortal_db, GIVEN)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_without_an_answer_loads_nothing_twice(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, path: Path, moment: str
) -> None:
    with Proxy(mortal.port) as proxy:
        proxy.lose_commit = moment
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/")
        done = run("load", path, "--json", url=url, env=SMALL)
        assert (done.code, done.err) == (0, "")
        assert proxy.lost.is_set()
    check_settled(mortal_db, GIVEN)
    [load] = mortal_db.dicts("SELECT * FROM _loads")
    assert load["records_read"] == len(GIVEN.lines)
    assert load["ignored"] == GIVEN.ignored
    assert done.json["ignored"] == {"ignored_type": GIVEN.ignored}
    assert load["rows_loaded"] == sum(map(len, GIVEN.ids.values()))
    assert load["rows_per_table"]["tracks"] == load["rows_loaded"]


def test_replays_whose_commit_has_no_answer_are_counted_once(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, tmp_path: Path
) -> None:
    long = track("Email Opened", messageId="long", subject="x" * 5_000)
    path = Given([long], {"email_opened": {"long"}}, 1).write(tmp_path / "given.ndjson")
    settings = {"LOADER_MAX_RECORD_BYTES": "2000"}
    assert run("load", path, url=mortal_db.url, env=settings).code == 3
    mortal_db.execute("UPDATE _rejects SET raw = %s", json.dumps(long))
    with Proxy(mortal.port) as proxy:
        proxy.lose_commit = "after"
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/")
        finishes(start("rejects", "replay", url=url))
        assert proxy.lost.is_set()
    assert mortal_db.rows("SELECT id FROM tracks") == [("long",)]
    assert mortal_db.rows("SELECT rows_loaded, duplicates, rejects FROM _loads ORDER BY id") == [
        (0, 0, 1),
        (1, 0, 0),
    ]
    assert mortal_db.rows("SELECT outcome, replayed_by FROM _rejects") == [("loaded", 2)]


@pytest.mark.skipif(sys.platform != "linux", reason="packets are dropped by a filter of Linux")
def test_a_load_notices_a_network_that_fell_silent(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, path: Path
) -> None:
    with Proxy(mortal.port) as proxy:
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/") + QUICK
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            env = SMALL | {"LOADER_RETRY_TIMEOUT": "3"}
            process = start("load", path, url=url, env=env)
            wait_until(mortal_db, waits)
            proxy.silence()
            _, err = process.communicate(timeout=25)
            sentence(process.returncode, err, 1, "cannot reach")
            proxy.cut()
            # The server goes on believing in its session.
            mortal_db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN)


def is_stopped_in_silence(process: "subprocess.Popen[bytes]", proxy: Proxy, db: Database) -> None:
    """A load whose network falls silent ends within ten seconds of a signal."""
    proxy.silence()
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=10)
    finally:
        proxy.cut()
        db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
    assert process.returncode == 143


@pytest.mark.skipif(sys.platform != "linux", reason="packets are dropped by a filter of Linux")
def test_a_signal_ends_a_load_whose_network_fell_silent_within_ten_seconds(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, path: Path
) -> None:
    with Proxy(mortal.port) as proxy:
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/")
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=url, env=SMALL)
            wait_until(mortal_db, waits)
            is_stopped_in_silence(process, proxy, mortal_db)
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["load", "plan"])
def test_a_signal_ends_a_command_that_cannot_even_connect_within_ten_seconds(
    start: Start, mortal: OwnServer, path: Path, command: str, number: signal.Signals
) -> None:
    with Proxy(mortal.port) as proxy:
        proxy.mute = True
        process = start(command, path, url=mortal.url(port=proxy.port))
        assert proxy.muted.wait(30)
        time.sleep(1)  # it waits in the client library
        assert process.poll() is None
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    # Only a load has something to say: what it has committed, which is nothing here.
    told = (
        f"customerio-loader: the load of 'Customer.io' was stopped by {number.name}; "
        "committed: 0 records in 0 batches. Run it again: it goes on behind them\n"
    )
    expected = {"load": told, "plan": ""}
    assert (process.returncode, err.decode()) == (128 + number, expected[command])


@pytest.mark.skipif(sys.platform != "linux", reason="packets are dropped by a filter of Linux")
def test_a_signal_ends_a_load_that_cannot_send_its_rows_within_ten_seconds(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, tmp_path: Path
) -> None:
    given = Given()
    for i in range(20_000):  # more than the buffers of the network hold
        given.event("Email Opened", "email_opened", f"k{i:06}", subject=os.urandom(500).hex())
    path = given.write(tmp_path / "given.ndjson")
    rows = trigger(mortal_db, "email_opened", "NEW.id = 'k000100'")
    with Proxy(mortal.port) as proxy, rows as waits:
        process = start("load", path, url=mortal.url(mortal_db.name, port=proxy.port))
        wait_until(mortal_db, waits)
        is_stopped_in_silence(process, proxy, mortal_db)
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, given)


@pytest.mark.skipif(sys.platform != "linux", reason="packets are dropped by a filter of Linux")
def test_a_load_goes_on_when_the_network_was_silent_for_a_while(
    start: Start, mortal_db: Database, mortal: OwnServer, path: Path
) -> None:
    with Proxy(mortal.port) as proxy:
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/") + QUICK
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=url, env=SMALL)
            wait_until(mortal_db, waits)
            before = mortal_db.rows(f"SELECT pid {SESSIONS}")
            # The server's own end is silent too: the server goes on believing in its session.
            proxy.silence()
            time.sleep(12)
            proxy.mute = False
            # The job is back where it was, on a session of its own.
            wait_until(mortal_db, f"SELECT array_agg(pid) <> ARRAY{[*before[0]]} {SESSIONS}")
            wait_until(mortal_db, waits)
        finishes(process)
    check_settled(mortal_db, GIVEN)
    assert statuses(mortal_db) == ["success"]


def test_the_server_too_notices_within_a_minute_that_a_job_is_gone(
    run: Run, mortal_db: Database, path: Path
) -> None:
    mortal_db.execute(
        """
        CREATE TABLE public.seen (idle int, every int, times int);
        CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.seen VALUES (current_setting('tcp_keepalives_idle')::int,
                current_setting('tcp_keepalives_interval')::int,
                current_setting('tcp_keepalives_count')::int);
            RETURN NEW; END $$;
        CREATE TRIGGER look BEFORE INSERT ON customerio._loads
            FOR EACH ROW EXECUTE FUNCTION public.look();
        """
    )
    assert run("load", path, url=mortal_db.url).code == 0
    [(idle, every, times)] = mortal_db.rows("SELECT * FROM public.seen")
    assert idle + every * times <= 60


def test_a_load_whose_session_lost_the_lock_stops_before_it_writes(
    run: Run, db: Database, path: Path
) -> None:
    """As behind a pooler that passed for none; here somebody's trigger gives up all locks."""
    db.execute(
        "CREATE FUNCTION public.unlock() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_unlock_all(); RETURN NEW; END $$; "
        "CREATE TRIGGER unlocks BEFORE INSERT ON email_opened "
        "FOR EACH ROW WHEN (NEW.id < 'k001') EXECUTE FUNCTION public.unlock()"
    )
    result = run("load", path, env=SMALL)
    sentence(result.code, result.err, 1, "does not hold the lock", "pooler", "load again")
    assert db.value("SELECT batches FROM _loads") == 1
    assert statuses(db) == ["running"]  # without the lock nothing is written, not even the end
    db.execute("DROP TRIGGER unlocks ON email_opened")
    assert run("load", path, env=SMALL).code == 0
    check_settled(db, GIVEN)
    assert statuses(db) == ["interrupted", "success"]
