"""Connections that cannot be held for ever: uvicorn itself waits for slow peers without an end.

What a peer may send before its request is known to be one is limited, in time and in bytes.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loader.receive.answering import BODY_SECONDS

HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 60
MOST_HEAD_BYTES, MOST_HEADERS = 16 << 10, 100
# More requests at once get a 503, which needs a connection too; beyond that nobody gets one.
MOST_REQUESTS, MOST_CONNECTIONS = 512, 900
_MOST_PIPELINED = 16
# For the answer that a body took too long, and for what is on its way when a process ends.
_LINGER_SECONDS = 1.0


class Connection(HttpToolsProtocol):
    """One connection of a sender."""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = False
    _is_leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit(HEAD_SECONDS)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MOST_HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._limit(HEAD_SECONDS)
        self._is_in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MOST_HEADERS:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._is_in_head, self._head_bytes = False, 0
        self._limit(BODY_SECONDS + _LINGER_SECONDS)
        if self._is_leaving:
            self.cycle.keep_alive = False
        if len(self.pipeline) > _MOST_PIPELINED:
            self.transport.abort()

    def on_message_complete(self) -> None:
        self._limit(None)
        super().on_message_complete()

    def shutdown(self) -> None:
        """Answer the request that may be on its way, and close."""
        self._is_leaving = True
        if self.cycle is None or self.cycle.response_complete:
            self._limit(_LINGER_SECONDS)
        else:
            self.cycle.keep_alive = False

    def _limit(self, seconds: float | None) -> None:
        """Close the connection in so many seconds, unless it gets on."""
        if self._timer is not None:
            self._timer.cancel()
        close: Any = self.transport.close
        self._timer = None if seconds is None else self.loop.call_later(seconds, close)
