"""Fixtures: one embedded PostgreSQL per session, a database per test, the command line."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from acceptance.harness import Database, Result, Run, Server, Write, enterable_folder, ndjson
from acceptance.large import Measured, peak_memory
from hypothesis import HealthCheck, settings

from loader.warehouse import embedded

_DEVELOPERS = ("LOADER_", "PG", "AWS_", "GOOGLE_", "AZURE_")
# Nobody answers there: clients of stores that find no credentials would ask the machine's own.
_NOBODY = "127.0.0.1:9"
_NO_CREDENTIALS = {
    "AWS_METADATA_ENDPOINT": f"http://{_NOBODY}",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "GCE_METADATA_HOST": _NOBODY,
    "GCE_METADATA_IP": _NOBODY,
    "AZURE_MSI_ENDPOINT": f"http://{_NOBODY}",
}

# The same examples in every run: a property that breaks, breaks again.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fixed")


# the server


def pytest_configure(config: pytest.Config) -> None:
    """Forget the developer's own settings before anything reads them."""
    for name in list(os.environ):
        if name.startswith(_DEVELOPERS) or name == "DATABASE_URL":
            del os.environ[name]
    os.environ.update(_NO_CREDENTIALS)


def pytest_xdist_auto_num_workers() -> int:
    """How many tests run at once: many wait for a time-out, or for a server to come up."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_report_header() -> str:
    """The version of the embedded PostgreSQL."""
    psql = embedded.psql_command("", [])[0]
    shown = subprocess.run([psql, "--version"], capture_output=True, text=True, check=False)
    return f"embedded server: {shown.stdout.strip() or 'version unknown'}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """An embedded PostgreSQL, in a folder of its own."""
    parent = enterable_folder()
    folder = parent / "pg"
    with embedded.running(folder) as url:
        found = Server(folder, url)
        admin = found.database("postgres")
        # A test's data need not survive a power cut.
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            admin.execute(f"ALTER SYSTEM SET {setting}")
        admin.rows("SELECT pg_reload_conf()")
        yield found
    shutil.rmtree(parent, ignore_errors=True)


_numbers = count(1)


def _new_database(server: Server, template: str) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    admin = server.database("postgres")
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.database(name)
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """A database that `customerio-loader migrate` brought to head; it is only copied."""
    server.database("postgres").execute("CREATE DATABASE migrated")
    url = server.database("migrated").url
    done = subprocess.run(
        [sys.executable, "-m", "loader", "migrate"],
        env=os.environ | {"LOADER_WAREHOUSE_URL": url},
        cwd=server.folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return "migrated"


@pytest.fixture
def db(server: Server, template: str) -> Iterator[Database]:
    """A fresh database with the schema of Customer.io at head."""
    yield from _new_database(server, template)


@pytest.fixture
def empty_db(server: Server) -> Iterator[Database]:
    """A fresh database without any schema of ours."""
    yield from _new_database(server, "template0")


# the command line


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start the command line; it is killed when the test is over."""
    started: list[subprocess.Popen[bytes]] = []

    def start_it(
        *arguments: str | Path,
        url: str | None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        program: Sequence[str] = (sys.executable, "-m", "loader"),
        **options: Any,
    ) -> "subprocess.Popen[bytes]":
        settings = {"LOADER_WAREHOUSE_URL": url} if url else {}
        process = subprocess.Popen(
            [*program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | settings | (env or {}),
            cwd=cwd or tmp_path,
            **options,
        )
        started.append(process)
        return process

    yield start_it
    for process in started:
        if process.poll() is None:
            process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                with suppress(BrokenPipeError):
                    stream.close()
        process.wait()


@pytest.fixture
def run(db: Database, start: Callable[..., "subprocess.Popen[bytes]"]) -> Run:
    """Run the command line to its end, on the test's database; `url` names another, or none."""

    def run_it(
        *arguments: str | Path, stdin: bytes = b"", url: str | None = db.url, **options: Any
    ) -> Result:
        process = start(*arguments, url=url, **options)
        out, err = process.communicate(stdin, timeout=120)
        return Result(process.returncode, out.decode(), err.decode())

    return run_it


@pytest.fixture
def run_measured(db: Database, start: Callable[..., "subprocess.Popen[bytes]"]) -> Measured:
    """Run the command line on the test's database, and measure it."""

    def run_it(
        *arguments: str | Path, blocks: Iterable[bytes] = (), **options: Any
    ) -> tuple[Result, float, int]:
        process = start(*arguments, url=db.url, **options)
        peak = [0]
        watcher = Thread(target=peak_memory, args=(process, peak))
        watcher.start()
        began = time.monotonic()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            for block in blocks:
                process.stdin.write(block)
            process.stdin.close()
        process.stdin = None
        out, err = process.communicate(timeout=7_200)
        watcher.join()
        seconds = time.monotonic() - began
        return Result(process.returncode, out.decode(), err.decode()), seconds, peak[0]

    return run_it


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an NDJSON file into the test's folder; returns its path."""

    def write_it(name: str, *records: dict[str, Any] | str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ndjson(*records))
        return path

    return write_it
