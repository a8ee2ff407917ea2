"""Faults that pass and locks: a load waits them out, and tells those that stay."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acceptance.faults import (
    SMALL,
    Given,
    OwnServer,
    Start,
    check_settled,
    finishes,
    holding,
    locked,
    mixed,
    roles,
    sentence,
    statuses,
    wait_until,
    waits_for_lock,
)
from acceptance.harness import SCHEMA, Database, Run

GIVEN = mixed(3_000)


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
        wait_until(db, waits_for_lock('lock table .*"email_opened"'))
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
    with locked(db, "email_opened", mode, 'lock table .*"email_opened"|alter table') as waits:
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


@pytest.mark.parametrize("holder", ["ROLE small", "DATABASE {}"])
def test_too_many_connections_of_a_role_or_database_are_waited_out(
    start: Start, mortal_db: Database, small: Database, path: Path, holder: str
) -> None:
    limit = f"ALTER {holder.format(mortal_db.name)} CONNECTION LIMIT"
    mortal_db.execute(f"{limit} 0")
    process = start("load", path, url=small.url)
    time.sleep(1.5)
    mortal_db.execute(f"{limit} -1")
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
