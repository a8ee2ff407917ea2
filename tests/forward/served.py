"""A destination for tests, started and looked into."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sources.stores import Certificate

_PROGRAM = Path(__file__).parent / "receiving.py"


class Served(NamedTuple):
    """A destination that runs."""

    url: str
    file: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    def requests(self) -> list[dict[str, Any]]:
        """What it has accepted, in order: ids, headers, body."""
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text("utf-8").splitlines()]

    def ids(self) -> list[str]:
        """The ids of all calls that it has accepted."""
        return [id for request in self.requests() for id in request["ids"]]


@contextmanager
def served(
    file: Path, failures: str = "", port: int = 0, tls: Certificate | None = None
) -> Iterator[Served]:
    """Run a destination that keeps what it accepts in a file; it is killed in the end."""
    certificate = [str(tls.file), str(tls.key)] if tls else []
    process = subprocess.Popen(
        [sys.executable, str(_PROGRAM), str(port), str(file), failures, *certificate],
        stderr=subprocess.DEVNULL if tls else None,  # it tells of clients that do not trust it
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        scheme = "https" if tls else "http"
        yield Served(f"{scheme}://127.0.0.1:{port}/v1/batch", file)
    finally:
        process.kill()
        process.communicate()
