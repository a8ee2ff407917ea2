"""Group commit: requests wait for a sync together, so that one of them serves many."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from loader.spool import SpoolWriter


class Full(Exception):
    """There is no room in memory for more."""


class Room:
    """Bytes in memory that many requests share."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """Have room for some bytes, which are to be given back. Raises Full."""
        if self.taken + size > self._most:
            raise Full
        self.taken += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        self.taken -= size

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """A function that takes room until the context ends."""
        held = 0

        def take(size: int) -> None:
            nonlocal held
            self.take(size)
            held += size

        try:
            yield take
        finally:
            self.give(held)


# A sender waits some seconds for its answer, and repeats the request then.
COMMIT_SECONDS = 3.0


@dataclass
class _Group:
    """Lines that are synced together."""

    lines: list[bytes] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


class Committer:
    """Commits the lines of one source, in a thread of its own: a sync may take its time."""

    def __init__(self, writer: SpoolWriter, room: Room, observe: Callable[[float], None]) -> None:
        self._writer = writer
        self._room = room  # for lines that are not on disk, whoever still waits for them
        self._observe = observe  # told how long a commit took
        self._thread = ThreadPoolExecutor(1, "commit")
        self._waiting = _Group()
        self._task: asyncio.Task[None] | None = None

    async def commit(self, lines: bytes) -> None:
        """Wait until lines are synced. Raises Full, TimeoutError, and what went wrong."""
        self._room.take(len(lines))
        group = self._waiting
        group.lines.append(lines)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_all())
        async with asyncio.timeout(COMMIT_SECONDS):
            await group.done.wait()
        if group.error is not None:
            raise group.error

    async def finish_when_due(self) -> None:
        """Finish the file if it is old enough."""
        await self._run(self._writer.finish_when_due)

    async def close(self) -> None:
        """Commit what waits, and finish the file."""
        if self._task is not None:
            await self._task
        await self._run(self._writer.finish)
        self._thread.shutdown()

    async def _commit_all(self) -> None:
        while self._waiting.lines:
            group, self._waiting = self._waiting, _Group()
            data, began = b"".join(group.lines), perf_counter()
            try:
                await self._run(partial(self._writer.append, data))
            except Exception as error:
                group.error = error
            else:
                self._observe(perf_counter() - began)
            self._room.give(len(data))
            group.done.set()

    async def _run(self, work: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
