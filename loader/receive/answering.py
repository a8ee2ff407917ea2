"""Requests -> answers. Each one is chosen by what senders do with it.

200 only for what is on disk. 400 and 401 make clients drop a request, and Customer.io wait for an
hour and repeat it for seven days, so nothing gets them that might be right another time. All that
may pass is a 503. There are no redirects: some clients take one for an answer.
"""

import asyncio
import base64
import json
import traceback
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from loader.errors import LoaderError
from loader.receive.committing import COMMIT_SECONDS, Committer
from loader.receive.keys import Keys
from loader.receive.lines import (
    NotAnObject,
    Object,
    call_line,
    calls_of,
    claimed_key,
    read_object,
    shared_of,
    webhook_lines,
    wrapped_line,
)
from loader.receive.metrics import Metrics
from loader.receive.room import Full, Room, Share

# Segment's limits, which hold for what was unpacked, too.
MOST_CALL_BYTES, MOST_BATCH_BYTES, MOST_CALLS = 32 << 10, 500 << 10, 2_500
MOST_WEBHOOK_BYTES = 16 << 20
# Of a batch: what it says for all of its calls is in each of their lines.
MOST_LINES_BYTES = 16 << 20
# Bodies of senders whose key is not known yet; and other bodies, and lines until they are synced.
# The largest webhook may be a line of twice its size.
STRANGE_BYTES, KNOWN_BYTES = 32 << 20, 48 << 20
BODY_SECONDS = 10.0
# Odd bodies of this size take a tenth of a second. Larger ones are read in a thread.
_LARGE_BYTES = 128 << 10
_RETRY_SECONDS = b"5"
_KINDS = ("track", "identify", "page", "screen", "group", "alias", "batch")
_KIND_OF = {name: kind for kind in _KINDS for name in (kind, kind[0])}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    code: str = ""
    message: str = ""

    def body(self) -> bytes:
        """As clients log it; some take other forms for an unknown error."""
        if self.status == 200:
            return b'{"success":true}'
        return json.dumps({"success": False, "code": self.code, "message": self.message}).encode()


