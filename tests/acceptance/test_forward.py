"""Received events on their way to destinations, from the command line."""

import json
import os
import random
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from acceptance.harness import Result, ndjson, track, webhook
from forward.served import Served, served

Start = Callable[..., "Popen[bytes]"]
ALL_TIME = ("--from", "2020-01-01")
KEYS = {"KEY": "s3cr3tkey"}


class Place:
    """A folder with settings, a spool, and the command line."""

    def __init__(self, folder: Path, start: Start) -> None:
        self.folder, self._start = folder, start
        self.files = 0

    def settings(self, *destinations: tuple[str, str], more: str = "") -> None:
        """Destinations by name and address."""
        blocks = [
            f'[[destination]]\nname = "{name}"\nkind = "segment"\nurl = "{url}"\nkey = "env:KEY"\n'
            for name, url in destinations
        ]
        text = 'spool_dir = "spool"\n[[source]]\nname = "EU"\n[[source]]\nname = "US"\n'
        (self.folder / "loader.toml").write_text(text + "".join(blocks) + more)

    def received(self, *records: dict[str, Any], schema: str = "eu", finished: bool = True) -> Path:
        """A spool file with some records."""
        self.files += 1
        name = f"20261128T{self.files:06}000000Z-{self.files:016x}.v1.jsonl"
        path = self.folder / "spool" / schema / ("" if finished else ".") / name
        path = path if finished else path.parent / f".{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(".new").write_bytes(ndjson(*records))
        path.with_name(".new").rename(path)
        return path

    def start(self, *arguments: str, env: dict[str, str] = KEYS) -> "Popen[bytes]":
        return self._start(*arguments, url=None, env=env, cwd=self.folder)

    def run(self, *arguments: str, env: dict[str, str] = KEYS) -> Result:
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=120)
        return Result(process.returncode, out.decode(), err.decode())

    def listed(self, name: str = "D") -> dict[str, Any]:
        """What `destinations list` says of one."""
        lines = self.run("destinations", "list", "--json").out.splitlines()
        found: dict[str, Any] = next(
            one for one in map(json.loads, lines) if one["destination"] == name
        )
        return found


@pytest.fixture
def place(tmp_path: Path, start: Start) -> Place:
    return Place(tmp_path, start)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    with ExitStack() as stack:
        yield lambda failures="", name="kept", port=0: stack.enter_context(
            served(tmp_path / name, failures, port)
        )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


Serve = Callable[..., Served]


def test_what_is_finished_is_sent_and_what_follows(place: Place, serve: Serve) -> None:
    there = serve()
    place.settings(("D", there.url))
    place.received(track("Email Opened", messageId="old"))
    process = place.start("forward")
    until(lambda: place.listed()["state"] == "ok")
    place.received(track("Email Opened", messageId="a"), webhook("email", "opened", event_id="b"))
    place.received(track("Email Opened", messageId="c"), schema="us")
    until(lambda: len(there.ids()) == 3)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 0
    assert there.ids() == ["a", "b", "c"]  # and nothing that was there before


def test_a_file_that_is_being_written_is_sent_when_it_is_finished(
    place: Place, serve: Serve
) -> None:
    there = serve()
    place.settings(("D", there.url))
    open_file = place.received(track("Email Opened", messageId="a"), finished=False)
    place.received(track("Email Opened", messageId="old"))
    assert place.run("forward", "--once").code == 0
    open_file.rename(open_file.with_name(open_file.name.removeprefix(".")))
    assert place.run("forward", "--once").code == 0
    assert there.ids() == ["a"]  # although its name is older than one that was passed over


def test_a_destination_may_begin_earlier(place: Place, serve: Serve) -> None:
    there = serve()
    place.settings(("D", there.url))
    for at, day in enumerate(("2026-01-01", "2026-02-01")):
        path = place.received(track("Email Opened", messageId=f"m{at}"))
        moment = time.mktime(time.strptime(day, "%Y-%m-%d"))
        os.utime(path, (moment, moment))
    assert place.run("forward", "--once", "--from", "2026-01-15").code == 0
    assert there.ids() == ["m1"]
    assert place.run("forward", "--once", *ALL_TIME).code == 0
    assert there.ids() == ["m1"]


def test_each_source_goes_to_its_destinations(place: Place, serve: Serve) -> None:
    every, one = serve(name="every"), serve(name="one")
    place.settings(("every", every.url), ("one", f'{one.url}"\nsources = ["US"]\n#"'))
    for name, schema in (("a", "eu"), ("b", "us"), ("c", "eu")):
        place.received(track("Email Opened", messageId=name), schema=schema)
    assert place.run("forward", "--once", *ALL_TIME).code == 0
    assert (every.ids(), one.ids()) == (["a", "b", "c"], ["b"])
    # What went by is not sent when the source is added later.
    place.settings(("every", every.url), ("one", one.url))
    place.received(track("Email Opened", messageId="d"))
    assert place.run("forward", "--once").code == 0
    assert one.ids() == ["b", "d"]


