"""The sample generator: the same everywhere, a stream, and a plausible month of e-mail."""

import gzip
import json
from collections import Counter
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import samples
from samples.__main__ import main

SIX = {
    "Email Delivered",
    "Email Opened",
    "Email Link Clicked",
    "Email Unsubscribed",
    "Email Bounced",
    "Email Marked as Spam",
}


def parse(lines: list[bytes]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Split a sample into its objects, batch envelopes opened, and what is not one."""
    records: list[dict[str, Any]] = []
    broken = []
    for line in lines:
        try:
            value = json.loads(line.decode())
        except ValueError:
            broken.append(line)
            continue
        if isinstance(value, dict):
            records.extend(value.get("batch", [value]))
        else:
            broken.append(line)
    return records, broken


def of_delivery(record: dict[str, Any]) -> tuple[str | None, str, float]:
    """Return a record's delivery (None: it names none), what happened, and when."""
    if "metric" in record:
        metric = record["metric"] if record["object_type"] == "email" else "other"
        return record["data"].get("delivery_id"), metric, record["timestamp"]
    if record.get("type") != "track" or "event" not in record:
        return None, "other", 0.0
    names = {"Email Delivered": "delivered", "Email Opened": "opened"}
    names["Email Link Clicked"] = "clicked"
    properties = record["properties"]
    delivery = properties.get("delivery_id", properties.get("email_id"))
    at = datetime.fromisoformat(record["timestamp"]).timestamp()
    return delivery, names.get(record["event"], "other"), at


@pytest.fixture(scope="module")
def mixed() -> list[bytes]:
    return list(samples.generate(5000))


@pytest.fixture(scope="module")
def records(mixed: list[bytes]) -> list[dict[str, Any]]:
    return parse(mixed)[0]


@pytest.mark.parametrize("shape", ["mixed", "segment"])
def test_the_same_seed_gives_the_same_bytes(shape: samples.Shape) -> None:
    """A sample can be made again, and another seed makes another one."""
    first = list(samples.generate(500, seed=7, shape=shape))
    assert first == list(samples.generate(500, seed=7, shape=shape))
    assert first != list(samples.generate(500, seed=8, shape=shape))
    assert len(first) == 500


@pytest.mark.parametrize("shape", ["mixed", "segment"])
def test_a_sample_is_a_stream(shape: samples.Shape) -> None:
    """A thousand million events can be begun without being made."""
    lines = list(islice(samples.generate(10**9, shape=shape), 1000))
    assert len(lines) == 1000
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)


def test_segment_has_clean_calls_of_the_six_collections_only() -> None:
    """Every line of the bulk shape is a track call with its own id, in the documented shares."""
    lines = list(samples.generate(4000, shape="segment"))
    calls = [json.loads(line) for line in lines]
    names = Counter(call["event"] for call in calls)
    assert set(names) == SIX
    assert 0.46 < names["Email Delivered"] / 4000 < 0.54
    assert 0.03 < names["Email Bounced"] / 4000 < 0.07
    assert len({call["messageId"] for call in calls}) == 4000
    assert {call["type"] for call in calls} == {"track"}
    assert 700 < sum(map(len, lines)) / 4000 < 900


def test_segment_takes_extra_properties_conflicts_duplicates_and_broken_lines() -> None:
    """Each trouble comes in the share that was asked for."""
    wanted = {"extra_properties": 40, "conflicts": 0.1, "duplicates": 0.1, "broken": 0.05}
    lines = list(samples.generate(2000, shape="segment", **wanted))  # type: ignore[arg-type]
    calls, _ = parse(lines)
    calls = [call for call in calls if call.get("event")]
    properties = [call["properties"] for call in calls]
    extra: dict[str, set[type]] = {}
    for one in properties:
        mine = {key: value for key, value in one.items() if key.startswith("extra_")}
        if one.get("campaign_id") != 6 or mine:
            assert len(mine) == 2
        for key, value in mine.items():
            extra.setdefault(key, set()).add(type(value))
    odd = [p for p in properties if p.get("campaign_id") == "n/a" or p.get("action_id") == 1.5]
    assert len(extra) == 40
    assert all(len(types) == 1 for types in extra.values())
    assert set.union(*extra.values()) == {int, str, bool, float}
    assert 0.06 < len(odd) / 2000 < 0.14
    assert 0.07 < 1 - len(set(lines)) / 2000 < 0.15
    assert 1860 < len(calls) < 1960


def test_mixed_takes_extra_properties_and_conflicts() -> None:
    """The same options work on every form of the mixed shape."""
    options = list(samples.generate(1000, extra_properties=9, conflicts=0.2))
    text = b"".join(options)
    assert text.count(b'"extra_') > 1500
    assert text.count(b'"campaign_id":"n/a"') > 50


