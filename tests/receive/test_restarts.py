"""Receivers that end: in order, by SIGKILL, or while another one takes over."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from acceptance.harness import Database, Run
from receive.receiving import (
    SIGNING_KEY,
    Running,
    Start,
    ask,
    basic,
    config,
    raw_lines,
)

from loader.spool import finished, recover
from loader.spool.files import unfinished

SCHEMA = "customerio"


class Senders:
    """Threads that send as long as it is wanted, and remember what was acknowledged."""

    def __init__(self, port: int, count: int = 8, *, keeps: bool = True) -> None:
        self.port, self.keeps = port, keeps
        self.acknowledged: list[str] = []
        self.answers: Counter[object] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, worker: int) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            name = f"m-{worker}-{random.getrandbits(64):x}"
            event = {"event": "A", "messageId": name, "properties": {"x": "x" * 500}}
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, 60)
            try:
                reply = ask(connection, "POST", "/v1/track", event, **basic())
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                connection.close()
                connection = None
                time.sleep(0.02)
                continue
            self.answers[reply.status] += 1
            if reply.status == 200:
                self.acknowledged.append(name)
            if not self.keeps:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def kill_under_load(receiver: Start, folder: Path, rounds: int) -> list[str]:
    """Kill a receiver in the middle of its work, and tear the ends of its files."""
    acknowledged: list[str] = []
    spool = folder / "spool"
    for number in range(rounds):
        running = receiver(settings=config(more="spool_file_seconds = 0.3"))
        senders = Senders(running.port)
        time.sleep(random.uniform(0.1, 0.8))
        running.stop(signal.SIGKILL)
        senders.stop()
        acknowledged += senders.acknowledged
        for file in unfinished(spool, SCHEMA):
            with file.path.open("ab") as open_file:
                open_file.write([b"", b'{"receivedAt":"2026', b"\0" * 5_000][number % 3])
    running = receiver()
    assert unfinished(spool, SCHEMA) == []
    assert running.stop() == 0
    return acknowledged


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_what_was_acknowledged_survives_sigkill_and_is_loaded_once(
    receiver: Start, run: Run, db: Database, tmp_path: Path, rounds: int
) -> None:
    acknowledged = kill_under_load(receiver, tmp_path, rounds)
    assert len(acknowledged) > 10 * rounds
    lines = [json.loads(line) for line in raw_lines(tmp_path)]
    assert set(acknowledged) <= {line["messageId"] for line in lines}
    result = run("load", "--json")
    assert result.code == 0, result.err
    loaded = {row[0] for row in db.rows("SELECT id FROM tracks")}
    assert set(acknowledged) <= loaded
    assert result.json["records_read"] == len(lines) == result.json["rows_loaded"] == len(loaded)


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_sigterm_answers_what_is_in_hand_and_finishes_the_file(running: Running) -> None:
    """Requests whose body is half there, and one that is just being sent."""
    body = json.dumps({"event": "A", "messageId": "half"}).encode()
    waiting, opened, kept = (
        socket.create_connection(("127.0.0.1", running.port), timeout=60) for _ in range(3)
    )
    head = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nAuthorization: %b\r\nContent-Length: %d\r\n\r\n"
    whole = head % (basic()["Authorization"].encode(), len(body))
    waiting.sendall(whole + body[:10])
    kept.sendall(whole + body.replace(b"half", b"kept"))
    assert kept.recv(4_096).startswith(b"HTTP/1.1 200 ")
    running.process.send_signal(signal.SIGTERM)
    while is_listening(running.port):
        time.sleep(0.01)
    opened.sendall(whole + body.replace(b"half", b"open"))
    kept.sendall(whole + body.replace(b"half", b"next"))
    waiting.sendall(body[10:])
    for one in (waiting, opened, kept):
        answer = b"".join(iter(lambda one=one: one.recv(4_096), b""))  # to the end
        assert b"HTTP/1.1 200 " in answer
        assert b"connection: close" in answer
        one.close()
    assert running.process.wait(60) == 0
    assert unfinished(running.folder / "spool", SCHEMA) == []
    assert {line["messageId"] for line in running.lines()} == {"half", "kept", "open", "next"}
    assert "stopped: all that was answered with 200 is in the spool" in running.log()


def test_sigterm_does_not_wait_for_peers_that_are_silent(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as silent:
        silent.sendall(b"POST /v1/track HTTP/1.1\r\n")
        assert running.stop() == 0
        assert silent.recv(1) == b""


@pytest.mark.parametrize("keeps", [False, True])
def test_a_restart_with_a_socket_that_stays_loses_no_connection(
    receiver: Start, tmp_path: Path, keeps: bool
) -> None:
    """Connections wait in the socket until the next process takes them."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as shared:
        shared.set_inheritable(True)
        arguments = ("--fd", str(shared.fileno()))
        running = receiver(*arguments, pass_fds=[shared.fileno()])
        senders = Senders(shared.getsockname()[1], 4, keeps=keeps)
        for _ in range(3):
            time.sleep(0.5)
            assert running.stop() == 0
            running = receiver(*arguments, pass_fds=[shared.fileno()])
        time.sleep(0.3)
        senders.stop()
        assert running.stop() == 0
    assert set(senders.answers) == {200}
    assert sorted(senders.acknowledged) == sorted(line["messageId"] for line in running.lines())


