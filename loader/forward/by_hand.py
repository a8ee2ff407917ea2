"""What is done by hand: looking at destinations, a test, another try for dead letters."""

import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from threading import Event
from typing import NamedTuple

from loader.config import Destination, Settings
from loader.forward.calls import Call, CallReader, Line
from loader.forward.delivery import Answer, Delivery
from loader.forward.state import Key, Standing, State
from loader.spool import began_at, finished

TEST_EVENT = "Test of customerio-loader"


class Waiting(NamedTuple):
    """What is still to be sent to a destination."""

    files: int
    bytes: int
    seconds: float  # since the first of them was begun


def standing_of(
    settings: Settings, state: State, destination: Destination
) -> tuple[Standing, Waiting] | None:
    """How a destination is, and what waits for it; None where nothing was done for it yet."""
    standing = state.standing(destination.name)
    return standing and (standing, _waiting(settings, state, destination))


def _waiting(settings: Settings, state: State, destination: Destination) -> Waiting:
    progress = state.progress(destination.name)
    left = [
        (file.name, file.size - done)
        for source in settings.sources()
        if destination.takes(source.name)
        for file in finished(settings.spool_dir, source.schema_)
        if (done := progress.get((source.schema_, file.name), 0)) is not None
    ]
    if not left:
        return Waiting(0, 0, 0.0)
    lag = (datetime.now(UTC) - began_at(min(left)[0])).total_seconds()
    return Waiting(len(left), sum(size for _, size in left), max(lag, 0.0))


class Replayed(NamedTuple):
    """What became of dead letters."""

    accepted: int
    refused: int
    excluded: int  # which the settings or the sender exclude now


def replay(settings: Settings, destination: Destination, state: State) -> Replayed:
    """Try dead letters again, each alone.

    Raises LoaderError where the destination takes nothing now.
    """
    reader = CallReader(destination, max_record_bytes=settings.max_record_bytes)
    delivery = _delivery(settings, destination)
    takes = {one.schema_: destination.takes(one.name) for one in settings.sources()}
    accepted = refused = excluded = 0
    for letter in state.dead_letters(destination.name):
        if not takes.get(letter.schema):
            excluded += 1
            continue
        calls, unread = reader.read([Line(letter.at, letter.line)])
        wanted = [call for call in calls if letter.message_id in (None, call.id)]
        if (unread and letter.message_id is None) or delivery.send(wanted):
            refused += 1
        elif wanted:
            state.revive(destination.name, letter.id)
            accepted += 1
        else:
            excluded += 1
    return Replayed(accepted, refused, excluded)


def tell_removed(state: State, destination: str, gone: Iterable[Key]) -> str | None:
    """Forget files that were removed; says how many of them were not sent, if any."""
    missed = state.forget(destination, gone)
    files = "1 file was" if missed == 1 else f"{missed:,} files were"
    return f"{files} removed before all of it was sent" if missed else None


def send_test(settings: Settings, destination: Destination) -> Answer:
    """Send one call that says that it is a test. Raises Paused where there is no key for it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    id = f"test-{secrets.token_hex(8)}"
    call = {
        "type": "track",
        "event": TEST_EVENT,
        "messageId": id,
        "anonymousId": "customerio-loader",
        "timestamp": now,
        "properties": {},
    }
    body = json.dumps(call).encode()
    return _delivery(settings, destination).try_once([Call(Line(0, body), 0, id, body)])


def _delivery(settings: Settings, destination: Destination) -> Delivery:
    """For one try by hand: what fails for a while is told at its end."""
    return Delivery(
        destination,
        own_keys=settings.write_keys(),
        stop=Event(),
        tries_for=settings.retry_timeout,
        on_failure=lambda _problem, _tries: None,
    )
