"""`columns widen` asks before it rewrites much."""

import io
import os
import pty

import pytest
import typer

from loader.cli.columns import _ask
from loader.errors import UsageError

GIGABYTE = 1_000_000_000


def test_nobody_is_asked_up_to_a_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    _ask(GIGABYTE)


def test_who_cannot_answer_has_to_say_yes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="--yes"):
        _ask(GIGABYTE + 1)


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        if answer == "y":
            _ask(2 * GIGABYTE)
        else:
            with pytest.raises(typer.Abort):
                _ask(2 * GIGABYTE)
    os.close(ours)
