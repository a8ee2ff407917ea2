"""Run a command to its end; how long it took and how much memory it had at its peak."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loader.normalize.collections import declared_tables

ROOT = Path(__file__).resolve().parent.parent
# Everything a run needs only once; removed when it ends.
SCRATCH = ROOT / ".bench" / "run"
# The command under test.
COMMAND = (str(Path(sys.executable).with_name("customerio-loader")),)

# What only the loader fills: the server's stamp and the values left over.
_NOT_IN_EVENTS = ("uuid_ts", "_extra")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one command."""

    seconds: float  # from start to exit
    peak_mb: float  # largest resident memory of the process, or of a child of it
    events: int = 0  # that the command was given, or wrote
    processor: float = 0  # seconds of processor time, of the process and its children
    size: int = 0  # bytes of the input, where a figure is for a byte
    facts: dict[str, Any] = field(default_factory=dict)  # what the job said about the load


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Run:
    """Run `command` in the scratch folder. Its output goes to a file, shown if it fails."""
    output = SCRATCH / "output.txt"
    # A folder of its own, so that no loader.toml or .env of the user's is read; and a process
    # group of its own, so that an interrupted benchmark can end a pipe of commands as well.
    with output.open("wb") as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=SCRATCH,
            env=_clean_environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = output.read_text(errors="replace")[-4_000:]
        name = Path(command[0]).name
        raise SystemExit(f"{tail}\nbench: {name} ended with code {process.returncode}")
    # Linux counts KiB, macOS bytes. Linux also counts what this process had when it started the
    # command, which is why nothing large is imported here.
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(
        seconds=seconds,
        peak_mb=usage.ru_maxrss * unit / 1e6,
        processor=usage.ru_utime + usage.ru_stime,
    )


def load(path: Path | None, url: str, settings: Mapping[str, str] | None = None) -> Run:
    """Run the job on one file, or on what the settings say.

    `email_messages` is left out, which nobody else makes; its own part measures it.
    """
    measured = run(
        [*COMMAND, "load", "--json", *([str(path)] if path else [])],
        environment={"LOADER_WAREHOUSE_URL": url, "LOADER_MART": "off"} | dict(settings or {}),
    )
    facts = _last_object((SCRATCH / "output.txt").read_text())
    return replace(measured, events=facts["rows_loaded"], facts=facts)


def migrate(url: str) -> None:
    """Make the schema, where that is not to be measured."""
    run([*COMMAND, "migrate"], environment={"LOADER_WAREHOUSE_URL": url})


def write_tables() -> Path:
    """Write down the tables and their columns, which other programs are told before they start."""
    tables = {
        table: {name: type_ for name, type_ in columns.items() if name not in _NOT_IN_EVENTS}
        for table, columns in declared_tables().items()
    }
    path = SCRATCH / "tables.json"
    path.write_text(json.dumps(tables))
    return path


def _clean_environment() -> dict[str, str]:
    settings = ("LOADER_", "DATABASE_URL", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(settings)}


def _last_object(text: str) -> dict[str, Any]:
    """The result, which comes after the log."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1])
    return found
