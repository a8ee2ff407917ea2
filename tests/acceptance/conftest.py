"""Fixtures of the tests of whole runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from acceptance.faults import Given, OwnServer, copy_of, own_server
from acceptance.forwarding import Place, Start
from acceptance.harness import Database
from forward.served import Served, served


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


@pytest.fixture
def place(tmp_path: Path, start: Start) -> Place:
    return Place(tmp_path, start)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    with ExitStack() as stack:
        yield lambda failures="", name="kept", port=0: stack.enter_context(
            served(tmp_path / name, failures, port)
        )
