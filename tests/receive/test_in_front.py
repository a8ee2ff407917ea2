"""What stands in front of a receiver, as the documentation has it: nginx, units of systemd."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from acceptance.harness import ROOT
from acceptance.pages import read_blocks
from receive.receiving import Running, Start, ask, basic

PAGE = ROOT / "docs" / "receive.md"
EVENT = {"event": "A"}


def shown(name: str) -> str:
    """The file of that name, as the page shows it."""
    [code] = [block.code for block in read_blocks(PAGE) if block.code.startswith(f"# {name}\n")]
    return code


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """nginx with the configuration of the page, but for TLS: its port and that of the receiver."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    front, behind = free_port(), free_port()
    server = shown("/etc/nginx/conf.d/customerio-receive.conf")
    server = server.replace("listen 443 ssl;", f"listen 127.0.0.1:{front};")
    server = re.sub(r" *ssl_.*\n", "", server).replace("127.0.0.1:8080", f"127.0.0.1:{behind}")
    folder = tmp_path / "nginx"
    folder.mkdir()
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{path}_temp_path {folder}/{path};\n" for path in paths)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        + ("user root;\n" if os.geteuid() == 0 else "")  # the folder is the user's
        + f"http {{ access_log off;\n{temporary}\n{server}\n}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-p", folder, "-c", folder / "nginx.conf"], stdout=log, stderr=log
        )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", front)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
        yield front, behind
    finally:
        process.terminate()
        process.wait(60)


def test_behind_nginx_a_receiver_that_is_away_is_a_503(
    receiver: Start, nginx: tuple[int, int]
) -> None:
    """Behind a 502 Customer.io would wait for an hour. All else is as without nginx."""
    front, behind = nginx
    running = receiver("--port", str(behind))
    outside = Running(running.folder, running.process, Path(os.devnull))
    outside.ports = {"events": front}
    assert outside.post("/v1/track", EVENT).status == 200
    assert outside.send("POST", "/v1/track", EVENT, **basic("wrong")).json["code"] == (
        "invalid_write_key"
    )
    assert outside.hook(b"{}" + b" " * (15 << 20)).status == 200
    assert running.stop() == 0
    for _ in range(3):
        reply = outside.post("/v1/track", EVENT)
        assert (reply.status, reply.json["code"]) == (503, "unavailable")
        assert reply.headers["retry-after"] == "5"
    receiver("--port", str(behind))
    connection = outside.connect()
    for _ in range(3):
        assert ask(connection, "POST", "/v1/track", EVENT, **basic()).status == 200
    connection.close()
    assert len(running.lines()) == 5


def test_the_units_of_systemd_are_right(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    for kind in ("socket", "service"):
        name = f"customerio-receive.{kind}"
        unit = shown(f"/etc/systemd/system/{name}")
        unit = unit.replace("/opt/customerio-loader/bin/customerio-loader", "/bin/true")
        (tmp_path / name).write_text(unit)
    done = subprocess.run(
        [program, "verify", "--man=no", *map(str, sorted(tmp_path.glob("customerio-*")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "customerio-receive" not in done.stderr, done.stderr


@pytest.fixture
def containers() -> dict[str, dict[str, Any]]:
    """The containers of the StatefulSet of the page, by name."""
    [code] = [block.code for block in read_blocks(PAGE) if block.language == "yaml"]
    service, stateful = yaml.safe_load_all(code)
    pod = stateful["spec"]["template"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]
    return {one["name"]: one for one in pod["spec"]["containers"]}


def test_kubernetes_finds_what_it_asks_the_receiver_for(
    receiver: Start, containers: dict[str, dict[str, Any]]
) -> None:
    container = containers["receive"]
    command, *options = container["args"]
    assert command == "receive"
    running = receiver(*options)
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == container["ports"][0]["containerPort"] == 8080  # the default
        assert running.send("GET", asked["path"]).status == 200


def test_the_shell_of_the_job_in_kubernetes_hands_sigterm_on(
    tmp_path: Path, containers: dict[str, dict[str, Any]]
) -> None:
    """As the first process of a container it would not hear it; what it calls is a fake."""
    fake = tmp_path / "customerio-loader"
    fake.write_text(
        "#!/bin/sh\ntrap 'kill $!; echo ended >>called; exit 143' TERM\necho $* >>called\n"
        "[ $1 = load ] || exit 0\nsleep 60 & wait\n"
    )
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = subprocess.Popen(
        containers["load"]["command"], cwd=tmp_path, env=os.environ | {"PATH": path}
    )
    called = tmp_path / "called"
    while not (called.exists() and "load" in called.read_text()):
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 0
    *commands, last = called.read_text().splitlines()
    assert last == "ended"
    for command in commands:
        arguments = [sys.executable, "-m", "loader", *command.split(), "--help"]
        subprocess.run(arguments, check=True, capture_output=True)
