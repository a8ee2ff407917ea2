"""No harm that a file came to ends the job: the long form, and through a real load."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.harness import Database
from sources.mutations import digest, mutated

import loader
from loader.normalize.collections import MARTS

pytestmark = pytest.mark.soak
Say = Callable[[str], None]
CASES = int(os.environ.get("SOAK_MUTATIONS", "20000"))
LOADS = int(os.environ.get("SOAK_MUTATED_LOADS", "400"))
FIRST = 1_000  # behind the cases of the short form


def test_no_harmed_file_of_many_ends_the_job(tmp_path: Path, say: Say) -> None:
    path = tmp_path / "harmed"
    total: Counter[str] = Counter()
    slowest = 0.0
    for seed in range(FIRST, FIRST + CASES):
        path.write_bytes(mutated(seed))
        try:
            outcome = digest(path)
        except Exception as error:
            raise AssertionError(f"case {seed}") from error
        slowest = max(slowest, outcome.seconds)
        assert outcome.seconds < 10, f"case {seed}"
        total.update(
            records=outcome.records,
            rows=outcome.rows,
            duplicates=outcome.duplicates,
            rejects=outcome.rejects,
            cut=not outcome.whole,
        )
    say(f"{CASES} harmed files: {dict(total)}, the slowest {slowest:.2f} s")


def test_no_harmed_file_ends_a_real_load(db: Database, tmp_path: Path, say: Say) -> None:
    total: Counter[str] = Counter()
    for seed in range(LOADS):
        path = tmp_path / f"{seed}"
        path.write_bytes(mutated(seed))
        result = loader.load(str(path), warehouse_url=db.url, wait=True, batch_records=30)
        counts = result.counts
        assert counts.wanted == counts.rows_loaded + counts.duplicates + counts.rejects
        assert result.status in ("success", "partial"), seed
        total.update(
            {
                "records": counts.records_read,
                "rows": counts.rows_loaded,
                "duplicates": counts.duplicates,
                "rejects": counts.rejects,
                result.status: 1,
            }
        )
        again = loader.load(str(path), warehouse_url=db.url, wait=True, force=True)
        assert (again.counts.rows_loaded, again.counts.rejects) == (0, 0), seed
        assert again.status == result.status, seed
    ids = " UNION ALL ".join(
        f'SELECT id FROM customerio."{name}"'
        for name in db.tables()
        if not name.startswith("_") and name not in ("tracks", "alembic_version", *MARTS)
    )
    assert db.value("SELECT count(*) FROM tracks") == db.value(f"SELECT count(*) FROM ({ids}) x")
    assert db.rows(f"SELECT id FROM tracks EXCEPT ({ids})") == []
    say(f"{LOADS} harmed files loaded, each twice: {dict(total)}")
