"""The exit codes, and which of several one wins."""

from collections.abc import Iterator
from contextlib import contextmanager

from loader.cli.log import complain
from loader.errors import Interrupted, LoaderError, first_of, is_out_of_memory

FAILED = 1
TOO_MANY_REJECTS = 3

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong use or settings, 3 too many rejects, "
    "4 schema not at head, 75 another load runs, 130 and 143 stopped by a signal. "
    "Of several loads the first of 130, 143, 1, 4, 2, 3, 75 counts."
)


class Outcomes:
    """What became of each source in each warehouse: an error of one does not end the others."""

    def __init__(self) -> None:
        self._codes: list[int] = []
        self._defects: list[Exception] = []

    def add(self, code: int) -> None:
        """Count an exit code."""
        self._codes.append(code)

    @contextmanager
    def of(self, source: str, event: str, warehouse: str | None = None) -> Iterator[None]:
        """Tell and count the error that ends the block, if one does."""
        try:
            yield
        except LoaderError as error:
            complain(str(error), event, source=source, warehouse=warehouse)
            self.add(error.exit_code)
        except Exception as error:
            # A defect of ours, which may not end the others either. What is written to stdout, and
            # memory, are not of one load.
            if isinstance(error, OSError) or is_out_of_memory(error):
                raise
            self._defects.append(error)
        except Interrupted as stop:
            if stop.committed is not None:
                stop.committed = stop.committed._replace(warehouse=warehouse)
            raise

    def code(self) -> int:
        """The exit code of all. Raises the first defect that was met."""
        if self._defects:
            raise self._defects[0]
        return first_of(self._codes)
