"""What is seen of destinations, and done about them by hand; from the command line."""

import json
import re
import signal
import socket
import urllib.request

import pytest
from acceptance.forwarding import ALL_TIME, KEYS, Place, Serve, until
from acceptance.harness import track
from forward.served import served


def test_dead_letters_are_shown_and_sent_again(place: Place, serve: Serve) -> None:
    there = serve()
    host = f"127.0.0.1:{there.port}"
    place.settings(("D", there.url))
    place.received(
        track("Poison", messageId="p", secret="v4lue"),
        {"nothing": 1},
        track("Email Sent", messageId="a"),
    )
    done = place.run("forward", "--once", *ALL_TIME)
    assert done.code == 0
    assert done.err.splitlines() == [
        "customerio-loader: destination 'D': begins with what was received since "
        "2020-01-01T00:00:00Z",
        "customerio-loader: destination 'D': 2 dead letters (1: unknown_form: neither a Segment "
        f"track call nor a Customer.io reporting webhook; 1: {host} answers 400): "
        "see `destinations dead D`",
        "customerio-loader: destination 'D': 1 sent, 2 dead letters",
    ]
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
    assert place.run("destinations", "dead", "D").out == "no dead letters\n"
    assert place.listed()["sent"] == 2


def test_one_of_several_calls_in_a_line_is_replayed(place: Place, serve: Serve) -> None:
    """What cannot be read beside it kept it from being sent."""
    with served(place.folder / "kept", "400=1") as refusing:
        place.settings(("D", refusing.url))
        place.received([{"nothing": 1}, track("Email Opened", messageId="a"), {"nothing": 2}])
        assert place.run("forward", "--once", *ALL_TIME).code == 0
    there = serve(port=refusing.port)
    done = place.run("destinations", "replay", "D")
    assert (done.code, done.out) == (1, "1 dead letter accepted, 2 refused again\n")
    assert there.ids() == ["a"]


def test_dead_letters_that_filters_exclude_are_kept(place: Place, serve: Serve) -> None:
    url = serve("400=1").url
    place.settings(("D", url))
    place.received(track("Email Opened", messageId="a"))
    assert place.run("forward", "--once", *ALL_TIME).code == 0
    for line in ('events = ["Email Sent"]', 'sources = ["US"]'):
        place.settings(("D", f'{url}"\n{line}\n#"'))
        done = place.run("destinations", "replay", "D")
        assert done.out.splitlines() == [
            "0 dead letters accepted, 0 refused again",
            "1 dead letter kept: not for this destination by its `sources` or `events`, or by "
            "`integrations`",
        ]
    assert place.listed()["dead_letters"] == 1


def test_dead_letters_of_a_name_that_is_no_more_are_shown_until_they_are_discarded(
    place: Place, serve: Serve
) -> None:
    url = serve("400=1").url
    place.settings(("Old", url))
    place.received(track("Email Opened", messageId="a"))
    assert place.run("forward", "--once", *ALL_TIME).code == 0
    place.settings(("New", url))
    assert "Old: 1 dead letter left" in place.run("destinations", "list").out
    assert "answers 400" in place.run("destinations", "dead", "Old").out
    done = place.run("destinations", "replay", "Old")
    assert done.code == 2
    assert "configured no longer: give a [[destination]] that name again" in done.err
    place.settings()  # nothing is forwarded any more
    assert place.run("destinations", "dead", "Old", "--discard").out == "1 dead letter discarded\n"
    assert place.run("destinations", "dead", "Old").out == "no dead letters\n"


def test_a_test_is_never_taken_for_another_one(place: Place, serve: Serve) -> None:
    there = serve()
    text = f'[[destination]]\nname = "W"\nkind = "webhook"\nurl = "{there.url}"\nkey = "env:KEY"\n'
    place.settings(more=text)
    for _ in range(2):
        assert place.run("destinations", "test", "W", env={"KEY": "whsec_c2VjcmV0"}).code == 0
    assert len({one["headers"]["webhook-id"] for one in there.requests()}) == 2


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("urllib3", ()), ("prometheus_client", ("--metrics-port", "9"))],
)
def test_a_missing_package_is_said_as_for_receive(
    place: Place, package: str, arguments: tuple[str, ...]
) -> None:
    place.settings(("D", "http://127.0.0.1:9"))
    (place.folder / "lib" / package).mkdir(parents=True)
    (place.folder / "lib" / package / "__init__.py").write_text(
        f"raise ModuleNotFoundError('not there', name={package!r})"
    )
    env = {**KEYS, "PYTHONPATH": str(place.folder / "lib")}
    done = place.run("forward", "--once", *arguments, env=env)
    assert done.code == 2
    assert f"package {package!r}: pip install 'customerio-loader[forward]'" in done.err


def test_a_port_for_metrics_that_is_taken_is_told(place: Place) -> None:
    place.settings(("D", "http://127.0.0.1:9"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = place.run("forward", "--metrics-port", port)
    assert done.code == 2
    assert "choose another one with --metrics-port" in done.err


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