@pytest.mark.parametrize(
    ("count", "kills"), [(20_000, 4), pytest.param(100_000, 100, marks=pytest.mark.soak)]
)
def test_nothing_is_lost_whatever_fails_and_however_often_it_is_killed(
    place: Place, serve: Serve, count: int, kills: int
) -> None:
    """Many calls, a destination that fails in every way, SIGKILLs, poison."""
    there = serve("503=.07,429=.05,500=.03,408=.03,drop=.05,lose=.1,slow=.05")
    place.settings(("D", there.url))
    sent, poison = [], {4_711, count // 2, count // 2 + 1, count - 1}
    for begin in range(0, count, 5_000):
        calls = [
            track("Poison" if at in poison else "Email Opened", messageId=f"m{at}")
            for at in range(begin, begin + 5_000)
        ]
        sent += [call["messageId"] for call in calls]
        place.received(*calls)
    chance = random.Random(5)
    for _ in range(kills):
        process = place.start("forward", *ALL_TIME)
        time.sleep(chance.uniform(0.5, 2.0))
        process.kill()
        process.communicate()
        if place.listed()["waiting_files"] == 0:
            break
    done = place.run("forward", "--once", *ALL_TIME)
    assert (done.code, done.out) == (0, ""), done.err
    dead = [
        json.loads(line)
        for line in place.run("destinations", "dead", "D", "--json").out.splitlines()
    ]
    assert [one["message_id"] for one in dead] == [f"m{at}" for at in sorted(poison)]
    assert all("answers 400" in one["reason"] for one in dead)
    good = [id for at, id in enumerate(sent) if at not in poison]
    assert list(dict.fromkeys(there.ids())) == good  # all, and first in their order
    batches = {tuple(request["ids"]) for request in there.requests()}
    assert sum(map(len, batches)) == len(good)  # an id is in one batch, however often sent
    assert len(there.requests()) > len(batches)
    found = place.listed()
    assert (found["state"], found["dead_letters"], found["waiting_files"]) == ("ok", 4, 0)
    assert found["retries"] > 0


def test_a_pause_is_told_once_and_over_when_it_is_mended(place: Place, serve: Serve) -> None:
    with served(place.folder / "kept", "401=1") as refusing:
        port = refusing.port
        other = serve(name="other")
        place.settings(("D", refusing.url), ("other", other.url))
        place.received(track("Email Opened", messageId="a"))
        process = place.start("forward", *ALL_TIME)
        until(lambda: place.listed()["state"] == "paused")
        place.received(track("Email Opened", messageId="b"))
        until(lambda: other.ids() == ["a", "b"])  # which is not held up
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1].decode()
    assert re.findall("destination 'D': .*", err) == [
        f"destination 'D': 127.0.0.1:{port} answers 401: see to its key; "
        "nothing is sent to it until then"
    ]
    assert "answers 401" in place.run("destinations", "list").out
    mended = serve(port=port)
    assert place.run("forward", "--once").code == 0
    assert mended.ids() == ["a", "b"]
    assert place.listed()["state"] == "ok"


def test_once_leaves_the_rest_to_the_next_run(place: Place, serve: Serve) -> None:
    there = serve("503=1")
    place.settings(("D", there.url))
    place.received(track("Email Opened", messageId="a"))
    env = {**KEYS, "LOADER_RETRY_TIMEOUT": "1"}
    done = place.run("forward", "--once", *ALL_TIME, env=env)
    assert done.code == 1
    assert "answers 503; nothing is lost" in done.err
    found = place.listed()
    assert (found["state"], found["waiting_files"]) == ("failing", 1)
    assert found["lag_seconds"] >= 0


def test_dead_letters_are_shown_and_sent_again(place: Place, serve: Serve) -> None:
    place.settings(("D", serve().url))
    place.received(
        track("Poison", messageId="p", secret="v4lue"),
        {"nothing": 1},
        track("Email Sent", messageId="a"),
    )
    assert place.run("forward", "--once", *ALL_TIME).code == 0
    shown = place.run("destinations", "dead", "D").out
    assert "answers 400" in shown
    assert "unknown_form" in shown
    assert "v4lue" not in shown
    raw = place.run("destinations", "dead", "D", "--raw").out.splitlines()
    assert [json.loads(line).get("messageId") for line in raw] == ["p", None]
    done = place.run("destinations", "replay", "D")
    assert (done.code, done.out) == (1, "0 dead letters accepted, 2 refused again\n")
    # The destination takes everything now, and a new version would read the other one.
    lenient = serve(name="lenient")
    text = (place.folder / "loader.toml").read_text()
    (place.folder / "loader.toml").write_text(re.sub('url = ".*"', f'url = "{lenient.url}"', text))
    assert place.run("destinations", "test", "D").code == 0
    assert json.loads(lenient.requests()[0]["body"])["batch"][0]["event"].startswith("Test")


