"""Memory that requests share: who gives way to whom."""

import asyncio
from contextlib import suppress

import pytest

from loader.receive.room import Full, Room


def test_the_largest_that_waits_gives_way_though_a_larger_one_is_read() -> None:
    """A body that is complete may be read in a thread: it stays, and is in nobody's way."""

    async def fill() -> None:
        room = Room(100)
        with room.hold() as complete, room.hold() as stalled, room.hold() as small:
            complete(60)
            with suppress(TimeoutError):
                async with asyncio.timeout(60) as limit:
                    stalled.may_be_lost(limit)
                    stalled(40)
                    small(10)
                    await asyncio.sleep(60)
            assert (stalled.is_lost, stalled.size, small.size, complete.size) == (True, 0, 10, 60)
            with pytest.raises(Full):
                small(40)

    asyncio.run(fill())
