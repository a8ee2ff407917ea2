"""What requests are answered with, and what of them is kept."""

import gzip
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from receive.receiving import KEY, Running, Start, ask, basic, config

EVENT = {"event": "Order Placed", "userId": "u-1", "properties": {"total": 1.5}}
KINDS = ("track", "identify", "page", "screen", "group", "alias")


@pytest.mark.parametrize("kind", KINDS)
def test_the_address_gives_the_type_of_a_call(running: Running, kind: str) -> None:
    for path in (f"/v1/{kind}", f"/v1/{kind[0]}", f"/v1/{kind}/"):
        reply = running.post(path, EVENT)
        assert (reply.status, reply.json) == (200, {"success": True})
    lines = running.lines()
    assert [line["type"] for line in lines] == [kind] * 3
    assert all(EVENT.items() <= line.items() for line in lines)


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b"])
def test_a_batch_is_a_line_for_each_call(running: Running, path: str) -> None:
    calls = [{"type": "track", "event": f"E {n}", "messageId": f"m-{n}"} for n in range(2_500)]
    assert running.post(path, {"batch": calls}).status == 200
    lines = running.lines()
    assert [line["messageId"] for line in lines] == [call["messageId"] for call in calls]
    assert running.post(path, {"batch": []}).status == 200
    assert len(running.lines()) == 2_500


def test_the_key_may_come_in_each_way_that_clients_have(running: Running) -> None:
    body = {**EVENT, "writeKey": KEY}
    assert running.send("POST", "/v1/track", EVENT, **basic()).status == 200
    no_colon = "Basic d2stMDEyMzQ1Njc4OWFiY2RlZg=="
    assert running.send("POST", "/v1/track", EVENT, Authorization=no_colon).status == 200
    assert running.send("POST", "/v1/track", body).status == 200
    assert running.send("POST", "/v1/track", body, Authorization="Bearer x").status == 200
    batch = {"batch": [{"type": "track", **EVENT}], "writeKey": KEY}
    assert running.send("POST", "/v1/batch", batch).status == 200
    assert len(running.lines()) == 5
    assert KEY not in json.dumps(running.lines())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("wrong"),
        basic(""),
        {"Authorization": "Basic !"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer " + KEY},
    ],
)
def test_a_wrong_key_is_refused(running: Running, headers: dict[str, str]) -> None:
    reply = running.send("POST", "/v1/track", EVENT, **headers)
    assert (reply.status, reply.json["code"]) == (401, "invalid_write_key")
    assert isinstance(reply.json["message"], str)
    for key in ("wrong", 5, None, "", {"a": 1}):
        reply = running.send("POST", "/v1/track", {**EVENT, "writeKey": key}, **headers)
        assert reply.status == 401
    assert running.lines() == []


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("track", b"", "invalid_json"),
        ("track", b"{", "invalid_json"),
        ("track", b"[]", "invalid_json"),
        ("track", b'{"event":NaN}', "invalid_json"),
        ("track", b'{"event":"\xff"}', "invalid_json"),
        ("track", b'{"x":"' + b"x" * (32 << 10) + b'"}', "too_large"),
        ("batch", b"{}", "no_batch"),
        ("batch", b'{"batch":{}}', "no_batch"),
        ("batch", b'{"batch":null}', "no_batch"),
        ("batch", b'{"batch":[' + b"{}," * 2_500 + b"{}]}", "too_many_calls"),
        ("batch", b'{"batch":[{},{"x":"' + b"x" * (32 << 10) + b'"}]}', "too_large"),
        ("batch", b'{"batch":[' + b"{}," * 200_000 + b"{}]}", "too_large"),
    ],
)
def test_what_can_never_be_taken_is_refused(
    running: Running, path: str, body: bytes, code: str
) -> None:
    reply = running.post(f"/v1/{path}", body)
    assert (reply.status, reply.json["code"]) == (400, code)
    assert running.lines() == []