class Refused(Exception):
    """A request is not taken."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.answer = Answer(status, code, message)


def _not_signed() -> Refused:
    return Refused(401, "invalid_signature", "no signing key of that source has signed it")


class _Left(Exception):
    """Who sent a request does not wait for its answer."""


class Receiver:
    """The ASGI function that takes events."""

    def __init__(
        self,
        *,
        keys: Callable[[], Keys],
        committer_of: Callable[[str], Committer],
        metrics: Metrics,
        known: Room,
        complain: Callable[[str, str], None],
    ) -> None:
        self._keys = keys
        self._committer_of = committer_of
        self._metrics = metrics
        self._strange, self._known = Room(STRANGE_BYTES), known
        self._complain = complain
        self._said = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            answer = await self._answer(scope, receive)
        except _Left:
            return
        self._metrics.answered(answer.status, answer.code)
        await respond(send, answer.status, answer.body())

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        """What a request is answered with. Raises _Left."""
        try:
            await self._take(scope, receive)
            return Answer(200)
        except Refused as refused:
            return refused.answer
        except _Left:
            raise
        except TimeoutError:
            seconds = f"{COMMIT_SECONDS:g} seconds"
            return self._failed(
                f"the spool took more than {seconds} to keep events: see to its disk", "late"
            )
        except Full:
            return Answer(503, "busy", "too much at once: repeat it later")
        except LoaderError as error:
            return self._failed(str(error))
        except Exception as error:  # a fault of ours: what was sent stays with its sender
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} in {place.name}, line {place.lineno}"
            return self._failed(f"a request failed ({where}): please report it")

    def _failed(self, message: str, code: str = "unavailable") -> Answer:
        """Say what is wrong, once, as every request meets it."""
        if message != self._said:
            self._complain(message, "receive.failed")
            self._said = message
        return Answer(503, code, "events cannot be kept now: repeat it later")

    async def _take(self, scope: Scope, receive: Receive) -> None:
        path = [part for part in scope["path"].split("/") if part]
        is_webhook = len(path) == 3 and path[:2] == ["v1", "webhook"]
        is_call = len(path) == 2 and path[0] == "v1" and path[1] in _KIND_OF
        if not is_webhook and not is_call:
            raise Refused(404, "not_found", "there is no such address")
        if scope["method"] != "POST":
            raise Refused(405, "not_a_post", "send it with POST")
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        if "upgrade" in headers:  # behind it uvicorn takes the body for something else
            raise Refused(400, "upgrade", "send it without the header Upgrade: HTTP/1.1 is spoken")
        if is_webhook:
            schema, lines, events = await self._webhook(path[2], headers, receive)
        else:
            schema, lines, events = await self._calls(_KIND_OF[path[1]], headers, receive)
        if lines:
            await self._committer_of(schema).commit(lines)
            self._said = ""
        self._metrics.received(schema, events, len(lines))

    async def _webhook(
        self, schema: str, headers: dict[str, str], receive: Receive
    ) -> tuple[str, bytes, int]:
        """A webhook that is signed is taken whatever it is: its stream would wait behind it."""
        timestamp = headers.get("x-cio-timestamp", "")
        signature = headers.get("x-cio-signature", "")
        keys = self._keys()
        if schema not in keys.signing or not timestamp.isdecimal() or not signature:
            raise _not_signed()
        with self._strange.hold() as take:
            body = await _read(headers, receive, MOST_WEBHOOK_BYTES, take)
            is_signed = partial(keys.is_signed, schema, timestamp, signature)
            return schema, *await _apart(body, lambda: lines_of_webhook(body, is_signed))

    async def _calls(
        self, kind: str, headers: dict[str, str], receive: Receive
    ) -> tuple[str, bytes, int]:
        most = MOST_BATCH_BYTES if kind == "batch" else MOST_CALL_BYTES
        schema = self._source_of(_basic_user(headers.get("authorization", "")))
        with (self._known if schema else self._strange).hold() as take:
            text = await _read(headers, receive, most, take)
            encoding = headers.get("content-encoding", "").strip().lower()
            if encoding not in ("", "identity"):
                text = _unpack(encoding, text, most)
                take(len(text))
            schema = schema or self._source_of(claimed_key(text))
            if not schema:
                raise Refused(401, "invalid_write_key", "there is no write key")
            return schema, *await _apart(text, lambda: lines_of_calls(text, kind))

    def _source_of(self, key: str | None) -> str | None:
        """The source of a key; None where there is no key. Raises Refused."""
        if not key:
            return None
        schema = self._keys().source_of(key)
        if schema is None:
            raise Refused(401, "invalid_write_key", "no source has that write key")
        return schema


async def respond(send: Send, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    """Send an answer."""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", _RETRY_SECONDS))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(headers: dict[str, str], receive: Receive, most: int, take: Share) -> bytes:
    """The body of a request, for which room is taken as it comes. Raises Refused and Full."""
    too_large = Refused(400, "too_large", f"the body has more than {most:,} bytes")
    if int(headers.get("content-length") or 0) > most:
        raise too_large
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS) as limit:
            take.may_be_lost(limit)
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Left
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > most:
                    raise too_large
                take(len(chunks[-1]))
                more = message.get("more_body", False)
    except TimeoutError:
        if take.is_lost:
            raise Full from None
        raise Refused(408, "slow", f"the body took more than {BODY_SECONDS:g} seconds") from None
    take.may_be_lost(None)
    return b"".join(chunks)


def _unpack(encoding: str, packed: bytes, most: int) -> bytes:
    """What a client packed, as long as it is not too large."""
    if encoding != "gzip":
        raise Refused(400, "unknown_encoding", "the body is packed otherwise than with gzip")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        text = unpacking.decompress(packed, most + 1)
    except zlib.error:
        raise Refused(400, "invalid_gzip", "the body is no gzip") from None
    if len(text) > most:
        raise Refused(400, "too_large", f"the body unpacks to more than {most:,} bytes")
    if not unpacking.eof or unpacking.unused_data:
        raise Refused(400, "invalid_gzip", "the body is no whole gzip")
    return text


async def _apart(text: bytes, read: Callable[[], list[bytes]]) -> tuple[bytes, int]:
    """The lines of a body, and their number; for a large one no other request is held up."""
    lines = read() if len(text) <= _LARGE_BYTES else await asyncio.to_thread(read)
    return b"".join(lines), len(lines)


def lines_of_webhook(body: bytes, is_signed: Callable[[bytes], bool]) -> list[bytes]:
    """The lines of a webhook. Raises Refused."""
    if not is_signed(body):
        raise _not_signed()
    return webhook_lines(body, _stamp())


def lines_of_calls(text: bytes, kind: str) -> list[bytes]:
    """A line for a call of a kind, or for each call of a batch. Raises Refused."""
    try:
        found = read_object(text.strip())
        if kind == "batch":
            return lines_of_batch(found)
        return [call_line(found, _stamp(), kind=kind)]
    except NotAnObject:
        raise Refused(400, "invalid_json", "the body is no JSON object") from None


def lines_of_batch(batch: Object) -> list[bytes]:
    """A line for each call of a batch. Raises Refused and NotAnObject."""
    calls = calls_of(batch, MOST_CALLS)
    if calls is None:
        raise Refused(400, "no_batch", "the body has no array `batch`")
    if len(calls) > MOST_CALLS:
        raise Refused(400, "too_many_calls", f"the batch has more than {MOST_CALLS:,} calls")
    if any(len(call) > MOST_CALL_BYTES for call in calls):
        raise Refused(400, "too_large", f"a call has more than {MOST_CALL_BYTES:,} bytes")
    stamp, shared, lines = _stamp(), shared_of(batch), []
    size = len(batch.text) + len(calls) * sum(len(one.value) for one in shared.values())
    if size > MOST_LINES_BYTES:
        raise Refused(
            400,
            "too_large",
            f"with what the batch says for all calls, they have more than {MOST_LINES_BYTES:,} "
            "bytes: send fewer calls in one batch",
        )
    for call in calls:
        try:
            lines.append(call_line(read_object(call), stamp, shared=shared))
        except NotAnObject:
            lines.append(wrapped_line(call, stamp))
    return lines


def _basic_user(header: str) -> str | None:
    """The user name of Basic authentication; None where the header is not that."""
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(coded.strip()).decode().partition(":")[0] or "?"
    except ValueError:
        return "?"


def _stamp() -> bytes:
    """The time of now, as JSON."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return b'"%b"' % now.replace("+00:00", "Z").encode()
