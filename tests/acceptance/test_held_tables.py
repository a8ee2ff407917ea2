"""Tables that need new columns and are held by somebody: the load goes on, and so do readers.

Schema changes ran in the transaction of their batch, so that a table was locked for as long as its
COPY took; and while they waited for a reader, all later readers waited behind them.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from acceptance.faults import (
    NO_SESSION,
    SESSIONS,
    SMALL,
    Start,
    finishes,
    holding,
    trigger,
    wait_until,
    waits_for_lock,
)
from acceptance.harness import SCHEMA, Database, Run, Server, Write, ndjson, track

IMPATIENT = {"LOADER_RETRY_TIMEOUT": "1"}
WAITING = "SELECT table_name, column_name, type FROM _waiting_columns ORDER BY 1, 2"
COLUMN_TYPES = (
    "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
    f"WHERE attrelid = '{SCHEMA}.{{}}'::regclass AND attname = '{{}}'"
)


@contextmanager
def reader(db: Database, *tables: str) -> Iterator[Any]:
    """A report, or a dump, that reads tables in one long transaction."""
    names = ", ".join(f"{SCHEMA}.{table}" for table in tables)
    with holding(db, f"SET application_name = 'report'; BEGIN; LOCK TABLE {names} "
                     "IN ACCESS SHARE MODE") as cursor:  # fmt: skip
        yield cursor


@pytest.fixture
def cart(run: Run, db: Database, write: Write) -> Database:
    """A schema that has a table for carts."""
    assert run("load", write("first.ndjson", track("Cart Seen", messageId="a", shop=1))).code == 0
    return db


def test_a_load_goes_on_without_the_columns_of_a_table_that_is_held(
    run: Run, cart: Database, write: Write
) -> None:
    path = write(
        "a.ndjson",
        track("Cart Seen", messageId="b", shop=2, total=5, context={"device": {"id": 1}}),
        track("Order Made", messageId="c", total=6, context={"device": {"id": 2}}),
    )
    with reader(cart, "cart_seen", "tracks"):
        result = run("load", path, "--json", env=IMPATIENT)
        assert result.code == 0
        assert "cart_seen.context_device_id and 3 more columns could not be added" in result.err
        assert "report" in result.err
    assert list(result.json["waiting"]) == [
        "cart_seen.context_device_id",
        "cart_seen.total",
        "order_made.context_device_id",
        "tracks.context_device_id",
    ]
    # A context column has one type in all tables, so a new table waits for `tracks`.
    assert cart.rows(WAITING) == [
        ("cart_seen", "context_device_id", "bigint"),
        ("cart_seen", "total", "bigint"),
        ("order_made", "context_device_id", "bigint"),
        ("tracks", "context_device_id", "bigint"),
    ]
    assert cart.rows("SELECT shop, _extra FROM cart_seen ORDER BY id") == [
        (1, None),
        (2, {"total": 5, "context_device_id": 1}),
    ]
    assert cart.rows("SELECT total, _extra FROM order_made") == [(6, {"context_device_id": 2})]
    blocker = cart.value("SELECT blocker FROM _waiting_columns WHERE table_name = 'tracks'")
    assert "report" in blocker
    assert "postgres" in blocker
    shown = run("status")
    assert "cart_seen.total" in shown.out
    assert "report" in shown.out
    [one] = [o for o in run("status", "--json").json["waiting_columns"] if o["column"] == "total"]
    assert (one["table"], one["type"], "report" in one["blocker"]) == ("cart_seen", "bigint", True)

    # A load with nothing new adds them, and moves the values.
    settled = run("load", path, "--json", env=IMPATIENT)
    assert settled.err == ""
    assert (settled.code, settled.json["waiting"], settled.json["records_read"]) == (0, {}, 0)
    assert cart.rows(WAITING) == []
    assert cart.rows("SELECT total, context_device_id, _extra FROM cart_seen ORDER BY id") == [
        (None, None, None),
        (5, 1, None),
    ]
    assert cart.rows("SELECT context_device_id, _extra FROM order_made") == [(2, None)]
    assert cart.rows("SELECT context_device_id, _extra FROM tracks ORDER BY id") == [
        (None, None),
        (1, None),
        (2, None),
    ]
    changes = cart.value("SELECT schema_changes FROM _loads ORDER BY id DESC LIMIT 1")
    assert {(c["table"], c["column"]) for c in changes} == {
        ("tracks", "context_device_id"),
        ("cart_seen", "context_device_id"),
        ("cart_seen", "total"),
        ("order_made", "context_device_id"),
    }


def test_a_later_batch_adds_the_column_with_a_type_for_all_values(
    start: Start, cart: Database, write: Write
) -> None:
    carts = [
        track("Cart Seen", messageId=f"k{i:05}", size=i if i < 2000 else f"{i} pieces")
        for i in range(3000)
    ]
    # The second batch waits before its end, until nobody reads carts any more.
    opened = track("Email Opened", messageId="k01999")
    path = write("a.ndjson", *carts[:1999], opened, *carts[2000:])
    with trigger(cart, "email_opened", "NEW.id = 'k01999'") as is_held:
        with reader(cart, "cart_seen"):
            process = start("load", path, "--json", url=cart.url, env=SMALL | IMPATIENT)
            wait_until(cart, is_held)
            assert cart.rows(WAITING) == [("cart_seen", "size", "bigint")]
            assert cart.value("SELECT count(*) FROM cart_seen WHERE _extra ? 'size'") == 1000
        _release(cart)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["waiting"] == {}
    assert cart.value(COLUMN_TYPES.format("cart_seen", "size")) == "text"
    assert cart.rows(WAITING) == []
    assert cart.value("SELECT count(*) FROM cart_seen WHERE _extra IS NOT NULL") == 0
    found = dict(cart.rows("SELECT id, size FROM cart_seen WHERE id <> 'a'"))
    assert found == {
        f"k{i:05}": str(i) if i < 2000 else f"{i} pieces" for i in range(3000) if i != 1999
    }


def _release(db: Database) -> None:
    """Let who waits at the gate go on, while the context that holds it stays."""
    db.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND objid = 4242 AND granted"
    )


def test_no_table_is_locked_for_readers_while_its_rows_are_written(
    start: Start, cart: Database, write: Write
) -> None:
    rows = [track("Cart Seen", messageId=f"b{i}", total=i, context={"new": i}) for i in range(9)]
    path = write("a.ndjson", *rows, track("Order Made", messageId="z", total=1))
    with trigger(cart, "cart_seen", "NEW.id = 'b5'") as is_held:
        process = start("load", path, url=cart.url)
        wait_until(cart, is_held)
        modes = cart.rows(
            "SELECT DISTINCT c.relname::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "WHERE l.mode = 'AccessExclusiveLock' AND l.granted "
            f"AND c.relnamespace = '{SCHEMA}'::regnamespace"
        )
        assert modes == []
        # The columns are there for everybody, and no row has them.
        assert cart.rows("SET statement_timeout = '2s'; SELECT count(total) FROM cart_seen") == [
            (0,)
        ]
        assert cart.rows("SELECT count(*), count(context_new) FROM tracks") == [(1, 0)]
        assert cart.rows("SELECT count(*) FROM order_made") == [(0,)]
        _release(cart)
        finishes(process)
    assert cart.rows("SELECT count(total), count(context_new) FROM cart_seen") == [(9, 9)]


def test_a_waiting_change_lets_later_readers_through(
    start: Start, cart: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=1))
    with reader(cart, "cart_seen") as report:
        process = start("load", path, url=cart.url)
        wait_until(cart, waits_for_lock("alter table"))
        for _ in range(20):
            # Behind the waiting ALTER TABLE this one would wait as long as the report goes on.
            cart.rows("SET statement_timeout = '5s'; SELECT count(*) FROM cart_seen")
            time.sleep(0.02)
        report.execute("COMMIT")
        finishes(process)
    assert cart.rows("SELECT total FROM cart_seen WHERE id = 'b'") == [(1,)]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE cart_seen ALTER total TYPE text", [("b", "1"), ("c", "2")]),
        ("ALTER TABLE cart_seen DROP total", [("b", None), ("c", 2)]),
        ("ALTER TABLE cart_seen ALTER total TYPE numeric", [("b", 1), ("c", 2)]),
        ("DROP TABLE cart_seen", [("c", 2)]),
    ],
)
def test_a_load_is_begun_anew_where_somebody_changes_a_table_behind_its_encoding(
    start: Start, db: Database, write: Write, statement: str, found: list[Any]
) -> None:
    """In COPY's binary format a number or a boolean can be a valid text: nobody would notice."""
    path = write("a.ndjson", *CHANGED)
    with changing(db, statement) as is_held:
        process = start("load", path, "--json", url=db.url, env=SMALL)
        wait_until(db, is_held)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"begun anew behind its last batch" in err
    result = json.loads(out)
    assert result["records_read"] == 1002  # of both
    assert result["ignored"] == {"ignored_type": 2}
    assert db.rows("SELECT id, total FROM cart_seen ORDER BY id") == found
    loads = "SELECT status, rows_loaded, ignored, batches FROM _loads ORDER BY id"
    assert db.rows(loads) == [("failure", 999, 1, 1), ("success", 1, 1, 1)]
    assert "cart_seen" in db.value("SELECT error FROM _loads WHERE status = 'failure'")


