"""The spool as an input of loads: a cron line `load` is enough."""

import json
import shutil
from pathlib import Path

import pytest
from acceptance.harness import Database, Run, Write, ndjson, track, webhook

from loader.spool import SpoolWriter, finished
from loader.spool.files import new_name

SCHEMA = "customerio"
KEYS = 'write_keys = ["sha256:' + "0" * 64 + '"]\n'


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool that the settings file names."""
    settings = f'spool_dir = "{tmp_path}/spool"\n[[source]]\nname = "Customer.io"\n'
    (tmp_path / "loader.toml").write_text(settings)
    return tmp_path / "spool"


def receive(spool: Path, *records: dict[str, object] | str | bytes, schema: str = SCHEMA) -> str:
    """Put a finished file into the spool; what it is called in the ledger."""
    writer = SpoolWriter(spool, schema)
    writer.append(ndjson(*records))
    writer.finish()
    return f"spool:{schema}/{finished(spool, schema)[-1].name}"


def test_what_was_received_is_loaded_without_a_path(run: Run, db: Database, spool: Path) -> None:
    uri = receive(spool, track("A"), track("A"), webhook("email", "sent"))
    result = run("load", "--json").json
    assert (result["files"], result["rows_loaded"]) == (1, 3)
    assert db.rows("SELECT uri, records_done, finished FROM _files") == [(uri, 3, True)]
    second = receive(spool, track("B"))
    result = run("load", "--json").json
    assert (result["files"], result["files_skipped"], result["rows_loaded"]) == (1, 1, 1)
    assert {row[0] for row in db.rows("SELECT uri FROM _files")} == {uri, second}


def test_a_file_that_is_being_written_is_left_for_later(
    run: Run, db: Database, spool: Path
) -> None:
    writer = SpoolWriter(spool, SCHEMA)
    writer.append(ndjson(track("A")))
    assert run("load", "--json").json["files"] == 0
    told = "1 file of received events is being written: ready within 60 s"
    assert told in run("load").err  # "nothing new" alone looks as if they were lost
    assert told not in run("load", "--quiet").err
    writer.finish()
    assert run("load", "--json").json["rows_loaded"] == 1
    assert told not in run("load").err


def test_the_spool_is_an_input_beside_those_that_are_configured(
    run: Run, db: Database, spool: Path, write: Write, tmp_path: Path
) -> None:
    """No selection of files is meant for it: all that was received is loaded."""
    write("in/a.ndjson", track("A"))
    with (tmp_path / "loader.toml").open("a") as file:
        file.write('inputs = ["in"]\ninclude = ["*.ndjson"]\nexclude = ["*.v1.jsonl"]\n')
    receive(spool, track("B"))
    assert run("load", "--json").json["rows_loaded"] == 2
    receive(spool, track("C"))
    write("in/b.ndjson", track("D"))
    assert run("load", "--json", "in").json["rows_loaded"] == 1  # a PATH is all that is meant


def test_wherever_the_spool_is_its_files_are_known(
    run: Run, db: Database, spool: Path, tmp_path: Path
) -> None:
    """A path says nothing: in another container it may be that of another disk."""
    receive(spool, track("A"), track("B"))
    assert run("load", "--json").json["rows_loaded"] == 2
    shutil.copytree(spool, tmp_path / "moved")
    moved = {"LOADER_SPOOL_DIR": str(tmp_path / "moved")}
    result = run("load", "--json", env=moved).json
    assert (result["files"], result["files_skipped"]) == (0, 1)
    shutil.rmtree(spool)
    receive(spool, track("C"))  # at the same place, and not the same file
    result = run("load", "--json").json
    assert (result["files"], result["rows_loaded"]) == (1, 1)


@pytest.mark.parametrize(
    "first",
    [
        '{"receivedAt":"2026-03-04T05:06:07Z","headers":{},"body":"<html><body>no</body></html>"}',
        '{"receivedAt":"2026-03-04T05:06:07Z","headers":{},"body":"a,b\\nc,d"}',
        '{"receivedAt":"2026-03-04T05:06:07Z"}',
        '{"receivedAt":"2026-03-04T05:06:07Z","x":"' + "ustar  \\u0000" * 60 + '"}',
    ],
)
def test_a_spool_file_is_never_taken_for_something_else(
    run: Run, db: Database, spool: Path, first: str
) -> None:
    """Each of its lines is a row or a reject."""
    receive(spool, first)
    receive(spool, first, track("A"))
    result = run("load", "--json").json
    assert result["not_events"] == {}
    assert (result["rows_loaded"], result["rejects"], result["duplicates"]) == (1, 2, 0)


def test_a_source_that_waits_for_its_first_event_has_nothing_to_load(
    run: Run, db: Database, spool: Path, tmp_path: Path
) -> None:
    """It has keys and no folder yet; without keys it is an error to have no inputs."""
    result = run("load")
    assert result.code == 2
    assert "no PATH was given and the source 'Customer.io' has no `inputs`" in result.err
    with (tmp_path / "loader.toml").open("a") as file:
        file.write(KEYS)
    assert run("load", "--json").json["files"] == 0
    [finding] = [line for line in run("check").out.splitlines() if "input" in line]
    assert finding.endswith("input spool:customerio: 0 files")


def test_the_other_commands_know_the_spool(run: Run, db: Database, spool: Path) -> None:
    receive(spool, track("A"))
    [shown] = run("inputs", "--json").json
    assert (shown["input"], shown["files"], shown["new_files"]) == ("spool:customerio", 1, 1)
    assert run("plan", "--json").json["records_read"] == 1
    assert "input spool:customerio: 1 file; the first one looks like events" in run("check").out
    assert run("load", "--json").json["rows_loaded"] == 1
    [shown] = run("inputs", "--json").json
    assert (shown["new_files"], shown["finished_files"]) == (0, 1)


def test_a_file_of_a_newer_version_is_an_error_and_other_inputs_are_loaded(
    run: Run, db: Database, spool: Path, write: Write, tmp_path: Path
) -> None:
    receive(spool, track("A"))
    (spool / SCHEMA / new_name().replace(".v1.", ".v2.")).write_bytes(b"{}\n")
    write("in/a.ndjson", track("B"))
    with (tmp_path / "loader.toml").open("a") as file:
        file.write('inputs = ["in"]\n')
    result = run("load", "--json")
    assert result.code == 1
    assert "was written by a newer version of customerio-loader: upgrade this one" in result.err
    assert json.loads(result.out)["rows_loaded"] == 1


def test_a_spool_that_cannot_be_a_folder_is_refused(run: Run, spool: Path, tmp_path: Path) -> None:
    with (tmp_path / "loader.toml").open("a") as file:
        file.write('schema = "a/b"\n' + KEYS)
    result = run("load")
    assert result.code == 2
    assert "set another `schema` for this source" in result.err