def test_the_limits_are_reached(running: Running) -> None:
    """A body of exactly the largest size is taken."""
    call = b'{"event":"' + b"x" * ((32 << 10) - 12) + b'"}'
    assert len(call) == 32 << 10
    assert running.post("/v1/track", call).status == 200
    most = b'{"batch":[' + b",".join([call] * 15) + b"]}"
    most = most[:-1] + b" " * ((500 << 10) - len(most)) + b"}"
    assert running.post("/v1/batch", most).status == 200
    assert running.post("/v1/batch", most[:-1] + b" }").status == 400


def test_what_a_batch_says_for_many_calls_may_not_become_too_much(running: Running) -> None:
    """It could never be kept, and is not to be repeated; what real clients say is taken."""
    calls = b",".join([b"{}"] * 2_500)
    for size, status in ((2_000, 200), (7_000, 400), (480_000, 400)):
        body = b'{"context":{"a":"' + b"x" * size + b'"},"batch":[' + calls + b"]}"
        reply = running.post("/v1/batch", body)
        assert reply.status == status
    assert reply.json["code"] == "too_large"
    assert len(running.lines()) == 2_500


@pytest.mark.parametrize("odd", [b'"\\ud800"', b'{"a":1,"a":2}'])
def test_the_key_in_an_odd_body_is_found(running: Running, odd: bytes) -> None:
    body = b'{"odd":' + odd + b',"write\\u004bey":"' + KEY.encode() + b'","event":"A"}'
    if b"ud800" in odd:
        body = body.replace(b"\\u004b", b"K")
    assert running.send("POST", "/v1/track", body).status == 200
    assert running.send("POST", "/v1/track", body.replace(b"wk-", b"no-")).status == 401
    assert KEY not in json.dumps(running.lines())


def test_a_packed_body_is_unpacked(running: Running) -> None:
    body = gzip.compress(json.dumps({"batch": [{"type": "track", **EVENT}]}).encode())
    assert running.post("/v1/batch", body, **{"Content-Encoding": "gzip"}).status == 200
    assert len(running.lines()) == 1


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("gzip", gzip.compress(b'{"x":"' + b"x" * 50_000_000 + b'"}'), "too_large"),
        ("gzip", gzip.compress(b"{}")[:-4], "invalid_gzip"),
        ("gzip", gzip.compress(b"{}") + gzip.compress(b"{}"), "invalid_gzip"),
        ("gzip", b"{}", "invalid_gzip"),
        ("gzip", b"", "invalid_gzip"),
        ("deflate", zlib.compress(b"{}"), "unknown_encoding"),
    ],
    ids=["bomb", "cut", "two", "plain", "empty", "deflate"],
)
def test_a_wrongly_packed_body_is_refused(
    running: Running, encoding: str, body: bytes, code: str
) -> None:
    reply = running.post("/v1/batch", body, **{"Content-Encoding": encoding})
    assert (reply.status, reply.json["code"]) == (400, code)


def test_other_addresses_and_methods_are_refused_and_nothing_is_redirected(
    running: Running,
) -> None:
    for path in ("/", "/v1", "/v1/import", "/v1/track/x", "/track", "/v1/webhook", "/metrics"):
        assert running.post(path, EVENT).status == 404
    assert running.send("GET", "/v1/track").status == 405
    assert running.send("PUT", "/v1/track", EVENT, **basic()).status == 405
    assert running.lines() == []


def test_bodies_in_pieces_are_taken_and_other_protocols_are_not(running: Running) -> None:
    text = json.dumps(EVENT).encode()
    connection = running.connect()
    connection.request(
        "POST", "/v1/track", iter([text[:5], text[5:]]), basic(), encode_chunked=True
    )
    assert connection.getresponse().read() == b'{"success":true}'
    connection.close()
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    assert running.post("/v1/track", EVENT, **upgrade).json["code"] == "upgrade"
    assert running.post("/v1/%74rack?x=1", EVENT).status == 200
    assert len(running.lines()) == 2


