"""Loads that run together, and others who use the tables while a load runs."""

import threading
import time
from pathlib import Path

import pytest
from acceptance.faults import (
    AT_GATE,
    LATE_MIDDLE,
    SMALL,
    Given,
    Start,
    Watcher,
    alembic,
    all_at_once,
    check_settled,
    ddl,
    finishes,
    holding,
    mixed,
    sentence,
    statuses,
    trigger,
    wait_until,
    waits_for_lock,
)
from acceptance.harness import SCHEMA, Database, Run, Write, track

GIVEN = mixed(3_000)


def test_of_eight_loads_together_one_works_and_the_others_say_so(
    start: Start, run: Run, db: Database, path: Path
) -> None:
    with Watcher(db) as watcher:
        codes = all_at_once(start, db, path, 8)
    assert set(codes) <= {0, 75}
    assert 0 in codes
    check_settled(db, GIVEN)
    assert (watcher.looks > 0, watcher.wrong) == (True, [])
    assert set(statuses(db)) == {"success"}


def test_eight_loads_that_wait_load_each_record_once(
    start: Start, db: Database, path: Path
) -> None:
    assert all_at_once(start, db, path, 8, "--wait") == [0] * 8
    check_settled(db, GIVEN)
    assert statuses(db) == ["success"] * 8


def test_eight_first_loads_into_an_empty_database_make_one_schema(
    start: Start, empty_db: Database, path: Path
) -> None:
    assert all_at_once(start, empty_db, path, 8, "--wait") == [0] * 8
    check_settled(empty_db, GIVEN)


def test_two_sources_load_together(
    start: Start, empty_db: Database, path: Path, write: Write
) -> None:
    other = write("other.ndjson", *[track("Email Opened", messageId=f"o{i}") for i in range(500)])
    processes = [
        start("load", path, url=empty_db.url, env=SMALL),
        start("load", other, "--source", "Other", url=empty_db.url, env=SMALL),
    ]
    for process in processes:
        finishes(process)
    check_settled(empty_db, GIVEN)
    assert empty_db.value("SELECT count(*) FROM other.email_opened") == 500
    assert empty_db.value("SELECT count(*) FROM other.tracks") == 500


def test_a_load_of_one_source_does_not_wait_for_that_of_another(
    start: Start, run: Run, db: Database, path: Path, write: Write
) -> None:
    other = write("other.ndjson", track("Email Opened"))
    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=db.url, env=SMALL)
        wait_until(db, waits)
        assert run("load", other, "--source", "Other").code == 0
    finishes(process)
    check_settled(db, GIVEN)


# a load, a migration and a widening


def test_whoever_changes_the_schema_is_refused_while_a_load_runs(
    start: Start, run: Run, db: Database, path: Path
) -> None:
    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        # `status` waits for the columns that the batch adds, until the batch is tried again.
        process = start("load", path, url=db.url, env=SMALL | {"LOADER_LOCK_TIMEOUT": "2"})
        wait_until(db, waits)
        running = "a load of 'Customer.io' is running"
        widened = run("columns", "widen", "email_opened", "campaign_id", "text")
        sentence(widened.code, widened.err, 75, running)
        replayed = run("rejects", "replay")
        sentence(replayed.code, replayed.err, 75, "another load of 'Customer.io' is running")
        done = alembic("upgrade", "head", url=db.url)
        assert (done.returncode != 0, running in done.stderr) == (True, True)
        assert "Traceback" not in done.stderr
        assert run("status").code == 0
        assert run("columns", "list").code == 0
        assert run("rejects", "list").code == 0
    finishes(process)
    check_settled(db, GIVEN)
    assert run("columns", "widen", "email_opened", "campaign_id", "text").code == 0
    assert alembic("upgrade", "head", url=db.url).returncode == 0
    assert alembic("check", url=db.url).returncode == 0


def test_a_load_waits_for_a_migration_or_says_so(
    start: Start, empty_db: Database, path: Path
) -> None:
    empty_db.execute(
        "CREATE FUNCTION public.slowly() RETURNS event_trigger LANGUAGE plpgsql "
        "AS 'BEGIN PERFORM pg_sleep(0.5); END'; CREATE EVENT TRIGGER slowly ON ddl_command_end "
        "WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.slowly()"
    )
    migration = start("migrate", url=empty_db.url)
    wait_until(
        empty_db,
        "SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE wait_event = 'PgSleep' AND datname = current_database()",
    )
    finishes(start("load", path, url=empty_db.url), 75, "is running")
    waiting = start("load", path, "--wait", url=empty_db.url)
    time.sleep(1)
    assert (migration.poll(), waiting.poll()) == (None, None)
    finishes(migration)
    finishes(waiting)
    check_settled(empty_db, GIVEN)


def test_a_load_waits_for_a_widening_or_says_so(
    start: Start, run: Run, db: Database, path: Path, tmp_path: Path
) -> None:
    assert run("load", path).code == 0
    more = mixed(500, prefix="more").write(tmp_path / "more.ndjson")
    with ddl(db, "ALTER TABLE") as waits:
        widening = start("columns", "widen", "email_opened", "amount", "numeric", url=db.url)
        wait_until(db, waits)
        finishes(start("load", more, url=db.url), 75, "is running")
        waiting = start("load", more, "--wait", url=db.url)
        time.sleep(1)
        assert waiting.poll() is None
    finishes(widening)
    finishes(waiting)
    check_settled(db, GIVEN, mixed(500, prefix="more"))
    assert db.types("email_opened")["amount"] == "numeric"


