"""Many files, large ones, and ones that unpack to large ones: in bounded memory, to their end."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.harness import Database
from acceptance.large import (
    BOMBS,
    Measured,
    load_a_bomb,
    load_a_huge_line,
    load_a_stream,
    load_many_small_files,
)

pytestmark = pytest.mark.soak
Say = Callable[[str], None]
FILES = int(os.environ.get("SOAK_FILES", "10000"))
GIGABYTES = int(os.environ.get("SOAK_GIGABYTES", "20"))


def test_ten_thousand_small_files(
    run_measured: Measured, db: Database, tmp_path: Path, say: Say
) -> None:
    say(load_many_small_files(run_measured, db, tmp_path, FILES))


def test_a_file_of_20_gb(run_measured: Measured, db: Database, tmp_path: Path, say: Say) -> None:
    say(load_a_huge_line(run_measured, db, tmp_path, GIGABYTES))


def test_a_stream_of_20_gb(run_measured: Measured, db: Database, say: Say) -> None:
    say(load_a_stream(run_measured, db, GIGABYTES))


@pytest.mark.parametrize("form", BOMBS)
def test_a_small_file_that_unpacks_to_10_gb(
    form: str, run_measured: Measured, db: Database, tmp_path: Path, say: Say
) -> None:
    say(load_a_bomb(run_measured, db, tmp_path, form, GIGABYTES << 9))
