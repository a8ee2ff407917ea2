"""A schema that somebody changed by hand, that is old, or whose server has another clock."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from acceptance.faults import alembic, check_settled, copy_of, mixed, roles, sentence, statuses
from acceptance.harness import SCHEMA, Database, Run, Server, Write, track

from loader.warehouse import migrate

GIVEN = mixed(300)
MORE = mixed(300, prefix="more")
REVISIONS = sorted(path.name[:4] for path in (migrate.FOLDER / "versions").glob("0*.py"))


@pytest.fixture
def more(tmp_path: Path) -> Path:
    return MORE.write(tmp_path / "more.ndjson")


# changed by hand


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE email_opened DROP COLUMN subject",
        "ALTER TABLE email_opened DROP COLUMN amount",
        "ALTER TABLE email_opened RENAME COLUMN subject TO title",
        "ALTER TABLE email_opened ALTER COLUMN amount TYPE text",
        "ALTER TABLE email_opened ALTER COLUMN amount TYPE int",
        "ALTER TABLE email_opened ALTER COLUMN subject TYPE varchar(5) USING left(subject, 5)",
        "ALTER TABLE email_opened ALTER COLUMN campaign_id TYPE numeric",
        "ALTER TABLE email_opened ADD COLUMN mine text DEFAULT 'x' NOT NULL",
        "ALTER TABLE tracks ALTER COLUMN event_text TYPE varchar(100)",
        "ALTER TABLE tracks DROP COLUMN context_ip",
        "ALTER TABLE email_opened DROP COLUMN context_ip",
        "ALTER TABLE email_opened DROP CONSTRAINT email_opened_pkey",
        "DROP TABLE cart_seen",
    ],
)
def test_a_harmless_change_by_hand_loses_no_record_and_no_value(
    run: Run, db: Database, path: Path, more: Path, change: str
) -> None:
    assert run("load", path).code == 0
    db.execute(change)
    result = run("load", more)
    assert result.code == 0, result.err
    if change.startswith("DROP TABLE"):
        assert db.value("SELECT count(*) FROM cart_seen") == len(MORE.ids["cart_seen"])
        return
    check_settled(db, GIVEN, MORE)
    kept = db.rows(
        "SELECT coalesce(j ->> 'subject', j -> '_extra' ->> 'subject'), "
        "coalesce(j ->> 'amount', j -> '_extra' ->> 'amount') "
        "FROM (SELECT to_jsonb(t) AS j FROM email_opened t WHERE id LIKE 'more%%') AS rows"
    )
    sent = [line for line in MORE.lines if line.get("messageId") in MORE.ids["email_opened"]]
    wanted = {(s["properties"]["subject"], str(s["properties"]["amount"])) for s in sent}
    assert set(kept) == wanted


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tracks DROP COLUMN event_text",
        "ALTER TABLE tracks RENAME COLUMN user_id TO who",
        "ALTER TABLE email_opened RENAME COLUMN id TO key",
        "ALTER TABLE tracks DROP COLUMN _extra",
        "ALTER TABLE tracks ALTER COLUMN received_at TYPE text",
        "ALTER TABLE tracks ALTER COLUMN id TYPE bytea USING id::bytea",
        "DROP TABLE tracks",
        "DROP TABLE _files",
        "ALTER TABLE _loads DROP COLUMN rows_loaded CASCADE",
        "ALTER TABLE _rejects RENAME COLUMN raw TO text",
    ],
)
def test_a_change_by_hand_that_breaks_the_tables_is_told_in_a_sentence(
    run: Run, db: Database, path: Path, more: Path, change: str
) -> None:
    assert run("load", path).code == 0
    db.execute(change)
    result = run("load", more)
    if result.code == 0:  # it could be done all the same
        return
    sentence(result.code, result.err, 1)
    assert "defect" not in result.err
    if "_rejects" not in change:
        assert db.value("SELECT count(*) FROM _rejects WHERE raw LIKE '%more%'") == 0


def test_a_table_of_another_owner_is_named_with_its_statement(
    run: Run, server: Server, db: Database, write: Write
) -> None:
    name = db.name
    role = f"owner_{os.getpid()}"
    with roles(db, role):
        db.execute(f"ALTER SCHEMA {SCHEMA} OWNER TO {role}")
        for table in db.tables():
            if table != "email_opened":
                db.execute(f"ALTER TABLE {table} OWNER TO {role}")
        for sequence in ("_loads_id_seq",):
            db.execute(f"ALTER SEQUENCE IF EXISTS {sequence} OWNER TO {role}")
        db.execute(f"GRANT SELECT, INSERT ON email_opened TO {role}")
        url = server.database(name, username=role).url
        assert run("load", write("a.ndjson", track("Email Opened")), url=url).code == 0
        result = run("load", write("b.ndjson", track("Email Opened", color="red")), url=url)
        sentence(result.code, result.err, 1, "email_opened", "check")
        checked = run("check", url=url)
        assert checked.code == 1
        assert f"ALTER TABLE {SCHEMA}.email_opened OWNER TO {role};" in checked.out
        assert statuses(db) == ["success", "failure"]
        db.execute(f"ALTER TABLE email_opened OWNER TO {role}")
        assert run("load", write("b.ndjson", track("Email Opened", color="red")), url=url).code == 0


# an older revision


# By each command, and from each revision; all pairs in the long run.
@pytest.mark.parametrize(
    ("command", "revision"),
    [
        pytest.param(command, revision, marks=[pytest.mark.soak] * ((i + j) % 2))
        for i, command in enumerate(("load", "migrate", "alembic"))
        for j, revision in enumerate(REVISIONS[:-1])
    ],
)
def test_an_older_revision_with_rows_in_it_is_brought_to_head(
    run: Run, empty_db: Database, path: Path, revision: str, command: str
) -> None:
    assert alembic("upgrade", revision, url=empty_db.url).returncode == 0
    there = empty_db.tables()
    empty_db.execute(
        "INSERT INTO _loads (source, status, loader_version) "
        "VALUES ('Customer.io', 'success', '0.0.1')"
    )
    if "tracks" in there:
        empty_db.execute(
            "INSERT INTO tracks (id, received_at, timestamp, event, event_text) "
            "VALUES ('old', now(), now(), 'email_opened', 'Email Opened')"
        )
    if command == "load":
        result = run("load", path, url=empty_db.url, env={"LOADER_AUTO_MIGRATE": "false"})
        sentence(result.code, result.err, 4, "customerio-loader migrate")
    elif command == "migrate":
        assert run("migrate", url=empty_db.url).code == 0
    else:
        assert alembic("upgrade", "head", url=empty_db.url).returncode == 0
    assert run("load", path, url=empty_db.url).code == 0
    assert alembic("check", url=empty_db.url).returncode == 0
    assert empty_db.value("SELECT version_num FROM alembic_version") == REVISIONS[-1]
    rows = sum(map(len, GIVEN.ids.values())) + ("tracks" in there)
    assert empty_db.value("SELECT count(*) FROM tracks") == rows
    assert empty_db.rows("SELECT loader_version FROM _loads WHERE id = 1") == [("0.0.1",)]


# clocks

SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { const char *s = getenv("CLOCK_SHIFT"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += shift();
    return done;
}
int gettimeofday(struct timeval *t, void *z) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) *t = s.tv_sec;
    return s.tv_sec;
}
"""


