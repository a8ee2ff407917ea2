"""A server that lost what it had committed: a load says so, and the next one loads it again."""

import json
from collections.abc import Iterator
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
    own_server,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Run
from acceptance.standbys import CARELESS, Standby, standby_of

from loader.sources.unpack import BLOCK_BYTES

GIVEN = mixed(6_000)
# A batch is held as long as a standby takes.
HELD = SMALL | {"LOADER_LOCK_TIMEOUT": "60"}
# Parts of an input that come one by one, because each fills a block of the reader.
PART = 256
SECOND_PART = f"NEW.id >= 'k{PART:04}' AND NEW.id < 'k{2 * PART:04}'"
LOAD = "SELECT status, batches, records_read FROM _loads ORDER BY id DESC LIMIT 1"


@pytest.fixture
def standby(mortal: OwnServer, mortal_db: Database) -> Iterator[Standby]:
    """A standby of the server of `mortal_db`."""
    with standby_of(mortal) as found:
        yield found


@pytest.fixture
def proxy(mortal: OwnServer) -> Iterator[Proxy]:
    """The way to whichever server is the one."""
    with Proxy(mortal.port) as found:
        yield found


@pytest.fixture
def url(mortal_db: Database, mortal: OwnServer, proxy: Proxy) -> str:
    """The database, through the proxy."""
    return mortal.url(mortal_db.name, port=proxy.port)


@pytest.mark.parametrize(
    "cut_at", [b"k0045", b"status='success'"], ids=["in the middle", "behind the last batch"]
)
def test_a_standby_without_the_last_batches_fails_the_load_and_the_next_one_completes(
    start: Start,
    run: Run,
    mortal_db: Database,
    standby: Standby,
    proxy: Proxy,
    url: str,
    path: Path,
    cut_at: bytes,
) -> None:
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=url, env=HELD)
        wait_until(mortal_db, waits)
        db = standby.lag(mortal_db)
        [(_, batches, records)] = mortal_db.rows(LOAD)
        proxy.then_port, proxy.cut_at = standby.port, cut_at
    assert proxy.lost.wait(30)
    proxy.cut()
    [(_, committed, _)] = mortal_db.rows(LOAD)
    assert committed > batches > 0
    standby.promote()

    finishes(process, 1, "lost what it had committed for load 1", f"it has {batches}", "load again")
    # What is shown and recorded is what this server has.
    assert db.rows(LOAD) == [("failure", batches, records)]
    assert f"({records:,} records)" in db.value("SELECT error FROM _loads")
    assert db.value("SELECT sum(records_done) FROM _files") == records
    assert db.value("SELECT count(*) FROM tracks") == db.value("SELECT rows_loaded FROM _loads")
    again = run("load", path, "--json", url=db.url, env=SMALL)
    assert (again.code, again.json["records_read"]) == (0, len(GIVEN.lines) - records)
    check_settled(db, GIVEN)


def test_a_standby_with_everything_takes_over_and_nothing_is_lost_or_twice(
    start: Start,
    run: Run,
    mortal_db: Database,
    mortal: OwnServer,
    proxy: Proxy,
    url: str,
    path: Path,
    tmp_path: Path,
) -> None:
    # Some of the events are there before, so the load asks which are.
    before = Given(GIVEN.lines[3_000:4_000], rejects=0)
    assert run("load", before.write(tmp_path / "before"), url=mortal_db.url).code == 0
    with standby_of(mortal) as standby, trigger(mortal_db, "email_bounced", LATE_MIDDLE) as waits:
        process = start("load", path, url=url, env=HELD)
        wait_until(mortal_db, waits)
        db = standby.follow(mortal_db)
        proxy.switch(standby.port)
        standby.promote()
        finishes(process)
        assert db.value("SELECT count(*) FROM tracks") == sum(map(len, GIVEN.ids.values()))
        assert run("load", path, "--force", url=db.url).code == 0
        assert statuses(db) == ["success"] * 3
        assert db.value("SELECT sum(rows_loaded) FROM _loads") == sum(map(len, GIVEN.ids.values()))


