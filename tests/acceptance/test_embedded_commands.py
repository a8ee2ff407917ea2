"""The embedded server through the command line: start, url, psql, stop, and loads without a URL."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.harness import Database, Run, Write, enterable_folder, track


@pytest.fixture
def own(run: Run) -> Iterator[dict[str, str]]:
    """Settings of an embedded server of the test's own, stopped at the end."""
    folder = enterable_folder()
    settings = {"LOADER_WAREHOUSE_DIR": str(folder / "wh")}
    yield settings
    run("warehouse", "stop", url=None, env=settings)
    os.system(f"rm -rf '{folder}'")


def test_the_embedded_server_starts_is_looked_into_and_stops(
    run: Run, own: dict[str, str], write: Write
) -> None:
    folder = Path(own["LOADER_WAREHOUSE_DIR"])
    path = write("a.ndjson", track("Email Opened", messageId="1"))

    loaded = run("load", path, url=None, env=own)
    assert loaded.code == 0, loaded.err
    assert "\nTry:\n" in loaded.out
    assert loaded.out.count("warehouse psql -- -c ") == 3
    assert not (folder / "postmaster.pid").exists()  # it stops with its last user
    second = run("load", write("b.ndjson", track("Email Opened")), url=None, env=own)
    assert (second.code, "Try:" in second.out) == (0, False)  # shown once

    started = run("warehouse", "start", url=None, env=own)
    assert (started.code, started.err) == (0, "")
    assert (folder / "postmaster.pid").exists()
    shown = run("warehouse", "url", url=None, env=own)
    assert (shown.out, shown.err) == (started.out, "")
    database = Database(started.out.strip())
    assert database.value("SELECT min(id) FROM email_opened") == "1"

    assert run("load", path, "--force", url=None, env=own).code == 0
    assert (folder / "postmaster.pid").exists()  # a person started it, so it stays

    query = "SELECT min(id) FROM customerio.tracks"
    other = {"PGPORT": "7777", "PGHOST": "/nowhere", "PGUSER": "x", "PGDATABASE": "y"}
    asked = run("warehouse", "psql", "--", "-Atc", query, url=None, env=own | other)
    assert (asked.code, asked.out) == (0, "1\n")
    wrong = run("warehouse", "psql", "--", "-c", "SELECT nonsense", url=None, env=own)
    assert (wrong.code, "nonsense" in wrong.err) == (1, True)

    assert run("warehouse", "stop", url=None, env=own).out == "stopped\n"
    assert not (folder / "postmaster.pid").exists()
    assert run("warehouse", "stop", url=None, env=own).out == "it was not running\n"


def test_the_embedded_commands_refuse_where_a_url_is_set(run: Run) -> None:
    for command in ("start", "url", "psql"):
        result = run("warehouse", command)
        assert result.code == 2
        assert "a warehouse URL is set" in result.err


def test_a_server_that_was_left_running_is_stopped_although_it_is_not_used_any_more(
    run: Run, tmp_path: Path
) -> None:
    env = {"LOADER_WAREHOUSE_DIR": str(enterable_folder() / "warehouse")}
    assert run("warehouse", "start", url=None, env=env).code == 0
    tables = '[[warehouse]]\nname = "A"\nurl = "postgresql://127.0.0.1:1/a"\n'
    (tmp_path / "loader.toml").write_text(tables)
    refused = run("warehouse", "psql", url=None, env=env)
    assert refused.code == 2
    assert "there are [[warehouse]] tables (A)" in refused.err
    assert run("warehouse", "stop", url=None, env=env).out == "stopped\n"


@pytest.mark.parametrize("place", ["environment", "loader.toml"])
def test_an_empty_folder_is_the_default_and_not_the_current_one(
    run: Run, tmp_path: Path, place: str
) -> None:
    """PostgreSQL's files would lie among those of whoever started the command."""
    (tmp_path / "precious").touch()
    home = enterable_folder()
    env = {"XDG_DATA_HOME": str(home), "HOME": str(home)}
    if place == "environment":
        env["LOADER_WAREHOUSE_DIR"] = ""
    else:
        (tmp_path / "loader.toml").write_text('warehouse_dir = ""')
    result = run("warehouse", "url", url=None, env=env, cwd=tmp_path)
    assert result.code == 0, result.err
    assert str(home) in result.out
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".toml"] == ["precious"]
    shutil.rmtree(home)


def test_a_folder_that_cannot_be_used_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("status", url=None, env={"LOADER_WAREHOUSE_DIR": str(tmp_path / "file" / "wh")})
    assert result.code == 2
    assert "LOADER_WAREHOUSE_DIR" in result.err
    assert "Traceback" not in result.err
