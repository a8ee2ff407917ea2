"""Lines that go the short way give the tables that they give record by record."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.faults import Start
from acceptance.harness import ROOT, Database, Run

from loader.samples import generate

# Too little to load numpy, so that every line goes record by record; see `loader.reading`.
LITTLE = 900 << 20


def odd_values() -> Iterator[bytes]:
    """Calls whose values need care on their way into a column: numbers, texts, lists, blanks."""
    texts = ["", "a\tb\\N\r\n", "Grüße 🙂", '"', "7", "-0", "1.50", "true", "[1]", "\u2028"]
    numbers = ["0", "-1", "7", "1.50", "0.000001", "-3.25", "12345678.1234567", "1e3", "1E-7"]
    numbers += [str(2**63), str(-(2**63)), "9" * 40, "0." + "3" * 30, "10000", "100000000.5"]
    values = [json.dumps(text) for text in texts] + numbers + ["true", "false", "null", "{}", "[]"]
    values += ['[1,"a b",{"c":[null]}]', '{"d":{"e":1.5}}', '["\\u00e9","]"]']
    for number in range(4_000):
        time = f"2026-03-04T05:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}Z"
        first, second = values[number % len(values)], values[number * 7 % len(values)]
        kept = numbers[number % len(numbers)]
        yield (
            f'{{"type":"track","event":"Odd {number % 3}","messageId":"odd-{number:05}",'
            f'"userId":"u{number}","timestamp":"{time}","receivedAt":"{time}",'
            f'"context":{{"ip":"192.0.2.1","page":{{"n":{kept}}}}},'
            f'"properties":{{"any":{first},"n":{kept},"x":{{"y":{second}}},'
            f'"late_{number // 500}":{kept}}}}}\n'
        ).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Lines of all kinds."""
    path = tmp_path / "plain.ndjson"
    # Without conflicts: the type of a new column depends on where batches end.
    mixed = generate(12_000, seed=6, shape="mixed", duplicates=0.01)
    webhooks = [line for line in mixed if b'"object_type"' in line]
    assert len(webhooks) > 3_000
    path.write_bytes(
        b"".join(odd_values())
        + b"".join(
            generate(
                8_000,
                seed=5,
                shape="segment",
                extra_properties=50,
                conflicts=0.02,
                duplicates=0.01,
                broken=0.002,
            )
        )
        + b"".join(webhooks)
    )
    return path


SETTINGS = {"LOADER_BATCH_RECORDS": "3000", "LOADER_MAX_REJECT_RATIO": "1"}


def test_the_short_way_fills_the_tables_as_the_long_one_does(
    run: Run, start: Start, db: Database, path: Path
) -> None:
    short = run("load", path, "--json", env=SETTINGS)
    assert (short.code, short.err) == (0, "")
    tables = state(db)
    db.execute("DROP SCHEMA customerio CASCADE")
    process = start(
        "load",
        path,
        "--json",
        url=db.url,
        env=SETTINGS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LITTLE, LITTLE)),
    )
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert facts(json.loads(out)) == facts(short.json)
    assert state(db) == tables


Uncompiled = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(params=["missing", "broken", "of another version"])
def uncompiled(request: pytest.FixtureRequest, db: Database, tmp_path: Path) -> Uncompiled:
    """Runs a command of a copy of the package, whose compiled part is of no use."""
    for name in ("loader", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    native = tmp_path / "copy" / "loader" / "native"
    (native / "native.so").unlink()
    if request.param == "broken":
        (native / "native.so").write_bytes(b"not a library")
    elif request.param == "of another version":
        shutil.copy(ROOT / "loader" / "native" / "native.so", native)
        code = (native / "__init__.py").read_text()
        code, count = re.subn(r"\b_VERSION = \d+", "_VERSION = 0", code)
        assert count == 1
        (native / "__init__.py").write_text(code)

    def run_it(*command: Path | str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "loader", *map(str, command)],
            cwd=tmp_path / "copy",
            env=os.environ | SETTINGS | {"LOADER_WAREHOUSE_URL": db.url},
            capture_output=True,
            check=False,
        )

    return run_it


def test_without_its_compiled_part_a_load_says_what_to_do_and_changes_nothing(
    db: Database, path: Path, uncompiled: Uncompiled
) -> None:
    done = uncompiled("load", path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"customerio-loader: the compiled part of the loader cannot be")
    assert b"install the package anew" in done.stderr
    assert db.value("SELECT count(*) FROM _loads") == 0


def test_check_tells_that_the_compiled_part_cannot_be_used(
    run: Run, uncompiled: Uncompiled
) -> None:
    assert "compiled part" not in run("check").out
    done = uncompiled("check")
    assert done.returncode == 1
    assert b"install the package anew" in done.stderr


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
        "WHERE table_schema = 'customerio' AND column_name = 'event_text' ORDER BY 1"
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


def facts(load: dict[str, Any]) -> list[Any]:
    names = ("records_read", "rows_loaded", "duplicates", "rejects", "extra_values")
    return [load[name] for name in names]
