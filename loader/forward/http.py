"""Connections to a destination, whose answers are whole and in time.

It needs the extra `forward`, and is imported where something is sent.
"""

import http.client
import io
import socket
import ssl
import time
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

from urllib3 import PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from loader.errors import UsageError

ANSWER_SECONDS = 30.0
_MOST_INTERIM = 20


class _InTime(io.RawIOBase):
    """What a connection gives until a moment. Its own timeout is for each piece anew."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection = raw, connection
        self._until = time.monotonic() + ANSWER_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer; what a server says before it, as 103, is none."""

    def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_InTime(raw, sock))

    def begin(self) -> None:
        super().begin()
        for _ in range(_MOST_INTERIM):
            if not 101 < self.status < 200:
                return
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _Plain(HTTPConnection):
    response_class = _Response


class _Encrypted(HTTPSConnection):
    response_class = _Response

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except ssl.SSLError as error:  # what is too large may be answered before all of it is there
            raise BrokenPipeError from error  # behind which urllib3 looks for an answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


def _credentials(proxy: str) -> dict[str, str]:
    """What a proxy is told that wants a name and a password."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    return make_headers(proxy_basic_auth=unquote(f"{parts.username}:{parts.password or ''}"))


def connections(address: str) -> PoolManager:
    """What makes the connections; through a proxy where the environment names one."""
    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    manager: PoolManager
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        try:
            manager = ProxyManager(proxy, proxy_headers=_credentials(proxy))
        except (HTTPError, ValueError):
            raise UsageError(  # without its address, which may hold a password
                f"the proxy that {parts.scheme}_proxy names in the environment cannot be used: "
                "write http://HOST:PORT"
            ) from None
    else:
        manager = PoolManager()
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
    return manager
