"""An iterator that a thread of its own reads ahead."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """The items of an iterable, of which up to `depth` are made before they are asked for.

    Whoever waits for one can be stopped by a signal, whatever the thread waits for.
    """

    def __init__(self, make: Callable[[], Iterable[T]], depth: int = 1) -> None:
        self._waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._make, args=(make,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while not self._is_over:
            try:
                item = self._waiting.get(timeout=1)
            except queue.Empty:
                if self._thread.is_alive():
                    continue
                raise MemoryError("the reading thread ended without a word") from None
            if isinstance(item, tuple):
                return item[0]
            self._is_over = True
            if item is not None:
                raise item
        raise StopIteration

    def close(self, wait: float = 0.0) -> None:
        """Let the thread end, with its next item; so many seconds are waited for it."""
        self._stopped.set()
        self._is_over = True
        if wait:
            self._thread.join(wait)

    def _make(self, make: Callable[[], Iterable[T]]) -> None:
        try:
            for item in make():
                self._put((item,))
                if self._stopped.is_set():
                    return
            self._put(None)
        except BaseException as error:  # raised again where the items are used
            self._put(error)

    def _put(self, item: tuple[T] | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._waiting.put(item, timeout=0.1)
            except queue.Full:
                continue


@contextmanager
def read_ahead(blocks: Iterable[bytes], depth: int = 2) -> Iterator[Iterator[bytes]]:
    """`blocks`, read by a thread that stays up to `depth` of them ahead."""
    ahead = Ahead(lambda: blocks, depth)
    try:
        yield ahead
    finally:
        # A reader that waits for a pipe cannot be woken; it ends with the process.
        ahead.close(wait=1)


def in_thread(call: Callable[[], T]) -> T:
    """The result of a call, for which a signal does not have to wait."""
    return next(Ahead(lambda: [call()]))
