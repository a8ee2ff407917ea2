"""A Superset that runs for the tests, and what they ask it by its REST API."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

USER, PASSWORD = "admin", "admin"
_HERE = Path(__file__).parent
_PATIENCE = 180  # seconds, for its start


class Superset:
    """A client of a running Superset."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = urllib3.PoolManager(retries=False)
        login = {"username": USER, "password": PASSWORD, "provider": "db", "refresh": False}
        token = self.ask("POST", "/security/login", json=login)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer that is good."""
        answer = self.answer(method, path, **options)
        assert answer.status == 200, (path, answer.status, answer.data[:2_000])
        return answer.json()

    def answer(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Any answer."""
        return self._http.request(method, f"{self.url}/api/v1{path}", **options)

    def import_bundle(
        self, path: Path, passwords: Mapping[str, str], kind: str = "dashboard"
    ) -> urllib3.BaseHTTPResponse:
        """Import a bundle, as its page for that does."""
        field = "bundle" if kind == "assets" else "formData"
        fields = {
            field: (path.name, path.read_bytes(), "application/zip"),
            "passwords": json.dumps(passwords),
            "overwrite": "true",
        }
        return self.answer("POST", f"/{kind}/import/", fields=fields)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """All of a kind that there are."""
        found: list[dict[str, Any]] = self.ask("GET", f"/{kind}/?q=(page_size:100)")["result"]
        return found


@contextmanager
def running(python: Path, home: Path) -> Iterator[Superset]:
    """A new Superset in a folder, with one user."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "SUPERSET_HOME": str(home),
        "SUPERSET_CONFIG_PATH": str(_HERE / "superset_config.py"),
        "FLASK_APP": "superset.app:create_app()",
    }
    program = python.parent / "superset"
    user = f"--username {USER} --password {PASSWORD} --firstname A --lastname B --email a@b.example"
    log = (home / "superset.log").open("wb")
    for command in ("db upgrade", f"fab create-admin {user}", "init"):
        subprocess.run([program, *command.split()], env=env, stdout=log, stderr=log, check=True)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    serve = [program, "run", "-h", "127.0.0.1", "-p", str(port), "--with-threads"]
    server = subprocess.Popen(serve, env=env, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/health", server)
        yield Superset(url)
    finally:
        server.terminate()
        server.wait()
        log.close()


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    http = urllib3.PoolManager(retries=False)
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        assert server.poll() is None, "Superset has ended"
        try:
            if http.request("GET", url).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(1)
    raise AssertionError("Superset does not answer")
