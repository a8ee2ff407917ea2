"""Peers that hold connections, time or memory without being known."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from receive.receiving import Running, Start, basic

HEAD = b"POST /v1/track HTTP/1.1\r\nHost: a\r\n"
BODY = HEAD + b"Content-Length: 1000\r\n\r\n"
WEBHOOK = (
    b"POST /v1/webhook/customerio HTTP/1.1\r\nHost: a\r\nX-CIO-Timestamp: 1\r\n"
    b"X-CIO-Signature: " + b"0" * 64 + b"\r\nContent-Length: 16000000\r\n\r\n"
)


def until_closed(port: int, first: bytes, drip: Callable[[], bytes], pause: float) -> bytes:
    """Send something, and go on until the other side has had enough; what it said."""
    found = b""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        try:
            peer.sendall(first)
            peer.settimeout(pause)
            while True:
                try:
                    piece = peer.recv(4_096)
                    if not piece:
                        return found
                    found += piece
                except TimeoutError:
                    peer.sendall(drip())
        except ConnectionError:
            return found


def test_slow_and_silent_peers_are_left(running: Running) -> None:
    """Each of them at the same time; requests of others are answered meanwhile."""
    peers = {
        "silent": (b"", b""),
        "slow head": (HEAD, b"X-A: b\r\n"),
        "slow line": (b"POST ", b"/"),
        "slow body": (BODY, b" "),
        "silent body": (BODY, b""),
        "slow chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        "slow body of a refused request": (BODY.replace(b"1000", b"99999999"), b" "),
        "slow second head": (HEAD + b"Content-Length: 0\r\n\r\n" + HEAD, b"X-A: b\r\n"),
        "slow webhook": (WEBHOOK, b"x" * 100),
    }
    said: dict[str, bytes] = {}

    def hold(name: str) -> None:
        first, drip = peers[name]
        said[name] = until_closed(running.port, first, lambda: drip, 0.3)

    threads = [threading.Thread(target=hold, args=(name,)) for name in peers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert running.post("/v1/track", {"event": "A"}).status == 200
        time.sleep(0.2)
    assert said.keys() == peers.keys()
    for name in ("slow body", "silent body", "slow chunks", "slow webhook"):
        assert said[name].startswith(b"HTTP/1.1 408 "), name
    assert said["slow body of a refused request"].startswith(b"HTTP/1.1 400 ")
    assert said["silent"] == said["slow head"] == said["slow line"] == b""


def test_a_head_without_an_end_is_cut(running: Running) -> None:
    def megabytes() -> bytes:
        return b"x" * (1 << 20)

    assert until_closed(running.port, HEAD + b"X-A: ", megabytes, 0.01) == b""
    many = HEAD + b"A: b\r\n" * 2_000
    assert until_closed(running.port, many, lambda: b"A: b\r\n", 0.01) == b""
    piped = b"GET / HTTP/1.1\r\n\r\n" * 5_000
    until_closed(running.port, piped, lambda: piped, 5)
    assert running.post("/v1/track", {"event": "A"}).status == 200


CHUNKED = b"POST /v1/webhook/customerio HTTP/1.1\r\nHost: a\r\nX-CIO-Timestamp: 1\r\n" + (
    b"X-CIO-Signature: x\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("first", "more"),
    [(b"0\r\nX-A: ", b"x" * 10_000), (b"1;a=", b"x" * 10_000), (b"", b"1\r\nx\r\n" * 2_000)],
    ids=["trailer", "extension of a chunk", "chunks of a byte"],
)
def test_what_stands_around_a_body_is_bounded(running: Running, first: bytes, more: bytes) -> None:
    """As a head is; its connection is closed, and not only when the body has had its time."""
    assert until_closed(running.port, CHUNKED + first, lambda: more, 0.05) == b""
    body = b'{"event":"A"}' + b" " * (30_000 - 13)
    chunks = b"".join(b"40\r\n%b\r\n" % body[at : at + 64] for at in range(0, 29_952, 64))
    chunks += b"30\r\n%b\r\n0\r\nX-A: b\r\n\r\n" % body[29_952:]
    with socket.create_connection(("127.0.0.1", running.port)) as peer:
        key = basic()["Authorization"].encode()
        peer.sendall(HEAD + b"Authorization: " + key + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.sendall(chunks)
        assert peer.recv(4_096).startswith(b"HTTP/1.1 200 ")


def test_requests_at_once_are_not_all_taken_before_the_connection_ends(running: Running) -> None:
    """There are thousands in what is read in one go: each had memory, and all held up others."""
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    piped = b"GET /v1/x HTTP/1.1\r\n\r\n" * 100_000
    threads = [
        threading.Thread(target=until_closed, args=(running.port, piped, lambda: piped, 5))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process.memory_info().rss - before < 50 << 20


def test_bodies_of_strangers_have_one_room(running: Running) -> None:
    """However many they are: the largest have to come later, and who is known is served."""
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    answers: list[bytes] = []

    def send() -> None:
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as peer:
            peer.sendall(WEBHOOK + b"x" * 15_900_000)  # a little is missing
            answers.append(peer.recv(4_096))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert running.send("POST", "/v1/track", {"event": "A"}, **basic()).status == 200
        assert running.hook(b"{}" + b" " * 100_000).status == 200
        assert process.memory_info().rss - before < 150 << 20
        time.sleep(0.05)
    assert len(answers) == 8
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 408 ", b"HTTP/1.1 503 "}
    assert all(b"retry-after: 5\r\n" in answer for answer in answers if b" 503 " in answer)


def test_peers_that_say_nothing_keep_nobody_out(running: Running) -> None:
    """Of more connections than there may be, those that wait longest for nothing are closed."""
    peers = []
    for number in range(1_200):
        try:
            peers.append(socket.create_connection(("127.0.0.1", running.port), timeout=5))
        except OSError:
            break  # that is all this process may have
        if number % 100 == 0:
            assert running.post("/v1/track", {"event": "A"}).status == 200
            assert running.send("GET", "/healthz").status == 200
        if len(peers) == 950:
            peers.pop(0).close()
    assert running.post("/v1/track", {"event": "A"}).status == 200
    assert psutil.Process(running.process.pid).num_fds() < 1_000
    for peer in peers:
        peer.close()
    assert running.post("/v1/track", {"event": "A"}).status == 200


def test_a_connection_behind_its_answer_ends(receiver: Start, tmp_path: Path) -> None:
    """Whatever comes that is no request, and where the answer came before the body."""
    (tmp_path / "sitecustomize.py").write_text(
        "from loader.receive import connection\nconnection._SECONDS[connection._State.NEXT] = 1.0\n"
    )
    running = receiver(env={"PYTHONPATH": str(tmp_path)})
    early = HEAD + b"Authorization: Basic eHg6\r\nContent-Length: 2\r\n\r\n"
    peers = {
        "breaks": (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n", b"404"),
        "body behind a 401": (early, b"{}\r\n", b"401"),
        "upgrade": (HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"x", b"400"),
        "connect": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"x", b"400"),
    }
    for name, (first, more, status) in peers.items():
        found = until_closed(running.port, first, lambda more=more: more, 0.3)
        assert found.startswith(b"HTTP/1.1 " + status), name


def test_peers_that_leave_early_are_not_in_the_log(running: Running) -> None:
    """Before requests that they have sent at once are answered."""
    key = b"Authorization: " + basic()["Authorization"].encode()
    request = HEAD + key + b"\r\nContent-Length: 13\r\n\r\n" + b'{"event":"E"}'
    for count in (1, 2, 10, 2, 40, 2):
        with socket.create_connection(("127.0.0.1", running.port)) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sendall(request * count)
    assert running.post("/v1/track", {"event": "A"}).status == 200
    assert running.stop() == 0
    assert "Traceback" not in running.log()


def test_a_second_head_may_come_in_pieces(running: Running) -> None:
    """Behind a large body."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as peer:
        for _ in range(2):
            body = b'{"batch":[]' + b" " * 400_000 + b"}"
            head = b"POST /v1/batch HTTP/1.1\r\nHost: a\r\nAuthorization: "
            head += basic()["Authorization"].encode() + b"\r\n"
            for piece in (head, b"Content-Length: %d\r\n\r\n" % len(body), body):
                peer.sendall(piece)
                time.sleep(0.1)
            assert peer.recv(4_096).startswith(b"HTTP/1.1 200 ")
