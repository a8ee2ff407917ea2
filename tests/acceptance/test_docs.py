"""What README, CONTRIBUTING and docs/ show is run, page by page, in the order of the page.

CONTRIBUTING.md says how a page marks what cannot run.
"""

import gzip
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from acceptance.harness import ROOT, Database, Run, Server, enterable_folder, ndjson, track
from acceptance.pages import PAGES, Block, anchors, links, matches, name_of, read_blocks

import samples
from loader.warehouse import embedded

BIN = Path(sys.executable).parent
# What the pages' own commands need of a clone.
_CLONE = ("Makefile", "pyproject.toml", "constraints.txt", "hatch_build.py", "alembic.ini")
_CLONE_FOLDERS = ("loader", "migrations", "samples", "tests", "bi")
# Configuration of other programs: only the commands of ours in it are looked at.
_OTHERS = {"cron", "ini", "yaml", "nginx"}
_DRAWN = {"text"}
# Roles are not of one database, so they are removed after each page.
_ROLES = ("loader", "bi_reader")
# Targets that would change the environment in which the tests run, or run the tests.
_ONLY_LISTED = "test|bench|soak|bi|clean|docs"


class Reader(NamedTuple):
    """Someone who follows a page: their folder, and their databases."""

    folder: Path
    db: Database
    empty: Database
    port: int

    def translate(self, code: str, url: str) -> str:
        """Code with what stands for the reader's own replaced."""
        for url_shown in (":5432/analytics", "/analytics"):
            code = code.replace(f"postgresql://loader@db.example.com{url_shown}", shlex.quote(url))
        code = code.replace("DATABASE analytics", f"DATABASE {Database(url).name}")
        for place in ("/data/customerio", "/etc/customerio-loader"):
            code = code.replace(place, f"{self.folder}{place}")
        code = code.replace("receive --port 8080", f"receive --port {self.port} --metrics-port 0")
        code = code.replace("localhost:8080", f"localhost:{self.port}")
        code = code.replace("15432", str(self.port))  # of the embedded server
        return code.replace("/opt/customerio-loader/bin", str(BIN))


@pytest.fixture(scope="module")
def data() -> bytes:
    """A month of sample events, and a record that is too large by default."""
    month = b"".join(samples.generate(5_000))
    large = track("Email Opened", messageId="large", note="x" * 2_000_000)
    return gzip.compress(month + ndjson(large))