def test_a_connection_serves_many_requests_whatever_comes_between(running: Running) -> None:
    connection = running.connect()
    for status, body in [(200, EVENT), (400, b"{"), (200, EVENT), (400, b"x" * 60_000)] * 3:
        assert ask(connection, "POST", "/v1/track", body, **basic()).status == status
    connection.close()
    assert len(running.lines()) == 6


def test_what_the_process_says_of_itself(running: Running) -> None:
    """Health is on both ports; figures, which tell of the sources, on one that is not public."""
    running.post("/v1/track", EVENT)
    running.post("/v1/track", b"{")
    for what in ("events", "metrics"):
        for path in ("/healthz", "/readyz"):
            assert running.send("GET", path, what=what).status == 200
    text = running.look("/metrics").body.decode()
    assert 'customerio_receive_answers_total{code="",status="200"} 1.0' in text
    assert 'customerio_receive_answers_total{code="invalid_json",status="400"} 1.0' in text
    assert 'customerio_receive_events_total{schema="customerio"} 1.0' in text
    assert "customerio_receive_commit_seconds_count 1.0" in text
    assert running.send("GET", "/metrics").status == 404


def test_nothing_that_was_sent_is_in_the_log(running: Running) -> None:
    running.post("/v1/track", {**EVENT, "properties": {"x": "personal-1"}})
    running.post("/v1/track", b'{"personal-2')
    running.send("POST", "/v1/track", EVENT, **basic("personal-3"))
    running.send("POST", "/v1/personal-4", EVENT, **basic())
    running.send("POST", "/v1/webhook/customerio", b"personal-5", **{"X-CIO-Signature": "x"})
    assert running.stop() == 0
    assert "personal" not in running.log()
    assert KEY not in running.log()


# the command


def test_without_keys_there_is_nothing_to_receive(receiver: Start) -> None:
    running = receiver(settings='[[source]]\nname = "a"\n', wait=False)
    assert running.process.wait(60) == 2
    assert "no source has a write key or a signing key: `customerio-loader sources" in running.log()


def test_a_key_of_two_sources_is_refused(receiver: Start) -> None:
    other = config().replace('name = "Customer.io"', 'name = "Other"').partition("[[")[2]
    running = receiver(settings=config() + "[[" + other, wait=False)
    assert running.process.wait(60) == 2
    assert "the source 'Other' has a write key of another source" in running.log()
    assert KEY not in running.log()


def test_a_spool_that_cannot_be_made_is_told(receiver: Start) -> None:
    """At once, and not with the first event; a user without a home has to name a folder."""
    running = receiver(wait=False, env={"LOADER_SPOOL_DIR": os.devnull})
    assert running.process.wait(60) == 2
    assert "the spool '/dev/null' cannot be made: Not a directory" in running.log()


@pytest.mark.parametrize(
    "where", [("--port", "99999"), ("--port", "0", "--host", "no-such.invalid")]
)
def test_where_it_cannot_listen_is_told(receiver: Start, where: tuple[str, ...]) -> None:
    running = receiver(*where, wait=False)
    assert running.process.wait(60) == 2
    assert "cannot listen at" in running.log()
    assert "Traceback" not in running.log()
    assert "Unknown error" not in running.log()


def test_a_port_that_is_taken_is_told(receiver: Start, running: Running) -> None:
    second = receiver("--port", str(running.port), wait=False)
    assert second.process.wait(60) == 2
    assert "Address already in use; choose another --host or --port" in second.log()


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['uvicorn'] = None; from loader.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", program + "sys.exit(main(['receive']))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs the package 'uvicorn': pip install 'customerio-loader[receive]'" in done.stderr


def test_the_log_for_machines(receiver: Start) -> None:
    running = receiver("--log-format", "json", wait=False)
    while "receive.listening" not in running.log():
        assert running.process.poll() is None
    first = json.loads(running.log().splitlines()[0])
    assert first["event"] == "receive.listening"
    assert first["what"] == "events"
    assert first["level"] == "info"
