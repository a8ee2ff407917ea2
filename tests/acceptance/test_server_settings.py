"""Settings of the environment, the role and the database that could harm a load."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acceptance.faults import (
    SESSIONS,
    OwnServer,
    Start,
    alembic,
    check_settled,
    copy_of,
    finishes,
    free_port,
    mixed,
    own_server,
    sentence,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Run, Write, enterable_folder, track, webhook
from sqlalchemy import Connection, text

from loader.errors import TransientFault
from loader.warehouse import programs
from loader.warehouse.engine import connect, make_engine

GIVEN = mixed(300)


@contextmanager
def settings(db: Database, **values: str) -> Iterator[None]:
    """Settings of the database, as long as the context."""
    for name, value in values.items():
        db.execute(f"ALTER DATABASE {db.name} SET {name} = {value}")
    try:
        yield
    finally:
        with db.connect(options="-c default_transaction_read_only=off") as connection:
            connection.cursor().execute(f"ALTER DATABASE {db.name} RESET ALL")
        connection.close()


# text

TEXTS = {"latin": "crème brûlée £", "other": "Žižkov, Ωμέγα, 東京, 🐘", "slash": "a\\b\\'c\\\\"}


@pytest.mark.parametrize(
    ("env", "option", "setting"),
    [
        ({"PGCLIENTENCODING": "latin1"}, "", {}),
        ({"PGCLIENTENCODING": "sjis"}, "", {}),
        ({}, "client_encoding=latin1", {}),
        ({"PGOPTIONS": "-c client_encoding=latin1"}, "", {}),
        ({}, "", {"client_encoding": "'win1252'"}),
    ],
    ids=["PGCLIENTENCODING", "an encoding unfit for a client", "URL", "PGOPTIONS", "database"],
)
def test_text_is_stored_as_it_was_sent_whatever_encoding_is_set(
    run: Run,
    db: Database,
    write: Write,
    env: dict[str, str],
    option: str,
    setting: dict[str, str],
) -> None:
    path = write(
        "a.ndjson",
        track("Email Opened", messageId="1", **TEXTS),
        track("Žeton Viděn", messageId="2", **{"názěv": "ř"}),
        webhook("email", "opened", event_id="3", subject=TEXTS["other"]),
        '{"type": "merge", "userId": "Žižkov"}',
    )
    url = db.url + ("&" if "?" in db.url else "?") + option if option else db.url
    with settings(db, **setting):
        for arguments in ([], ["--force"]):
            result = run(
                "load", path, *arguments, url=url, env={"LOADER_MAX_REJECT_RATIO": "1"} | env
            )
            assert (result.code, result.err) == (0, "")
        listed = run("rejects", "list", "--raw", url=url, env=env)
    assert listed.out == '{"type": "merge", "userId": "Žižkov"}\n'
    columns = ", ".join(TEXTS)
    found = db.dicts(f"SELECT {columns} FROM email_opened WHERE id = '1'")
    assert found == [TEXTS]
    assert db.value("SELECT subject FROM email_opened WHERE id = '3'") == TEXTS["other"]
    assert db.value("SELECT event_text FROM tracks WHERE id = '2'") == "Žeton Viděn"
    assert db.value("SELECT raw FROM _rejects") == '{"type": "merge", "userId": "Žižkov"}'
    assert db.value("SELECT duplicates FROM _loads ORDER BY id DESC LIMIT 1") == 4


# settings that must not matter

HOSTILE = {
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "escape_string_warning": "on",
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "sql_standard",
    "TimeZone": "'Asia/Kathmandu'",
    "bytea_output": "escape",
    "search_path": "decoys, pg_catalog",
    "row_security": "off",
    "session_replication_role": "replica",
    "check_function_bodies": "on",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "synchronize_seqscans": "on",
    "extra_float_digits": "-15",
    "exit_on_error": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "idle_session_timeout": "'1s'",
    "lock_timeout": "'1ms'",
    "synchronous_commit": "off",
    "client_min_messages": "debug1",
    "plan_cache_mode": "force_generic_plan",
    "jit": "on",
    "jit_above_cost": "0",
    "debug_parallel_query": "on",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "from_collapse_limit": "1",
    "lc_numeric": "'C'",
    "default_toast_compression": "pglz",
    "constraint_exclusion": "on",
    "xmloption": "document",
    "work_mem": "'64kB'",
    "default_statistics_target": "1",
}


def content(db: Database) -> dict[str, list[object]]:
    """Everything a load writes, but its own times and numbers; and the comments."""
    own = (
        "{uuid_ts,load_id,modified_at,updated_at,rejected_at,replayed_at,replayed_by,"
        "changed_at,started_at,finished_at,seconds,last_received_at}"
    )
    found: dict[str, list[object]] = {
        name: db.rows(f'SELECT to_jsonb(t) - %s::text[] AS row FROM "{name}" t ORDER BY row', own)
        for name in db.tables()
        if name not in ("_loads", "alembic_version")
    }
    return found | {"": [row for row in db.dump() if len(row) > 3]}


def test_a_load_under_hostile_settings_writes_the_same(
    run: Run, db: Database, empty_db: Database, tmp_path: Path, write: Write
) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    more = write(
        "more.ndjson",
        track("Email Opened", messageId="x1", amount="1.5", when="01/02/2026", **TEXTS),
        track("Email Opened", messageId="x2", timestamp="2026-01-02T03:04:05.678901+05:45"),
        track("Slash \\ Seen", messageId="x3", **{"a\\'b": ["x", None, "\\"]}),
        '{"type": "merge", "userId": "x4"}',
    )
    empty_db.execute(
        "CREATE SCHEMA decoys; CREATE TABLE decoys.tracks (a int); CREATE TABLE decoys._loads ();"
        "CREATE TABLE decoys.alembic_version (version_num text)"
    )
    env = {"LOADER_MAX_REJECT_RATIO": "1", "LOADER_BATCH_RECORDS": "100"}
    again = "customerio-loader: all 5 records were rejected again; see "
    commands = {
        ("load", path): (0, ""),
        ("load", more): (0, ""),
        ("load", path, "--force"): (0, ""),
        ("rejects", "replay"): (3, f"{again}`customerio-loader rejects list`\n"),
        ("columns", "widen", "email_opened", "amount", "numeric"): (0, ""),
        ("columns", "list"): (0, ""),
        ("plan", path): (0, ""),
        ("check", path): (0, ""),
        ("status",): (0, ""),
    }
    with settings(empty_db, **HOSTILE):
        for command, expected in commands.items():
            for url in (db.url, empty_db.url):
                result = run(*command, url=url, env=env)
                assert (result.code, result.err) == expected, (command, result)
        assert alembic("check", url=empty_db.url).returncode == 0
    empty_db.execute("DROP SCHEMA decoys CASCADE")
    assert content(empty_db) == content(db)


# limits of time, which their owner set on purpose


@pytest.mark.parametrize("limit", ["statement_timeout", "transaction_timeout"])
def test_a_load_that_a_limit_ended_names_the_limit(
    start: Start, run: Run, db: Database, tmp_path: Path, limit: str
) -> None:
    if not db.rows("SELECT FROM pg_settings WHERE name = %s", limit):
        pytest.skip(f"this PostgreSQL has no {limit}")
    path = GIVEN.write(tmp_path / "given.ndjson")
    with settings(db, **{limit: "'300ms'"}):
        shown = run("check", path)
        assert (shown.code, f"{limit} is 300ms" in shown.out) == (0, True)
        with trigger(db, "email_opened", "NEW.id >= 'k000100'"):
            env = {"LOADER_RETRY_TIMEOUT": "0.1", "LOADER_LOCK_TIMEOUT": "5"}
            process = start("load", path, url=db.url, env=env)
            words = f"{limit} is 300ms", f"ALTER ROLE postgres RESET {limit}"
            finishes(process, 1, *words)
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


def test_a_session_that_was_ended_for_idling_in_a_transaction_names_the_limit(
    db: Database,
) -> None:
    words = "idle_in_transaction_session_timeout is 100ms"
    with settings(db, idle_in_transaction_session_timeout="'100ms'"):
        engine = make_engine(db.url)
        with pytest.raises(TransientFault, match=words), connect(engine) as connection:
            idle_in_transaction(db, connection)


def idle_in_transaction(db: Database, connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
    wait_until(db, f"SELECT count(*) = 0 {SESSIONS}")
    connection.execute(text("SELECT 1"))


def test_a_load_whose_input_is_slow_keeps_its_session_and_its_lock(
    start: Start, db: Database
) -> None:
    with settings(db, idle_session_timeout="'100ms'"):
        process = start("load", "-", url=db.url, env={"LOADER_BATCH_RECORDS": "100"})
        assert process.stdin is not None
        half = len(GIVEN.data) // 2
        process.stdin.write(GIVEN.data[:half])
        process.stdin.flush()
        wait_until(db, f"SELECT min(now() - state_change) > '500ms' {SESSIONS}")
        before = db.rows(f"SELECT pid, backend_start {SESSIONS} ORDER BY backend_start")
        process.stdin.write(GIVEN.data[half:])
        process.stdin.flush()
        wait_until(db, f"SELECT min(now() - state_change) > '500ms' {SESSIONS}")
        assert db.rows(f"SELECT pid, backend_start {SESSIONS} ORDER BY backend_start") == before
        finishes(process)
    check_settled(db, GIVEN)


# servers that can only be read


def test_a_database_set_read_only_is_told_at_once(run: Run, db: Database, tmp_path: Path) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    with settings(db, default_transaction_read_only="on"):
        for command in (["load", path], ["rejects", "replay"]):
            result = run(*command)
            sentence(result.code, result.err, 1, "default_transaction_read_only", "primary")
        shown = run("check", path)
        assert (shown.code, "NOT   Customer.io: the server can only be read" in shown.out) == (
            1,
            True,
        )
        assert run("status").code == 0
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


@pytest.fixture(scope="module")
def standby() -> Iterator[tuple[OwnServer, OwnServer]]:
    """A server and its hot standby."""
    with own_server() as primary:
        found = copy.copy(primary)
        found.parent = enterable_folder()
        found.parent.chmod(0o777)
        found.folder, found.port = found.parent / "data", free_port()
        command = [primary.bin_path / "pg_basebackup", "-R", "-c", "fast", "-d", primary.url()]
        subprocess.run(
            [*command, "-D", found.folder],
            check=True,
            capture_output=True,
            cwd=found.parent,
            **programs.as_server(),
        )
        with (found.folder / "postgresql.conf").open("a") as file:
            file.write(f"port = {found.port}\nunix_socket_directories = '{found.parent}'\n")
        found.start()
        try:
            yield primary, found
        finally:
            found.stop()
            shutil.rmtree(found.parent, ignore_errors=True)


def test_a_hot_standby_is_told_at_once(
    run: Run, standby: tuple[OwnServer, OwnServer], tmp_path: Path
) -> None:
    primary, copied = standby
    path = GIVEN.write(tmp_path / "given.ndjson")
    with copy_of(primary, "migrated") as db:
        url = copied.url(db.name)
        wait_until(copied.database("postgres"), "SELECT pg_last_wal_replay_lsn() IS NOT NULL")
        there = f"SELECT count(*) = 1 FROM pg_database WHERE datname = '{db.name}'"
        wait_until(copied.database("postgres"), there)
        result = run("load", path, url=url)
        sentence(result.code, result.err, 1, "hot standby", "primary", "target_session_attrs")
        shown = run("check", path, url=url)
        assert (shown.code, "NOT   Customer.io: the server is a hot standby" in shown.out) == (
            1,
            True,
        )
        migrated = alembic("-x", "source=Shop", "upgrade", "head", url=url)
        assert (migrated.returncode == 0, "Traceback" in migrated.stderr) == (False, False)
        assert "primary" in migrated.stderr
        assert alembic("check", url=url).returncode == 0
        # Of several hosts, libpq finds the one that can be written to.
        both = (
            f"postgresql://postgres@/{db.name}?host=127.0.0.1:{copied.port}"
            f"&host=127.0.0.1:{primary.port}&target_session_attrs=read-write"
        )
        assert run("load", path, url=both).code == 0
        check_settled(db, GIVEN)
