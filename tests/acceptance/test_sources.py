"""Sources and their write keys, from the command line."""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from acceptance.harness import Database, Run, Write, enterable_folder, run_as, track

Start = Callable[..., "Popen[bytes]"]


def key_in(printed: str) -> str:
    [key] = re.findall(r"^write key  (\S+)$", printed, re.MULTILINE)
    return str(key)


def hash_of(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "loader.toml").read_text())


def test_a_source_is_added_with_a_key_that_is_shown_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "loader.toml").write_text("max_columns = 300  # few\n")
    done = run("sources", "add", "Customer.io EU", "--label", "team=crm", url=None)
    assert done.code == 0, done.err
    assert re.search(r"^schema +customerio_eu$", done.out, re.MULTILINE)
    key = key_in(done.out)
    assert key not in (tmp_path / "loader.toml").read_text()
    assert (tmp_path / "loader.toml").read_text().startswith("max_columns = 300  # few\n")
    assert settings(tmp_path)["source"] == [
        {"name": "Customer.io EU", "labels": {"team": "crm"}, "write_keys": [hash_of(key)]}
    ]
    shown = [
        run(*command, url=None)
        for command in (("config", "show"), ("sources", "list"), ("config", "show", "--json"))
    ]
    assert all(one.code == 0 and key not in one.out + one.err for one in shown)
    assert hash_of(key)[7:19] in shown[1].out


def test_the_first_source_says_what_it_replaces(run: Run) -> None:
    assert "no longer for 'Customer.io'" in run("sources", "add", "EU", url=None).err
    assert run("sources", "add", "Customer.io", url=None).err == ""


def test_a_key_is_changed_without_a_gap(run: Run, tmp_path: Path) -> None:
    first = run("sources", "add", "EU", "--json", url=None).json
    assert first["file"] == "loader.toml"
    second = key_in(run("sources", "key", "EU", "--add", url=None).out)
    hashes = [hash_of(first["write_key"]), hash_of(second)]
    assert settings(tmp_path)["source"][0]["write_keys"] == hashes
    done = run("sources", "key", "EU", "--revoke", first["fingerprint"], url=None)
    assert (done.code, done.err) == (0, "")
    assert "1 key of 'EU' left" in done.out
    assert settings(tmp_path)["source"][0]["write_keys"] == hashes[1:]
    done = run("sources", "key", "EU", "--revoke", hashes[1], url=None)
    assert "it has no write key" in done.err
    assert settings(tmp_path)["source"][0]["write_keys"] == []


def test_a_key_for_a_fingerprint_is_not_repeated(run: Run) -> None:
    key = key_in(run("sources", "add", "EU", url=None).out)
    done = run("sources", "key", "EU", "--revoke", key, url=None)
    assert done.code == 2
    assert key not in done.out + done.err


def test_sources_are_chosen_by_labels(run: Run) -> None:
    run("sources", "add", "EU", "--label", "team=crm", "--label", "region=eu", url=None)
    run("sources", "add", "US", "--label", "team=crm", url=None)

    def listed(*labels: str) -> list[str]:
        options = [part for label in labels for part in ("--label", label)]
        lines = run("sources", "list", "--json", *options, url=None).out.splitlines()
        return [re.findall('"source": "(.+?)"', line)[0] for line in lines]

    assert listed() == listed("team=crm") == ["EU", "US"]
    assert listed("team=crm", "region=eu") == ["EU"]
    assert listed("team=dwh") == []


def test_the_newest_spool_file_is_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "loader.toml").write_text('[[source]]\nname = "EU"\n[[source]]\nname = "US"\n')
    folder = tmp_path / "spool" / "eu"
    folder.mkdir(parents=True)
    names = [f"20261128T02310{second}000000Z-{second:016x}.v1.jsonl" for second in range(3)]
    for name in (*names, f".{names[2]}".replace("2310", "2320")):
        (folder / name).touch()
    env = {"LOADER_SPOOL_DIR": str(tmp_path / "spool")}
    done = run("sources", "list", "--json", url=None, env=env)
    assert [json.loads(line)["newest_file"] for line in done.out.splitlines()] == [names[2], None]
    assert names[2] in run("sources", "list", url=None, env=env).out


