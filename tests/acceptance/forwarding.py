"""A place where something is forwarded: settings, a spool, and the command line."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

from acceptance.harness import Result, ndjson
from forward.served import Served

Start = Callable[..., "Popen[bytes]"]
Serve = Callable[..., Served]
ALL_TIME = ("--from", "2020-01-01")
KEYS = {"KEY": "s3cr3tkey"}


class Place:
    """A folder with settings, a spool, and the command line."""

    def __init__(self, folder: Path, start: Start) -> None:
        self.folder, self._start = folder, start
        self.files = 0

    def settings(self, *destinations: tuple[str, str], more: str = "") -> None:
        """Destinations by name and address."""
        blocks = [
            f'[[destination]]\nname = "{name}"\nkind = "segment"\nurl = "{url}"\nkey = "env:KEY"\n'
            for name, url in destinations
        ]
        text = 'spool_dir = "spool"\n[[source]]\nname = "EU"\n[[source]]\nname = "US"\n'
        (self.folder / "loader.toml").write_text(text + "".join(blocks) + more)

    def received(self, *records: dict[str, Any], schema: str = "eu", finished: bool = True) -> Path:
        """A spool file with some records."""
        self.files += 1
        name = f"20261128T{self.files:06}000000Z-{self.files:016x}.v1.jsonl"
        path = self.folder / "spool" / schema / ("" if finished else ".") / name
        path = path if finished else path.parent / f".{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(".new").write_bytes(ndjson(*records))
        path.with_name(".new").rename(path)
        return path

    def start(self, *arguments: str, env: dict[str, str] = KEYS) -> "Popen[bytes]":
        return self._start(*arguments, url=None, env=env, cwd=self.folder)

    def run(self, *arguments: str, env: dict[str, str] = KEYS) -> Result:
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=120)
        return Result(process.returncode, out.decode(), err.decode())

    def listed(self, name: str = "D") -> dict[str, Any]:
        """What `destinations list` says of one."""
        lines = self.run("destinations", "list", "--json").out.splitlines()
        found: dict[str, Any] = next(
            one for one in map(json.loads, lines) if one["destination"] == name
        )
        return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
