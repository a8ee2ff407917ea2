"""Which questions the blocks of an input make."""

import threading
from collections.abc import Iterator

import pytest

from loader.load.prefetch import Asker
from loader.warehouse.ids import Ids, Known
from loader.warehouse.threads import SteadyThread

BLOCKS = [f'{{"messageId":"m{number}"}}'.encode() for number in range(40)]


@pytest.fixture
def thread() -> Iterator[SteadyThread]:
    found = SteadyThread("asker")
    yield found
    found.close()


def test_questions_grow_to_four_blocks_and_tell_of_each_id(thread: SteadyThread) -> None:
    asked: list[list[str]] = []

    def existing(ids: Ids) -> Known:
        asked.append(ids.split())
        return Known({key for key in asked[-1] if int(key[1:]) % 2}, 1)

    asker = Asker(existing, thread)
    questions = [asker.ask_for(block) for block in BLOCKS]
    for number, question in enumerate(questions):
        key = f"m{number}"
        assert (key in asker.there(question, [key])) is bool(number % 2)
    assert [len(ids) for ids in asked] == [1, 2, *[4] * 9, 1]
    # What no block seemed to have is asked for afterwards, and alone.
    assert "m77" in asker.there(questions[3], ["m3", "m4", "m77"])
    assert asked[-1] == ["m77"]


def test_nothing_is_asked_after_memory_ran_out(thread: SteadyThread) -> None:
    asked: list[list[str]] = []
    begun, go_on = threading.Event(), threading.Event()

    def existing(ids: Ids) -> Known:
        begun.set()
        assert go_on.wait(10)
        asked.append(ids.split())
        return Known(set(), 1)

    asker = Asker(existing, thread)
    for block in BLOCKS:
        asker.ask_for(block)
    assert begun.wait(10)
    asker.forget()
    go_on.set()
    thread.do(lambda: None)
    assert asked == [["m0"]]
