"""PgBouncer before the server: session mode works, the others are refused before they do harm."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from acceptance.faults import (
    LATE_MIDDLE,
    LOADS,
    SMALL,
    OwnServer,
    Start,
    alembic,
    all_at_once,
    check_settled,
    finishes,
    free_port,
    job,
    mixed,
    sentence,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import SCHEMA, Database, Run, enterable_folder

from loader.errors import LoaderError, UsageError, WarehouseFailed
from loader.warehouse import opening
from loader.warehouse.engine import Session, connect, make_engine

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="PgBouncer is not on this machine: apt-get install pgbouncer"
)

GIVEN = mixed(3_000)
NO_LOCK = "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'"
SET_BY_A_SESSION = ("lock_timeout", *(setting.name for setting in opening.SETTINGS))


class Pooler:
    """A PgBouncer on a port of 127.0.0.1."""

    def __init__(self, server: OwnServer, mode: str, **settings: Any) -> None:
        self.port = free_port()
        self.folder = enterable_folder()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": mode,
            **settings,
        }
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        self.start()

    def start(self) -> None:
        # It refuses to run as root; this is `nobody` everywhere.
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        assert PROGRAM is not None
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [PROGRAM, self.folder / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **user,  # type: ignore[call-overload]
            )
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", self.port)).close()
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def url(self, db: Database) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{db.name}"


@contextmanager
def pooler(server: OwnServer, mode: str, **settings: Any) -> Iterator[Pooler]:
    found = Pooler(server, mode, **settings)
    try:
        yield found
    finally:
        found.kill()
        shutil.rmtree(found.folder, ignore_errors=True)


@contextmanager
def traffic(url: str, clients: int) -> Iterator[None]:
    """Clients of the pool that are always busy."""
    over = threading.Event()

    def work() -> None:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not over.is_set():
                cursor.execute("SELECT pg_sleep(random() / 500)")

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def settings_of(url: str, sessions: int = 1) -> list[tuple[Any, ...]]:
    """What sessions that live at the same time have set of what a load sets."""
    shown = ", ".join(f"current_setting('{name}', true)" for name in SET_BY_A_SESSION)
    found = []
    with ExitStack() as stack:
        for _ in range(sessions):
            cursor = stack.enter_context(closing(psycopg2.connect(url))).cursor()
            cursor.execute(f"SELECT {shown}")
            found.append(cursor.fetchone())
    return found


POOLS = {
    "transaction": {},
    "transaction, backends by turns": {"min_pool_size": 3, "server_round_robin": 1},
    "transaction, one backend": {"default_pool_size": 1},
    "transaction, reset each time": {"server_reset_query_always": 1},
    "statement": {},
}


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_without_sessions_is_refused_and_nothing_stays_in_it(
    run: Run, mortal: OwnServer, mortal_db: Database, tmp_path: Path, name: str
) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    before = mortal_db.dump()
    fresh = settings_of(mortal_db.url)
    mode = name.partition(",")[0]
    with pooler(mortal, mode, **POOLS[name]) as pool:
        url = pool.url(mortal_db)
        for command in (["load", path], ["check", path], ["migrate"], ["status"], ["plan", path]):
            result = run(*command, url=url)
            sentence(result.code, result.err, 2, "pooler", "port 5432", "session mode")
        shown = alembic("current", url=url)
        assert shown.returncode != 0
        assert "session mode" in shown.stderr
        assert "Traceback" not in shown.stderr
        if mode == "transaction":
            sessions = 1 if "one" in name else 3
            assert settings_of(url, sessions) == fresh * sessions
        assert mortal_db.value(NO_LOCK)
        assert mortal_db.dump() == before
        # The lock is free while the backends of the pool live on.
        assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN)


def test_two_loads_at_once_through_such_a_pool_are_both_refused(
    start: Start, mortal: OwnServer, mortal_db: Database, tmp_path: Path
) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    with pooler(mortal, "transaction") as pool:
        processes = [start("load", path, url=pool.url(mortal_db)) for _ in range(2)]
        for process in processes:
            finishes(process, 2, "session mode")
        assert mortal_db.value(NO_LOCK)
    assert mortal_db.rows(LOADS) == []


@pytest.mark.parametrize(
    "settings", [{}, {"server_round_robin": 1}], ids=["last first", "by turns"]
)
def test_such_a_pool_is_noticed_while_others_use_it(
    mortal: OwnServer, mortal_db: Database, settings: dict[str, Any]
) -> None:
    with pooler(mortal, "transaction", default_pool_size=4, **settings) as pool:
        url = pool.url(mortal_db)
        for clients in (1, 2, 3, 6):
            with traffic(url, clients):
                for _ in range(10):
                    with pytest.raises(UsageError), connect(make_engine(url)):
                        pass


def test_a_lock_that_such_a_pool_holds_nevertheless_is_given_up(
    mortal: OwnServer, mortal_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the pool had given the first transactions the same backend by chance."""
    monkeypatch.setattr(opening, "_refuse_shared_backends", lambda *_: None)
    with pooler(mortal, "transaction") as pool:
        session = Session(make_engine(pool.url(mortal_db)), SCHEMA)
        assert session.open()
        assert not mortal_db.value(NO_LOCK)
        with closing(psycopg2.connect(pool.url(mortal_db))) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")  # and its transaction stays open
            assert cursor.fetchone() == (session._backend["pid"],)
            with pytest.raises(WarehouseFailed, match="pooler"), session.connection.begin():
                session.verify_lock()
        session.close()
        wait_until(mortal_db, NO_LOCK)


