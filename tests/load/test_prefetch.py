"""Which requests the blocks of an input make."""

import threading
from collections.abc import Iterator

import pytest

from loader.load.prefetch import Prefetch
from loader.warehouse.ids import Ids, Known
from loader.warehouse.threads import SteadyThread

BLOCKS = [f'{{"messageId":"m{number}"}}'.encode() for number in range(40)]


@pytest.fixture
def thread() -> Iterator[SteadyThread]:
    found = SteadyThread("prefetch")
    yield found
    found.close()


def test_questions_grow_to_four_blocks_and_tell_of_each_id(thread: SteadyThread) -> None:
    asked: list[list[str]] = []

    def existing(ids: Ids) -> Known:
        asked.append(ids.split())
        return Known({key for key in asked[-1] if int(key[1:]) % 2}, 1)

    prefetch = Prefetch(existing, thread)
    requests = [prefetch.request(block) for block in BLOCKS]
    for number, request in enumerate(requests):
        key = f"m{number}"
        assert (key in prefetch.there(request, [key])) is bool(number % 2)
    assert [len(ids) for ids in asked] == [1, 2, *[4] * 9, 1]
    # What no block seemed to have is asked for afterwards, and alone.
    assert "m77" in prefetch.there(requests[3], ["m3", "m4", "m77"])
    assert asked[-1] == ["m77"]


def test_nothing_is_asked_after_memory_ran_out(thread: SteadyThread) -> None:
    asked: list[list[str]] = []
    begun, go_on = threading.Event(), threading.Event()

    def existing(ids: Ids) -> Known:
        begun.set()
        assert go_on.wait(10)
        asked.append(ids.split())
        return Known(set(), 1)

    prefetch = Prefetch(existing, thread)
    for block in BLOCKS:
        prefetch.request(block)
    assert begun.wait(10)
    prefetch.forget()
    go_on.set()
    thread.do(lambda: None)
    assert asked == [["m0"]]
