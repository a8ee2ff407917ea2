"""Group commit: requests wait for a sync together, so that one of them serves many."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from loader.errors import LoaderError
from loader.receive.room import Room
from loader.spool import SpoolWriter

_PROBE_SECONDS = 5.0  # behind a failure: whether lines can be kept again
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
        self._failed_at = 0.0
        self.is_well = True  # lines can be kept, as far as is known
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
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await group.done.wait()
        except TimeoutError:
            self._fail()
            raise
        if group.error is not None:
            raise group.error

    async def finish_when_due(self) -> None:
        """Finish the file if it is old enough; after a failure, see whether lines can be kept."""
        await self._run(self._writer.finish_when_due)
        if not self.is_well and perf_counter() - self._failed_at > _PROBE_SECONDS:
            with suppress(LoaderError):
                await self._run(partial(self._writer.append, b""))
                self.is_well = True

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
                self._fail()
            else:
                self.is_well = True
                self._observe(perf_counter() - began)
            self._room.give(len(data))
            group.done.set()

    def _fail(self) -> None:
        self.is_well, self._failed_at = False, perf_counter()

    async def _run(self, work: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)
