"""Alembic's own command line from the root of the repository."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.harness import ROOT, Database, Result, Run, Write, ndjson, track

from loader.warehouse.migrate import head_revision

TOML = '[[source]]\nname = "Customer.io"\n[[source]]\nname = "Shop"\n'
BOTH = ("customerio", "shop")
HEAD = f"{head_revision()} (head)"
Alembic = Callable[..., Result]


@pytest.fixture
def alembic(
    db: Database, tmp_path: Path, start: Callable[..., "subprocess.Popen[bytes]"]
) -> Alembic:
    """Run `alembic` in a folder that is laid out as the repository's root, with two sources."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(ROOT / "alembic.ini", root)
    shutil.copytree(ROOT / "migrations", root / "migrations")
    (root / "loader.toml").write_text(TOML)

    def run_it(*arguments: str, url: str | None = db.url) -> Result:
        program = (sys.executable, "-m", "alembic")
        process = start(*arguments, url=url, cwd=root, program=program)
        out, err = process.communicate(timeout=60)
        return Result(process.returncode, out.decode(), err.decode())

    return run_it


@pytest.fixture
def used(db: Database, run: Run, write: Write) -> Database:
    """Two sources whose loads added tables and columns."""
    write("loader.toml", TOML)
    path = write(
        "a.ndjson",
        track("Email Opened", new=1, context={"device": {"id": "x"}}),
        track("Cart Seen", total=1.5),
    )
    for source in ("Customer.io", "Shop"):
        assert run("load", path, "--source", source).code == 0
    (path.parent / "loader.toml").unlink()
    return db


def test_upgrade_current_and_check_work_for_all_sources_or_for_one(
    alembic: Alembic, empty_db: Database
) -> None:
    url = empty_db.url
    one = alembic("-x", "source=Shop", "upgrade", "head", url=url)
    assert one.code == 0, one.err
    assert (empty_db.tables("customerio"), len(empty_db.tables("shop"))) == ([], 30)
    both = alembic("upgrade", "head", url=url)
    assert both.code == 0, both.err
    assert empty_db.tables("customerio") == empty_db.tables("shop")
    current = alembic("current", url=url)
    assert (current.code, current.out.count(HEAD)) == (0, 2)
    assert [name for name in BOTH if f"{name}:" in current.out] == list(BOTH)
    assert alembic("-x", "source=Shop", "current", url=url).out.count(HEAD) == 1
    assert alembic("check", url=url).code == 0
    other = alembic("-x", "source=Third Party", "upgrade", "head", url=url)
    assert (other.code, len(empty_db.tables("third_party"))) == (0, 30)


def test_a_schema_goes_back_to_the_revision_before_and_keeps_all_events(
    alembic: Alembic, run: Run, used: Database
) -> None:
    since = ("_batches", "_listings", "_waiting_columns", "_marts", "_stale_messages")
    derived = ("email_messages", "dim_messages")

    def counts() -> list[object]:
        return [row for row in used.dump() if len(row) == 3 and row[1] not in (*since, *derived)]

    before = counts()
    back = alembic("downgrade", "0003")
    assert back.code == 0, back.err
    assert counts() == before
    assert alembic("upgrade", "head").code == 0
    assert alembic("check").code == 0
    assert counts() == before
    assert run("load", "-", stdin=ndjson(track("Email Opened"))).code == 0


def test_check_finds_no_drift_after_loads_that_added_tables_and_columns(
    alembic: Alembic, used: Database
) -> None:
    result = alembic("check")
    assert (result.code, "No new upgrade operations detected." in result.out) == (0, True)
    assert alembic("upgrade", "head").code == 0
    used.execute("CREATE INDEX ON shop.tracks (user_id)")  # an index of the owner's is theirs
    used.execute("ALTER TABLE shop.email_opened ALTER campaign_id TYPE text")  # widened on purpose
    assert alembic("check").code == 0


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE shop.email_opened ALTER subject TYPE bigint USING NULL",
        "ALTER TABLE shop.email_opened DROP campaign_id",
        "DROP TABLE shop.email_bounced",
        "COMMENT ON COLUMN shop.tracks.user_id IS 'something else'",
    ],
)
def test_check_finds_drift_in_any_source(alembic: Alembic, used: Database, drift: str) -> None:
    used.execute(drift)
    result = alembic("check")
    assert result.code != 0
    assert "New upgrade operations detected" in result.out + result.err
    assert alembic("-x", "source=Customer.io", "check").code == 0


