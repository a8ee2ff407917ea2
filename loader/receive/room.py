"""Memory that many requests share, so that no number of senders can take all of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Full(Exception):
    """There is no room in memory for more."""


class Share:
    """What one request has of a room."""

    def __init__(self, room: "Room") -> None:
        self._room = room
        self._limit: asyncio.Timeout | None = None
        self.size = 0
        self.is_lost = False

    def __call__(self, size: int) -> None:
        """Have room for some bytes more. Raises Full."""
        if self.is_lost:
            raise Full
        self._room.take(size, self)
        self.size += size

    def may_be_lost(self, limit: asyncio.Timeout | None) -> None:
        """From now on others may have the room: then time is up. With None they may not."""
        self._limit = limit

    def end(self) -> None:
        """Give all of it back."""
        self._room.give(self.size)
        self.size, self._limit = 0, None

    @property
    def can_be_lost(self) -> bool:
        """Whether it waits for more, and has time left."""
        return self._limit is not None and not self._limit.expired()

    def lose(self) -> None:
        """Give it to a smaller one."""
        assert self._limit is not None
        self._limit.reschedule(0)
        self.is_lost = True
        self.end()


class Room:
    """Bytes in memory that many requests share.

    Where they are short, who has most of those that wait for more gives way to smaller ones: a few
    large bodies that never end keep nobody else out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._shares: set[Share] = set()

    def take(self, size: int, share: Share | None = None) -> None:
        """Have room for some bytes, which are to be given back. Raises Full."""
        while self._taken + size > self._most:
            waiting = (one for one in self._shares if one.can_be_lost)
            largest = max(waiting, key=lambda one: one.size, default=None)
            if share is None or largest is None or largest.size <= share.size + size:
                raise Full
            largest.lose()
        self._taken += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        self._taken -= size

    @contextmanager
    def hold(self) -> Iterator[Share]:
        """A share, until the context ends."""
        share = Share(self)
        self._shares.add(share)
        try:
            yield share
        finally:
            self._shares.discard(share)
            share.end()
