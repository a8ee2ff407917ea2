"""Connections: reading URLs, the lock, and the driver's errors in our words."""

import time
from contextlib import closing, suppress

import psycopg2
import pytest
from acceptance.harness import Database
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from loader.errors import (
    LoaderError,
    MissingRight,
    SchemaDrift,
    TransientFault,
    UsageError,
    WarehouseFailed,
    WarehouseUnavailable,
)
from loader.warehouse.engine import (
    Session,
    connect,
    lock_key,
    make_engine,
    retrying,
    translate,
    try_lock,
    wait_for_lock,
)
from loader.warehouse.faults import explain
from loader.warehouse.opening import describe, parse_url

SECRET = "hush/hush@7"
QUOTED = "hush%2Fhush%407"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{QUOTED}@db.example:5433/events",
        f"postgres://me:{QUOTED}@db.example:5433/events",
        f"postgresql+psycopg2://me:{QUOTED}@db.example:5433/events",
        f"postgresql+asyncpg://me:{QUOTED}@db.example:5433/events",
    ],
)
def test_a_url_is_read_whatever_driver_it_names(url: str) -> None:
    parsed = parse_url(url)
    assert parsed.drivername == "postgresql+psycopg2"
    assert (parsed.username, parsed.password, parsed.host, parsed.port, parsed.database) == (
        "me",
        SECRET,
        "db.example",
        5433,
        "events",
    )
    assert describe(parsed) == "events on db.example"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///events?host=/run/pg", "events on /run/pg"),
        ("postgresql://", "the default database on the local socket"),
        ("postgresql://db.example", "the default database on db.example"),
        ("postgresql:///events?host=one&host=two", "events on one"),
        ("postgresql://[::1]:5432/events?sslmode=require", "events on ::1"),
    ],
)
def test_a_place_is_described_without_a_password(url: str, expected: str) -> None:
    assert describe(parse_url(url)) == expected


@pytest.mark.parametrize(
    "url",
    ["", "events", "mysql://me:hush@h/d", "postgresql:/h/d", "http://h",
     "postgresql://me:hush@h:port/d", "postgresql://me:hush%00@h/d", "postgresql://h/hush\0"],
)  # fmt: skip
def test_what_is_no_url_is_a_wrong_setting_that_shows_no_password(url: str) -> None:
    with pytest.raises(UsageError, match="postgresql://USER@HOST:5432/DATABASE") as caught:
        parse_url(url)
    assert "hush" not in str(caught.value)


def failure(db: Database, statement: str) -> LoaderError:
    """The loader's error for a statement that the server refuses."""
    engine = make_engine(db.url)
    with pytest.raises(LoaderError) as caught, connect(engine) as connection:
        connection.execute(text(statement))
    assert isinstance(caught.value.__cause__, DBAPIError | psycopg2.Error)
    return caught.value


@pytest.mark.parametrize(
    ("statement", "kind", "words"),
    [
        ("SELECT * FROM nowhere", SchemaDrift, ("nowhere", "alembic check")),
        ("SELECT nothing FROM customerio.tracks", SchemaDrift, ("nothing",)),
        ("SELECT 1 / 0", WarehouseFailed, ("division by zero", "22012")),
        ("SET ROLE pg_monitor; CREATE SCHEMA mine", MissingRight, ("right", "check")),
        ("SELECT pg_terminate_backend(pg_backend_pid())", WarehouseUnavailable, ("server",)),
        ("INSERT INTO customerio.tracks (id) VALUES (NULL)", WarehouseFailed, ("null",)),
    ],
)
def test_errors_of_the_server_say_what_to_do(
    db: Database, statement: str, kind: type[LoaderError], words: tuple[str, ...]
) -> None:
    error = failure(db, statement)
    assert isinstance(error, kind)
    for word in words:
        assert word in str(error)
    assert "\n" not in str(error)


def test_an_error_of_a_row_does_not_show_the_row(db: Database) -> None:
    db.execute("ALTER TABLE tracks ADD CONSTRAINT few CHECK (user_id <> 'someone@example.com')")
    error = failure(
        db,
        "INSERT INTO customerio.tracks (id, user_id) VALUES ('1', 'someone@example.com')",
    )
    assert "few" in str(error)
    assert "someone@example.com" not in str(error)