def test_downgrade_refuses_to_destroy_events_unless_it_is_told_to(
    alembic: Alembic, used: Database
) -> None:
    before = used.dump()
    for arguments in ([], ["-x", "source=Shop"]):
        result = alembic(*arguments, "downgrade", "base")
        assert result.code != 0
        assert "would destroy the rows of" in result.out + result.err
        assert "-x drop=yes" in result.out + result.err
        assert "Traceback" not in result.err
        assert used.dump() == before

    one = alembic("-x", "source=Shop", "-x", "drop=yes", "downgrade", "base")
    assert one.code == 0, one.err
    assert set(used.tables("shop")) <= {"alembic_version"}
    assert used.value("SELECT count(*) FROM customerio.tracks") == 2
    rest = alembic("-x", "drop=yes", "downgrade", "base")
    assert rest.code == 0, rest.err
    assert set(used.tables("customerio")) <= {"alembic_version"}
    again = alembic("upgrade", "head")
    assert again.code == 0, again.err
    assert used.tables("customerio") == used.tables("shop")
    assert alembic("check").code == 0


def test_downgrade_of_empty_tables_needs_no_word(alembic: Alembic, db: Database) -> None:
    assert alembic("-x", "source=Customer.io", "downgrade", "base").code == 0
    assert set(db.tables()) <= {"alembic_version"}
    assert alembic("-x", "source=Customer.io", "upgrade", "head").code == 0


def test_downgrade_refuses_to_destroy_rejects(
    alembic: Alembic, db: Database, run: Run, write: Write
) -> None:
    run("load", write("a.ndjson", "{broken"))
    result = alembic("-x", "source=Customer.io", "downgrade", "base")
    assert (result.code != 0, "'_rejects'" in result.out + result.err) == (True, True)
    assert db.value("SELECT count(*) FROM _rejects") == 1


def test_printed_sql_makes_the_same_schemas_and_takes_them_away(
    alembic: Alembic, db: Database, empty_db: Database
) -> None:
    assert alembic("upgrade", "head").code == 0
    printed = alembic("upgrade", "head", "--sql", url=empty_db.url)
    assert printed.code == 0, printed.err
    assert empty_db.tables("customerio") == []
    empty_db.execute(printed.out)
    assert empty_db.dump() == db.dump()
    assert alembic("check", url=empty_db.url).code == 0
    refused = alembic("downgrade", "head:base", "--sql")
    assert (refused.code != 0, "-x drop=yes" in refused.out + refused.err) == (True, True)
    down = alembic("-x", "drop=yes", "downgrade", "head:base", "--sql")
    assert down.code == 0, down.err
    empty_db.execute(down.out)
    assert set(empty_db.tables("shop")) <= {"alembic_version"}


def test_of_several_warehouses_one_is_chosen(
    alembic: Alembic, db: Database, empty_db: Database, tmp_path: Path
) -> None:
    toml = (
        f'{TOML}[[warehouse]]\nname = "main"\nurl = "{db.url}"\n'
        f'[[warehouse]]\nname = "eu"\nurl = "{empty_db.url}"\nsources = ["Shop"]\n'
    )
    (tmp_path / "root" / "loader.toml").write_text(toml)
    for arguments in (["upgrade", "head"], ["current"], ["check"], ["upgrade", "head", "--sql"]):
        result = alembic(*arguments, url=None)
        assert (result.code != 0, "CREATE" in result.out) == (True, False)
        assert "there are several warehouses (eu, main): say -x warehouse=NAME" in result.err
        assert "Traceback" not in result.err
    assert empty_db.tables("shop") == db.tables("shop") == []
    eu = alembic("-x", "warehouse=eu", "upgrade", "head", url=None)
    assert eu.code == 0, eu.err
    assert (len(empty_db.tables("shop")), empty_db.tables("customerio")) == (30, [])
    assert db.tables("shop") == []
    assert alembic("-x", "warehouse=main", "upgrade", "head", url=None).code == 0
    current = alembic("-x", "warehouse=main", "current", url=None)
    assert (current.code, current.out.count(HEAD)) == (0, 2)
    # A source that is in one of them needs no choice.
    alone = alembic("-x", "source=Customer.io", "current", url=None)
    assert (alone.code, alone.out.count(HEAD)) == (0, 1)
    for wrong, words in (
        (["-x", "warehouse=maim"], "did you mean 'main'?"),
        (["-x", "warehouse=eu", "-x", "source=Customer.io"], "not loaded into the warehouse 'eu'"),
    ):
        refused = alembic(*wrong, "current", url=None)
        assert (refused.code != 0, words in refused.err) == (True, True)


def test_errors_are_a_sentence(alembic: Alembic) -> None:
    unreachable = alembic("current", url="postgresql://me:hush-hush@127.0.0.1:1/db")
    assert unreachable.code != 0
    assert "Traceback" not in unreachable.err
    assert "hush-hush" not in unreachable.out + unreachable.err


def test_a_view_of_somebody_else_is_named_that_is_in_the_way_back(
    alembic: Alembic, db: Database
) -> None:
    db.execute("CREATE VIEW public.theirs AS SELECT opens FROM email_messages")
    done = alembic("-x", "source=Customer.io", "downgrade", "0007")
    assert done.code != 0
    assert "view public.theirs depends on table email_messages" in done.err
    assert alembic("-x", "source=Customer.io", "current").out.strip() == HEAD
    db.execute("DROP VIEW public.theirs")
    assert alembic("-x", "source=Customer.io", "downgrade", "0007").code == 0
