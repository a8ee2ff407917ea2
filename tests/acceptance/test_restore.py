"""A dump and the files since are a full copy, as docs/operation.md says."""

import subprocess
from pathlib import Path

from acceptance.faults import Given, check_settled, mixed
from acceptance.harness import SCHEMA, Database, Run

from loader.warehouse import embedded

BIN = Path(embedded.psql_command("", [])[0]).parent


def call(program: str, *arguments: str | Path) -> None:
    done = subprocess.run([BIN / program, *arguments], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def by_pg_restore(source: Database, target: Database, path: Path) -> None:
    call("pg_dump", source.url, f"--schema={SCHEMA}", "--format=custom", "--file", path)
    call("pg_restore", "--exit-on-error", f"--dbname={target.url}", path)


def by_psql(source: Database, target: Database, path: Path) -> None:
    call("pg_dump", source.url, f"--schema={SCHEMA}", "--file", path)
    call("psql", "-Xq", "-v", "ON_ERROR_STOP=1", target.url, "-o", "/dev/null", "-f", path)


def test_a_load_after_a_restore_loads_what_the_dump_has_not(
    run: Run, db: Database, empty_db: Database, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    before, after = mixed(400, "before"), mixed(400, "after")
    before.write(files / "1.ndjson")
    assert run("load", files).code == 0
    dumped = db.dump()
    by_pg_restore(db, empty_db, tmp_path / "dump")
    assert empty_db.dump() == dumped

    again = run("load", files, "--json", url=empty_db.url).json
    assert (again["records_read"], again["files_skipped"]) == (0, 1)
    forced = run("load", files, "--force", "--json", url=empty_db.url).json
    assert (forced["rows_loaded"], forced["rejects"]) == (0, 0)
    assert forced["records_read"] == 400
    assert forced["duplicates"] == 400 - before.ignored
    assert empty_db.value("SELECT max(id) FROM _loads") == 3

    # New columns, a new table and rejects, as in any other load.
    after.event("Order Placed", "order_placed", "after-order", total=1, never_seen="x")
    after.write(files / "2.ndjson")
    found = run("load", files, "--json", url=empty_db.url)
    assert (found.code, found.json["files_skipped"]) == (0, 1), found.err
    check_settled(empty_db, before, after)
    assert run("check", url=empty_db.url).code == 0
    assert run("load", files).code == 0
    check_settled(db, before, after)


def test_a_restored_table_goes_on_where_the_dump_ended(
    run: Run, db: Database, empty_db: Database, tmp_path: Path
) -> None:
    """The files of which the dump knows a part are read to their end."""
    given = mixed(400)
    part = Given(given.lines[:200])
    path = part.write(tmp_path / "growing.ndjson")
    assert run("load", path).code == 0
    by_psql(db, empty_db, tmp_path / "dump")
    given.write(path)
    assert run("load", path, url=empty_db.url).code == 0
    check_settled(empty_db, given)


def test_a_schema_full_of_hostile_numbers_can_be_dumped(
    run: Run, db: Database, empty_db: Database, tmp_path: Path
) -> None:
    """75 kB of them came to 1.1 GB when they were printed, which PostgreSQL refuses for ever."""
    hostile = ",".join(["1e131000"] * 8_300)
    path = tmp_path / "hostile.ndjson"
    track = '{{"type":"track","event":"Email Opened","messageId":"{}","{}":{}}}\n'.format
    path.write_text(
        track("list", "properties", f'{{"l":[{hostile}]}}')
        + track("deep", "properties", f'{{"deep":[{{"a":[[{hostile}]]}}]}}')
        + track("misfit", "properties", f'{{"campaign_id":[{hostile}]}}')
        + track("context", "context", f'{{"l":[{hostile}]}}')
        + track("envelope", "unknown", f"[{hostile}]")
        + track("column", "properties", '{"n":1e131000}')
    )
    assert run("load", path).code == 0
    by_psql(db, empty_db, tmp_path / "dump.sql")
    assert empty_db.dump() == db.dump()
    assert (tmp_path / "dump.sql").read_text().count("1e131000") > 5 * 8_300
