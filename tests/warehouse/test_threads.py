"""The thread that work is handed to."""

import threading
import time

import pytest

from loader.errors import LoaderError, is_out_of_memory
from loader.warehouse.threads import SteadyThread


def test_a_hand_does_one_thing_after_another_and_passes_errors_on() -> None:
    thread = SteadyThread("one")
    done: list[int] = []
    futures = [thread.submit(lambda n=n: done.append(n)) for n in range(100)]  # type: ignore[misc]
    assert thread.do(lambda: len(done)) == 100
    assert done == sorted(done)
    assert [thread.result(future) for future in futures] == [None] * 100
    with pytest.raises(KeyError):
        thread.do(lambda: {}["nothing"])
    with pytest.raises(TimeoutError, match="of the work"):
        thread.do(lambda: (_ for _ in ()).throw(TimeoutError("of the work")))
    thread.close()
    thread._thread.join(5)
    assert not thread._thread.is_alive()


def test_what_hangs_is_left_behind() -> None:
    thread, end = SteadyThread("slow"), threading.Event()
    began = time.monotonic()
    assert thread.within(0.1, lambda: end.wait(10)) is False
    assert time.monotonic() - began < 2
    end.set()
    assert thread.within(5, lambda: None) is True
    thread.close()


def test_who_waits_for_a_hand_that_died_is_told() -> None:
    thread = SteadyThread("mortal")
    thread.close()
    with pytest.raises(MemoryError, match="mortal"):
        thread.do(lambda: None)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("can't allocate lock"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ImportError("libany.so.6: failed to map segment from shared object"), True),
        (SystemError("error return without exception set"), True),
        (caused(LoaderError("it failed"), MemoryError()), True),
        (RuntimeError("something else"), False),
        (OSError(28, "No space left on device"), False),
        (LoaderError("it failed"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_any_of_its_names(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