@pytest.fixture(scope="module")
def template(
    server: Server, template: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The database that those of the pages are copies of: it has the sample in it."""
    server.database("postgres").execute(f"CREATE DATABASE documented TEMPLATE {template}")
    path = tmp_path_factory.mktemp("sample") / "month.ndjson.gz"
    path.write_bytes(data)
    subprocess.run(
        [sys.executable, "-m", "loader", "load", path],
        env=os.environ | {"LOADER_WAREHOUSE_URL": server.database("documented").url},
        cwd=path.parent,
        capture_output=True,
        check=True,
    )
    return "documented"


@pytest.fixture
def reader(db: Database, empty_db: Database, data: bytes, run: Run) -> Iterator[Reader]:
    """A folder that looks like a clone, with events in it, and a database that has them."""
    folder = enterable_folder()
    for name in (*_CLONE, *_CLONE_FOLDERS):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    events = folder / "data" / "customerio" / "month.ndjson.gz"
    events.parent.mkdir(parents=True)
    events.write_bytes(data)
    (folder / "etc" / "customerio-loader").mkdir(parents=True)
    make = folder / "bin" / "make"
    make.parent.mkdir()
    make.write_text(
        "#!/bin/sh\n"
        f'case "$1" in {_ONLY_LISTED}) set -- -n "$@" ;; esac\n'
        f'exec {shutil.which("make")} -s -o .venv/.ready "$@"\n'
    )
    make.chmod(0o755)
    yield Reader(folder, db, empty_db, free_port())
    run("warehouse", "stop", url=None, env={"LOADER_WAREHOUSE_DIR": str(folder / ".warehouse")})
    for database in (db, empty_db):
        for role in _ROLES:
            if database.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                database.execute(f"DROP OWNED BY {role}")
    for role in _ROLES:
        db.execute(f"DROP ROLE IF EXISTS {role}")
    shutil.rmtree(folder)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def follow(reader: Reader) -> Callable[..., str]:
    """Run a program as the reader does; returns what it printed."""

    def follow_it(
        *program: str | Path, url: str, stdin: str = "", codes: tuple[int, ...] = (0,)
    ) -> str:
        postgres = Path(embedded.psql_command("", [])[0]).parent
        own = {
            "PATH": f"{reader.folder / 'bin'}:{BIN}:{postgres}:{os.environ['PATH']}",
            "NEW_WAREHOUSE_URL": reader.empty.url,
            "ANALYTICS_URL": reader.db.url,
            "REPORTING_URL": reader.empty.url,
        }
        settings = reader.folder / "loader.toml"
        shown = " ".join(map(str, program)) + stdin
        if "warehouse " in shown or "make load" in shown:
            own["LOADER_WAREHOUSE_DIR"] = str(reader.folder / ".warehouse")
        elif not settings.exists() or "[[warehouse]]" not in settings.read_text():
            own["LOADER_WAREHOUSE_URL"] = url
        done = subprocess.run(
            [*map(str, program)],
            input=stdin,
            env=os.environ | own,
            cwd=reader.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode in codes, f"{shown}\n{done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    return follow_it


def run_block(block: Block, reader: Reader, follow: Callable[..., str]) -> str:
    """Run a block of a page; returns what it printed."""
    url = (reader.empty if block.marker == "in an empty database" else reader.db).url
    code = reader.translate(block.code, url)
    if block.language == "sh":
        code = re.sub(r"^(.+?)\s+# refuses.*$", r"if \1; then exit 9; fi", code, flags=re.MULTILINE)
        return follow("bash", "-euo", "pipefail", url=url, stdin=code)
    if block.language == "sql":
        return follow("psql", "-Xq", "-v", "ON_ERROR_STOP=1", url, url=url, stdin=code)
    if block.language == "python":
        return follow(sys.executable, "-W", "error", "-", url=url, stdin=code)
    if block.language == "toml":
        settings = reader.folder / "loader.toml"
        settings.write_text(code)
        accept = "from loader.config import load_settings; load_settings()"
        printed = follow(sys.executable, "-c", accept, url=url)
        if block.marker != "kept for what follows":
            settings.unlink()
        return printed
    assert block.language in _OTHERS, f"no way is known to run {block.language!r}"
    for command in commands_in(code):
        follow(sys.executable, "-m", "loader", *command, "--help", url=url)
    return ""


def commands_in(code: str) -> Iterator[list[str]]:
    """Our commands in the configuration of another program, each without its arguments."""
    called = re.findall(r"bin/customerio-loader ((?:[a-z]+ ?)+)", code)
    listed = re.findall(r'args: \["([a-z]+)"', code)
    for words in (*called, *listed):
        yield words.split()


@pytest.mark.parametrize("page", [p for p in PAGES if any(read_blocks(p))], ids=name_of)
def test_what_a_page_shows_runs(page: Path, reader: Reader, follow: Callable[..., str]) -> None:
    if page.name == "uninstalling.md":
        for role in _ROLES:
            reader.db.execute(f"CREATE ROLE {role}")
    printed: str | None = None
    for block in read_blocks(page):
        if block.language in _DRAWN:
            continue
        if block.marker.startswith("not run"):
            printed = None
            if block.language == "python":
                compile(block.code, str(page), "exec")
        elif block.language:
            printed = run_block(block, reader, follow)
        else:
            assert printed is not None, f"line {block.line}: what prints this?"
            shown = block.code.replace("15432", str(reader.port))
            assert matches(shown, printed), f"line {block.line}: printed was\n{printed}"


def test_the_examples_of_the_commands_run(reader: Reader, follow: Callable[..., str]) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    examples = re.findall(r"^\|.*\| `(customerio-loader .+)` \|$", page, flags=re.MULTILINE)
    assert len(examples) > 10
    follow("bash", "-c", "make load", url=reader.db.url)  # some ask the embedded server
    for example in examples:
        code = reader.translate(example, reader.db.url)
        # 3: the sample has a record that is rejected again.
        follow("bash", "-c", code, url=reader.db.url, codes=(0, 3))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        assert path.exists(), path
        assert not anchor or anchor in anchors(path), (path.name, anchor)


def test_what_does_not_run_says_why_and_is_little() -> None:
    left_out = [b for page in PAGES for b in read_blocks(page) if b.marker.startswith("not run")]
    run = [b for page in PAGES for b in read_blocks(page) if b.language and b not in left_out]
    assert len(left_out) * 5 <= len(run)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
