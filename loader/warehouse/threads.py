"""A thread that can be relied on where memory is short or a server is silent."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class SteadyThread:
    """A thread that does one thing after another.

    Unlike those of an executor it is there from the start, since a thread that is started when
    memory has run out may hang and take the whole interpreter with it. Who waits for it learns
    that it died, and it does not hold up the exit of the process.
    """

    def __init__(self, name: str) -> None:
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have something done after what was submitted before."""
        future: Future[T] = Future()
        self._todo.put((future, work))
        return future

    def result(self, future: Future[T]) -> T:
        """The result of something submitted, once it is done; a signal is heard meanwhile."""
        while not ends(future, 1.0):
            if not self._thread.is_alive() and not future.done():
                raise MemoryError(f"the thread {self._thread.name!r} ended without a word")
        return future.result()

    def do(self, work: Callable[[], T]) -> T:
        """Have something done, and wait for it."""
        return self.result(self.submit(work))

    def within(self, seconds: float, work: Callable[[], object]) -> bool:
        """Have something done that may hang on a silent server; False if it was not, in time."""
        future = self.submit(work)
        if not ends(future, seconds):
            return False
        future.result()
        return True

    def close(self) -> None:
        """Let the thread end, after what was submitted."""
        self._todo.put(None)

    def _work(self) -> None:
        with suppress(BaseException):  # no memory even for an answer: see `result`
            while (item := self._todo.get()) is not None:
                future, work = item
                try:
                    future.set_result(work())
                except BaseException as error:  # raised again where it is waited for
                    future.set_exception(error)
                # What was done must not stay in memory until there is more to do.
                del item, future, work


def ends(future: Future[Any], seconds: float) -> bool:
    """Whether something is done within so many seconds, well or not."""
    try:
        future.exception(timeout=seconds)
    except TimeoutError:
        return False
    return True
