"""A server that dies, a network that fails, locks, and lack of room: no record is lost."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    Watcher,
    alembic,
    check_settled,
    copy_of,
    finishes,
    holding,
    locked,
    mixed,
    other_servers,
    own_server,
    roles,
    sentence,
    server_deaths,
    statuses,
    trigger,
    wait_until,
    waits_for_lock,
)
from acceptance.harness import SCHEMA, Database, Run, Server, track

GIVEN = mixed(3_000)
# A peer that says nothing is given up after about two seconds.
QUICK = (
    "?connect_timeout=2&keepalives_idle=1&keepalives_interval=1&keepalives_count=2"
    "&tcp_user_timeout=2000"
)


@pytest.fixture(scope="module")
def mortal() -> Iterator[OwnServer]:
    """A server to be killed."""
    with own_server() as found:
        yield found


@pytest.fixture
def mortal_db(mortal: OwnServer) -> Iterator[Database]:
    if not mortal.is_running():
        mortal.start()
    with copy_of(mortal, "migrated") as found:
        yield found
        if not mortal.is_running():
            mortal.start()


# the server dies


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


# sessions and connections are lost


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
        finishes(start("load", path, url=url, env=SMALL))
        assert proxy.lost.is_set()
    check_settled(mortal_db, GIVEN)
    [load] = mortal_db.dicts("SELECT * FROM _loads")
    assert load["records_read"] == len(GIVEN.lines)
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


@pytest.mark.skipif(sys.platform != "linux", reason="packets are dropped by a filter of Linux")
def test_a_signal_ends_a_load_whose_network_fell_silent_within_ten_seconds(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, path: Path
) -> None:
    with Proxy(mortal.port) as proxy:
        url = mortal_db.url.replace(f":{mortal.port}/", f":{proxy.port}/")
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=url, env=SMALL)
            wait_until(mortal_db, waits)
            proxy.silence()
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=10)
            finally:
                proxy.cut()
                mortal_db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
            assert process.returncode == 143
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
        time.sleep(2)  # it waits in the client library
        assert process.poll() is None
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (128 + number, b"")


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
        proxy.silence()
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=10)
        finally:
            proxy.cut()
            mortal_db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        assert process.returncode == 143
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


# faults that pass


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57P01", "53300", "08006"])
def test_a_fault_that_passes_is_tried_again(run: Run, db: Database, path: Path, state: str) -> None:
    with raising(db, state, times=2):
        assert run("load", path).code == 0
    check_settled(db, GIVEN)
    assert statuses(db) == ["success"]


@contextmanager
def raising(db: Database, state: str, times: int) -> Iterator[None]:
    """The first rows of `email_opened` meet an error of the server."""
    db.execute(
        f"""
        CREATE SEQUENCE public.tries;
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('public.tries') <= {times} THEN
                RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}';
            END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON {SCHEMA}.email_opened
            FOR EACH ROW EXECUTE FUNCTION public.refuse();
        """
    )
    yield
    db.execute(f"DROP TRIGGER refuse ON {SCHEMA}.email_opened")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("53100", "free disk space"),
        ("53200", "max_locks_per_transaction"),
        ("42501", "customerio-loader check"),
        ("XX000", "XX000"),
        ("22012", "22012"),
        ("23514", "23514"),
    ],
)
def test_a_fault_that_stays_ends_the_load_at_once_and_rejects_nothing(
    start: Start, run: Run, db: Database, path: Path, state: str, words: str
) -> None:
    with raising(db, state, times=1_000_000):
        process = start("load", path, url=db.url)
        _, err = process.communicate(timeout=20)
        sentence(process.returncode, err, 1, words)
        assert db.rows("SELECT status, rejects, records_read FROM _loads") == [("failure", 0, 0)]
        assert db.value("SELECT error FROM _loads") in err.decode()
        assert db.value("SELECT count(*) FROM tracks") == 0
        assert db.value("SELECT count(*) FROM _rejects") == 0
        assert db.value("SELECT last_value FROM public.tries") == 1
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


def test_a_deadlock_is_tried_again(start: Start, db: Database, path: Path) -> None:
    given = Given()
    given.event("Email Opened", "email_opened", "1", subject="s")
    given.write(path)
    db.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''1500ms''', "
               "current_database()); END $$")  # fmt: skip
    with holding(db, "SET deadlock_timeout = '1h'") as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE {SCHEMA}.email_opened IN SHARE MODE")
        process = start("load", path, url=db.url)
        wait_until(db, waits_for_lock('copy .*"email_opened"'))
        cursor.execute(f"LOCK TABLE {SCHEMA}.tracks IN EXCLUSIVE MODE")  # the job is the victim
        cursor.execute("ROLLBACK")
    finishes(process)
    check_settled(db, given)
    assert db.value(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ) == 1  # fmt: skip


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
def test_a_lock_on_a_table_is_waited_out_in_turns(
    start: Start, db: Database, path: Path, mode: str
) -> None:
    env = SMALL | {"LOADER_LOCK_TIMEOUT": "0.3"}
    with locked(db, "email_opened", mode, 'copy .*"email_opened"|alter table') as waits:
        process = start("load", path, url=db.url, env=env)
        wait_until(db, waits)
        time.sleep(1.5)  # several turns
        assert process.poll() is None
    finishes(process)
    check_settled(db, GIVEN)


def test_a_lock_that_stays_is_told_and_rejects_nothing(
    start: Start, run: Run, db: Database, path: Path
) -> None:
    env = SMALL | {"LOADER_LOCK_TIMEOUT": "0.3", "LOADER_RETRY_TIMEOUT": "1"}
    with locked(db, "email_opened", "SHARE"):
        process = start("load", path, url=db.url, env=env)
        _, err = process.communicate(timeout=20)
        sentence(process.returncode, err, 1, "lock", "pg_locks")
        assert statuses(db) == ["failure"]
    assert db.value("SELECT count(*) FROM _rejects") == 0
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


def test_a_lock_that_stops_the_search_for_known_ids_is_bounded_too(
    start: Start, run: Run, db: Database, tmp_path: Path
) -> None:
    given = mixed(100)
    assert run("load", given.write(tmp_path / "1.ndjson")).code == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    env = {"LOADER_LOCK_TIMEOUT": "0.3", "LOADER_RETRY_TIMEOUT": "1"}
    process = start("load", pipe, url=db.url, env=env)
    with pipe.open("wb", buffering=0) as end:
        wait_until(db, "SELECT count(*) > 0 FROM _loads WHERE status = 'running'")
        with locked(db, "tracks", "ACCESS EXCLUSIVE", "select string_agg") as waits:
            end.write(mixed(100, "x").data)
            end.close()
            wait_until(db, waits)
            assert process.wait(15) == 1


@pytest.fixture
def small(mortal: OwnServer, mortal_db: Database) -> Iterator[Database]:
    """A database as a role without privileges sees it; the role owns the schema."""
    name = mortal_db.name
    with roles(mortal_db, "small"):
        mortal_db.execute(f"ALTER DATABASE {name} OWNER TO small")
        mortal_db.execute("DROP SCHEMA customerio CASCADE")
        yield mortal.database(name, user="small")
        mortal_db.execute("ALTER ROLE small CONNECTION LIMIT -1")


def test_too_many_connections_of_the_role_are_waited_out(
    start: Start, mortal_db: Database, small: Database, path: Path
) -> None:
    mortal_db.execute("ALTER ROLE small CONNECTION LIMIT 0")
    process = start("load", path, url=small.url)
    time.sleep(1.5)
    mortal_db.execute("ALTER ROLE small CONNECTION LIMIT -1")
    finishes(process)
    check_settled(mortal_db, GIVEN)


def test_too_many_connections_of_the_database_are_waited_out(
    start: Start, mortal_db: Database, small: Database, path: Path
) -> None:
    name = mortal_db.name
    mortal_db.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    process = start("load", path, url=small.url)
    time.sleep(1.5)
    mortal_db.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    finishes(process)
    check_settled(mortal_db, GIVEN)


def test_too_many_connections_that_stay_are_told(
    start: Start, mortal_db: Database, small: Database, path: Path
) -> None:
    name = mortal_db.name
    mortal_db.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    process = start("load", path, url=small.url, env={"LOADER_RETRY_TIMEOUT": "1"})
    _, err = process.communicate(timeout=20)
    sentence(process.returncode, err, 1, "too many connections")


# out of room


@pytest.fixture
def tight() -> Iterator[OwnServer]:
    """A server with few connections and few locks."""
    settings = {
        "max_connections": "8",
        "superuser_reserved_connections": "1",
        "max_locks_per_transaction": "10",
        "autovacuum_worker_slots": "1",
        "autovacuum_max_workers": "1",
        "max_worker_processes": "0",
        "max_wal_senders": "0",
    }
    with own_server(**settings) as found:
        yield found


def test_a_server_without_room_for_connections_or_locks_is_told_and_mended(
    start: Start, run: Run, tight: OwnServer, tmp_path: Path
) -> None:
    given = Given()
    for i in range(200):
        given.event(f"Kind {i:03}", f"kind_{i:03}", f"id{i}", size=i)
    path = given.write(tmp_path / "given.ndjson")
    with copy_of(tight, "migrated") as db:
        process = start("load", path, url=db.url)
        _, err = process.communicate(timeout=60)
        sentence(process.returncode, err, 1, "max_locks_per_transaction")
        assert statuses(db) == ["failure"]
        assert [name for name in db.tables() if name.startswith("kind_")] == []

        with (tight.folder / "postgresql.conf").open("a") as file:
            file.write("max_locks_per_transaction = 64\n")
        tight.stop("fast")
        tight.start()
        db.execute("CREATE ROLE crowd LOGIN")
        crowd = [
            tight.database(db.url.rpartition("/")[2], user="crowd").connect() for _ in range(7)
        ]
        process = start("load", path, url=db.url)
        time.sleep(1.5)
        for connection in crowd:
            connection.close()
        finishes(process)
        check_settled(db, given)


def test_two_hundred_new_tables_in_one_batch_are_made(
    run: Run, db: Database, tmp_path: Path
) -> None:
    given = Given()
    for i in range(200):
        given.event(f"Kind {i:03}", f"kind_{i:03}", f"id{i}", size=i)
    assert run("load", given.write(tmp_path / "given.ndjson")).code == 0
    check_settled(db, given)


def test_dropped_columns_count_for_the_limit_of_postgresql(
    run: Run, db: Database, tmp_path: Path
) -> None:
    table = f"ALTER TABLE {SCHEMA}.email_opened"
    for _ in range(2):
        names = [f"old_{i}" for i in range(765)]
        db.execute(f"{table} " + ", ".join(f"ADD {name} int" for name in names))
        db.execute(f"{table} " + ", ".join(f"DROP {name}" for name in names))
    given = Given()
    many = {f"new_{i}": i for i in range(60)}
    given.event("Email Opened", "email_opened", "1", **many)
    result = run("load", given.write(tmp_path / "given.ndjson"))
    assert result.code == 0, result.err
    check_settled(db, given)
    [row] = db.dicts("SELECT * FROM email_opened")
    found = row["_extra"] | {k: v for k, v in row.items() if k.startswith("new_")}
    assert found == many
    assert row["_extra"] != {}


@pytest.fixture
def full_disk(server: Server, db: Database) -> Iterator[Path]:
    """The tables of the test's database on a disk of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root to be mounted")
    folder = server.folder.parent / f"disk-{os.getpid()}"
    folder.mkdir()
    options = "size=24m,mode=0777"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.decode()}")
    admin = server.database("postgres")
    name = f"disk_{os.getpid()}"
    try:
        status = server.folder.stat()
        os.chown(folder, status.st_uid, status.st_gid)
        admin.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        for table in db.tables():
            db.execute(f"ALTER TABLE {SCHEMA}.{table} SET TABLESPACE {name}")
            for (index,) in db.rows("SELECT indexname FROM pg_indexes WHERE tablename = %s", table):
                db.execute(f"ALTER INDEX {SCHEMA}.{index} SET TABLESPACE {name}")
        yield folder
        for table in db.tables():
            db.execute(f"DROP TABLE {SCHEMA}.{table}")
        admin.execute("CHECKPOINT")
        admin.execute(f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        folder.rmdir()


def test_a_full_disk_of_the_server_is_told_and_the_next_load_completes(
    run: Run, start: Start, db: Database, full_disk: Path, tmp_path: Path
) -> None:
    given = Given()
    for i in range(3_000):
        given.event("Email Opened", "email_opened", f"{i:06}", subject=os.urandom(3000).hex())
    path = given.write(tmp_path / "given.ndjson")
    process = start("load", path, url=db.url, env=SMALL)
    _, err = process.communicate(timeout=60)
    sentence(process.returncode, err, 1, "No space left on device", "free disk space")
    assert statuses(db) == ["failure"]
    assert db.value("SELECT count(*) FROM _rejects") == 0
    subprocess.run(["mount", "-o", "remount,size=96m", full_disk], check=True)
    assert run("load", path).code == 0
    check_settled(db, given)


def test_a_job_without_memory_says_so_and_the_next_one_completes(
    start: Start, run: Run, db: Database, tmp_path: Path
) -> None:
    given = Given()
    for i in range(20_000):
        given.event("Email Opened", "email_opened", f"{i:06}", subject=os.urandom(1000).hex())
    path = given.write(tmp_path / "given.ndjson")
    codes = set()
    for megabytes in (120, 170, 200):
        limit = megabytes << 20
        process = start(
            "load",
            path,
            url=db.url,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        _, err = process.communicate(timeout=60)
        codes.add(process.returncode)
        if process.returncode:
            sentence(process.returncode, err, 1, "out of memory", "batch_bytes")
            assert set(statuses(db)) <= {"failure"}
    assert 1 in codes
    assert run("load", path).code == 0
    check_settled(db, given)


def test_the_ledger_says_that_memory_was_short(start: Start, db: Database, tmp_path: Path) -> None:
    given = Given()
    for i in range(20_000):
        given.event("Email Opened", "email_opened", f"{i:06}", subject=os.urandom(1000).hex())
    path = given.write(tmp_path / "given.ndjson")
    limit = 170 << 20
    process = start(
        "load",
        path,
        url=db.url,
        # Now and then a thread's own arena took what the start of the load needed.
        env={"MALLOC_ARENA_MAX": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    process.communicate(timeout=60)
    assert "memory" in db.value("SELECT error FROM _loads")


def test_a_full_disk_behind_standard_output_is_no_traceback(
    db: Database, path: Path, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "loader", "load", path],
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"LOADER_WAREHOUSE_URL": db.url},
            cwd=tmp_path,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1
    check_settled(db, GIVEN)


# other versions of PostgreSQL


@pytest.mark.parametrize("version", other_servers())
def test_the_main_job_and_the_migrations_work_on_other_versions(
    run: Run, start: Start, version: str, path: Path
) -> None:
    with own_server(other_servers()[version]) as server, copy_of(server, "migrated") as db:
        with trigger(db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=db.url, env=SMALL)
            wait_until(db, waits)
            server.stop("immediate")
            server.start()
            finishes(process)
        check_settled(db, GIVEN)
        assert run("load", path, "--force", url=db.url).code == 0
        check_settled(db, GIVEN)
        for command in (
            ["check"],
            ["status"],
            ["columns", "list"],
            ["rejects", "list"],
            ["rejects", "replay"],
            ["columns", "widen", "email_opened", "amount", "text"],
            ["migrate"],
            ["plan", path],
        ):
            result = run(*command, url=db.url)
            assert result.code == 0, (command, result.err)
        drop = ["-x", "drop=yes", "downgrade", "base"]
        for command in (["check"], drop, ["upgrade", "head"], ["check"]):
            done = alembic(*command, url=db.url)
            assert done.returncode == 0, done.stderr
