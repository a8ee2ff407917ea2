"""The state of forwarding: what is kept, and for whom."""

import os
import sqlite3
import stat
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loader.config import Destination
from loader.errors import LoaderError, LockHeld
from loader.forward.calls import CallReader, Line, Refused
from loader.forward.state import Standing, State, only_one, opened


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def test_a_new_destination_passes_over_what_was_there(state: State) -> None:
    assert state.begin("D", {("eu", "a"): 9})
    assert not state.begin("D", {("eu", "b"): 9})
    assert state.progress("D") == {("eu", "a"): None}
    assert state.progress("E") == {}
    assert state.standing("E") is None


def test_progress_is_by_destination_and_file(state: State, tmp_path: Path) -> None:
    for name in ("D", "E"):
        state.begin(name, {})
        state.add(name, {("eu", "a"): 90}, done=False)
    state.add("D", {("us", "a"): 5}, done=False)
    state.advance("D", ("eu", "a"), 50, sent=3, dead=[])
    state.advance("E", ("eu", "a"), 10, sent=1, dead=[])
    state.advance("D", ("us", "a"), 5, sent=0, dead=[])
    assert state.end("D", ("us", "a"), 5)
    state.close()
    again = State(tmp_path)
    assert again.progress("D") == {("eu", "a"): 50, ("us", "a"): None}
    assert again.progress("E") == {("eu", "a"): 10}
    found = again.standing("D")
    assert found is not None
    assert (found.sent, found.retries, found.dead) == (3, 0, 0)


def test_dead_letters_are_kept_once_with_their_lines(state: State) -> None:
    state.begin("D", {})
    dead = [Refused(Line(7, b"line\n"), number, "m", "answers 400") for number in (1, 0)]
    for _ in range(2):
        state.advance("D", ("eu", "a"), 20, sent=0, dead=dead)
    first, second = state.dead_letters("D")
    assert (first.number, second.number, first.line, first.at) == (0, 1, b"line\n", 7)
    state.revive("D", first.id)
    assert [one.number for one in state.dead_letters("D")] == [1]
    found = state.standing("D")
    assert found is not None
    assert (found.sent, found.dead) == (1, 1)
    assert state.discard("D") == 1
    assert list(state.dead_letters("D")) == []


def test_dead_letters_may_go_while_they_are_looked_at_one_by_one(state: State) -> None:
    """A destination that refuses all that it gets makes gigabytes of them."""
    state.begin("D", {})
    for at in range(20):
        line = Line(at, b"x" * (1 << 20))
        state.advance("D", ("eu", "a"), at, sent=0, dead=[Refused(line, 0, str(at), "answers 400")])
    tracemalloc.start()
    for letter in state.dead_letters("D"):
        if letter.at % 2:
            state.revive("D", letter.id)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert [one.at for one in state.dead_letters("D")] == [*range(0, 20, 2)]


def test_failing_is_since_the_first_failure(state: State) -> None:
    state.begin("D", {})
    state.fails("D", "answers 503", paused=False)
    first = state.standing("D")
    state.fails("D", "answers 401", paused=True)
    second = state.standing("D")
    assert first is not None
    assert second is not None
    assert (second.problem, second.paused, second.retries) == ("answers 401", 1, 2)
    assert second.failing_since == first.failing_since
    state.works("D")
    third = state.standing("D")
    assert third is not None
    assert (third.problem, third.paused, third.failing_since) == (None, 0, None)


def missed(state: State) -> int:
    found = state.standing("D")
    assert found is not None
    return found.missed


def test_removed_files_are_forgotten_and_those_not_done_counted(state: State) -> None:
    state.begin("D", {("eu", "a"): 20})
    state.add("D", {("eu", "b"): 20, ("eu", "c"): 20}, done=False)
    state.advance("D", ("eu", "b"), 10, sent=0, dead=[])
    gone = [("eu", "a"), ("eu", "b"), ("eu", "never seen")]
    assert state.forget("D", gone) == 1
    assert state.forget("D", gone) == 0  # whoever saw it first has counted it
    state.advance("D", ("eu", "b"), 15, sent=0, dead=[])  # of a file that is still open
    assert state.end("D", ("eu", "b"), 15)
    assert state.progress("D") == {("eu", "c"): 0}
    assert missed(state) == 1