def test_a_descriptor_that_is_no_socket_is_told(receiver: Start) -> None:
    running = receiver("--fd", "0", wait=False)
    assert running.process.wait(60) == 2
    assert "is no socket" in running.log()


def test_a_socket_of_systemd_is_taken(tmp_path: Path) -> None:
    """As a unit with a socket hands it over; the process is started by the first connection."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed")
    (tmp_path / "loader.toml").write_text(config())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [activate, "-l", f"127.0.0.1:{port}", "-E", "CIO_SIGNING_KEY", "-E", "PATH"]
    command += [sys.executable, "-m", "loader", "receive", "--metrics-port", "0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"CIO_SIGNING_KEY": SIGNING_KEY},
            stdout=log,
            stderr=log,
        )
    running = Running(tmp_path, process, tmp_path / "log")
    running.ports = {"events": port}
    try:
        while True:
            try:
                assert running.post("/v1/track", {"event": "A"}).status == 200
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        assert running.stop() == 0
    finally:
        process.kill()
        process.wait()
    assert len(running.lines()) == 1


# several at once


@pytest.mark.parametrize(
    "name", [f"20260101T000000000000Z-0123456789abcdef.v{version}.jsonl" for version in (1, 2)]
)
def test_what_others_have_left_stops_no_receiver(
    receiver: Start, tmp_path: Path, name: str
) -> None:
    """Neither what nobody can finish, nor what a newer version wrote."""
    (tmp_path / "spool" / SCHEMA / f".{name}").mkdir(parents=True)
    running = receiver(settings=config(more="spool_file_seconds = 0.3"))
    assert "cannot be finished" in running.log() or "newer version" in running.log()
    for _ in range(3):
        assert running.post("/v1/track", {"event": "A"}).status == 200
        time.sleep(1.2)  # into another file


def test_two_receivers_share_a_spool_and_what_one_left_is_finished(
    receiver: Start, tmp_path: Path
) -> None:
    settings = config(more="spool_file_seconds = 0.3")
    one, two = receiver(settings=settings), receiver(settings=settings)
    senders = [Senders(one.port), Senders(two.port)]
    time.sleep(1)
    one.stop(signal.SIGKILL)
    senders[0].stop()
    time.sleep(1)
    senders[1].stop()
    assert two.stop() == 0
    spool = tmp_path / "spool"
    assert len(recover(spool, SCHEMA)) <= 1
    assert unfinished(spool, SCHEMA) == []
    sent = {name for each in senders for name in each.acknowledged}
    names = [json.loads(line)["messageId"] for line in raw_lines(tmp_path)]
    assert sent <= set(names)
    assert len(names) == len(set(names))


def test_what_a_receiver_left_is_shown_and_can_be_finished_by_hand(
    receiver: Start, run: Run, tmp_path: Path
) -> None:
    running = receiver()
    running.post("/v1/track", {"event": "A"})
    [status] = run("spool", "status", "--json").json["sources"]
    assert (status["files"], status["being_written"], status["left"]) == (0, 1, 0)
    assert run("spool", "recover").out == "0 files finished\n"
    running.stop(signal.SIGKILL)
    [status] = run("spool", "status", "--json").json["sources"]
    assert (status["files"], status["being_written"], status["left"]) == (0, 0, 1)
    assert "1 file finished" in run("spool", "recover").out
    [status] = run("spool", "status", "--json").json["sources"]
    assert (status["files"], status["being_written"], status["left"]) == (1, 0, 0)
    [file] = finished(tmp_path / "spool", SCHEMA)
    assert status["bytes"] == file.size
    assert status["oldest"] == status["newest"]
    assert "Customer.io  1 " in " ".join(run("spool", "status").out.split(" " * 5))
    assert recover(tmp_path / "spool", SCHEMA) == []
