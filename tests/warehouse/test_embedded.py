"""The embedded server: it runs as long as it is used, and keeps its data."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.harness import Database, Server, enterable_folder

from loader.errors import LoaderError, UsageError
from loader.warehouse import cluster, embedded


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    parent = enterable_folder()
    yield parent / "own"
    embedded.stop(parent / "own")
    shutil.rmtree(parent, ignore_errors=True)


def test_a_server_runs_as_long_as_it_is_used_and_keeps_its_data(folder: Path) -> None:
    assert embedded.is_running(folder) is False
    with embedded.running(folder) as url:
        assert embedded.is_running(folder) is True
        Database(url).execute("CREATE TABLE public.kept AS SELECT 7 AS number")
    assert embedded.is_running(folder) is False

    url = embedded.start(folder)
    assert embedded.is_running(folder) is True
    with embedded.running(folder) as same:
        assert same == url
    assert embedded.is_running(folder) is True  # a person wants it to stay
    assert Database(url).value("SELECT number FROM kept") == 7
    command = embedded.psql_command(url, ["-c", "SELECT 1"])
    assert Path(command[0]).name == "psql"
    assert command[-2:] == ["-c", "SELECT 1"]
    assert embedded.run_psql(url, ["-qc", "SELECT 1", "-o", "/dev/null"]) == 0

    assert embedded.stop(folder) is True
    assert embedded.is_running(folder) is False
    assert embedded.stop(folder) is False


def test_a_server_outlives_one_of_two_users_in_a_process(folder: Path) -> None:
    with embedded.running(folder) as url:
        with embedded.running(folder) as same:
            assert same == url
        assert Database(url).value("SELECT 1") == 1


def test_a_folder_in_the_way_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="LOADER_WAREHOUSE_DIR"),
        embedded.running(tmp_path / "file" / "data"),
    ):
        pass


def test_data_of_a_version_that_the_wheel_has_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("9\n")
    (tmp_path / cluster.USERS).touch()
    with pytest.raises(LoaderError, match="PostgreSQL 9"), embedded.running(tmp_path):
        pass


def test_the_server_is_new_enough_and_speaks_utf_8(server: Server) -> None:
    admin = server.database("postgres")
    assert int(admin.value("SHOW server_version_num")) >= 140_000
    assert admin.value("SHOW server_encoding") == "UTF8"
