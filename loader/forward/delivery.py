"""Calls -> requests, and what becomes of each answer."""

import hashlib
import random
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from loader import __version__
from loader.config import Destination
from loader.config.keys import key_hash
from loader.errors import LoaderError, UsageError
from loader.forward.calls import Call, Refused
from loader.forward.kinds import KINDS

if TYPE_CHECKING:
    from urllib3 import PoolManager

# Segment's limits are 500 KB a request, 32 KB a call. A larger one is sent alone, so that the
# answer is for it; other destinations take more.
_MOST_BYTES, _MOST_OF_A_CALL = 490_000, 32_000
_REFUSED = frozenset({400, 413, 422})  # because of what was sent
_REPEATED = frozenset({408, 429})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 300.0
_READ_OF_ANSWER = 1 << 12  # so that the connection can be used again; a longer one is cut
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_LONGEST_DATE = 40


class Paused(LoaderError):
    """A destination takes nothing until somebody does something about it."""


class Stopped(LoaderError):
    """Sending is to end; what was not accepted is sent again by the next one."""


class Answer(NamedTuple):
    """What came of a request."""

    status: int  # 0: there was none
    problem: str
    wait: float | None = None  # seconds that were asked for

    @property
    def is_accepted(self) -> bool:
        """Whether all calls of the request are the destination's now."""
        return 200 <= self.status < 300

    @property
    def is_worth_another_try(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.status < 200 or self.status in _REPEATED or self.status >= 500


class Delivery:
    """Sends calls to one destination."""

    def __init__(
        self,
        destination: Destination,
        *,
        own_keys: Collection[str],
        stop: Event,
        tries_for: float | None,
        on_failure: Callable[[str, int], None],  # (what, how many times in a row)
    ) -> None:
        self._destination = destination
        self._kind = KINDS[destination.kind]
        self._own_keys = own_keys  # hashes of the keys with which events are received
        self._stop = stop
        self._tries_for = tries_for  # seconds; None: without end
        self._on_failure = on_failure
        self._http = _client(destination)

    def send(self, calls: Sequence[Call]) -> list[Refused]:
        """Send calls, in their order; returns those that were refused for good.

        Raises Paused or Stopped; then what was sent before may have been accepted.
        """
        refused: list[Refused] = []
        for batch in _batches(calls):
            refused += self._deliver(batch)
        return refused

    def _deliver(self, calls: Sequence[Call]) -> list[Refused]:
        answer = self._until_answered(calls)
        if answer.is_accepted:
            return []
        if answer.status not in _REFUSED:
            raise Paused(answer.problem)
        if len(calls) == 1:
            (call,) = calls
            return [Refused(call.line, call.number, call.id, answer.problem)]
        middle = len(calls) // 2
        return self._deliver(calls[:middle]) + self._deliver(calls[middle:])

    def _until_answered(self, calls: Sequence[Call]) -> Answer:
        """The first answer for which trying again is no use."""
        pause, began = _FIRST_PAUSE, time.monotonic()
        for tries in count(1):
            if self._stop.is_set():
                raise Stopped("stopped")
            answer = self.try_once(calls)
            if not answer.is_worth_another_try:
                return answer
            self._on_failure(answer.problem, tries)
            waited = max(pause * random.uniform(0.5, 1), min(answer.wait or 0, _LONGEST_PAUSE))
            if self._tries_for is not None and (
                time.monotonic() + waited - began > self._tries_for
            ):
                raise Stopped(answer.problem)
            self._stop.wait(waited)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("there is no last try")

    def try_once(self, calls: Sequence[Call]) -> Answer:
        """Send one request with some calls. Raises Paused where there is no key to do it with."""
        from urllib3.exceptions import HTTPError

        from loader.forward.http import ANSWER_SECONDS

        headers, body = self._kind.request(
            [call.body for call in calls], _id_of(calls), self._key(), int(time.time())
        )
        headers |= {
            "Content-Type": "application/json",
            "User-Agent": f"customerio-loader/{__version__}",
        }
        try:
            response = self._http.request(
                "POST",
                self._destination.address,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=ANSWER_SECONDS,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            return Answer(0, f"no answer from {self._destination.host} ({_why(error)})")
        try:
            is_cut = bool(response.read(_READ_OF_ANSWER + 1)[_READ_OF_ANSWER:])
            if is_cut or response.status < 200:  # the answer proper may come behind it
                response.close()
        except (HTTPError, OSError, ValueError):  # of a size that is none, say
            response.close()  # what it says is not needed: its status is there
        response.release_conn()
        wait = _seconds(response.headers.get("Retry-After"))
        return Answer(response.status, self._problem(response.status), wait)

    def _key(self) -> str:
        name = self._destination.name
        try:
            key = self._destination.secret()
        except UsageError as error:
            raise Paused(str(error)) from None
        if not self._kind.check_key(key):
            raise Paused(
                f"the key of the destination {name!r} is none of a {self._destination.kind}"
            )
        if key_hash(key) in self._own_keys:
            raise Paused(
                f"the destination {name!r} has a write key with which events are received here: it "
                "would get its own events again and again; give it another key"
            )
        return key

    def _problem(self, status: int) -> str:
        """What an answer means. Nothing of its text is told: it may repeat values of an event."""
        host = self._destination.host
        if 300 <= status < 400:
            return f"{host} answers {status}, a redirect, which is not followed: correct the url"
        advice = {401: ": see to its key", 403: ": see to its key", 404: ": see to its url"}
        return f"{host} answers {status}{advice.get(status, '')}"


def _batches(calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """Calls as they are sent together."""
    first = size = 0
    for at, call in enumerate(calls):
        is_large = len(call.body) > _MOST_OF_A_CALL
        if at > first and (is_large or size + len(call.body) + 1 > _MOST_BYTES):
            yield calls[first:at]
            first, size = at, 0
        size += len(call.body) + 1
        if is_large:
            yield calls[first : at + 1]
            first, size = at + 1, 0
    if first < len(calls):
        yield calls[first:]


def _why(error: Exception) -> str:
    """Why there was no answer. The words of an error may have the address of a proxy."""
    from urllib3 import exceptions

    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    for kind, words in (
        (exceptions.NameResolutionError, "its name is not found"),
        (ConnectionRefusedError, "it refuses the connection"),
        (exceptions.NewConnectionError, "it cannot be reached"),
        ((exceptions.TimeoutError, TimeoutError), "it took too long"),
        ((exceptions.SSLError, ssl.SSLError), "its certificate or TLS is not accepted"),
        (ConnectionError, "it closed the connection"),
    ):
        if any(isinstance(one, kind) for one in chain):
            return words
    return type(error).__name__


def _id_of(calls: Sequence[Call]) -> str:
    """The same calls have the same id, whenever they are sent."""
    ids = "\n".join(call.id for call in calls)
    return "msg_" + hashlib.sha256(ids.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After, which may be a moment; None where it makes no sense."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if len(text) > _LONGEST_DATE:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _client(destination: Destination) -> "PoolManager":
    try:
        from loader.forward.http import connections
    except ImportError as error:
        raise UsageError(
            f"forwarding needs the package {error.name!r}: pip install 'customerio-loader[forward]'"
        ) from None
    return connections(destination.address)
