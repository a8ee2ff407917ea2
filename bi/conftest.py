"""What the tests with real BI tools share: the sample in an embedded server."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.warehouse import embedded

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".bi"


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets, that the user of the server can enter."""
    made = Path(tempfile.mkdtemp(prefix="bi-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def warehouse(folder: Path) -> Iterator[str]:
    """The URL of a server with the sample in it."""
    with embedded.running(folder / "pg") as url:
        yield url


@pytest.fixture(scope="session")
def run(folder: Path, warehouse: str) -> Callable[..., str]:
    """Run the command line on the warehouse; returns what it printed."""

    def run_it(*arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "loader", *map(str, arguments)],
            env=os.environ | {"LOADER_WAREHOUSE_URL": warehouse},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_it


@pytest.fixture(scope="session")
def loaded(run: Callable[..., str]) -> str:
    """The schema of the sample."""
    run("load", ROOT / ".samples" / "customerio-month.ndjson.gz")
    return "customerio"
