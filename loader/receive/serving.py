"""The receiver as a process: its sockets, its two servers, and how it ends."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import uvicorn
import uvloop

from loader.config import Settings
from loader.errors import LoaderError, UsageError
from loader.receive.answering import (
    KNOWN_BYTES,
    Receive,
    Receiver,
    Scope,
    Send,
    respond,
)
from loader.receive.committing import Committer
from loader.receive.connection import Connection
from loader.receive.keys import WatchedKeys
from loader.receive.metrics import Metrics
from loader.receive.room import Room
from loader.spool import SpoolWriter, make_folder, recover

Say = Callable[..., None]  # a sentence, the name of an event, and facts

_DRAIN_SECONDS = 8
_FIRST_INHERITED = 3  # as systemd hands sockets over


def inherited(fd: int | None) -> list[socket.socket]:
    """The sockets that were handed over, by their number or as systemd does it; none if none were.

    Such a socket stays open while the receiver is restarted, and connections wait in it. Raises
    UsageError.
    """
    numbers = [] if fd is None else [fd]
    if fd is None and os.environ.get("LISTEN_PID") == str(os.getpid()):
        count = int(os.environ.get("LISTEN_FDS", "0"))
        numbers = list(range(_FIRST_INHERITED, _FIRST_INHERITED + count))
    try:
        return [socket.socket(fileno=number) for number in numbers]
    except OSError as error:
        raise UsageError(
            f"one of the descriptors {numbers} is no socket: {error.strerror}; hand over one that "
            "listens"
        ) from error


def listen(host: str, port: int, options: str = "--") -> socket.socket:
    """A new socket. Raises UsageError, which names the options to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen at {host} port {port}: {why}; choose another {options}host or "
            f"{options}port"
        ) from error


class _Process:
    """What one process has."""

    def __init__(self, settings: Settings, tell: Say, complain: Say) -> None:
        self._settings = settings
        self._tell, self._complain = tell, complain
        self._watched = WatchedKeys(settings)
        self._metrics = Metrics()
        self._known = Room(KNOWN_BYTES)
        self._committers: dict[str, Committer] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.receiver = Receiver(
            keys=lambda: self._watched.keys,
            committer_of=self._committer,
            metrics=self._metrics,
            known=self._known,
            complain=complain,
        )

    def check(self) -> None:
        """See that the spool is there, and finish what was left in it.

        Raises LoaderError, also where nobody can send.
        """
        keys = self._watched.keys
        if not keys.written and not keys.signing:
            raise UsageError(
                "no source has a write key or a signing key: `customerio-loader sources add NAME`"
            )
        for schema in {*keys.written.values(), *keys.signing}:
            try:
                make_folder(self._settings.spool_dir, schema)
            except OSError as error:
                raise UsageError(
                    f"the spool {str(self._settings.spool_dir)!r} cannot be made: "
                    f"{error.strerror}; set another `spool_dir`, or give this user its rights"
                ) from error
            try:
                for file in recover(self._settings.spool_dir, schema):
                    self._tell(
                        f"finished {str(file.path)!r}, which was left open", "spool.recovered"
                    )
            except LoaderError as error:  # of somebody else; it is in nobody's way
                self._complain(str(error), "spool.recover_failed")

    def _committer(self, schema: str) -> Committer:
        if schema not in self._committers:
            writer = SpoolWriter(
                self._settings.spool_dir,
                schema,
                min_free=self._settings.spool_min_free,
                file_seconds=self._settings.spool_file_seconds,
            )
            self._committers[schema] = Committer(writer, self._known, self._metrics.committed)
            self._every_second(self._committers[schema].finish_when_due)
        return self._committers[schema]

    def begin(self) -> None:
        """Begin to look for keys that have changed."""
        self._every_second(self._read_keys)

    async def _read_keys(self) -> None:
        try:
            if self._watched.read_again():
                self._tell("the keys were read again", "receive.keys")
        except LoaderError as error:
            self._complain(f"the old keys stay in use: {error}", "receive.keys_failed")

    def _every_second(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work in a task of its own: a disk that hangs holds up nothing else."""

        async def repeat() -> None:
            while True:
                await asyncio.sleep(1)
                try:
                    await work()
                except Exception as error:
                    self._complain(f"a task failed: {type(error).__name__}", "receive.task_failed")

        self._tasks.append(asyncio.create_task(repeat()))

    async def close(self) -> None:
        """Finish all files."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(one.close() for one in self._committers.values()))

    async def look(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI function that says how the process is."""
        path = scope["path"]
        is_well = all(one.is_well for one in self._committers.values())
        if path == "/metrics":
            self._metrics.ready.set(is_well)
            await respond(send, 200, self._metrics.text(), b"text/plain; version=0.0.4")
        elif path == "/healthz":
            await respond(send, 200, b"ok", b"text/plain")
        elif path == "/readyz":
            await respond(send, 200 if is_well else 503, b"ok" if is_well else b"no", b"text/plain")
        else:
            await respond(send, 404, b"not found", b"text/plain")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI function of the public port; what tells of the sources is not on it."""
        asks = scope["path"] in ("/healthz", "/readyz")
        await (self.look if asks else self.receiver)(scope, receive, send)


class _Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: object) -> _Server:
    return _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )


def serve(
    settings: Settings,
    sockets: list[socket.socket],
    metrics: socket.socket,
    tell: Say,
    complain: Say,
) -> None:
    """Receive until SIGTERM or SIGINT; then requests in hand are answered. Raises LoaderError."""
    process = _Process(settings, tell, complain)
    process.check()
    for what, one in (*(("events", one) for one in sockets), ("metrics", metrics)):
        name = one.getsockname()
        where = f"{name[0]} port {name[1]}" if isinstance(name, tuple) else str(name)
        tell(f"listening for {what} at {where}", "receive.listening", what=what, where=where)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(process, sockets, metrics))
    tell("stopped: all that was answered with 200 is in the spool", "receive.stopped")


async def _serve(process: _Process, sockets: list[socket.socket], metrics: socket.socket) -> None:
    servers = [_server(process.answer), _server(process.look)]

    def leave() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    # For large bodies; one after another, as each of them needs several times its size.
    loop.set_default_executor(ThreadPoolExecutor(1, "large"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    process.begin()
    await asyncio.gather(servers[0].serve(sockets), servers[1].serve([metrics]))
    await process.close()
