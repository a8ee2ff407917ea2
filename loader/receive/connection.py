"""Connections that cannot be held for ever: uvicorn itself waits for slow peers without an end.

What a peer may send before its request is known to be one is limited, in time and in bytes. The
limits of time have one owner: a connection is always in one state, which ends when it gets on.
"""

import asyncio
from enum import IntEnum
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from loader.receive.answering import BODY_SECONDS

# Of a head; and of what stands around the chunks of a body, of which large ones pay for themselves.
# Data are read in steps of that size.
MOST_HEAD_BYTES, MOST_HEADERS = 16 << 10, 100
_PAID_BY = 8
MOST_CONNECTIONS = 900  # where there are more, those that wait longest are closed
_MOST_PIPELINED = 16
# For the answer that a body took too long, and for what is on its way when a process ends.
_LINGER_SECONDS = 1.0


class _State(IntEnum):
    """What a connection waits for. Of a lower one it is closed before a higher one."""

    NEXT = 0
    FIRST = 1
    HEAD = 2
    BODY = 3
    ANSWER = 4
    CLOSED = 5


_SECONDS = {
    _State.NEXT: 60.0,
    _State.FIRST: 10.0,
    _State.HEAD: 10.0,
    _State.BODY: BODY_SECONDS + _LINGER_SECONDS,
    _State.ANSWER: 60.0,  # a commit ends much sooner; the peer may not take its answer
}


class Connection(HttpToolsProtocol):
    """One connection of a sender."""

    _state = _State.CLOSED
    _since = 0.0
    _timer: asyncio.TimerHandle | None = None
    _around = 0  # bytes since a head began, or ended, that are not of a body
    _is_leaving = False
    _answered: RequestResponseCycle | None = None  # the request that is being answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter(_State.FIRST)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(_State.CLOSED)
        for cycle in (self._answered, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:  # uvicorn tells only the last one
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), MOST_HEAD_BYTES):
            piece = data[at : at + MOST_HEAD_BYTES]
            self._around += len(piece)
            super().data_received(piece)
            if self._around > MOST_HEAD_BYTES:
                self.transport.abort()
            if self.transport.is_closing():
                break  # nothing is done for what follows

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._around = 0
        self._enter(_State.HEAD)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._around -= len(body) + len(body) // _PAID_BY

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MOST_HEADERS:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._around = 0
        self._enter(_State.BODY)
        if self._is_leaving:
            self.cycle.keep_alive = False
        if len(self.pipeline) > _MOST_PIPELINED:
            self.transport.abort()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(_State.NEXT if self.cycle.response_complete else _State.ANSWER)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # the timer of uvicorn, which any byte ends
        if self._state == _State.ANSWER and self.cycle.response_complete:
            self._enter(_State.NEXT)

    def shutdown(self) -> None:
        """Answer the request that may be on its way, and close."""
        self._is_leaving = True
        if self.cycle is None or self.cycle.response_complete:
            self._limit(_LINGER_SECONDS)
        else:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _enter(self, state: _State) -> None:
        self._state, self._since = state, self.loop.time()
        is_last = self._is_leaving and state == _State.NEXT
        self._limit(_LINGER_SECONDS if is_last else _SECONDS.get(state))

    def _limit(self, seconds: float | None) -> None:
        """Close the connection in so many seconds, unless it gets on."""
        if self._timer is not None:
            self._timer.cancel()
        close = self.transport.close
        self._timer = None if seconds is None else self.loop.call_later(seconds, close)

    def _make_room(self) -> None:
        """Close a connection: of those that wait for least the one that has waited longest."""
        others: list[Any] = [one for one in self.connections if one is not self]
        first = min(others, key=lambda one: (one._state, one._since))
        if first._state >= _State.ANSWER:
            first = self
        first._enter(_State.CLOSED)
        first.transport.abort()