def test_a_load_takes_sources_by_label(
    run: Run, db: Database, write: Write, tmp_path: Path
) -> None:
    for name in ("eu", "us"):
        write(f"{name}.ndjson", track("Email Opened"))
    (tmp_path / "loader.toml").write_text(
        '[[source]]\nname = "EU"\ninputs = ["eu.ndjson"]\nlabels = { team = "crm" }\n'
        '[[source]]\nname = "US"\ninputs = ["us.ndjson"]\n'
    )
    for command in ("plan", "inputs", "load"):
        done = run(command, "--label", "team=crm")
        assert done.code == 0, done.err
        assert "eu" in done.out.lower()
        assert "us.ndjson" not in done.out
    assert db.value("SELECT count(*) FROM eu.tracks") == 1
    assert db.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'us'") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("load", "--label", "team=x"), "no source has team=x"),
        (("load", "--label", "team"), "write NAME=VALUE"),
        (("load", "--label", "team=crm", "--source", "EU"), "--source or --label"),
        (("load", "x.ndjson", "--label", "team=crm"), "say --source"),
        (("sources", "add", "EU"), "there already"),
        (("sources", "add", "e u", "--schema", "eu"), "would share the schema"),
        (("sources", "add", "E-U", "--label", "x"), "write NAME=VALUE"),
        (("sources", "add", "!!"), "empty schema name"),
        (("sources", "key", "EU"), "--add or --revoke"),
        (("sources", "key", "EU", "--add", "--revoke", "abc"), "--add or --revoke"),
        (("sources", "key", "EUX", "--add"), "did you mean 'EU'"),
        (("sources", "key", "EU", "--revoke", "abc"), "which `sources list` shows"),
        (("sources", "remove", "UK"), "not configured"),
    ],
)
def test_wrong_use_changes_nothing(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    text = '[[source]]\nname = "EU"\nlabels = { team = "crm" }\n'
    (tmp_path / "loader.toml").write_text(text)
    done = run(*arguments)
    assert done.code == 2
    assert words in done.err
    assert (tmp_path / "loader.toml").read_text() == text


def test_sources_of_the_environment_are_changed_there(run: Run, tmp_path: Path) -> None:
    given = {"LOADER_SOURCE": '[{"name": "EU"}]'}
    done = run("sources", "add", "US", url=None, env=given)
    assert done.code == 2
    assert "LOADER_SOURCE" in done.err
    assert not (tmp_path / "loader.toml").exists()


def test_a_source_is_removed_and_its_data_stay(run: Run, db: Database, write: Write) -> None:
    run("sources", "add", "EU")
    run("sources", "add", "US")
    path = write("given.ndjson", track("Email Opened"))
    assert run("load", path, "--source", "EU").code == 0
    done = run("sources", "remove", "EU")
    assert done.code == 0, done.err
    assert 'name = "EU"' in done.out
    assert "Its data stay: the schema 'eu'" in done.out
    assert db.value("SELECT count(*) FROM eu.tracks") == 1
    assert run("load", path, "--source", "EU").code == 2


def test_many_who_add_at_once_all_do(start: Start, tmp_path: Path) -> None:
    names = [f"Source {number}" for number in range(6)]
    started = [start("sources", "add", name, "--json", url=None) for name in names]
    for process in started:
        process.communicate()
        assert process.returncode == 0
    assert sorted(one["name"] for one in settings(tmp_path)["source"]) == names
    assert os.listdir(tmp_path) == ["loader.toml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_where_the_file_cannot_be_written_its_block_is_printed() -> None:
    folder = enterable_folder()  # which belongs to root
    text = f'[[source]]\nname = "EU"\nwrite_keys = ["{hash_of("x")}"]\n'
    (folder / "loader.toml").write_text(text)

    def run_it(*arguments: str) -> Any:
        return run_as(65_534, "-m", "loader", *arguments, cwd=folder, LOADER_WAREHOUSE_DIR="/tmp")

    done = run_it("sources", "add", "US", "--label", "team=crm")
    assert done.returncode == 0, done.stderr
    assert "loader.toml cannot be written" in done.stderr
    printed = done.stdout[done.stdout.index("[[source]]") :]
    assert tomllib.loads(printed)["source"] == [
        {"name": "US", "labels": {"team": "crm"}, "write_keys": [hash_of(key_in(done.stdout))]}
    ]
    done = run_it("sources", "key", "EU", "--add")
    assert done.returncode == 0
    assert f'add "{hash_of(key_in(done.stdout))}" to the `write_keys` of' in done.stderr
    for arguments in (("key", "EU", "--revoke", hash_of("x")), ("remove", "EU")):
        done = run_it("sources", *arguments)
        assert done.returncode == 1
        assert "out of" in done.stderr
    assert (folder / "loader.toml").read_text() == text