# analysts and their objects


def test_a_load_does_not_wait_for_a_long_query(run: Run, db: Database, path: Path) -> None:
    first = Given()
    first.event("Email Opened", "email_opened", "first", amount=1, subject="s")
    path.write_bytes(first.data)
    assert run("load", path).code == 0
    more = Given()
    for i in range(100):
        more.event("Email Opened", "email_opened", f"more{i}", amount=i)
    with holding(db, "BEGIN ISOLATION LEVEL REPEATABLE READ") as analyst:
        analyst.execute(f"SELECT count(*) FROM {SCHEMA}.tracks, {SCHEMA}.email_opened")
        assert analyst.fetchall() == [(1,)]
        path.write_bytes(more.data)
        assert run("load", path).code == 0
        analyst.execute(f"SELECT count(*) FROM {SCHEMA}.email_opened")
        assert analyst.fetchall() == [(1,)]
    check_settled(db, first, more)


def test_a_new_column_waits_for_the_end_of_a_long_query_in_turns(
    start: Start, db: Database, path: Path
) -> None:
    with holding(db, "BEGIN ISOLATION LEVEL REPEATABLE READ") as analyst:
        analyst.execute(f"SELECT count(*) FROM {SCHEMA}.email_opened")
        process = start("load", path, url=db.url, env={"LOADER_LOCK_TIMEOUT": "0.3"})
        wait_until(db, waits_for_lock("alter table"))
        # Between its turns the job lets other readers through.
        began = time.monotonic()
        for _ in range(3):
            assert db.value("SELECT count(*) FROM email_opened") == 0
        assert time.monotonic() - began < 2
        time.sleep(0.5)
        assert process.poll() is None
    finishes(process)
    check_settled(db, GIVEN)


def test_indexes_views_and_grants_of_others_survive_a_load(
    start: Start, run: Run, db: Database, path: Path
) -> None:
    made: list[BaseException] = []

    def make() -> None:
        try:
            db.execute("CREATE INDEX CONCURRENTLY theirs ON email_opened (customer_id)")
            db.execute("CREATE VIEW opens AS SELECT id, subject, campaign_id FROM email_opened")
            db.execute("CREATE MATERIALIZED VIEW public.totals AS SELECT count(*) FROM tracks")
        except BaseException as error:
            made.append(error)

    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=db.url, env=SMALL)
        wait_until(db, waits)
        thread = threading.Thread(target=make)
        thread.start()
        time.sleep(0.3)
    finishes(process)
    thread.join(30)
    assert made == []
    check_settled(db, GIVEN)
    assert run("load", path, "--force").code == 0
    assert db.value("SELECT count(*) FROM opens") == len(GIVEN.ids["email_opened"])
    assert db.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'theirs'::regclass")
    assert alembic("check", url=db.url).returncode == 0
    assert db.value(AT_GATE) is False


def test_a_view_on_a_column_is_named_when_the_column_cannot_be_widened(
    run: Run, db: Database, path: Path
) -> None:
    assert run("load", path).code == 0
    db.execute(
        """
        CREATE VIEW opens AS SELECT id, amount FROM email_opened;
        CREATE MATERIALIZED VIEW public.sums AS SELECT sum(amount) FROM email_opened;
        CREATE VIEW others AS SELECT id, subject FROM email_opened;
        """
    )
    before = db.dump()
    result = run("columns", "widen", "email_opened", "amount", "numeric")
    sentence(result.code, result.err, 2, "email_opened.amount", "customerio.opens", "sums")
    assert "others" not in result.err
    assert db.dump() == before
    db.execute("DROP VIEW opens; DROP MATERIALIZED VIEW public.sums")
    assert run("columns", "widen", "email_opened", "amount", "numeric").code == 0


def test_a_view_on_a_context_column_of_another_table_is_named_too(
    run: Run, db: Database, write: Write
) -> None:
    records = [
        track("Email Opened", context={"screen": {"width": 1}}),
        track("Email Delivered", context={"screen": {"width": 1}}),
    ]
    assert run("load", write("a.ndjson", *records)).code == 0
    db.execute("CREATE VIEW wide AS SELECT context_screen_width FROM email_delivered")
    result = run("columns", "widen", "email_opened", "context_screen_width", "text")
    sentence(result.code, result.err, 2, "email_delivered.context_screen_width", "customerio.wide")
    assert db.types("email_opened")["context_screen_width"] == "bigint"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            "CREATE INDEX narrow ON email_opened (amount) WHERE amount > 3",
            (),
        ),
        (
            "ALTER TABLE email_opened ADD total bigint GENERATED ALWAYS AS (amount * 2) STORED",
            ("total", "generated"),
        ),
        (
            "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NEW; END $$; CREATE TRIGGER theirs BEFORE UPDATE OF amount "
            "ON email_opened FOR EACH ROW EXECUTE FUNCTION public.f()",
            ("theirs",),
        ),
    ],
    ids=["index", "generated column", "trigger"],
)
def test_other_objects_on_a_column_are_kept_or_named_in_one_sentence(
    run: Run, db: Database, path: Path, made: str, words: tuple[str, ...]
) -> None:
    assert run("load", path).code == 0
    db.execute(made)
    result = run("columns", "widen", "email_opened", "amount", "numeric")
    if words:
        assert result.code in (1, 2)
        sentence(result.code, result.err, result.code)
    else:
        assert result.code == 0, result.err
