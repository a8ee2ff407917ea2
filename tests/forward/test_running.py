"""The threads of the forwarder: what one of them meets is not the end of the others."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest
from acceptance.harness import ndjson, track
from forward.served import served

from loader.config import load_settings
from loader.forward.delivery import Delivery
from loader.forward.running import Forwarder, Sender
from loader.forward.state import State
from loader.spool import SpoolWriter


def test_a_defect_pauses_one_destination_and_not_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No input is known that leads to one, so it is put in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "k")
    send = Delivery.send

    def fail(delivery: Delivery, calls: Any) -> Any:
        if delivery._destination.name == "bad":
            raise KeyError("s3cr3t")
        return send(delivery, calls)

    monkeypatch.setattr(Delivery, "send", fail)
    told: list[tuple[str, str]] = []
    with served(tmp_path / "kept") as there:
        blocks = [
            f'[[destination]]\nname = "{name}"\nkind = "segment"\nurl = "{there.url}"\n'
            'key = "env:KEY"\n'
            for name in ("bad", "good")
        ]
        head = 'spool_dir = "spool"\n[[source]]\nname = "EU"\n'
        Path("loader.toml").write_text(head + "".join(blocks))
        settings = load_settings()
        settings.spool_dir.mkdir()
        state = State(settings.spool_dir)
        state.begin("bad", {})
        state.begin("good", {})
        writer = SpoolWriter(settings.spool_dir, "eu")
        writer.append(ndjson(track("Email Opened", messageId="a")))
        writer.finish()
        forwarder = Forwarder(
            settings,
            since=None,
            once=True,
            say=lambda *one: told.append(one),
            note=lambda *one: None,
        )
        assert not forwarder.run()
        assert there.ids() == ["a"]
    [(name, words)] = told
    assert name == "bad"
    assert "a defect of customerio-loader, please report it: KeyError in test_running.py" in words
    assert "s3cr3t" not in words
    found = state.standing("bad")
    assert found is not None
    assert found.paused


def test_that_it_goes_on_is_told_where_its_failing_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who read "again and again" was never told that it was over."""
    monkeypatch.chdir(tmp_path)
    Path("loader.toml").write_text(
        'spool_dir = "spool"\n[[destination]]\nname = "D"\nkind = "segment"\n'
        'url = "http://127.0.0.1:9"\nkey = "env:KEY"\n'
    )
    settings = load_settings()
    settings.spool_dir.mkdir()
    told: list[str] = []

    def tell(_name: str, words: str) -> None:
        told.append(words)

    sender = Sender(
        settings.destination[0],
        settings,
        stop=Event(),
        since=None,
        once=False,
        say=tell,
        note=tell,
    )
    sender._know({})
    told.clear()
    sender._failed("no answer", 1)
    sender._works()
    assert told == []  # a fault that passes is nobody's business
    sender._failed("no answer", 5)
    sender._works()
    assert told == ["no answer; it is tried again and again", "it goes on"]
