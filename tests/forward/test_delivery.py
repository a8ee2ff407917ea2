"""Requests to a real server: what is sent, and what each answer leads to."""

import base64
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import standardwebhooks
from acceptance.harness import track
from forward.served import Served, served
from sources.stores import make_certificate

from loader.config import Destination
from loader.config.keys import key_hash
from loader.errors import UsageError
from loader.forward.calls import Call, Line
from loader.forward.delivery import Delivery, Paused, Stopped

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a destination; returns its address."""
    with ExitStack() as stack:
        yield lambda failures="": stack.enter_context(served(tmp_path / "kept", failures)).url


def kept(folder: Path) -> list[dict[str, Any]]:
    return Served("", folder / "kept").requests()


def calls(*events: str, size: int = 0) -> list[Call]:
    made = [track(event, messageId=f"m{at}", text="x" * size) for at, event in enumerate(events)]
    lines = [Line(at, json.dumps(one).encode()) for at, one in enumerate(made)]
    return [Call(line, 0, f"m{line.at}", line.text) for line in lines]


def delivery(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str = "segment",
    key: str = "k",
    own: str = "other",
    told: list[str] | None = None,
    tries_for: float | None = None,
    stop: Event | None = None,
) -> Delivery:
    monkeypatch.setenv("KEY", key)
    return Delivery(
        Destination(name="D", kind=kind, url=url, key="env:KEY"),
        own_keys={key_hash(own)},
        stop=stop or Event(),
        tries_for=tries_for,
        on_failure=lambda problem, _tries: told.append(problem) if told is not None else None,
    )


def test_a_tracking_api_gets_a_batch(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert delivery(serve(), monkeypatch).send(calls("a", "b")) == []
    [found] = kept(tmp_path)
    body = json.loads(found["body"])
    assert list(body) == ["sentAt", "batch"]
    assert [call["event"] for call in body["batch"]] == ["a", "b"]
    assert found["headers"]["authorization"] == "Basic azo="
    assert found["headers"]["content-type"] == "application/json"


def test_a_webhook_has_a_signature_that_others_accept(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sender = delivery(serve(), monkeypatch, kind="webhook", key=SECRET)
    for _ in range(2):
        assert sender.send(calls("a", "ü")) == []
    first, again = kept(tmp_path)
    verified = standardwebhooks.Webhook(SECRET).verify(first["body"], first["headers"])
    assert [call["event"] for call in verified] == ["a", "ü"]
    assert first["headers"]["webhook-id"] == again["headers"]["webhook-id"]
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(first["body"] + " ", first["headers"])


def test_batches_are_within_the_limits_and_in_order(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes = [10, 40_000, 10, 10, 600_000, *([30_000] * 40), 33_000]
    sent = [calls("a", size=size)[0]._replace(id=f"m{at}") for at, size in enumerate(sizes)]
    assert delivery(serve(), monkeypatch).send(sent) == []
    requests = kept(tmp_path)
    assert sum(len(one["ids"]) for one in requests) == len(sent)
    for one in requests:
        assert len(one["ids"]) == 1 or len(one["body"]) <= 500_000
        assert len(one["ids"]) == 1 or all(
            len(json.dumps(call)) <= 32_000 for call in json.loads(one["body"])["batch"]
        )
    assert len(requests) == 4 + 3 + 1


def test_a_culprit_is_found_and_all_others_are_accepted_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = ["good"] * 50
    events[0] = events[17] = events[18] = events[49] = "Poison"
    refused = delivery(serve(), monkeypatch).send(calls(*events))
    assert [one.id for one in refused] == ["m0", "m17", "m18", "m49"]
    assert all("answers 400" in one.reason for one in refused)
    ids = [id for one in kept(tmp_path) for id in one["ids"]]
    assert ids == [f"m{at}" for at, event in enumerate(events) if event == "good"]


@pytest.mark.parametrize("failures", ["503=.4", "429=.4", "408=.4", "500=.2,599=.2", "drop=.4"])
def test_faults_that_pass_are_waited_out(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: str
) -> None:
    told: list[str] = []
    sender = delivery(serve(failures), monkeypatch, told=told)
    for _ in range(4):
        assert sender.send(calls("a", "b")) == []
    assert len(kept(tmp_path)) == 4
    assert told


def test_what_was_accepted_without_an_answer_is_sent_again_as_a_whole(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sender = delivery(serve("lose=.5"), monkeypatch)
    for _ in range(4):
        assert sender.send(calls("a", "b")) == []
    assert len(kept(tmp_path)) > 4
    assert {tuple(one["ids"]) for one in kept(tmp_path)} == {("m0", "m1")}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "see to its key"),
        (403, "see to its key"),
        (404, "see to its url"),
        (405, "answers 405"),
        (301, "a redirect, which is not followed"),
        (307, "a redirect, which is not followed"),
    ],
)
def test_what_somebody_has_to_mend_pauses(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, words: str
) -> None:
    with pytest.raises(Paused, match=words):
        delivery(serve(f"{status}=1"), monkeypatch).send(calls("a", "b"))
    assert kept(tmp_path) == []


def test_a_destination_that_is_this_receiver_gets_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Paused, match="its own events again and again"):
        delivery(serve(), monkeypatch, key="mine", own="mine").send(calls("a"))
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [("webhook", "whsec_"), ("webhook", "no base64!"), ("segment", "a:b"), ("segment", "ü")],
)
def test_a_key_that_can_be_none_is_not_told(
    monkeypatch: pytest.MonkeyPatch, kind: str, key: str
) -> None:
    sender = delivery("http://127.0.0.1:9", monkeypatch, kind=kind, key=key)
    with pytest.raises(Paused) as met:
        sender.send(calls("a"))
    assert key not in str(met.value)


def test_a_server_that_is_away_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    sender = delivery("http://127.0.0.1:9/s3cr3t?x=s3cr3t", monkeypatch, told=told, tries_for=2)
    with pytest.raises(Stopped, match=r"no answer from 127\.0\.0\.1:9 \(it refuses the"):
        sender.send(calls("a"))
    assert told
    assert "s3cr3t" not in "".join(told)


def test_a_stop_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        delivery("http://127.0.0.1:9", monkeypatch, stop=stop).send(calls("a"))


def test_a_certificate_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with served(tmp_path / "kept", tls=certificate) as there:
        known: dict[str, Any] = {"kind": "webhook", "key": SECRET, "tries_for": 0.0}
        with pytest.raises(Stopped, match="its certificate or TLS is not accepted"):
            delivery(there.url, monkeypatch, **known).send(calls("a"))
        assert there.ids() == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
        assert delivery(there.url, monkeypatch, **known).send(calls("a")) == []
        assert there.ids() == ["m0"]


def test_a_refusal_that_comes_before_the_request_is_whole_is_heard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Many servers answer 413 and hang up; through TLS that was no answer, again and again."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as peer:
                    peer.recv(1 << 10)
                    peer.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, args=(server,))
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        sender = delivery(url, monkeypatch, tries_for=20.0)
        [refused] = sender.send(calls("a", size=2_000_000))
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "answers 413" in refused.reason


def test_a_request_may_take_as_long_as_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten seconds to connect counted for sending, so that a slow line never got a large one."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as file:
            time.sleep(10.5)
            head = b"".join(iter(file.readline, b"\r\n"))
            file.read(int(re.findall(rb"(?i)content-length: (\d+)", head)[0]))
            connection.sendall(ok)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        answer = delivery(url, monkeypatch).try_once(calls("a", size=16 << 20))
        thread.join()
    assert answer.is_accepted


@contextmanager
def answering(*answers: bytes, drip: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives some answers, whatever is asked; its address, and what was asked."""
    asked: list[bytes] = []
    ends = Event()

    def serve(server: socket.socket) -> None:
        left = list(answers)
        while left:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file, suppress(OSError):
                while left and (head := b"".join(iter(file.readline, b"\r\n"))):
                    size = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
                    asked.append(file.read(size))
                    connection.sendall(left.pop(0))
                    while drip and not ends.wait(0.1):
                        connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, args=(server,))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x", asked
        ends.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("status", [b"102 Processing", b"103 Early Hints", b"100 Continue"])