def test_a_stream_cannot_be_begun_anew_and_says_so(
    start: Start, run: Run, db: Database, write: Write
) -> None:
    with changing(db, "ALTER TABLE cart_seen ALTER total TYPE text") as is_held:
        process = start("load", "-", url=db.url, env=SMALL)
        assert process.stdin is not None
        process.stdin.write(ndjson(*CHANGED))
        process.stdin.close()
        process.stdin = None
        wait_until(db, is_held)
    finishes(process, 1, "changed tables while it ran (cart_seen)", "load again")
    assert run("load", "-", stdin=ndjson(*CHANGED)).code == 0
    assert db.rows("SELECT id, total FROM cart_seen ORDER BY id") == [("b", "1"), ("c", "2")]


CHANGED = [
    track("Cart Seen", messageId="b", total=1),
    {"type": "identify"},
    *[track("Email Opened", messageId=f"f{i:04}") for i in range(998)],
    {"type": "page"},
    track("Cart Seen", messageId="c", total=2),
]


@contextmanager
def changing(db: Database, statement: str) -> Iterator[str]:
    """The first batch is held while it commits; a change comes between it and the second one."""
    # Deferred triggers run in the COMMIT.
    with trigger(db, "_batches", "NEW.number = 1", when="DEFERRED INSERT") as is_held:
        yield is_held
        time.sleep(0.5)  # until the second batch is encoded
        change = Thread(target=db.execute, args=(statement,))
        change.start()
        waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
        wait_until(db, f"{waits} query LIKE '%cart_seen%' AND datname = current_database()")
        _release(db)
        change.join()


