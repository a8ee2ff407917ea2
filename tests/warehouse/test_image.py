"""What the Dockerfile builds from is enough, and nothing else gets into the image."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from acceptance.harness import ROOT

LET_IN = [
    line[1:]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line.startswith("!")
]


def test_a_wheel_is_built_from_what_the_image_is_built_from(tmp_path: Path) -> None:
    """Needs the package registry."""
    context = tmp_path / "context"
    context.mkdir()
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    for name in LET_IN:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, context)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "-q", "wheel", context, "--no-deps", "-w", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert {"loader/native/native.so", "loader/migrations/env.py"} <= inside


def test_the_image_has_no_build_tools_and_does_not_run_as_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    last = text[text.rindex("\nFROM ") :]
    assert not re.search(r"\b(apt|apt-get|apk|pip|gcc|make)\b", last)
    assert re.findall(r"^USER (.+)$", last, flags=re.MULTILINE) == ["10001"]


def test_settings_and_data_stay_out_of_the_image() -> None:
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"
    assert set(LET_IN) == {
        *("LICENSE", "README.md", "constraints.txt", "hatch_build.py", "pyproject.toml"),
        *("loader", "migrations"),
    }
