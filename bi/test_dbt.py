"""The dbt package, run by dbt against the sample."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, TOOLS
from sqlalchemy import make_url

DBT = TOOLS / "dbt" / "bin" / "dbt"


@pytest.fixture(scope="module")
def dbt(folder: Path, loaded: str, warehouse: str) -> Callable[..., str]:
    """Run dbt on a copy of the package."""
    package = folder / "dbt"
    shutil.copytree(ROOT / "dbt", package, ignore=shutil.ignore_patterns("target", "logs"))
    url = make_url(warehouse)
    env = {
        **os.environ,
        "PGHOST": str(url.host or url.query["host"]),
        "PGUSER": str(url.username),
        "PGDATABASE": str(url.database),
        "DBT_PROFILES_DIR": str(package),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }

    def run_it(*arguments: str) -> str:
        done = subprocess.run(
            [DBT, "--warn-error", "--no-use-colors", *arguments],
            env=env,
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_it


def test_the_package_is_read_without_a_warning(dbt: Callable[..., str]) -> None:
    dbt("parse", "--no-partial-parse")
    assert "customerio.message_weeks" in dbt("ls", "--resource-type", "model")


def test_sources_are_fresh(dbt: Callable[..., str]) -> None:
    printed = dbt("source", "freshness")
    assert "PASS freshness of customerio.tracks" in printed
    assert "PASS freshness of customerio.load_health" in printed


def test_all_is_built_and_each_test_holds(dbt: Callable[..., str]) -> None:
    printed = dbt("build")
    assert "ERROR=0" in printed
    assert "WARN=0" in printed


def test_exposures_are_known(dbt: Callable[..., str]) -> None:
    assert "customerio_email_dashboard" in dbt("ls", "--resource-type", "exposure")