def test_a_schema_that_was_migrated_while_the_connection_was_lost_ends_the_load(
    start: Start, run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *[track("Email Opened", messageId=f"f{i:04}") for i in range(1500)])
    with trigger(db, "email_opened", "NEW.id = 'f1200'") as is_held:
        process = start("load", path, url=db.url, env=SMALL)
        wait_until(db, is_held)
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.execute(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        _release(db)
        finishes(process, 1, "was migrated to revision 9999", "load again")
    assert db.value("SELECT count(*) FROM tracks") == 1000
    # That revision promises to work with this loader.
    assert run("load", path).code == 0
    assert db.value("SELECT count(*) FROM tracks") == 1500


def test_a_load_killed_between_the_column_and_its_values_is_gone_on_with(
    start: Start, run: Run, cart: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    with reader(cart, "cart_seen"):
        assert run("load", path, env=IMPATIENT).code == 0
    assert cart.rows(WAITING) == [("cart_seen", "total", "bigint")]
    with trigger(cart, "cart_seen", "NEW.id = 'b'", when="BEFORE UPDATE") as is_held:
        process = start("load", path, url=cart.url)
        wait_until(cart, is_held)
        process.kill()
        process.wait()
    wait_until(cart, NO_SESSION)
    # The column is there, and its value still in `_extra`.
    assert cart.rows("SELECT total, _extra FROM cart_seen WHERE id = 'b'") == [(None, {"total": 5})]
    assert run("load", path).code == 0
    assert cart.rows("SELECT total, _extra FROM cart_seen WHERE id = 'b'") == [(5, None)]
    assert cart.rows(WAITING) == []


def test_changes_that_were_half_done_are_gone_on_with(
    start: Start, run: Run, cart: Database, write: Write
) -> None:
    path = write(
        "a.ndjson",
        track("Cart Seen", messageId="b", total=5, context={"new": 1}),
        track("Order Made", messageId="c", total=6),
    )
    with reader(cart, "cart_seen"):
        process = start("load", path, url=cart.url)
        wait_until(cart, waits_for_lock("alter table"))
        process.kill()
        process.wait()
    wait_until(cart, NO_SESSION)
    assert cart.value(COLUMN_TYPES.format("tracks", "context_new")) == "bigint"
    assert cart.value("SELECT count(*) FROM order_made") == 0
    assert run("load", path).code == 0
    assert cart.rows("SELECT total, context_new FROM cart_seen WHERE id = 'b'") == [(5, 1)]
    first, killed, last = cart.rows("SELECT status, schema_changes FROM _loads ORDER BY id")
    made = [(c["table"], c.get("column")) for _, some in (killed, last) for c in some]
    assert (first[0], killed[0], last[0]) == ("success", "interrupted", "success")
    assert sorted(made, key=str) == [
        ("cart_seen", "context_new"),
        ("cart_seen", "total"),
        ("order_made", "total"),
        ("order_made", None),
        ("tracks", "context_new"),
    ]


def test_a_load_of_nothing_tries_once_and_does_not_wait(
    run: Run, cart: Database, write: Write
) -> None:
    """A report that goes on for hours would hold up each scheduled load for `retry_timeout`."""
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    with reader(cart, "cart_seen"):
        assert run("load", path, env=IMPATIENT).code == 0
        began = time.monotonic()
        assert run("load", path, env={"LOADER_RETRY_TIMEOUT": "60"}).code == 0
        assert time.monotonic() - began < 30
    assert cart.rows(WAITING) == [("cart_seen", "total", "bigint")]


@pytest.mark.parametrize("type_", ["money", "timestamptz", "'; DROP TABLE tracks", ""])
def test_a_row_that_somebody_has_edited_stops_no_load(
    run: Run, cart: Database, write: Write, type_: str
) -> None:
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    with reader(cart, "cart_seen"):
        assert run("load", path, env=IMPATIENT).code == 0
    cart.rows("UPDATE _waiting_columns SET type = %s, comment = %s RETURNING 1", type_, type_)
    more = write("b.ndjson", track("Cart Seen", messageId="c", total=6))
    assert run("load", more, "--json").json["rows_loaded"] == 1
    assert cart.rows("SELECT total, _extra FROM cart_seen ORDER BY id") == [
        (None, None),
        (5, None),
        (6, None),
    ]
    assert cart.value(COLUMN_TYPES.format("cart_seen", "total")) == "jsonb"
    assert cart.value("SELECT count(*) FROM tracks") == 3


def test_a_column_that_can_never_be_added_ends_no_load(
    run: Run, cart: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    with reader(cart, "cart_seen"):
        assert run("load", path, env=IMPATIENT).code == 0
    cart.execute(
        "CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql "
        "AS 'BEGIN RAISE EXCEPTION ''not here''; END'; CREATE EVENT TRIGGER no_ddl "
        "ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.no_ddl()"
    )
    done = run("load", write("b.ndjson", track("Email Opened", messageId="c")), "--json")
    cart.execute("DROP EVENT TRIGGER no_ddl")
    assert (done.code, done.json["rows_loaded"]) == (0, 1)
    assert list(done.json["waiting"]) == ["cart_seen.total"]
    assert run("load", path).code == 0
    assert cart.rows("SELECT total FROM cart_seen WHERE id = 'b'") == [(5,)]


def test_events_are_not_to_blame_for_a_table_that_is_gone(
    run: Run, db: Database, write: Write
) -> None:
    """A batch with a new context key made rejects of all of its events."""
    path = write("a.ndjson", track("Email Opened", messageId="b", context={"new": 1}))
    db.execute("ALTER TABLE tracks RENAME TO elsewhere; CREATE VIEW tracks AS TABLE elsewhere")
    done = run("load", path)
    assert (done.code, "the table 'tracks' is not there" in done.err) == (1, True), done.err
    assert db.value("SELECT count(*) FROM _rejects") == 0
    db.execute("DROP VIEW tracks; ALTER TABLE elsewhere RENAME TO tracks")
    assert run("load", path).code == 0
    assert db.rows("SELECT context_new FROM tracks") == [(1,)]


@pytest.mark.parametrize("why", ["a row is held", "statement_timeout", "a constraint"])
def test_values_that_cannot_be_moved_now_end_no_load(
    run: Run, cart: Database, write: Write, why: str
) -> None:
    """They ended this load and all later ones, since the column is there and its row too."""
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    with reader(cart, "cart_seen"):
        assert run("load", path, env=IMPATIENT).code == 0
    cart.execute("ALTER TABLE cart_seen ADD total bigint")
    more = write("b.ndjson", track("Cart Seen", messageId="c", total=6))
    held = f"BEGIN; SELECT FROM {SCHEMA}.cart_seen WHERE id = 'b' FOR UPDATE"
    if why == "statement_timeout":
        cart.execute(
            "CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(2); RETURN NEW; END'; CREATE TRIGGER slowly BEFORE UPDATE "
            "ON cart_seen FOR EACH ROW EXECUTE FUNCTION public.slowly()"
        )
        held = f"ALTER DATABASE {cart.name} SET statement_timeout = '1s'"
    elif why == "a constraint":
        held = "SELECT 1"
        cart.execute("ALTER TABLE cart_seen ADD CONSTRAINT large CHECK (total > 5)")
    with holding(cart, held):
        done = run("load", more, "--json", env=IMPATIENT)
        assert done.code == 0, done.err
        assert list(done.json["waiting"]) == ["cart_seen.total"]
    cart.execute(f"ALTER DATABASE {cart.name} RESET statement_timeout")
    cart.execute("ALTER TABLE cart_seen DROP CONSTRAINT IF EXISTS large")
    assert cart.rows("SELECT total, _extra FROM cart_seen ORDER BY id") == [
        (None, None),
        (None, {"total": 5}),
        (6, None),
    ]
    assert run("load", more, "--json").json["waiting"] == {}
    assert cart.rows("SELECT total, _extra FROM cart_seen WHERE id = 'b'") == [(5, None)]
    assert cart.rows(WAITING) == []


def test_frozen_columns_go_on_waiting(run: Run, cart: Database, write: Write) -> None:
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    with reader(cart, "cart_seen"):
        assert run("load", path, env=IMPATIENT).code == 0
    more = write("b.ndjson", track("Cart Seen", messageId="c", total=5))
    assert run("load", more, env={"LOADER_SCHEMA_CONTRACT": "freeze"}).code == 0
    assert cart.rows(WAITING) == [("cart_seen", "total", "bigint")]
    assert cart.value("SELECT count(*) FROM cart_seen WHERE _extra ? 'total'") == 2
    assert run("load", more).code == 0
    assert cart.rows("SELECT total FROM cart_seen ORDER BY id") == [(None,), (5,), (5,)]


@pytest.mark.parametrize("statement", ["ALTER TABLE cart_seen ADD total text", "DROP TABLE tmp"])
def test_a_column_that_somebody_else_makes_gets_what_waits(
    run: Run, cart: Database, write: Write, statement: str
) -> None:
    path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
    gone = write("b.ndjson", track("Tmp", messageId="t"))
    assert run("load", gone).code == 0
    with reader(cart, "cart_seen", "tmp"):
        more = write("c.ndjson", track("Tmp", messageId="u", total=5))
        assert run("load", path, more, env=IMPATIENT).code == 0
    cart.execute(f"SET search_path = {SCHEMA}; {statement}")
    assert run("load", path).code == 0
    assert cart.rows(WAITING) == []
    assert cart.rows("SELECT total::text, _extra FROM cart_seen ORDER BY id") == [
        (None, None),
        ("5", None),
    ]


def test_autovacuum_is_waited_for_until_the_server_ends_it(
    run: Run, cart: Database, server: Server, write: Write
) -> None:
    """8 of 8 tries of half a second failed: the server needs `deadlock_timeout` for it."""
    cart.execute(
        f"""
        ALTER TABLE {SCHEMA}.cart_seen SET (
            autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
            autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0
        );
        INSERT INTO {SCHEMA}.cart_seen (id, event_text)
        SELECT 'v' || i, repeat('x', 500) FROM generate_series(1, 20000) AS i;
        DELETE FROM {SCHEMA}.cart_seen WHERE id LIKE 'v%5';
        """
    )
    admin = server.database("postgres")
    admin.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    admin.execute("SELECT pg_reload_conf()")
    try:
        wait_until(
            cart,
            "SELECT count(*) > 0 FROM pg_stat_progress_vacuum "
            f"WHERE relid = '{SCHEMA}.cart_seen'::regclass",
            seconds=60,
        )
        path = write("a.ndjson", track("Cart Seen", messageId="b", total=5))
        result = run("load", path, "--json", env={"LOADER_RETRY_TIMEOUT": "0"})
    finally:
        admin.execute("ALTER SYSTEM RESET autovacuum_naptime")
        admin.execute("SELECT pg_reload_conf()")
    assert (result.code, result.json["waiting"]) == (0, {})
    assert cart.rows("SELECT total FROM cart_seen WHERE id = 'b'") == [(5,)]
