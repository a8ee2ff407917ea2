"""From a client over receiver, forwarder and a second receiver into tables: the rows are equal."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from acceptance.harness import Database, Run, track, webhook

import samples
from loader.normalize.collections import MARTS

pytest.importorskip("loader.receive.serving")
Start = Callable[..., "Popen[bytes]"]
# What transport changes, and an `original_timestamp` that a call got on its way, see `TIMELESS`.
CHANGED = {"received_at", "sent_at", "uuid_ts"}
TIMELESS = track("Without a time", timestamp=..., originalTimestamp=..., sentAt=..., receivedAt=...)


@contextmanager
def receiving(start: Start, folder: Path, env: dict[str, str]) -> Iterator[int]:
    """A receiver with settings in a folder; returns its port."""
    options = ("--port", "0", "--metrics-port", "0")
    process = start("receive", *options, url=None, env=env, cwd=folder)
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    found = re.search(r"for events at 127\.0\.0\.1 port (\d+)", line)
    assert found, line
    yield int(found[1])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode in (0, 143)


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", path, body, {"Content-Type": "application/json"} | headers)
    assert connection.getresponse().status == 200
    connection.close()


def records(count: int) -> Iterator[dict[str, Any]]:
    """The sample records that are objects; some are broken on purpose."""
    for line in b"".join(samples.generate(count)).splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def rows(db: Database, schema: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of a schema by table and id, without what transport changes and nulls."""
    found = {}
    for table in db.tables(schema):
        if not table.startswith(("_", "alembic")) and table not in MARTS:
            found[table] = {
                row["id"]: {k: v for k, v in row.items() if k not in CHANGED and v is not None}
                for row in db.dicts(f'SELECT * FROM "{schema}"."{table}"')
            }
            for row in found[table].values():
                # What a sender said of transport is not sent on.
                if (
                    "_extra" in row
                    and row["_extra"].pop("receivedAt#2", None)
                    and not row["_extra"]
                ):
                    del row["_extra"]
    return found


def test_the_rows_are_equal(run: Run, start: Start, db: Database, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    env = {"CIO_KEY": "signing", "LOADER_SPOOL_DIR": "spool", "LOADER_MAX_REJECT_RATIO": "1"}
    for folder, variable in ((first, "FIRST_KEY"), (second, "SECOND_KEY")):
        folder.mkdir()
        env[variable] = run(
            *("sources", "add", folder.name, "--json"), url=None, cwd=folder, env=env
        ).json["write_key"]
    calls = list(records(2_000))
    hooks = [one for one in calls if "metric" in one][:200]
    calls = [one for one in calls if one.get("type") in ("track", "identify")]
    calls += [TIMELESS, track("Numbers", n=12345678901234567890), {"type": "page", "userId": "u"}]
    hooks += [webhook("email", "opened", proxied=True), webhook("sms", "sent", a={"b": [1, {}]})]
    with receiving(start, second, env) as port:
        more = (
            'signing_keys = ["env:CIO_KEY"]\n[[destination]]\nname = "second"\nkind = "segment"\n'
            f'url = "http://127.0.0.1:{port}"\nkey = "env:SECOND_KEY"\n'
        )
        settings = first / "loader.toml"
        settings.write_text(settings.read_text() + more)
        with receiving(start, first, env) as first_port:
            basic = base64.b64encode(f"{env['FIRST_KEY']}:".encode()).decode()
            for at in range(0, len(calls), 100):
                body = json.dumps({"batch": calls[at : at + 100], "context": {"l": "x"}}).encode()
                post(first_port, "/v1/batch", body, {"Authorization": f"Basic {basic}"})
            for hook in hooks:
                body, now = json.dumps(hook).encode(), str(int(time.time()))
                signed = hmac.digest(b"signing", f"v0:{now}:".encode() + body, hashlib.sha256)
                headers = {"X-CIO-Timestamp": now, "X-CIO-Signature": signed.hex()}
                post(first_port, "/v1/webhook/first", body, headers)
        forward = ("forward", "--once", "--from", "2020-01-01")
        done = run(*forward, url=None, cwd=first, env=env)
        assert done.code == 0, done.err
        done = run("destinations", "dead", "second", url=None, cwd=first, env=env)
        assert done.out == "no dead letters\n"
    for folder in (first, second):
        done = run("load", cwd=folder, env=env)
        assert done.code == 0, done.err
    sent, forwarded = rows(db, "first"), rows(db, "second")
    assert len(sent["tracks"]) > 1_000
    assert sent["tracks"].keys() == forwarded["tracks"].keys()
    for table, expected in sent.items():
        for id, row in expected.items():
            # Where a call said no time, the one of its arrival was sent on.
            given = {"original_timestamp": row.get("original_timestamp", row["timestamp"])}
            assert forwarded[table][id] == row | given
    assert os.listdir(second / "spool" / "second")
