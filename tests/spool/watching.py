"""See in which order a program makes its calls to the system, and have some of them fail."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest


class Call(NamedTuple):
    """A call about something below the watched folder."""

    name: str
    path: str  # below the folder; a spool file that is being written is `FILE`
    descriptor: int
    failed: bool


class Watched(NamedTuple):
    """A folder, with the environment of the programs that are watched in it."""

    folder: Path
    env: dict[str, str]

    def calls(self) -> list[Call]:
        """What was called so far."""
        file = Path(self.env["SPOOL_CALLS"])
        lines = file.read_text().splitlines() if file.exists() else []
        return [_read(line) for line in lines]

    def fail(self, call: str, error: int = errno.EIO) -> None:
        """Have every such call fail from now on."""
        file = Path(self.env["SPOOL_FAULTS"])
        file.with_suffix(".new").write_text(f"{call} {error}")
        file.with_suffix(".new").rename(file)

    def slow_down(self, call: str, seconds: int) -> None:
        """Have every such call take some seconds from now on."""
        self.fail(call, -seconds)

    def heal(self) -> None:
        """Have no call fail any more."""
        Path(self.env["SPOOL_FAULTS"]).unlink()


def watch(folder: Path, tmp_path: Path) -> Watched:
    """Build the library that watches a folder."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or compiler is None:
        pytest.skip("only on Linux with a C compiler")
    library = tmp_path / "watched.so"
    source = Path(__file__).with_name("watched.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    env = {
        "LD_PRELOAD": str(library),
        "SPOOL_WATCHED": str(folder),
        "SPOOL_CALLS": str(tmp_path / "calls"),
        "SPOOL_FAULTS": str(tmp_path / "faults"),
    }
    return Watched(folder, env)


def _read(line: str) -> Call:
    name, path, descriptor, *failed = line.split(" ")
    folder, dot, file = path.rpartition("/.")
    if dot and file != "lock":
        path = f"{folder}/FILE"
    return Call(name, path, int(descriptor), bool(failed))