def test_a_replay_takes_what_is_accepted_out(place: Place, serve: Serve) -> None:
    with served(place.folder / "kept", "413=1") as refusing:
        place.settings(("D", refusing.url))
        place.received(*(track("Email Opened", messageId=one) for one in "ab"))
        assert place.run("forward", "--once", *ALL_TIME).code == 0
    there = serve(port=refusing.port)
    done = place.run("destinations", "replay", "D")
    assert (done.code, done.out) == (0, "2 dead letters accepted, 0 refused again\n")
    assert there.ids() == ["a", "b"]
    assert place.run("destinations", "dead", "D").out == ""
    assert place.listed()["sent"] == 2


def test_a_file_that_was_removed_before_it_was_sent_is_told(place: Place, serve: Serve) -> None:
    place.settings(("D", serve("401=1").url))
    path = place.received(track("Email Opened", messageId="a"))
    place.run("forward", "--once", *ALL_TIME)
    path.unlink()
    done = place.run("forward", "--once")
    assert done.code == 0
    assert "1 file was removed" in done.err
    assert place.listed()["missed_files"] == 1


def test_a_folder_that_comes_back_is_not_sent_once_more(place: Place, serve: Serve) -> None:
    there = serve()
    place.settings(("D", there.url))
    place.received(track("Email Opened", messageId="a"))
    assert place.run("forward", "--once", *ALL_TIME).code == 0
    folder = place.folder / "spool" / "eu"
    folder.rename(place.folder / "away")
    assert place.run("forward", "--once").code == 0
    (place.folder / "away").rename(folder)
    assert place.run("forward", "--once").code == 0
    assert there.ids() == ["a"]


def test_two_forwarders_do_not_share_a_spool(place: Place, serve: Serve) -> None:
    place.settings(("D", serve().url))
    process = place.start("forward")
    until(lambda: place.listed()["state"] == "ok")
    done = place.run("forward", "--once")
    assert done.code == 75
    assert "another process forwards" in done.err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_a_stop_does_not_wait_for_an_answer_that_nobody_gives(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.settings(("D", f"http://127.0.0.1:{silent.getsockname()[1]}"))
        place.received(track("Email Opened", messageId="a"))
        process = place.start("forward", *ALL_TIME)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=25)
            assert process.returncode == 0


def test_metrics_say_how_far_it_is(place: Place, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place.settings(("D", serve().url))
    place.received(track("Email Opened"), track("Poison"), {"nothing": 1})
    process = place.start("forward", *ALL_TIME, "--metrics-port", str(port))
    until(lambda: place.listed()["sent"] == 1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    prefix = "customerio_forward_"
    for name, value in (("sent_total", 1), ("dead_letters", 2), ("lag_seconds", 0), ("paused", 0)):
        assert f'{prefix}{name}{{destination="D"}} {value:.1f}' in text
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_no_secret_is_shown(place: Place, serve: Serve) -> None:
    url = serve("503=1").url.replace("/v1", "/s3cr3tpath")
    place.settings(("D", url), ("H", "http://localhost:9/s3cr3t"))
    place.received(track("Email Opened", secret="s3cr3tvalue"))
    env = {**KEYS, "LOADER_RETRY_TIMEOUT": "1"}
    for command in (
        *(("config", "show"), ("config", "show", "--json"), ("forward", "--once", *ALL_TIME)),
        *(("destinations", "list"), ("destinations", "list", "--json")),
        *(
            ("destinations", "test", "D"),
            ("destinations", "test", "H"),
            ("destinations", "dead", "D"),
        ),
    ):
        done = place.run(*command, env=env)
        assert "s3cr3t" not in done.out + done.err, command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("forward", "--from", "soon"), "is no time"),
        (("destinations", "test", "E"), "'E' is not configured"),
        (("destinations", "dead", "E"), "there are D"),
    ],
)
def test_wrong_use_is_said(place: Place, arguments: tuple[str, ...], words: str) -> None:
    place.settings(("D", "http://127.0.0.1:9"))
    done = place.run(*arguments)
    assert done.code == 2
    assert words in done.err


def test_without_destinations_there_is_nothing_to_do(place: Place) -> None:
    place.settings()
    for command in (("forward",), ("destinations", "list")):
        done = place.run(*command)
        assert done.code == 2
        assert "no [[destination]] is configured" in done.err