def test_a_password_in_an_error_of_the_library_is_hidden() -> None:
    url = parse_url(f"postgresql://me:{QUOTED}@127.0.0.1:1/events")
    error = explain(psycopg2.OperationalError(f"could not use password={SECRET}"), url)
    assert SECRET not in str(error)
    assert "events on 127.0.0.1" in str(error)


def test_a_session_reads_and_shows_times_in_utc(db: Database) -> None:
    name = db.value("SELECT current_database()::text")
    db.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    db.execute(f"ALTER DATABASE {name} SET datestyle = 'German'")
    with connect(make_engine(db.url)) as connection:
        shown = connection.scalar(text("SELECT '2026-01-02T03:04:05'::timestamptz::text"))
        assert shown == "2026-01-02 03:04:05+00"
        assert connection.scalar(text("SHOW client_encoding")) == "UTF8"
        assert connection.scalar(text("SHOW application_name")) == "customerio-loader"


def test_the_lock_is_of_one_schema_and_ends_with_its_session(db: Database) -> None:
    assert lock_key("a") != lock_key("b")
    assert lock_key("customerio") in range(-(2**63), 2**63)
    engine = make_engine(db.url)
    with connect(engine) as one, connect(engine) as two:
        assert try_lock(one, "customerio")
        assert not try_lock(two, "customerio")
        assert try_lock(two, "other")
    with connect(engine) as three:
        wait_for_lock(three, "customerio")
        with closing(db.connect()) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (lock_key("customerio"),))
            assert cursor.fetchone() == (False,)


def test_a_connection_that_was_lost_does_not_pass_for_one_that_holds_the_lock(
    db: Database,
) -> None:
    session = Session(make_engine(db.url), "customerio", lock_timeout=3)
    assert session.open()
    db.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s", pid(session))
    with pytest.raises(TransientFault), translate(session.engine.url), session.connection.begin():
        session.connection.execute(text("SELECT 1"))
    with pytest.raises(TransientFault, match="lost"):
        _ = session.connection
    session.revive()
    assert session.connection.scalar(text("SHOW lock_timeout")) == "3s"
    with connect(make_engine(db.url)) as other:
        assert not try_lock(other, "customerio")
    session.close()


def test_a_session_whose_old_connection_holds_the_lock_ends_it(db: Database) -> None:
    session = Session(make_engine(db.url), "customerio")
    assert session.open()
    zombie, session._connection = session._connection, None
    with pytest.raises(TransientFault, match="its lock is held"):
        session.revive()
    for attempt in retrying(5):
        with attempt:
            session.revive()
    session.close()
    assert zombie is not None
    with suppress(DBAPIError):
        zombie.invalidate()
        zombie.close()


def test_attempts_are_counted_from_the_first_fault() -> None:
    tries = 0
    for attempt in retrying(0.5):
        with attempt:
            tries += 1
            if tries == 1:
                time.sleep(0.6)
                raise TransientFault("noticed late")
    assert tries == 2


@pytest.mark.parametrize(
    ("timeout", "stopped", "error"),
    [(0, False, TransientFault), (5, True, TransientFault), (5, False, WarehouseFailed)],
)
def test_what_cannot_pass_is_not_tried_again(
    timeout: float, stopped: bool, error: type[LoaderError]
) -> None:
    tries = 0

    def fail() -> None:
        nonlocal tries
        for attempt in retrying(timeout, lambda: stopped):
            with attempt:
                tries += 1
                raise error("it is so")

    with pytest.raises(error):
        fail()
    assert tries == 1


def pid(session: Session) -> int:
    """The server's process for a session."""
    found: int = session.connection.scalar(text("SELECT pg_backend_pid()"))
    session.connection.commit()
    return found


def test_a_lack_of_memory_of_the_client_library_is_no_lost_connection() -> None:
    url = parse_url("postgresql://me@127.0.0.1/events")
    with pytest.raises(MemoryError), translate(url):
        raise psycopg2.OperationalError("out of memory\n")