def test_mixed_has_every_form_and_kind(records: list[dict[str, Any]], mixed: list[bytes]) -> None:
    """Whatever the loader must understand is in the sample that ships with it."""
    calls = [r for r in records if r.get("type") == "track" and "event" in r]
    generation_b = {c["event"] for c in calls if "delivery_id" in c["properties"]}
    generation_a = {c["event"] for c in calls if "email_id" in c["properties"]}
    webhooks = {(r["object_type"], r["metric"]) for r in records if "metric" in r}
    legacy = {r["event_type"] for r in records if "event_type" in r}
    assert generation_b == SIX
    assert {"Email Opened", "Email Link Clicked", "Unsubscribed"} <= generation_a
    for metric in ("sent", "delivered", "opened", "clicked", "converted", "unsubscribed"):
        assert ("email", metric) in webhooks
    for metric in ("bounced", "dropped", "undeliverable", "spammed"):
        assert ("email", metric) in webhooks
    assert {"sms", "push", "customer"} <= {channel for channel, _ in webhooks}
    assert {"email_delivered", "email_opened", "email_clicked"} <= legacy
    assert sum(line.startswith(b'{"batch":') for line in mixed) > 2
    assert any(call.get("userId") for call in calls)
    assert any(not call.get("userId") and "@" in call["anonymousId"] for call in calls)


def test_opens_and_clicks_say_if_a_machine_made_them_or_do_not_say(
    records: list[dict[str, Any]],
) -> None:
    """A flag can be true, false or missing, which are three different things."""
    opens = [r["data"] for r in records if r.get("metric") == "opened"]
    clicks = [r["data"] for r in records if r.get("metric") == "clicked"]
    assert {data.get("prefetched") for data in opens} == {True, False, None}
    assert {data.get("proxied") for data in opens} == {True, False, None}
    assert {data.get("synthetic") for data in opens} == {True, None}
    assert {data.get("machine") for data in clicks} == {True, False, None}


def test_some_ids_come_twice_as_identical_lines(mixed: list[bytes]) -> None:
    """About one line in a hundred repeats an earlier one."""
    good = [line for line in mixed if b'_id":"' in line or b'messageId":"' in line]
    repeated = len(good) - len(set(good))
    assert 25 < repeated < 90


def test_a_few_lines_cannot_be_loaded(mixed: list[bytes]) -> None:
    """Cut JSON, other JSON, other calls, no event, and bytes that are not UTF-8 all occur."""
    records, broken = parse(mixed)
    others = [r for r in records if r.get("type") == "identify"]
    nameless = [r for r in records if r.get("type") == "track" and "event" not in r]
    assert 5 < len(broken) + len(others) + len(nameless) < 25
    assert others
    assert nameless
    assert b"[1, 2, 3]\n" in broken
    assert b'"Email Opened"\n' in broken
    assert any(line.startswith(b"{") and not line.endswith(b"}\n") for line in broken)
    assert any(b"\xfc\xdf" in line for line in broken)


@pytest.mark.parametrize("events", [5000, 10**8])
def test_an_open_follows_its_delivery_and_a_click_an_open(events: int) -> None:
    """The funnel holds for each delivery, also where a large sample squeezes the time."""
    times: dict[tuple[str | None, str], float] = {}
    for record in parse(list(islice(samples.generate(events, seed=3), 8000)))[0]:
        delivery, metric, at = of_delivery(record)
        key = delivery, metric
        times[key] = min(at, times.get(key, at))
    opens = [(d, at) for (d, metric), at in times.items() if metric == "opened" and d]
    clicks = [(d, at) for (d, metric), at in times.items() if metric == "clicked" and d]
    delivered = {d for d, metric in times if metric == "delivered"}
    assert len(opens) > 100
    assert all(times[d, "delivered"] < at for d, at in opens if d in delivered)
    assert sum(d in delivered for d, _ in opens) > 0.97 * len(opens)
    assert all(times[d, "opened"] <= at for d, at in clicks if (d, "opened") in times)
    assert len(opens) < 0.8 * len(delivered)
    assert not any((d, "bounced") in times for d in delivered)


def test_campaigns_are_opened_at_different_rates(records: list[dict[str, Any]]) -> None:
    """A chart of opens per campaign has something to show."""
    delivered: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    seen = set()
    for record in records:
        delivery, metric, _ = of_delivery(record)
        subject = (record.get("properties") or record.get("data") or {}).get("subject")
        if delivery and subject and (delivery, metric) not in seen:
            seen.add((delivery, metric))
            delivered[subject] += metric == "delivered"
            opened[subject] += metric == "opened"
    rates = [opened[s] / delivered[s] for s in delivered if delivered[s] > 40]
    assert len(rates) >= 8
    assert min(rates) < 0.45
    assert max(rates) > 0.6


def test_the_command_writes_a_whole_file_or_none(tmp_path: Path) -> None:
    """The file has the same bytes each time, nothing is left beside it, and gzip agrees."""
    plain, packed, again = (tmp_path / name for name in ("a.ndjson", "b.gz", "c.gz"))
    assert main(["--events", "300", "-o", str(plain)]) == 0
    assert main(["--events", "300", "--gzip", "-o", str(packed)]) == 0
    assert main(["--events", "300", "--gzip", "-o", str(again)]) == 0
    assert plain.read_bytes() == b"".join(samples.generate(300))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.read_bytes() == again.read_bytes()
    assert sorted(tmp_path.iterdir()) == [plain, packed, again]
