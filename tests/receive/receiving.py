"""A receiver as a process of its own, and what is sent to it."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from loader.spool import finished
from loader.spool.files import unfinished

KEY, SIGNING_KEY = "wk-0123456789abcdef", "example-signing-key"
SCHEMA = "customerio"
_LISTENING = re.compile(r"listening for (\w+) at \S+ port (\d+)")


def key_hash(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def config(*keys: str, signing: str = "env:CIO_SIGNING_KEY", more: str = "") -> str:
    """A settings file with one source."""
    hashes = ", ".join(f'"{key_hash(key)}"' for key in keys or (KEY,))
    return (
        f'spool_dir = "spool"\nspool_min_free = 0\n{more}\n[[source]]\nname = "Customer.io"\n'
        f'write_keys = [{hashes}]\nsigning_keys = ["{signing}"]\n'
    )


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def basic(key: str = KEY) -> dict[str, str]:
    """The header of a client with a write key."""
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def signed(body: bytes, key: str = SIGNING_KEY, timestamp: str = "1613063089") -> dict[str, str]:
    """The headers of a webhook."""
    message = b"v0:" + timestamp.encode() + b":" + body
    found = hmac.new(key.encode(), message, "sha256").hexdigest()
    return {"X-CIO-Timestamp": timestamp, "X-CIO-Signature": found}


class Running:
    """A receiver that runs in a folder."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.folder, self.process, self._log = folder, process, log
        self.ports: dict[str, int] = {}

    def wait_until_it_listens(self) -> "Running":
        while len(self.ports) < 2 and self.process.poll() is None:
            self.ports = {what: int(port) for what, port in _LISTENING.findall(self.log())}
            time.sleep(0.02)
        assert self.process.poll() is None, self.log()
        return self

    @property
    def port(self) -> int:
        return self.ports["events"]

    def log(self) -> str:
        return self._log.read_text()

    def connect(self, what: str = "events") -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.ports[what], timeout=60)

    def send(
        self, method: str, path: str, body: Any = None, what: str = "events", **headers: str
    ) -> Reply:
        connection = self.connect(what)
        try:
            return ask(connection, method, path, body, **headers)
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        """Send something with the write key."""
        return self.send("POST", path, body, **{**basic(), **headers})

    def hook(self, body: bytes, schema: str = SCHEMA, **headers: str) -> Reply:
        """Send a webhook that is rightly signed."""
        return self.send("POST", f"/v1/webhook/{schema}", body, **{**signed(body), **headers})

    def look(self, path: str) -> Reply:
        return self.send("GET", path, what="metrics")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def lines(self) -> list[dict[str, Any]]:
        """All lines in the spool, of files that are being written, too."""
        return [json.loads(line) for line in raw_lines(self.folder)]


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str
) -> Reply:
    """A request on a connection that stays."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    connection.request(method, path, body, headers)
    found = connection.getresponse()
    return Reply(found.status, found.read(), {k.lower(): v for k, v in found.getheaders()})


def raw_lines(folder: Path, schema: str = SCHEMA) -> list[bytes]:
    spool = folder / "spool"
    files = [*finished(spool, schema), *unfinished(spool, schema)]
    return [line for file in files for line in file.path.read_bytes().splitlines()]


Start = Callable[..., Running]


def start_receiver(
    folder: Path, *arguments: str, env: dict[str, str] | None = None, **options: Any
) -> Running:
    """Start a receiver; it may not listen yet."""
    log = folder / f"receive-{time.monotonic_ns()}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "loader", "receive", *arguments],
            cwd=folder,
            env=os.environ | {"CIO_SIGNING_KEY": SIGNING_KEY} | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            **options,
        )
    return Running(folder, process, log)
