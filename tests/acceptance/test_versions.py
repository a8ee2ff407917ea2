"""Other versions of PostgreSQL than the embedded one."""

from pathlib import Path

import pytest
from acceptance.faults import (
    LATE_MIDDLE,
    SMALL,
    Start,
    alembic,
    check_settled,
    copy_of,
    finishes,
    mixed,
    other_servers,
    own_server,
    trigger,
    wait_until,
)
from acceptance.harness import Run

GIVEN = mixed(3_000)


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
            ["columns", "widen", "email_opened", "amount", "text"],
            ["migrate"],
            ["plan", path],
        ):
            result = run(*command, url=db.url)
            assert result.code == 0, (command, result.err)
        replayed = run("rejects", "replay", url=db.url)
        assert (replayed.code, "rejected again" in replayed.err) == (3, True)
        drop = ["-x", "drop=yes", "downgrade", "base"]
        for command in (["check"], drop, ["upgrade", "head"], ["check"]):
            done = alembic(*command, url=db.url)
            assert done.returncode == 0, done.stderr
