"""What is done by hand: looking at destinations, a test, another try for dead letters."""

import json
import secrets
from datetime import UTC, datetime
from threading import Event
from typing import NamedTuple

from loader.config import Destination, Settings
from loader.forward.calls import Call, CallReader, Line
from loader.forward.delivery import Answer, Delivery
from loader.forward.state import DeadLetter, Standing, State
from loader.spool import finished

TEST_EVENT = "Test of customerio-loader"


class Waiting(NamedTuple):
    """What is still to be sent to a destination."""

    files: int
    bytes: int
    seconds: float  # since the first of them was begun


def standing_of(
    settings: Settings, state: State, destination: Destination
) -> tuple[Standing | None, Waiting]:
    """How a destination is. One that is new, and was not begun yet, waits for nothing."""
    found = state.standing(destination.name)
    return found, _waiting(settings, state, destination) if found else Waiting(0, 0, 0.0)


def _waiting(settings: Settings, state: State, destination: Destination) -> Waiting:
    progress = state.progress(destination.name)
    sizes: dict[str, int] = {}
    for source in settings.sources():
        for file in finished(settings.spool_dir, source.schema_):
            done = progress.get((source.schema_, file.name), 0)
            if done is not None and destination.takes(source.name):
                sizes[file.name] = file.size - done
    if not sizes:
        return Waiting(0, 0, 0.0)
    began = datetime.strptime(min(sizes).partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    lag = (datetime.now(UTC) - began).total_seconds()
    return Waiting(len(sizes), sum(sizes.values()), max(lag, 0.0))


def replay(settings: Settings, destination: Destination, state: State) -> tuple[int, int]:
    """Try dead letters again, each alone; returns how many were accepted, and how many not.

    Raises LoaderError where the destination takes nothing now.
    """
    reader = CallReader(destination, max_record_bytes=settings.max_record_bytes)
    delivery = _delivery(settings, destination)
    accepted = left = 0
    for letter in list(state.dead_letters(destination.name)):
        if _is_revived(letter, reader, delivery):
            state.revive(destination.name, [letter.id])
            accepted += 1
        else:
            left += 1
    return accepted, left


def _is_revived(letter: DeadLetter, reader: CallReader, delivery: Delivery) -> bool:
    """Whether all is accepted that a dead letter is now, which may be nothing."""
    calls, unread = reader.read([Line(letter.at, letter.line)])
    wanted = [call for call in calls if letter.message_id in (None, call.id)]
    return not unread and not delivery.send(wanted)


def send_test(settings: Settings, destination: Destination) -> Answer:
    """Send one call that says that it is a test. Raises Paused where there is no key for it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    call = {
        "type": "track",
        "event": TEST_EVENT,
        "messageId": f"test-{secrets.token_hex(8)}",
        "anonymousId": "customerio-loader",
        "timestamp": now,
        "properties": {},
    }
    body = json.dumps(call).encode()
    return _delivery(settings, destination).try_once([Call(Line(0, body), 0, "test", body)])


def _delivery(settings: Settings, destination: Destination) -> Delivery:
    """For one try by hand: what fails for a while is told at its end."""
    return Delivery(
        destination,
        own_keys=settings.write_keys(),
        stop=Event(),
        tries_for=settings.retry_timeout,
        on_failure=lambda _problem, _tries: None,
    )
