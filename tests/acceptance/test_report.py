"""`report`: what it writes, and where."""

import json
import os
from pathlib import Path

import pytest
from acceptance.harness import Database, Run, Write
from report.reporting import Page, few

DAYS = ("--days", "2", "--until", "2026-03-05", "--timezone", "Europe/Berlin")


@pytest.fixture
def loaded(db: Database, run: Run, write: Write) -> Database:
    assert run("load", write("events.ndjson", *few())).code == 0
    return db


def test_a_page_is_written_and_named(loaded: Database, run: Run, tmp_path: Path) -> None:
    done = run("report", *DAYS)
    assert done.code == 0, done.err
    assert done.out == "report.html: 2026-03-04 to 2026-03-05, 3 messages delivered\n"
    assert done.err == ""
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "4 March to 5 March 2026" in Page(text).text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.ndjson", "report.html"]
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o666 & ~umask()
    assert run("report", *DAYS, "-o", "-").out.startswith("<!doctype html>")


def umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def test_json_is_the_numbers(loaded: Database, run: Run, tmp_path: Path) -> None:
    shown = run("report", *DAYS, "--json").json
    assert shown["mails"]["total"]["delivered"] == 3
    assert shown["mails"]["funnel"][1] == {
        "name": "human_opened",
        "messages": 2,
        "share": pytest.approx(2 / 3),
    }
    assert not (tmp_path / "report.html").exists()
    assert run("report", *DAYS, "--json", "-o", "numbers.json").code == 0
    kept = json.loads((tmp_path / "numbers.json").read_text())
    assert {**kept, "made_at": None} == {**shown, "made_at": None}


def test_a_file_is_replaced_as_a_whole(loaded: Database, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "kept.html"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link.html").symlink_to(target)
    assert run("report", *DAYS, "-o", "link.html").code == 0
    assert (tmp_path / "link.html").is_symlink()
    assert target.read_text().startswith("<!doctype html>")
    assert target.stat().st_mode & 0o777 == 0o640
    assert run("report", *DAYS, "-o", os.devnull).code == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("-o", "."), "it is a folder: name a file in it"),
        (("-o", "gone/report.html"), "its folder is not there"),
        (("--timezone", "Europe/Berln"), "did you mean 'Europe/Berlin'?"),
        (("--until", "2999-01-01"), "is in the future"),
        (("--until", "yesterday"), "does not match the format"),
        (("--days", "0"), "--days"),
        (("--source", "Other"), "nothing was loaded into 'other' yet"),
    ],
)
def test_wrong_use_is_told(run: Run, arguments: tuple[str, ...], what: str) -> None:
    done = run("report", *arguments)
    assert (done.code, done.out) == (2, "")
    assert what in " ".join(done.err.split())


def test_nothing_was_loaded_yet(empty_db: Database, run: Run, tmp_path: Path) -> None:
    done = run("report", url=empty_db.url)
    assert done.code == 2
    assert "nothing was loaded into 'customerio' yet" in done.err
    assert not (tmp_path / "report.html").exists()


def test_a_mart_that_is_off_is_told(db: Database, run: Run, write: Write) -> None:
    assert run("load", write("a.ndjson", *few()), env={"LOADER_MART": "off"}).code == 0
    done = run("report", *DAYS)
    assert done.code == 0
    assert done.out == "report.html: 2026-03-04 to 2026-03-05, without figures about messages\n"
    assert "the setting mart is off" in done.err
    shown = run("report", *DAYS, "--json").json
    assert shown["mails"] is None
    assert "the setting mart is off" in shown["notices"][0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user's")
@pytest.mark.parametrize("command", [("report", *DAYS), ("dashboards", "superset")])
def test_a_link_that_another_user_has_made_is_not_followed(
    loaded: Database, run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """In a folder as /tmp it made the job overwrite any file of its user."""
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    precious.write_text("precious")
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(precious)
    os.lchown(shared / "link", 12_345, 12_345)
    done = run(*command, "-o", str(shared / "link"))
    assert (done.code, "another user" in done.err) == (1, True), done.err
    assert precious.read_text() == "precious"
