"""The compiled part stays within its memory, whatever the lines are."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.harness import ROOT

pytestmark = pytest.mark.soak
EXAMPLES = os.environ.get("SOAK_EXAMPLES", "50")
TESTS = ("columns/test_regular.py", "forms/test_senders.py", "forms/test_model.py")
TESTS += ("load/test_same_rows.py", "sources/test_records.py", "load/test_likely_ids.py")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
def test_the_sanitizers_find_nothing_in_the_compiled_part(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    for name in ("loader", "tests", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    native = tmp_path / "loader" / "native"
    command = ["gcc", *SANITIZERS, "-std=c11", "-shared", "-fPIC", "-o", native / "native.so"]
    subprocess.run([*command, *native.glob("*.c")], check=True)
    runtime = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *(tmp_path / "tests" / name for name in TESTS),
        ],
        cwd=tmp_path,
        env=os.environ
        | {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "SOAK_EXAMPLES": EXAMPLES}
        | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-5_000:]
    say(done.stdout.splitlines()[-1])
