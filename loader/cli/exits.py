"""The exit codes, and which of several one wins."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from loader.cli.log import complain
from loader.errors import LoaderError

FAILED = 1
TOO_MANY_REJECTS = 3

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong use or settings, 3 too many rejects, "
    "4 schema not at head, 75 another load runs, 130 and 143 stopped by a signal. "
    "Of several sources the first of 130, 143, 1, 4, 2, 3, 75 counts."
)

_FIRST = (130, 143, FAILED, 4, 2, TOO_MANY_REJECTS, 75, 0)


def first_of(codes: Iterable[int]) -> int:
    """The code that somebody must know of before the others."""
    return min(codes, key=lambda code: _FIRST.index(code if code in _FIRST else FAILED), default=0)


class Outcomes:
    """What became of each source: an error of one does not end the others."""

    def __init__(self) -> None:
        self._codes: list[int] = []

    def add(self, code: int) -> None:
        """Count an exit code."""
        self._codes.append(code)

    @contextmanager
    def of(self, source: str, event: str) -> Iterator[None]:
        """Tell and count the error that ends the block, if one does."""
        try:
            yield
        except LoaderError as error:
            complain(str(error), event, source=source)
            self.add(error.exit_code)

    def code(self) -> int:
        """The exit code of all."""
        return first_of(self._codes)
