"""Names, folders and lists of spool files."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from acceptance.harness import enterable_folder, run_as

from loader.errors import InputUnreadable, UsageError
from loader.sources.inputs import Inputs
from loader.spool import SpoolWriter, finished, spool_folder, spool_uri
from loader.spool.files import new_name, unfinished
from loader.spool.recovery import is_held

LINE = b'{"n":1}\n'


def test_a_source_without_a_folder_has_no_files(tmp_path: Path) -> None:
    assert finished(tmp_path / "none", "customerio") == []


def test_a_file_that_is_being_written_is_seen_by_nobody(tmp_path: Path) -> None:
    """Neither by the list of the spool nor as an input of a load."""
    writer = SpoolWriter(tmp_path, "customerio")
    writer.append(LINE)
    assert finished(tmp_path, "customerio") == []
    [listed] = Inputs([str(tmp_path)]).list()
    assert listed.page.files == []
    [open_file] = unfinished(tmp_path, "customerio")
    assert is_held(open_file)
    assert open_file.size == len(LINE)

    writer.finish()
    [file] = finished(tmp_path, "customerio")
    assert file.path.read_bytes() == LINE
    assert file.size == len(LINE)
    assert unfinished(tmp_path, "customerio") == []


def test_files_are_listed_by_time_and_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "customerio"
    folder.mkdir()
    names = [new_name() for _ in range(20)]
    for name in reversed(names):
        (folder / name).write_bytes(LINE)
    for other in (".lock", "notes.txt", "." + new_name(), new_name() + ".gz"):
        (folder / other).touch()
    assert [file.name for file in finished(tmp_path, "customerio")] == names


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """To leave it out would lose its events without a word."""
    folder = tmp_path / "customerio"
    folder.mkdir()
    (folder / new_name().replace(".v1.", ".v2.")).touch()
    with pytest.raises(InputUnreadable, match="newer version of customerio-loader: upgrade"):
        finished(tmp_path, "customerio")


def test_a_file_is_called_alike_wherever_the_spool_is_mounted() -> None:
    assert spool_uri("customerio", "20260101T000000000000Z-00.v1.jsonl") == (
        "spool:customerio/20260101T000000000000Z-00.v1.jsonl"
    )


@pytest.mark.parametrize("schema", ["../elsewhere", "a/b", ".", "..", ".hidden"])
def test_a_schema_that_leads_elsewhere_is_refused(tmp_path: Path, schema: str) -> None:
    with pytest.raises(UsageError, match="set another `schema`"):
        spool_folder(tmp_path, schema)


def test_the_group_may_read_files_and_delete_them(tmp_path: Path) -> None:
    """The receiver and the loader may be two users, whatever the mask of the receiver."""
    before = os.umask(0o077)
    try:
        writer = SpoolWriter(tmp_path / "spool", "customerio")
        writer.append(LINE)
        writer.finish()
    finally:
        os.umask(before)
    [file] = finished(tmp_path / "spool", "customerio")
    for path in (file.path, file.path.with_name(".lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for folder in (file.path.parent, file.path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o2770


def test_another_user_of_the_group_reads_and_deletes() -> None:
    """As a job that is not the user of the receiver."""
    if os.geteuid() != 0:
        pytest.skip("other users need root")
    top = enterable_folder()
    spool = top / "spool"
    spool.mkdir()
    os.chown(spool, 0, 65_534)
    spool.chmod(0o2770)
    writer = SpoolWriter(spool, "customerio")
    writer.append(LINE)
    writer.finish()
    writer.append(LINE)
    program = (
        "from pathlib import Path; from loader.spool import finished\n"
        "[file] = finished(Path('spool'), 'customerio')\n"
        "assert file.path.read_bytes() == b'{\"n\":1}\\n'\n"
        "file.path.unlink()\n"
    )
    done = run_as(65_534, "-c", program, cwd=top)
    assert done.returncode == 0, done.stderr
    assert finished(spool, "customerio") == []
    assert writer.finish()
    shutil.rmtree(top)