# session mode


def test_a_pool_in_session_mode_works(
    run: Run, start: Start, mortal: OwnServer, mortal_db: Database, tmp_path: Path
) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    fresh = settings_of(mortal_db.url)
    with pooler(mortal, "session") as pool:
        url = pool.url(mortal_db)
        result = run("check", path, url=url)
        assert (result.code, "a pooler in session mode" in result.out) == (0, True)
        assert "a pooler" not in run("check", path, url=mortal_db.url).out
        assert alembic("check", url=url).returncode == 0
        for arguments in ([], ["--force"]):  # the second time each id is asked for
            result = run("load", path, *arguments, "--json", url=url, env=SMALL)
            assert result.code == 0, result.err
        assert result.json["rows_loaded"] == 0
        assert mortal_db.value(NO_LOCK)
        assert settings_of(url, 3) == fresh * 3
        assert sorted(all_at_once(start, Database(url), path, 3, "--force"))[0] == 0
    check_settled(mortal_db, GIVEN)


def test_a_load_through_a_pool_is_killed_and_the_next_one_goes_on(
    start: Start, mortal: OwnServer, mortal_db: Database, tmp_path: Path
) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    with pooler(mortal, "session") as pool:
        url = pool.url(mortal_db)
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=url, env=SMALL)
            wait_until(mortal_db, waits)
            process.kill()
            process.wait()
        wait_until(mortal_db, NO_LOCK)
        assert job("load", path, url=url).returncode == 0
    check_settled(mortal_db, GIVEN)
    assert statuses(mortal_db) == ["interrupted", "success"]


def test_a_load_goes_on_when_its_pooler_died_and_came_back(
    start: Start, mortal: OwnServer, mortal_db: Database, tmp_path: Path
) -> None:
    path = GIVEN.write(tmp_path / "given.ndjson")
    with pooler(mortal, "session") as pool:
        with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=pool.url(mortal_db), env=SMALL)
            wait_until(mortal_db, waits)
            pool.kill()
            pool.start()
        finishes(process)
    check_settled(mortal_db, GIVEN)
    assert statuses(mortal_db) == ["success"]


def test_a_pool_that_is_too_small_says_so(mortal: OwnServer, mortal_db: Database) -> None:
    with (
        pooler(mortal, "session", default_pool_size=1, query_wait_timeout=1) as pool,
        pytest.raises(LoaderError, match="pool_size"),
        connect(make_engine(pool.url(mortal_db))),
    ):
        pass


def test_parameters_that_a_pooler_refuses_are_named(
    run: Run, mortal: OwnServer, mortal_db: Database
) -> None:
    option = "?options=-cjit%3Doff"
    with pooler(mortal, "session") as pool:
        result = run("check", url=pool.url(mortal_db) + option)
        sentence(result.code, result.err, 1, "options", "ignore_startup_parameters")
        unknown = run("check", url=pool.url(mortal_db), env={"PGGEQO": "off"})
        sentence(unknown.code, unknown.err, 1, "geqo", "ignore_startup_parameters")
    with pooler(mortal, "session", ignore_startup_parameters="options") as pool:
        assert run("check", url=pool.url(mortal_db) + option).code == 0