def test_what_comes_before_an_answer_is_none(
    monkeypatch: pytest.MonkeyPatch, status: bytes
) -> None:
    interim = b"HTTP/1.1 " + status + b"\r\nLink: </a>\r\n\r\n"
    refusal = b"HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n"
    with answering(interim * 2 + OK, interim + refusal) as (url, asked):
        sender = delivery(url, monkeypatch)
        assert sender.send(calls("a")) == []
        assert [one.id for one in sender.send(calls("b"))] == ["m0"]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "value",
    [b"9" * 5_000, b"Wed, 21 Oct 99999 07:28:00 GMT", b"-5", b"soon", b"1e9", b"\xb2", b"",
     b"Wed, 21 Oct 2015 07:28:00 GMT", b"Wed, 21 Oct 2015 07:28:00 -0000"],
)  # fmt: skip
def test_a_time_to_wait_that_makes_no_sense_is_none(
    monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    busy = b"HTTP/1.1 503 X\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n"
    with answering(busy, OK) as (url, asked):
        assert delivery(url, monkeypatch).send(calls("a")) == []
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("head", "is_accepted"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", True), (b"HTTP/1.1 200 ", False)],
)
def test_an_answer_that_drips_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, head: bytes, is_accepted: bool
) -> None:
    monkeypatch.setattr("loader.forward.http.ANSWER_SECONDS", 1.0)
    with answering(head, drip=True) as (url, _):
        answer = delivery(url, monkeypatch).try_once(calls("a"))
    assert (answer.status, answer.is_accepted) == (200 if is_accepted else 0, is_accepted)


@pytest.mark.parametrize("size", [b"-5", b"zz", b"F" * 30])
def test_an_accepted_request_stays_so_whatever_follows(
    monkeypatch: pytest.MonkeyPatch, size: bytes
) -> None:
    """A size below nothing was a defect, and the request repeated for ever."""
    odd = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabc"
    with answering(odd) as (url, asked):
        assert delivery(url, monkeypatch).send(calls("a")) == []
    assert len(asked) == 1


def test_a_proxy_gets_its_name_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://us%40er:s3cr3t@127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    seen.append(connection.recv(1 << 16))
                    connection.sendall(b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n")

        thread = Thread(target=serve)
        thread.start()
        for scheme in ("http", "https"):
            answer = delivery(f"{scheme}://events.invalid/x", monkeypatch).try_once(calls("a"))
            assert "s3cr3t" not in str(answer)
        thread.join()
    told = b"Proxy-Authorization: Basic " + base64.b64encode(b"us@er:s3cr3t") + b"\r\n"
    assert [told.lower() in one.lower() for one in seen] == [True, True]
    assert seen[1].startswith(b"CONNECT ")


@pytest.mark.parametrize("proxy", ["socks5://u:s3cr3t@h:1", "http://u:s3cr3t@h:port"])
def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UsageError, match=r"http_proxy names .* write http://HOST:PORT") as met:
        delivery("http://events.invalid/x", monkeypatch)
    assert "s3cr3t" not in str(met.value)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_of_the_environment_is_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv(name, serve().removesuffix("/v1/batch"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert delivery("http://events.invalid/x", monkeypatch).send(calls("a")) == []
    assert kept(tmp_path)[0]["headers"]["host"] == "events.invalid"
