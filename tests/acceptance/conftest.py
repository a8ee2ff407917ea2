"""Fixtures of the tests of whole runs."""

from pathlib import Path

import pytest
from acceptance.faults import Given


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with the records that the test's module calls `GIVEN`."""
    given: Given = request.module.GIVEN
    return given.write(tmp_path / "given.ndjson")