@pytest.mark.parametrize("has_it", [True, False])
def test_a_commit_without_an_answer_is_looked_for_on_the_server_that_takes_over(
    start: Start,
    mortal_db: Database,
    standby: Standby,
    proxy: Proxy,
    url: str,
    path: Path,
    has_it: bool,
) -> None:
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=url, env=HELD)
        wait_until(mortal_db, waits)
        proxy.then_port = standby.port
        if not has_it:
            standby.lag(mortal_db)
        [(_, batches, _)] = mortal_db.rows(LOAD)
        proxy.lose_next_commit()
    assert proxy.lost.wait(30)
    wait_until(mortal_db, f"SELECT batches = {batches + 1} FROM _loads")
    db = standby.follow(mortal_db) if has_it else standby.database(mortal_db.name)
    assert db.value("SELECT batches FROM _loads") == batches + has_it
    proxy.cut()
    standby.promote()
    finishes(process)
    check_settled(db, GIVEN)
    assert statuses(db) == ["success"]


@pytest.mark.parametrize(
    ("another", "words"),
    [(False, "no longer knows load 1"), (True, "has given the number of load 1 to another load")],
    ids=["no row", "the number issued again"],
)
def test_a_load_that_the_new_server_never_saw_fails_and_leaves_others_alone(
    start: Start,
    run: Run,
    mortal_db: Database,
    standby: Standby,
    proxy: Proxy,
    url: str,
    path: Path,
    tmp_path: Path,
    another: bool,
    words: str,
) -> None:
    others = mixed(500, "other")
    db = standby.lag(mortal_db)
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=url, env=HELD)
        wait_until(mortal_db, waits)
        standby.promote()
        if another:
            assert run("load", others.write(tmp_path / "others"), url=db.url).code == 0
            assert db.value("SELECT id FROM _loads") == mortal_db.value("SELECT id FROM _loads")
        before = db.dicts("SELECT * FROM _loads")
        proxy.switch(standby.port)
        finishes(process, 1, words, "it has 0 (0 records)", "load again")
    assert db.dicts("SELECT * FROM _loads") == before
    assert run("load", path, url=db.url).code == 0
    check_settled(db, GIVEN, *[others] * another)


def test_a_load_that_another_one_has_followed_ends(
    start: Start,
    run: Run,
    mortal_db: Database,
    mortal: OwnServer,
    proxy: Proxy,
    url: str,
    path: Path,
    tmp_path: Path,
) -> None:
    others = mixed(500, "other")
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=url, env=HELD)
        wait_until(mortal_db, waits)
        [(_, batches, records)] = mortal_db.rows(LOAD)
        proxy.switch(0)  # nobody answers
        mortal_db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        other = run("load", others.write(tmp_path / "others"), url=mortal_db.url)
        assert other.code == 0, other.err
        proxy.switch(mortal.port)
        finishes(process, 1, "another load or a widening begin", f"it has {batches}", "load again")
    assert mortal_db.rows("SELECT status, batches, records_read FROM _loads WHERE id = 1") == [
        ("interrupted", batches, records)
    ]
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN, others)


def test_a_widening_ends_a_load_that_lost_its_connection(
    start: Start,
    run: Run,
    mortal_db: Database,
    mortal: OwnServer,
    proxy: Proxy,
    url: str,
    path: Path,
) -> None:
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=url, env=HELD)
        wait_until(mortal_db, waits)
        proxy.switch(0)
        mortal_db.rows(f"SELECT pg_terminate_backend(pid) {SESSIONS}")
        widened = run("columns", "widen", "email_opened", "amount", "text", url=mortal_db.url)
        assert widened.code == 0, widened.err
        proxy.switch(mortal.port)
        finishes(process, 1, "another load or a widening begin")
    assert run("load", path, url=mortal_db.url).code == 0
    check_settled(mortal_db, GIVEN)


