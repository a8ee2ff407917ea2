"""`destinations`: where received events are sent on to."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.context import read_settings
from loader.cli.exits import FAILED
from loader.cli.options import AsJson, examples
from loader.cli.text import number, out, out_exactly, out_json, out_table
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.config import Destination, Settings
    from loader.forward.state import DeadLetter, State

app = typer.Typer(
    help="Where received events are sent on to.", no_args_is_help=True, rich_markup_mode=None
)

_LIST_EPILOG = examples("customerio-loader destinations list")
_TEST_EPILOG = examples("customerio-loader destinations test Segment")
_DEAD_EPILOG = examples(
    "customerio-loader destinations dead Segment",
    "customerio-loader destinations dead Segment --raw > refused.ndjson",
    "customerio-loader destinations dead Segment --discard",
)
_REPLAY_EPILOG = examples("customerio-loader destinations replay Segment")
_MOST_SHOWN = 100
Name = Annotated[str, typer.Argument(help="Name of the destination.", show_default=False)]


@app.command("list", epilog=_LIST_EPILOG)
def destinations_list(as_json: AsJson = False) -> None:
    """Show how far each destination is: what waits, what was sent, what it refused."""
    settings = read_settings()
    if not settings.destination:
        raise UsageError("no [[destination]] is configured")
    with _state(settings) as state:
        found = [_facts(settings, state, one) for one in settings.destination]
        others = set(state.names() if state else ()) - {one.name for one in settings.destination}
        standings = {name: state.standing(name) for name in sorted(others)} if state else {}
    if as_json:
        for one in found:
            out_json(one)
        return
    names = ("destination", "state", "waiting_files", "lag_seconds", "sent", "retries")
    head = (*names[:2], "waiting files", "lag (s)", *names[4:], "dead letters")
    rows = [[one[name] for name in (*names, "dead_letters")] for one in found]
    out_table(head, [[f"{v:,}" if isinstance(v, int) else v for v in row] for row in rows])
    for one in found:
        if one["problem"]:
            out(f"{one['destination']}: {one['problem']} (since {one['failing_since']})", fg="red")
        if one["missed_files"]:
            missed = number(one["missed_files"], "file")
            out(f"{one['destination']}: {missed} removed or cut before all of it was sent")
    for name, standing in standings.items():
        if standing and standing.dead:
            letters = number(standing.dead, "dead letter")
            out(f"{name}: {letters} left of it, although it is configured no longer")


@app.command("test", epilog=_TEST_EPILOG)
def destinations_test(name: Name) -> int:
    """Send one event that says it is a test, and show the answer."""
    from loader.forward.by_hand import TEST_EVENT, send_test

    settings = read_settings()
    destination = settings.find_destination(name)
    answer = send_test(settings, destination)
    if answer.is_accepted:
        out(f"{destination.host} accepted the event {TEST_EVENT!r} ({answer.status})", fg="green")
        return 0
    out(f"not accepted: {answer.problem}", fg="red")
    return FAILED


@app.command("dead", epilog=_DEAD_EPILOG)
def destinations_dead(
    name: Name,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the records, each on a line, for `load -`.")
    ] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete all of them instead of showing them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a destination refused for good: where it stands, and why.

    The name may be one that a destination had before.
    """
    settings = read_settings()
    with _state(settings) as state:
        if state is None or name not in state.names():  # where it is, it need not be configured
            settings.find_destination(name)
        if discard:
            out(f"{number(state.discard(name) if state else 0, 'dead letter')} discarded")
        elif state:
            _show_dead(state, name, raw=raw, as_json=as_json)
        elif not (raw or as_json):
            out("no dead letters")


@app.command("replay", epilog=_REPLAY_EPILOG)
def destinations_replay(name: Name) -> int:
    """Send dead letters again, each alone."""
    from loader.forward.by_hand import Replayed, replay

    settings = read_settings()
    with _state(settings) as state:
        if (
            name not in (one.name for one in settings.destination)
            and state
            and name in state.names()
        ):
            raise UsageError(
                f"the destination {name!r} is configured no longer: give a [[destination]] that "
                "name again to send them, or delete them with `destinations dead --discard`"
            )
        destination = settings.find_destination(name)
        done = replay(settings, destination, state) if state else Replayed(0, 0, 0)
    out(f"{number(done.accepted, 'dead letter')} accepted, {done.refused:,} refused again")
    if done.excluded:
        excluded = number(done.excluded, "dead letter")
        out(
            f"{excluded} kept: not for this destination by its `sources` or `events`, or by "
            "`integrations`"
        )
    return FAILED if done.refused else 0


def _show_dead(state: "State", name: str, *, raw: bool, as_json: bool) -> None:
    letters = state.dead_letters(name)
    if raw:
        for one in letters:
            out_exactly(one.line.decode("utf-8", "backslashreplace").rstrip("\n"))
    elif as_json:
        for one in letters:
            out_json({"destination": name} | _shown(one))
    elif not (shown := [list(_shown(one).values()) for one in islice(letters, _MOST_SHOWN)]):
        out("no dead letters")
    else:
        out_table(("position", "message id", "reason", "died at"), shown)
        standing = state.standing(name)
        if standing and standing.dead > _MOST_SHOWN:
            out(f"and {standing.dead - _MOST_SHOWN:,} more: --json shows all of them")


def _shown(letter: "DeadLetter") -> dict[str, Any]:
    return {
        "position": f"{letter.schema}/{letter.file}:{letter.at}",
        "message_id": letter.message_id or "none",
        "reason": letter.reason,
        "died_at": letter.died_at,
    }


def _facts(settings: "Settings", state: "State | None", one: "Destination") -> dict[str, Any]:
    from loader.forward.by_hand import Waiting, standing_of
    from loader.forward.state import Standing

    known = standing_of(settings, state, one) if state else None
    found, waiting = known or (Standing(), Waiting(0, 0, 0.0))
    how = "paused" if found.paused else "failing" if found.problem else "ok"
    return {
        "destination": one.name,
        "kind": one.kind,
        "host": one.host,
        "state": how if known else "new",
        "waiting_files": waiting.files,
        "waiting_bytes": waiting.bytes,
        "lag_seconds": round(waiting.seconds),
        "sent": found.sent,
        "retries": found.retries,
        "dead_letters": found.dead,
        "missed_files": found.missed,
        "sent_at": found.sent_at,
        "problem": found.problem,
        "failing_since": found.failing_since,
    }


@contextmanager
def _state(settings: "Settings") -> "Iterator[State | None]":
    """The state of forwarding; None where nothing was forwarded yet."""
    from loader.forward.state import State, opened

    if not State.is_there(settings.spool_dir):
        yield None
        return
    with opened(settings.spool_dir) as state:
        yield state
