"""Customer.io's reporting webhooks: their signature, and bodies of any kind."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from acceptance.harness import webhook
from receive.receiving import Running, Start, config, signed

BODY = (
    b'{"data":{},"event_id":"01E4C4CT6YDC7Y5M7FE1GWWPQJ","object_type":"email",'
    b'"metric":"sent","timestamp":1613063089}'
)
VECTOR = {
    "X-CIO-Timestamp": "1613063089",
    "X-CIO-Signature": "7efef08ecb8d79ea2736e7e8eedbbb19842ff083bb58fe7022a4d3b10531fc54",
}


def send(running: Running, body: bytes, schema: str = "customerio", **headers: str) -> int:
    return running.send("POST", f"/v1/webhook/{schema}", body, **headers).status


def test_a_webhook_as_customer_io_signs_it_is_kept(running: Running) -> None:
    """Years later, too: nobody documents that a repeat is signed anew."""
    assert send(running, BODY, **VECTOR) == 200
    [line] = running.lines()
    assert line.pop("receivedAt")
    assert line == json.loads(BODY)


@pytest.mark.parametrize(
    ("body", "schema", "changes"),
    [
        (BODY + b" ", "customerio", {}),
        (BODY.replace(b"sent", b"sens"), "customerio", {}),
        (BODY, "other", {}),
        (BODY, "..", {}),
        (BODY, "customerio", {"X-CIO-Timestamp": "1613063090"}),
        (BODY, "customerio", {"X-CIO-Timestamp": ""}),
        (BODY, "customerio", {"X-CIO-Timestamp": "²"}),
        (BODY, "customerio", {"X-CIO-Signature": ""}),
        (BODY, "customerio", {"X-CIO-Signature": "0" * 64}),
        (BODY, "customerio", {"X-CIO-Signature": "é" * 64}),
        (BODY, "customerio", {"X-CIO-Signature": VECTOR["X-CIO-Signature"].upper()}),
    ],
)
def test_what_is_not_signed_is_refused(
    running: Running, body: bytes, schema: str, changes: dict[str, str]
) -> None:
    assert send(running, body, schema, **{**VECTOR, **changes}) == 401
    assert send(running, body, schema) == 401
    assert running.lines() == []


def test_of_two_signing_keys_either_will_do(receiver: Start) -> None:
    both = config().replace('["env:CIO_SIGNING_KEY"]', '["env:CIO_SIGNING_KEY", "env:SECOND_KEY"]')
    running = receiver(settings=both, env={"SECOND_KEY": "another"})
    for key in ("example-signing-key", "another"):
        assert send(running, BODY, **signed(BODY, key)) == 200
    assert send(running, BODY, **signed(BODY, "a third one")) == 401


def test_a_signing_key_that_is_not_there_is_told(receiver: Start) -> None:
    running = receiver(settings=config(signing="env:NOT_SET"), wait=False)
    assert running.process.wait(60) == 2
    log = running.log()
    assert "a signing key of the source 'Customer.io': " in log
    assert "the environment variable NOT_SET is not set" in log


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b'{"a":', b"[1,2]", b"null", b"\xff", b"{}", b"[" * 9_000, b'{"a":' * 9_000],
    ids=lambda body: repr(body[:6]),
)
def test_a_signed_body_is_taken_whatever_it_is(running: Running, body: bytes) -> None:
    """Customer.io would hold up all that comes after it for seven days."""
    assert running.hook(body).status == 200
    assert len(running.lines()) == 1


def test_a_webhook_may_be_large(running: Running) -> None:
    """With the content of messages in it."""
    hook = json.dumps(webhook("email", "sent", body="x" * (16 << 20)), separators=(",", ":"))
    assert running.hook(hook.encode()).status == 400
    hook = hook.replace("x" * 1_000, "", 1)
    assert len(hook) < 16 << 20
    assert running.hook(hook.encode()).status == 200
    [line] = running.lines()
    del line["receivedAt"]
    assert line == json.loads(hook)


@pytest.mark.parametrize("odd", [b"\xff", b"\0", b'"'])
def test_a_large_signed_body_is_taken_whatever_it_is(running: Running, odd: bytes) -> None:
    """Though it would be six times as large as text."""
    assert running.hook(odd * (16 << 20)).status == 200
    [line] = running.lines()
    assert ("cut" in line) == (odd != b'"')
    assert len(line["body"]) >= 1 << 20


def test_a_large_webhook_of_many_keys_holds_up_nobody(running: Running) -> None:
    """It is searched, and not taken apart: that took seconds, and much memory."""
    body = b'{"event_id":"e",' + b",".join(b'"k%d": 1' % n for n in range(1_100_000)) + b"}"
    assert running.hook(body).status == 200
    status = Path(f"/proc/{running.process.pid}/status")
    if status.exists():
        [peak] = re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert int(peak) < 200 << 10
    assert running.lines()[0]["event_id"] == "e"


SLOW = """
import pathlib, time
from loader.receive import answering

read = answering.webhook_lines

def slow(body, stamp):
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    return read(body, stamp)

answering.webhook_lines = slow
"""


def test_while_a_large_body_is_read_others_are_answered(receiver: Start, tmp_path: Path) -> None:
    """Odd ones take seconds: a thousand repeated keys on each of many lines."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    running = receiver(env={"PYTHONPATH": str(tmp_path)})
    with ThreadPoolExecutor() as pool:
        large = pool.submit(running.hook, b'{"event_id":"e"}' + b" " * 200_000)
        for _ in range(100):
            assert running.post("/v1/track", {"event": "A"}).status == 200
            assert not large.done()
        (tmp_path / "go").touch()
        assert large.result().status == 200


def test_what_was_refused_is_not_kept(running: Running) -> None:
    """An error that is raised twice has all that its first place had."""
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    body = b" " * (1 << 20)
    wrong = signed(body, "wrong")
    for _ in range(80):
        assert running.send("POST", "/v1/webhook/customerio", body, **wrong).status == 401
    assert process.memory_info().rss - before < 40 << 20


def test_webhooks_that_stall_keep_no_other_out(running: Running) -> None:
    """Two of the largest, with a false signature."""
    head = (
        b"POST /v1/webhook/customerio HTTP/1.1\r\nHost: a\r\nX-CIO-Timestamp: 1\r\n"
        b"X-CIO-Signature: x\r\nContent-Length: 16777216\r\n\r\n"
    )
    peers = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
    for peer in peers:
        peer.sendall(head + b"x" * ((16 << 20) - 5))
    for size in (10, 100_000, 1_000_000):
        assert running.hook(b'{"a":"' + b"x" * size + b'"}').status == 200
    for peer in peers:
        peer.close()
