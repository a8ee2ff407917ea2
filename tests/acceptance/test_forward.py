"""Received events on their way to destinations, from the command line."""

import json
import os
import random
import re
import signal
import socket
import time

import pytest
from acceptance.forwarding import ALL_TIME, KEYS, Place, Serve, until
from acceptance.harness import track, webhook
from forward.served import served


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
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    assert err.decode().splitlines() == [
        "customerio-loader: destination 'D': begins with what was received since now; "
        "1 older file is not sent (under a new name `--from TIME` sends them)",
        "customerio-loader: destination 'D': 3 sent, 0 dead letters",
    ]
    assert there.ids() == ["a", "b", "c"]  # and nothing that was there before


def test_a_file_that_is_being_written_is_sent_when_it_is_finished(
    place: Place, serve: Serve
) -> None:
    there = serve()
    place.settings(("D", there.url))
    open_file = place.received(track("Email Opened", messageId="a"), finished=False)
    place.received(track("Email Opened", messageId="old"))
    done = place.run("forward", "--once")
    assert done.code == 0
    assert "'D': 0 sent, 0 dead letters" in done.err  # nothing is a result, too
    assert "1 file of received events is being written" in done.err
    open_file.rename(open_file.with_name(open_file.name.removeprefix(".")))
    assert place.run("forward", "--once").code == 0
    assert "being written" not in place.run("forward", "--once").err
    assert there.ids() == ["a"]  # although its name is older than one that was passed over


def test_a_destination_may_begin_earlier(place: Place, serve: Serve) -> None:
    there = serve()
    place.settings(("D", there.url))
    for at, day in enumerate(("2026-01-01", "2026-02-01")):
        path = place.received(track("Email Opened", messageId=f"m{at}"))
        moment = time.mktime(time.strptime(day, "%Y-%m-%d"))
        os.utime(path, (moment, moment))
    done = place.run("forward", "--once", "--from", "2026-01-15")
    assert done.code == 0
    assert "'D': begins with what was received since 2026-01-15T00:00:00Z; 1 older file" in done.err
    assert there.ids() == ["m1"]
    done = place.run("forward", "--once", *ALL_TIME)
    assert done.code == 0
    assert "'D': --from changes nothing: it has begun before" in done.err  # was silent
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
        "destination 'D': begins with what was received since 2020-01-01T00:00:00Z",
        f"destination 'D': 127.0.0.1:{port} answers 401: see to its key; "
        "nothing is sent to it until then",
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


def test_files_that_come_and_go_while_it_is_tried_again_are_counted(
    place: Place, serve: Serve
) -> None:
    with served(place.folder / "kept", "503=1") as failing:
        place.settings(("D", failing.url))
        place.received(track("Email Opened", messageId="a"))
        process = place.start("forward", *ALL_TIME)
        until(lambda: place.listed()["retries"] > 0)
        path = place.received(track("Email Opened", messageId="b"))
        tries = place.listed()["retries"]
        until(lambda: place.listed()["retries"] > tries + 1)
        path.unlink()
    there = serve(port=failing.port)
    until(lambda: place.listed()["missed_files"] == 1)
    until(lambda: there.ids() == ["a"])
    process.send_signal(signal.SIGTERM)
    assert "1 file was removed" in process.communicate(timeout=30)[1].decode()


def test_a_file_that_is_removed_while_it_is_sent_is_sent(place: Place, serve: Serve) -> None:
    """It was counted as missed, and once more if it was not sent to its end."""
    with served(place.folder / "kept", "503=1") as failing:
        place.settings(("D", failing.url))
        path = place.received(track("Email Opened", messageId="a"))
        process = place.start("forward", *ALL_TIME)
        until(lambda: place.listed()["retries"] > 0)
        path.unlink()
        tries = place.listed()["retries"]
        until(lambda: place.listed()["retries"] > tries + 1)
    there = serve(port=failing.port)
    until(lambda: there.ids() == ["a"])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert place.run("forward", "--once").code == 0
    found = place.listed()
    assert (found["missed_files"], found["sent"], found["state"]) == (0, 1, "ok")


def test_what_waits_of_a_source_that_is_taken_out_waits(place: Place, serve: Serve) -> None:
    """It was sent, although the settings exclude it."""
    with served(place.folder / "kept", "401=1") as refusing:
        place.settings(("D", refusing.url))
        for name, schema in (("a", "eu"), ("b", "us")):
            place.received(track("Email Opened", messageId=name), schema=schema)
        assert place.run("forward", "--once", *ALL_TIME).code == 1
    there = serve(port=refusing.port)
    for sources, ids in (('"US"', ["b"]), ('"US", "EU"', ["b", "a"])):
        place.settings(("D", f'{there.url}"\nsources = [{sources}]\n#"'))
        assert place.run("forward", "--once").code == 0
        assert there.ids() == ids


def test_a_fault_of_this_machine_is_over_when_it_is_mended(place: Place, serve: Serve) -> None:
    """It was shown until the next event came."""
    place.settings(("D", serve().url))
    folder = place.folder / "spool" / "eu" / "20261128T000000000000Z-0123456789abcdef.v1.jsonl"
    folder.mkdir(parents=True)
    assert place.run("forward", "--once", *ALL_TIME).code == 1
    assert place.listed()["state"] == "failing"
    folder.rmdir()
    assert place.run("forward", "--once").code == 0
    assert place.listed()["state"] == "ok"


def test_a_spool_that_cannot_be_made_is_told(place: Place) -> None:
    place.settings(("D", "http://127.0.0.1:9"))
    (place.folder / "spool").touch()
    done = place.run("forward", "--once")
    assert (done.code, done.err) == (
        2,
        "customerio-loader: the spool 'spool' cannot be made: File exists; see to `spool_dir`\n",
    )


def test_a_file_that_was_cut_is_told_and_counted(place: Place, serve: Serve) -> None:
    with served(place.folder / "kept", "401=1") as refusing:
        place.settings(("D", refusing.url))
        paths = [place.received(*(track("Email Sent", messageId=one),) * 2) for one in "abc"]
        place.run("forward", "--once", *ALL_TIME)
    os.truncate(paths[0], 0)
    os.truncate(paths[1], paths[1].stat().st_size // 2)
    there = serve(port=refusing.port)
    done = place.run("forward", "--once")
    assert done.code == 0
    for path in paths[:2]:
        assert f"eu/{path.name} was cut before all of it was sent" in done.err
    assert there.ids() == ["b", "c", "c"]
    assert place.listed()["missed_files"] == 2
    assert "2 files removed or cut" in place.run("destinations", "list").out


def test_no_call_stops_those_behind_it(place: Place, serve: Serve) -> None:
    there = serve()
    place.settings(("D", there.url))
    odd = json.dumps(track("Email Sent", messageId="a")).encode()[:-1]
    path = place.received(track("Email Sent", messageId="b"))
    lines = [b',"integrations":{"All":1e999}}', b',"integrations":' + b"[" * 99_999 + b"]" * 99_999]
    good = path.read_bytes()
    path.write_bytes(b"".join(odd + line + b"\n" for line in (lines[0], lines[1] + b"}")) + good)
    done = place.run("forward", "--once", *ALL_TIME)
    assert done.code == 0
    assert there.ids() == ["a", "b"]
    assert "1 dead letter (too_deep: nested too deep to be read)" in done.err


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
