"""Workers change how fast a load is, and nothing else."""

from pathlib import Path
from typing import Any

from acceptance.harness import Database, Run

from loader.samples import generate

ANY = {"LOADER_MAX_REJECT_RATIO": "1"}


# The arrival of a record that does not say is the load's start.
ROWS = """
    SELECT to_jsonb(t) - 'uuid_ts' || CASE
        WHEN received_at IN (SELECT started_at FROM _loads) THEN '{{"received_at": "load"}}'::jsonb
        ELSE '{{}}'
    END AS row
    FROM customerio."{}" t
"""


def state(db: Database) -> dict[str, Any]:
    """Everything in the schema that does not say when it was written."""
    tables = [name for (name,) in db.rows(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = 'customerio' AND column_name = 'uuid_ts' ORDER BY 1"
    )]  # fmt: skip
    found: dict[str, Any] = {
        table: sorted(
            db.dicts(ROWS.format(table)),
            key=lambda one: one["row"]["id"],
        )
        for table in tables
    }
    found["_rejects"] = sorted(db.rows("SELECT position, reason, raw FROM _rejects"))
    found["_files"] = db.rows("SELECT records_done, finished FROM _files")
    return found


def test_a_load_with_workers_gives_what_one_without_gives(
    run: Run, db: Database, tmp_path: Path
) -> None:
    """Mixed forms, duplicates, broken lines and late columns, over several blocks of the file."""
    path = tmp_path / "mixed.ndjson"
    path.write_bytes(
        b"".join(generate(6_000, seed=3))
        + b'[{"type": "track", "event": "In An Array", "messageId": "a-1", '
        + b'"timestamp": 1789460612, "properties": {"n": 1}}]'
        + b"\n{\n"
        + b'"type": "track", "event": "Over Lines", "messageId": "a-2", "timestamp": 1789460612}\n'
        + b"".join(generate(3_000, seed=4, shape="segment", extra_properties=9, conflicts=0.02))
    )
    first = run("load", path, "--json", env=ANY | {"LOADER_BATCH_RECORDS": "3000"})
    assert (first.code, first.err) == (0, "")
    alone = state(db)
    db.execute("DROP SCHEMA customerio CASCADE")
    second = run(
        "load", path, "--json", "--workers", "2", env=ANY | {"LOADER_BATCH_RECORDS": "3000"}
    )
    assert (second.code, second.err) == (0, "")
    counts = ("records_read", "rows_loaded", "duplicates", "rejects", "extra_values")
    assert [first.json[name] for name in counts] == [second.json[name] for name in counts]
    assert state(db) == alone
