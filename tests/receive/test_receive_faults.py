"""Disks that fail, are full or slow: what is answered, and what is in the spool afterwards."""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from receive.receiving import KEY, Reply, Running, Start, config
from spool.watching import Watched, watch

from loader.spool import finished
from loader.spool.files import unfinished


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return watch(tmp_path / "spool", tmp_path)


def send(running: Running, name: str) -> Reply:
    return running.post("/v1/track", {"event": "A", "messageId": name})


def ids(running: Running) -> list[str]:
    return [line["messageId"] for line in running.lines()]


def test_everything_is_synced_before_the_first_answer(receiver: Start, watched: Watched) -> None:
    """The folders, the name of the file, and the line."""
    running = receiver(env=watched.env)
    assert send(running, "m-1").status == 200
    seen = [(call.name, call.path) for call in watched.calls()]
    # The folder above, which is not watched, is looked at in the tests of the spool.
    order = [
        ("mkdir", "."),
        ("mkdir", "customerio"),
        ("fsync", "."),
        ("create", "customerio/FILE"),
        ("fsync", "customerio"),
        ("write", "customerio/FILE"),
        ("fdatasync", "customerio/FILE"),
    ]
    places = [seen.index(call) for call in order]
    assert places == sorted(places)


def test_requests_share_a_sync(receiver: Start, watched: Watched) -> None:
    """While one is being made, all that arrive wait for the next one together."""
    running = receiver(env=watched.env)
    send(running, "m-0")
    watched.slow_down("fdatasync", 1)
    before = len([call for call in watched.calls() if call.name == "fdatasync"])
    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda n: send(running, f"m-{n}"), range(1, 51)))
    assert {reply.status for reply in replies} == {200}
    syncs = [call for call in watched.calls() if call.name == "fdatasync"]
    assert len(syncs) - before <= 3
    assert sorted(ids(running)) == sorted(f"m-{n}" for n in range(51))


@pytest.mark.parametrize("call", ["write", "fdatasync", "create"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_what_a_failing_disk_did_not_keep_is_not_acknowledged(
    receiver: Start, watched: Watched, call: str, error: int
) -> None:
    """And the other way round: what was refused is not there, and what comes later is."""
    running = receiver(env=watched.env)
    if call != "create":
        assert send(running, "before").status == 200
    watched.fail(call, error)
    for number in range(3):
        reply = send(running, f"refused-{number}")
        assert (reply.status, reply.json["code"]) == (503, "unavailable")
        assert reply.headers["retry-after"] == "5"
    assert running.look("/readyz").status == 503
    assert running.look("/healthz").status == 200
    watched.heal()
    assert send(running, "after").status == 200
    assert running.stop() == 0
    assert [one for one in ids(running) if one != "before"] == ["after"]
    assert unfinished(running.folder / "spool", "customerio") == []
    assert running.log().count("cannot be written") == 1
    assert os.strerror(error) in running.log()


def test_a_sync_that_takes_too_long_is_not_waited_for(receiver: Start, watched: Watched) -> None:
    """The sender is told to repeat it: Customer.io gives up after four seconds."""
    running = receiver(env=watched.env)
    assert send(running, "before").status == 200
    watched.slow_down("fdatasync", 5)
    reply = send(running, "late")
    assert (reply.status, reply.json["code"]) == (503, "late")
    assert running.look("/healthz").status == 200
    assert running.look("/readyz").status == 503
    assert "took more than 3 seconds to keep events" in running.log()
    watched.heal()
    while send(running, "after").status != 200:
        time.sleep(0.1)
    assert {"before", "after"} <= set(ids(running))


def test_lines_in_memory_are_bounded_while_the_disk_hangs(
    receiver: Start, watched: Watched
) -> None:
    running = receiver(env=watched.env)
    send(running, "before")
    watched.slow_down("fdatasync", 8)
    body = b'{"batch":[' + b",".join([b'{"event":"' + b"x" * 30_000 + b'"}'] * 16) + b"]}"
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda _: running.post("/v1/batch", body), range(256)))
    assert {reply.status for reply in replies} <= {200, 503}
    assert "busy" in {reply.json.get("code") for reply in replies}
    assert psutil.Process(running.process.pid).memory_info().rss < 180 << 20
    watched.heal()
    while send(running, "after").status != 200:
        time.sleep(0.1)


def test_a_disk_with_little_room_is_not_written_to(receiver: Start) -> None:
    settings = config().replace("spool_min_free = 0", "spool_min_free = 1_000_000_000_000_000")
    running = receiver(settings=settings)
    assert send(running, "m-1").status == 503
    assert running.look("/readyz").status == 503
    assert "is free for the spool" in running.log()
    assert running.lines() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "spool"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_costs_nothing_that_was_acknowledged(
    receiver: Start, small_disk: Path
) -> None:
    running = receiver()
    answers: dict[str, int] = {}

    def fill(worker: int) -> None:
        for number in range(60):
            name = f"m-{worker}-{number}"
            event = {"event": "A", "messageId": name, "properties": {"x": "x" * 10_000}}
            answers[name] = running.post("/v1/track", event).status

    threads = [threading.Thread(target=fill, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers.values()) == {200, 503}
    assert sorted(ids(running)) == sorted(name for name, status in answers.items() if status == 200)
    for file in finished(small_disk, "customerio"):
        file.path.unlink()
    assert send(running, "after").status == 200
    assert running.stop() == 0
    assert KEY not in running.log()