@pytest.fixture(scope="session")
def other_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that shifts the clock of a process."""
    if sys.platform != "linux":
        pytest.skip("the clock is shifted through LD_PRELOAD")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "shift.c").write_text(SHIFT)
    library = folder / "shift.so"
    try:
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", library, folder / "shift.c", "-ldl"],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the clock is shifted by a library that needs a C compiler")
    return library


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_job_with_a_wrong_clock_writes_the_time_of_the_server(
    run: Run, db: Database, write: Write, other_clock: Path, hours: int
) -> None:
    env = {"LD_PRELOAD": str(other_clock), "CLOCK_SHIFT": str(hours * 3600)}
    shown = subprocess.run(
        [sys.executable, "-c", "import datetime; print(datetime.datetime.now().timestamp())"],
        env=os.environ | env,
        capture_output=True,
        check=True,
    )
    now = datetime.now(UTC)
    assert abs(float(shown.stdout) - now.timestamp() - hours * 3600) < 60  # it does shift
    path = write(
        "a.ndjson",
        track("Email Opened", receivedAt=..., timestamp=..., sentAt=..., originalTimestamp=...),
        {"type": "merge"},
    )
    assert run("load", path, env=env).code == 3
    minute = timedelta(minutes=1)
    for statement in (
        "SELECT uuid_ts FROM tracks",
        "SELECT uuid_ts FROM email_opened",
        "SELECT received_at FROM tracks",
        "SELECT timestamp FROM tracks",
        "SELECT started_at FROM _loads",
        "SELECT finished_at FROM _loads",
        "SELECT updated_at FROM _files",
        "SELECT rejected_at FROM _rejects",
    ):
        assert abs(db.value(statement) - now) < minute, statement
    # The clock of the job has no part in what is new.
    assert run("load", path).code == 0
    assert db.value("SELECT records_read FROM _loads ORDER BY id DESC LIMIT 1") == 0


def test_a_copy_of_the_database_goes_on_where_the_original_was(
    run: Run, server: Server, db: Database, path: Path, more: Path
) -> None:
    assert run("load", path).code == 0
    name = db.name
    with copy_of(server, name) as copy:
        assert run("load", path, more, url=copy.url).code == 0
        check_settled(copy, GIVEN, MORE)
    check_settled(db, GIVEN)
