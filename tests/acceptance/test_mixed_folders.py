"""Folders that hold other things than events, by the command line."""

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Result, ndjson, track

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of events among other things."""
    made = tmp_path / "in"
    (made / "2026").mkdir(parents=True)
    (made / "a.json").write_bytes(ndjson(track("Email Opened", messageId="a")))
    (made / "2026" / "b.gz").write_bytes(
        gzip.compress(b"a line of a log\n" + ndjson(track("Email Opened", messageId="b")))
    )
    (made / "notes.txt").write_text("These are the events of last year.\n" * 50)
    (made / "people.csv").write_text("id,email\n1,a@example.com\n2,b@example.com\n")
    (made / "page.html").write_text("<!doctype html>\n<html><body>503</body></html>\n")
    (made / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with zipfile.ZipFile(made / "old.zip", "w") as packed:
        packed.writestr("c.json", ndjson(track("Email Opened", messageId="c")))
    with tarfile.open(made / "old.tar", "w") as archive:
        archive.add(made / "a.json", "c.json")
    return made


def files_of(result: Result) -> dict[str, str]:
    found: dict[str, str] = result.json["not_events"]
    return {Path(uri).name: what for uri, what in found.items()}


def test_other_things_are_named_once_and_are_no_rejects(
    run: Run, db: Database, folder: Path
) -> None:
    result = run("load", folder, "--json", env={"LOADER_MAX_REJECT_RATIO": "0.5"})
    assert result.code == 0, result.err
    assert files_of(result) == {
        "notes.txt": "text without JSON",
        "people.csv": "CSV",
        "page.html": "HTML",
        "image.png": "a PNG image",
        "old.zip": "a zip archive",
        "old.tar": "a tar archive",
    }
    counts = (result.json["rows_loaded"], result.json["rejects"])
    assert counts == (2, 1)  # the line of a log is one
    assert db.rows("SELECT count(*), count(not_events) FROM _files WHERE finished") == [(8, 6)]
    again = run("load", folder, "--json")
    assert (again.json["files"], again.json["files_skipped"], files_of(again)) == (0, 8, {})
    shown = run("load", folder, "--force").out
    assert "people.csv: no events, but CSV" in shown


def test_a_file_that_becomes_one_of_events_is_read(run: Run, db: Database, folder: Path) -> None:
    run("load", folder)
    (folder / "people.csv").write_bytes(ndjson(track("Email Opened", messageId="p")))
    assert run("load", folder, "--json").json["rows_loaded"] == 1
    assert db.rows("SELECT count(not_events) FROM _files") == [(5,)]


def test_a_newer_loader_judges_anew(run: Run, db: Database, folder: Path) -> None:
    run("load", folder)
    db.execute("UPDATE _loads SET loader_version = '0.1.9'")
    result = run("load", folder, "--json")
    assert (result.json["files"], len(files_of(result))) == (6, 6)


def test_who_names_a_file_without_events_is_told(run: Run, db: Database, folder: Path) -> None:
    run("load", folder)  # even where it is known already
    result = run("load", folder / "people.csv", folder / "a.json", "--json")
    assert (result.code, result.json["status"]) == (1, "partial")
    assert "people.csv' holds no events (it looks like CSV)" in result.err
    assert run("load", "-", stdin=b"just some words\n").code == 1
    checked = run("check", folder / "people.csv")
    assert (checked.code, "holds no events (it looks like CSV)" in checked.out) == (1, True)


def test_a_file_that_is_cut_is_not_judged_by_its_beginning(
    run: Run, db: Database, folder: Path
) -> None:
    """It was left out as text without JSON, and the exit code was 0."""
    (folder / "cut.gz").write_bytes(gzip.compress(b"x")[:12])
    result = run("load", folder, "--json")
    assert (result.code, "cut.gz" in files_of(result)) == (1, False)
    assert "cut.gz" in result.err


def test_a_source_chooses_its_files_by_name(
    run: Run, db: Database, folder: Path, tmp_path: Path
) -> None:
    def configure(**source: Any) -> None:
        lines = [f"{name} = {json.dumps(value)}" for name, value in source.items()]
        text = "\n".join(["[[source]]", 'name = "Customer.io"', *lines, ""])
        (tmp_path / "loader.toml").write_text(text)

    configure(inputs=[str(folder)], include=["*.json", "*.gz"], exclude=["/2026/"])
    [shown] = json.loads(run("inputs", "--json").out)
    assert (shown["files"], shown["excluded_files"], shown["new_files"]) == (1, 7, 1)
    assert run("load", "--json").json["rows_loaded"] == 1
    # Who names a file wants it; a glob is chosen from.
    assert run("load", folder / "2026" / "b.gz", "--json").json["rows_loaded"] == 1
    assert run("load", f"{folder}/*", "--json", "--force").json["files"] == 1
    # A folder that is left out of one input may be another one.
    configure(inputs=[str(folder), str(folder / "2026")], exclude=["/2026/"])
    assert {one["files"] for one in json.loads(run("inputs", "--json").out)} == {7, 1}
    configure(inputs=[str(folder)], include=["[a"])
    result = run("load")
    assert result.code == 2
    assert "the pattern '[a' cannot be used" in result.err


def test_inputs_counts_what_is_there_and_what_is_loaded(run: Run, folder: Path) -> None:
    [before] = json.loads(run("inputs", folder, "--json").out)
    assert (before["files"], before["new_files"], before["not_events"]) == (8, 8, 0)
    run("load", folder)
    (folder / "new.json").write_bytes(ndjson(track("Email Opened", messageId="n")))
    [after] = json.loads(run("inputs", folder, "--json").out)
    numbers = ("files", "new_files", "finished_files", "not_events")
    assert tuple(after[name] for name in numbers) == (9, 1, 8, 6)
    assert "MB to read" in run("inputs", folder).out
    assert run("inputs", folder / "nothing").code == 1


def test_files_without_records_do_not_pile_up(run: Run, db: Database, tmp_path: Path) -> None:
    """A million of them took half a gigabyte, and one transaction."""
    folder = tmp_path / "empty"
    folder.mkdir()
    for number in range(10_001):
        (folder / str(number)).touch()
    result = run("load", folder, "--json")
    assert (result.code, result.json["files"], result.json["batches"]) == (0, 10_001, 2)
    assert db.rows("SELECT count(*) FROM _files WHERE finished") == [(10_001,)]
