"""Rows that somebody's trigger or rule swallows are not counted as loaded: the load says so."""

from pathlib import Path

import pytest
from acceptance.faults import SMALL, check_settled, mixed, sentence
from acceptance.harness import SCHEMA, Database, Run, Write, track

GIVEN = mixed(3_000)
LOADS = "SELECT status, batches, records_read, rows_loaded, rejects FROM _loads ORDER BY id"


def swallow(db: Database, table: str, when: str, event: str = "INSERT") -> None:
    db.execute(
        "CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NULL; END $$; "
        f"CREATE TRIGGER swallow BEFORE {event} ON {SCHEMA}.{table} "
        f"FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION public.swallow()"
    )


def no_longer(db: Database) -> None:
    db.execute("DROP FUNCTION public.swallow CASCADE")


@pytest.mark.parametrize(
    ("table", "when", "event", "batches"),
    [
        ("tracks", "NEW.id = 'k002500'", "INSERT", 2),
        ("tracks", "true", "INSERT", 0),
        ("email_opened", "NEW.id >= 'k0010'", "INSERT", 1),
        ("email_opened", "NEW.id >= 'k0020'", "INSERT", 2),
        ("_rejects", "NEW.position > 'line 2'", "INSERT", 0),
        ("_files", "true", "INSERT", 0),
        ("_files", "true", "UPDATE", 1),
        ("_loads", "NEW.batches = 2", "UPDATE", 1),
    ],
)
def test_a_trigger_that_drops_rows_fails_the_load_and_the_figures_stay_true(
    run: Run, db: Database, path: Path, table: str, when: str, event: str, batches: int
) -> None:
    swallow(db, table, when, event)
    done = run("load", path, env=SMALL)
    sentence(done.code, done.err, 1, f"{table} and kept ", "look for a trigger or a rule on it")
    [(status, committed, read, loaded, rejects)] = db.rows(LOADS)
    assert (status, committed, read) == ("failure", batches, batches * 1_000)
    assert db.value("SELECT count(*) FROM tracks") == loaded
    assert db.value("SELECT count(*) FROM _rejects") == rejects
    assert table in db.value("SELECT error FROM _loads")
    no_longer(db)
    assert run("load", path, env=SMALL).code == 0
    check_settled(db, GIVEN)


def test_a_trigger_that_drops_rows_beside_known_ones_fails_the_load(
    run: Run, db: Database, write: Write
) -> None:
    events = [track("Email Opened", messageId=f"e{number}") for number in range(10)]
    assert run("load", write("a.ndjson", *events[:5])).code == 0
    swallow(db, "email_opened", "NEW.id = 'e7'")
    # One that is asked for finds the known ids ahead, one that is not meets the key.
    path = write("b.ndjson", *events)
    failed = run("load", path)
    sentence(failed.code, failed.err, 1, "5 rows for the table customerio.email_opened and kept 4")
    assert db.value("SELECT count(*) FROM tracks") == 5
    no_longer(db)
    again = run("load", path, "--json").json
    assert (again["rows_loaded"], again["duplicates"]) == (5, 5)


@pytest.mark.parametrize(
    ("table", "event"),
    [("_loads", "INSERT"), ("_loads", "UPDATE"), ("_rejects", "INSERT"), ("_files", "INSERT")],
)
def test_a_rule_that_does_nothing_instead_fails_the_load_in_words(
    run: Run, db: Database, path: Path, table: str, event: str
) -> None:
    db.execute(f"CREATE RULE no AS ON {event} TO {SCHEMA}.{table} DO INSTEAD NOTHING")
    done = run("load", path)
    sentence(done.code, done.err, 1)
    assert db.value("SELECT count(*) FROM tracks") == 0
    db.execute(f"DROP RULE no ON {SCHEMA}.{table}")
    assert run("load", path).code == 0
    check_settled(db, GIVEN)


def test_a_trigger_that_drops_the_first_word_of_a_load_is_named(
    run: Run, db: Database, path: Path
) -> None:
    swallow(db, "_loads", "true")
    done = run("load", path)
    sentence(done.code, done.err, 1, "1 row for the table _loads and kept 0")
    assert db.rows("SELECT * FROM _loads") == []


def test_a_reject_that_cannot_be_marked_fails_the_replay(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Email Opened", subject="x" * 2_000))
    assert run("load", path, env={"LOADER_MAX_RECORD_BYTES": "1024"}).code == 3
    swallow(db, "_rejects", "true", "UPDATE")
    done = run("rejects", "replay")
    sentence(done.code, done.err, 1, "the table _rejects and kept 0")
    assert db.value("SELECT count(*) FROM tracks") == 0
    no_longer(db)
    assert run("rejects", "replay").code == 0
    assert db.value("SELECT count(*) FROM tracks") == 1


def test_a_reject_that_is_there_already_is_a_duplicate_and_no_dropped_row(
    run: Run, db: Database, path: Path
) -> None:
    assert run("load", path).code == 0
    db.execute("UPDATE _files SET records_done = 0, finished = false")
    again = run("load", path, "--json")
    duplicates = 3_000 - GIVEN.ignored
    assert (again.code, again.json["rejects"], again.json["duplicates"]) == (0, 0, duplicates)
    check_settled(db, GIVEN)


def test_a_partitioned_table_counts_the_rows_that_its_partitions_keep(
    run: Run, db: Database, path: Path
) -> None:
    db.execute(
        """
        ALTER TABLE email_opened RENAME TO old;
        CREATE TABLE email_opened (LIKE old INCLUDING DEFAULTS INCLUDING COMMENTS)
            PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF email_opened FOR VALUES FROM (MINVALUE) TO ('k002');
        CREATE TABLE p2 PARTITION OF email_opened FOR VALUES FROM ('k002') TO (MAXVALUE);
        ALTER TABLE email_opened ADD PRIMARY KEY (id);
        DROP TABLE old;
        """
    )
    swallow(db, "p2", "NEW.id > 'k0025'")
    done = run("load", path, env=SMALL)
    sentence(done.code, done.err, 1, "customerio.email_opened and kept ")
    assert db.rows(LOADS)[0][:3] == ("failure", 2, 2_000)
    no_longer(db)
    assert run("load", path, env=SMALL).code == 0
    assert db.value("SELECT count(*) FROM email_opened") == len(GIVEN.ids["email_opened"])
