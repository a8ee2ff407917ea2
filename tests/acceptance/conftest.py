"""Fixtures of the tests of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.faults import Given, OwnServer, copy_of, own_server
from acceptance.harness import Database


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with the records that the test's module calls `GIVEN`."""
    given: Given = request.module.GIVEN
    return given.write(tmp_path / "given.ndjson")


@pytest.fixture(scope="module")
def mortal() -> Iterator[OwnServer]:
    """A server to be killed."""
    with own_server() as found:
        yield found


@pytest.fixture
def mortal_db(mortal: OwnServer) -> Iterator[Database]:
    """A migrated database of it."""
    if not mortal.is_running():
        mortal.start()
    with copy_of(mortal, "migrated") as found:
        yield found
        if not mortal.is_running():
            mortal.start()
