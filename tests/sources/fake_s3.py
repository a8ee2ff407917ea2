"""A fake S3: lists and gives objects as the documentation says, and fails as a test asks it to.

It is no real server: what needs one is tested with moto.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "events"
_MODIFIED = 1_764_028_800.0
_PAGE = 1_000
_TAG = '"0123456789abcdef"'


class Request(NamedTuple):
    """What a client asked for."""

    method: str
    key: str  # empty for a listing
    query: Mapping[str, str]
    headers: Message  # whose names have no case
    number: int  # the how-manieth of this key, or of the listings, counted from 1


class Answer(NamedTuple):
    """What a fault answers instead."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut_at: int | None = None  # the connection is shut behind so many bytes of the body
    delay: float = 0.0  # seconds before it


def error(status: int, code: str, message: str = "", more: str = "", **headers: str) -> Answer:
    """An error as S3 words it."""
    body = f"<Error><Code>{code}</Code><Message>{message or code}</Message>{more}</Error>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body.encode(), named)


class FakeS3:
    """A server on a port of its own, with one bucket; used in a `with`."""

    def __init__(self, objects: Mapping[str, bytes] | None = None, delay: float = 0.0) -> None:
        self.objects = dict(objects or {})
        self.keys: Sequence[str] = ()  # sorted; names beside `objects`, for long listings
        self.content = b""  # of those
        self.delay = delay  # seconds before each answer
        self.fault: Callable[[Request], Answer | None] = lambda _: None
        self.requests: list[Request] = []
        self.ignores_start_after = False
        self._counted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FakeS3":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def listings(self) -> int:
        """How often something was listed so far."""
        return self._counted[""]

    def met(self, method: str, key: str, query: dict[str, str], headers: Message) -> Request:
        with self._lock:
            self._counted[key] += 1
            request = Request(method, key, query, headers, self._counted[key])
            self.requests.append(request)
        return request

    def etag(self, key: str) -> str:
        if key not in self.objects:
            return _TAG
        return f'"{md5(self.objects[key], usedforsecurity=False).hexdigest()}"'

    def data(self, key: str) -> bytes | None:
        if key in self.objects:
            return self.objects[key]
        at = bisect_left(self.keys, key)
        return self.content if at < len(self.keys) and self.keys[at] == key else None

    def listing(self, query: Mapping[str, str]) -> bytes:
        """One page of at most a thousand keys and folders."""
        names = self.keys or sorted(self.objects)
        prefix, slash = query.get("prefix", ""), query.get("delimiter", "")
        start = max(prefix, query.get("continuation-token", ""))
        at = bisect_left(names, start)
        after = "" if self.ignores_start_after else query.get("start-after", "")
        if after >= start and "continuation-token" not in query:
            at = bisect_right(names, after)
        found: list[str] = []
        while at < len(names) and names[at].startswith(prefix) and len(found) < _PAGE:
            key = names[at]
            end = key.find("/", len(prefix)) if slash else -1
            if end >= 0:
                folder = key[: end + 1]
                found.append(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>")
                at = bisect_left(names, key[:end] + "0", at)  # `0` is behind the slash
            else:
                found.append(self._entry(key))
                at += 1
        more = at < len(names) and names[at].startswith(prefix)
        token = ""
        if more:
            token = f"<NextContinuationToken>{escape(names[at])}</NextContinuationToken>"
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(found)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(found)}</ListBucketResult>"
        ).encode()

    def _entry(self, key: str) -> str:
        data = self.objects.get(key, self.content)
        tag = self.etag(key)
        return (
            f"<Contents><Key>{escape(key)}</Key>"
            "<LastModified>2025-11-25T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(tag)}</ETag><Size>{len(data)}</Size></Contents>"
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    fake: FakeS3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        fake = self.server.fake
        where = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(where.query).items()}
        bucket, _, key = unquote(where.path).lstrip("/").partition("/")
        request = fake.met(self.command, key, query, self.headers)
        time.sleep(fake.delay)
        fault = fake.fault(request)
        if fault is not None:
            self._send(fault)
        elif bucket != BUCKET:
            self._send(error(404, "NoSuchBucket", "The specified bucket does not exist"))
        elif not key:
            self._send(Answer(200, fake.listing(query), {"Content-Type": "application/xml"}))
        else:
            self._send(self._object(fake, request))

    def _object(self, fake: FakeS3, request: Request) -> Answer:
        data = fake.data(request.key)
        if data is None:
            return error(404, "NoSuchKey", "The specified key does not exist.")
        tag = fake.etag(request.key)
        if self.headers.get("If-Match", tag) != tag:
            return error(412, "PreconditionFailed")
        return answer_of(data, tag, self.headers.get("Range"))

    def _send(self, answer: Answer) -> None:
        time.sleep(answer.delay)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(answer.body[: answer.cut_at])
        if answer.cut_at is not None:
            self.wfile.flush()
            self.close_connection = True


def answer_of(data: bytes, tag: str, span: str | None = None, cut_at: int | None = None) -> Answer:
    """An object, or the part of it that the header Range names."""
    headers = {"ETag": tag, "Last-Modified": formatdate(_MODIFIED, usegmt=True)}
    if span is None:
        return Answer(200, data, headers, cut_at)
    first, _, last = span.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(data)), len(data) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Answer(206, data[start : end + 1], headers, cut_at)