def test_a_file_that_was_longer_is_missed(state: State) -> None:
    state.begin("D", {})
    state.add("D", {("eu", "whole"): 20, ("eu", "cut"): 20, ("eu", "empty"): 0}, done=False)
    ends = {"whole": 20, "cut": 10, "empty": 0}
    assert [state.end("D", ("eu", name), at) for name, at in ends.items()] == [True, False, False]
    assert set(state.progress("D").values()) == {None}
    assert missed(state) == 2


@pytest.mark.parametrize(
    ("failing_days", "tried_days", "keep", "holds"),
    [
        (None, None, 7, True),
        (6, 0, 7, True),
        (8, 0, 7, False),
        (8, 6, 7, False),
        (40, 39, 7, True),  # nobody tries it
        (0.01, 0, 0, False),
        (40, 39, 0, True),
    ],
)
def test_only_one_that_fails_for_long_and_is_tried_holds_no_files(
    failing_days: float | None, tried_days: float | None, keep: float, holds: bool
) -> None:
    def ago(days: float | None) -> str | None:
        return days if days is None else (datetime.now(UTC) - timedelta(days=days)).isoformat()

    standing = Standing(0, 0, 0, None, "", 0, ago(failing_days), ago(tried_days), 0)
    assert standing.holds_files(timedelta(days=keep)) is holds


def test_what_fails_after_nobody_has_tried_it_fails_anew(state: State, tmp_path: Path) -> None:
    state.begin("D", {})
    state.fails("D", "answers 503", paused=False)
    with sqlite3.connect(tmp_path / ".forward.db") as db:
        db.execute("UPDATE destinations SET failing_since = '2026-01-01T00:00:00+00:00'")
        db.execute("UPDATE destinations SET tried_at = failing_since")
    db.close()
    state.fails("D", "answers 503", paused=False)
    found = state.standing("D")
    assert found is not None
    assert found.failing_since == found.tried_at
    assert found.failing_since != "2026-01-01T00:00:00+00:00"


def test_an_id_of_any_kind_can_be_kept(state: State) -> None:
    state.begin("D", {})
    destination = Destination(name="D", kind="segment", url="https://x.example.com", key="env:K")
    line = Line(0, b'{"type":"track","event":"x","messageId":"\\ud800"}\n')
    [call], _ = CallReader(destination, max_record_bytes=1_000).read([line])
    state.advance("D", ("eu", "a"), 1, sent=0, dead=[Refused(line, 0, call.id, "answers 400")])
    assert [one.message_id for one in state.dead_letters("D")] == ["\\ud800"]


def test_a_newer_state_is_refused(state: State, tmp_path: Path) -> None:
    state.close()
    with sqlite3.connect(tmp_path / ".forward.db") as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(LoaderError, match="newer version of customerio-loader"):
        State(tmp_path)


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".forward.db").write_bytes(b"x" * 5_000)
    with pytest.raises(LoaderError, match=r"cannot be used: .*; restore it, or remove it"):
        State(tmp_path)


def test_what_fails_while_a_command_uses_it_is_told(state: State, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / ".forward.db") as db:
        db.execute("DROP TABLE dead_letters")
    db.close()
    with pytest.raises(LoaderError, match="cannot be used: no such table"), opened(tmp_path) as it:
        it.standing("D")


def test_the_group_of_the_spool_may_use_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        state = State(tmp_path)
        state.begin("D", {})
        modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob(".forward.db*")]
    finally:
        os.umask(before)
    assert modes == [0o660] * 3


def test_one_forwarder_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(LockHeld), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass
