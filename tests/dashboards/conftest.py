"""The sample, loaded once."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from acceptance.harness import Database, Server

import samples


@pytest.fixture(scope="session")
def sample(
    server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database with the events of the sample; tests only read it."""
    server.database("postgres").execute(f"CREATE DATABASE shown TEMPLATE {template}")
    path = tmp_path_factory.mktemp("shown") / "month.ndjson"
    path.write_bytes(b"".join(samples.generate(5_000)))
    done = subprocess.run(
        [sys.executable, "-m", "loader", "load", path],
        env=os.environ | {"LOADER_WAREHOUSE_URL": server.database("shown").url},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield server.database("shown")
    server.database("postgres").execute("DROP DATABASE shown WITH (FORCE)")
