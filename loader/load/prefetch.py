"""Prefetch of existing ids: which of those of several blocks of lines `tracks` has.

The more ids a request has, the more of them stand on one page of the index, so one for forty
thousand takes the server half the time of many for two thousand. The lines are not parsed yet, so
it is asked for what is likely an id of theirs; about any other id the server is asked afterwards.
"""

from collections.abc import Iterable, Sequence, Set
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import numpy as np

from loader import native
from loader.columns.tokens import Bytes
from loader.normalize.event import MAX_ID_BYTES
from loader.warehouse.ids import Existing, Ids, Known
from loader.warehouse.threads import SteadyThread

# So many blocks may wait: while those of one request are processed, the next one is asked.
_MOST_WAITING = 8
# The keys of ids, most frequent first.
_ID_KEYS = (b'"messageId"', b'"event_id"')


class _Answer(NamedTuple):
    asked: Ids
    found: Known


class Request:
    """What is asked for some blocks."""

    def __init__(self) -> None:
        self.blocks: list[bytes | Bytes] = []
        self.answer: Future[_Answer] | None = None


class Prefetch:
    """Asks the server on a thread."""

    def __init__(
        self, existing: Existing, thread: SteadyThread, *, most_waiting: int = _MOST_WAITING
    ) -> None:
        self.most_waiting = min(max(most_waiting, 1), _MOST_WAITING)
        self._existing = existing
        self._thread = thread
        self._request = Request()  # that more blocks can come into
        self._most_blocks = 1
        self._known = Known(set(), 0)  # what the batch in hand was told of
        self._is_given_up = False

    def request(self, block: bytes | Bytes) -> Request:
        """The request whose answer will tell of the ids of a block."""
        request = self._request
        request.blocks.append(block)
        if len(request.blocks) == self._most_blocks:
            self._submit()
            # The first answers are waited for, so their requests are small.
            self._most_blocks = min(2 * self._most_blocks, max(self.most_waiting // 2, 1))
        return request

    def there(self, request: Request, ids: Sequence[str]) -> Set[str]:
        """Which of the ids of a block are there; others of its request may be among them."""
        if request is self._request:
            self._submit()
        assert request.answer is not None
        asked, found = self._thread.result(request.answer)
        if found.ids.issuperset(ids):
            self._note(ids, found)
            return found.ids
        self._note(found.ids.intersection(ids), found)
        others = set(ids).difference(found.ids, asked.split())
        return found.ids | self.result(self.ask(others)) if others else found.ids

    def ask(self, ids: Iterable[str]) -> Future[Known]:
        """Have it asked which of some ids are there."""
        return self._thread.submit(lambda: self._existing(Ids.join(ids)))

    def result(self, answer: Future[Known]) -> set[str]:
        """The answer, once it is there."""
        found = self._thread.result(answer)
        self._note(found.ids, found)
        return found.ids

    def take_known(self) -> Known:
        """The ids that were said to be there since this was last asked: those of one batch."""
        known, self._known = self._known, Known(set(), 0)
        return known

    def _note(self, ids: Iterable[str], found: Known) -> None:
        known = self._known
        if found.ids:
            beside = min(known.beside, found.beside) if known.ids else found.beside
            known.ids.update(ids)
            self._known = known._replace(beside=beside)

    def forget(self) -> None:
        """Ask no more, and give back the memory of what was to be asked."""
        self._is_given_up = True
        self._request = Request()
        self._known = Known(set(), 0)

    def _submit(self) -> None:
        request, self._request = self._request, Request()
        request.answer = self._thread.submit(partial(self._ask, request.blocks))
        request.blocks = []

    def _ask(self, blocks: Sequence[bytes | Bytes]) -> _Answer:
        if self._is_given_up:
            return _Answer(Ids("", "\n"), Known(set(), 0))
        asked = Ids("\n".join(filter(None, map(likely_ids, blocks))), "\n")
        return _Answer(asked, self._existing(asked) if asked.text else Known(set(), 0))


def likely_ids(lines: bytes | Bytes) -> str:
    """What is likely the id of an event in some lines of JSON, with line feeds between.

    None of them has to be one, and some may be missing.
    """
    lines = np.frombuffer(lines, np.uint8)
    found = np.empty(len(lines), np.uint8)
    for key in _ID_KEYS:
        count = native.find_ids(
            *(lines.ctypes.data, len(lines), key, len(key), MAX_ID_BYTES, found.ctypes.data)
        )
        if count:
            return found[: count - 1].tobytes().decode("utf-8", "replace")
    return ""