def test_a_replay_whose_commits_are_lost_fails(
    start: Start, run: Run, mortal_db: Database, mortal: OwnServer, proxy: Proxy, url: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    given = Given()
    for number in range(1_500):
        given.event("Email Opened", "email_opened", f"r{number:04}", subject="x" * 2_000)
    settings = {"LOADER_MAX_RECORD_BYTES": "1024"}
    assert run("load", given.write(tmp_path / "a"), url=mortal_db.url, env=settings).code == 3
    with standby_of(mortal) as standby:
        with trigger(mortal_db, "email_opened", "NEW.id IS NOT NULL") as waits:
            env = HELD | {"LOADER_BATCH_RECORDS": "300"}
            process = start("rejects", "replay", url=url, env=env)
            wait_until(mortal_db, waits)
            db = standby.lag(mortal_db)
            proxy.then_port, proxy.cut_at = standby.port, b"status='success'"
        assert proxy.lost.wait(30)
        assert mortal_db.value("SELECT count(*) FROM tracks") == 1_500
        proxy.cut()
        standby.promote()
        finishes(process, 1, "lost what it had committed for load 2", "it has 0 (0 records)")
        assert db.rows(LOAD) == [("failure", 0, 0)]
        assert db.value("SELECT count(*) FROM _rejects WHERE outcome IS NULL") == 1_500
        assert run("rejects", "replay", url=db.url).code == 0
        assert db.value("SELECT count(*) FROM email_opened") == 1_500
        assert db.value("SELECT count(*) FROM _rejects WHERE outcome = 'loaded'") == 1_500


def test_events_are_not_dropped_for_rows_that_only_the_old_server_had(
    start: Start,
    run: Run,
    mortal_db: Database,
    mortal: OwnServer,
    proxy: Proxy,
    url: str,
    tmp_path: Path,
) -> None:
    given, known, lines = Given(), Given(), []
    for part in range(3):  # as long as some are known, the server is asked for more
        known.event("Email Opened", "email_opened", f"k{part * PART:04}")
    assert run("load", known.write(tmp_path / "known"), url=mortal_db.url).code == 0
    for number in range(6 * PART):
        given.event("Email Opened", "email_opened", f"k{number:04}")
        line = json.dumps(given.lines[-1])
        lines.append(line + " " * (BLOCK_BYTES // PART - len(line) - 1) + "\n")

    with standby_of(mortal) as standby, trigger(mortal_db, "email_opened", SECOND_PART) as waits:
        env = HELD | {"LOADER_BATCH_RECORDS": str(PART)}
        process = start("load", "-", url=url, env=env)
        assert process.stdin is not None
        process.stdin.write("".join(lines[: 3 * PART]).encode())
        process.stdin.flush()
        wait_until(mortal_db, waits)
        db = standby.lag(mortal_db)
        assert db.rows(LOAD) == [("running", 1, PART)]
        # What the standby will not have: events of the fourth part, before it is asked for them.
        mortal_db.execute(
            "INSERT INTO tracks (id) SELECT 'k' || lpad(n::text, 4, '0') "
            f"FROM generate_series({3 * PART}, {4 * PART - 1}) n"
        )
        now = mortal_db.value("SELECT clock_timestamp()::text")
        process.stdin.write("".join(lines[3 * PART :]).encode())
        process.stdin.close()
        process.stdin = None
        asked = f"state = 'idle' AND query_start > '{now}'"
        wait_until(mortal_db, f"SELECT count(*) > 0 {SESSIONS} AND {asked}")
        proxy.switch(standby.port)
        standby.promote()
        finishes(process, 1, f"no longer has {PART} of the {PART} events", "load again")
        assert db.rows(LOAD) == [("failure", 3, 3 * PART)]
        assert run("load", given.write(tmp_path / "given"), url=db.url).code == 0
        for table in ("tracks", "email_opened"):
            assert db.value(f"SELECT count(*) FROM {table} WHERE id ~ '^k'") == 6 * PART


# a server that crashes and had not flushed its commits


@pytest.fixture
def careless() -> Iterator[OwnServer]:
    """A server that answers a COMMIT long before it writes it to its disk."""
    with own_server(**CARELESS) as found:
        yield found


def test_a_crash_costs_no_commit_although_the_server_is_set_to_answer_before_it_writes(
    start: Start, careless: OwnServer, path: Path
) -> None:
    db = careless.database("migrated")
    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=db.url, env=HELD)
        wait_until(db, waits)
        [(_, batches, _)] = db.rows(LOAD)
        careless.stop("immediate")
        careless.start()
        assert db.rows(LOAD) == [("running", batches, batches * 1_000)]
        finishes(process)
    check_settled(db, GIVEN)


def test_a_crash_that_lost_commits_fails_the_load_and_the_next_one_completes(
    start: Start, run: Run, careless: OwnServer, path: Path
) -> None:
    db = careless.database("migrated")
    # What the load raises, somebody lowers.
    db.execute(
        "CREATE FUNCTION public.lower() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM set_config('synchronous_commit', 'off', true); RETURN NEW; END $$; "
        "CREATE TRIGGER lower BEFORE UPDATE ON customerio._loads "
        "FOR EACH ROW EXECUTE FUNCTION public.lower()"
    )
    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", path, url=db.url, env=HELD)
        wait_until(db, waits)
        [(_, batches, _)] = db.rows(LOAD)
        careless.stop("immediate")
        careless.start()
        finishes(process, 1, "lost what it had committed for load 1", "it has 0 (0 records)")
    assert batches > 0
    assert db.rows(LOAD) == [("failure", 0, 0)]
    assert run("load", path, url=db.url).code == 0
    check_settled(db, GIVEN)
