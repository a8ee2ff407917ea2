"""An installation whose compiled part is missing, broken or older: it says so and loads nothing."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.harness import ROOT, Database, Run, Write, track

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
            env=os.environ | {"LOADER_WAREHOUSE_URL": db.url},
            capture_output=True,
            check=False,
        )

    return run_it


def test_without_its_compiled_part_a_load_says_what_to_do_and_changes_nothing(
    db: Database, write: Write, uncompiled: Uncompiled
) -> None:
    done = uncompiled("load", write("events.ndjson", track("Email Opened")))
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
    assert b"install the package anew" in done.stdout
