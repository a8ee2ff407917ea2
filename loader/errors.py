"""The errors of the loader: one tree, each with its exit code.

A message says what happened, to what, and what to do about it. Trouble with the data is not an
error: it becomes a row in `_rejects` or a value in `_extra`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from loader.load.result import LoadResult


class LoaderError(Exception):
    """A load or a command could not do its work."""

    exit_code = 1


class UsageError(LoaderError):
    """The command or the settings are wrong; nothing was tried."""

    exit_code = 2


class UnknownSetting(UsageError, TypeError):
    """A keyword is not a setting; to Python, too, that is a wrong argument."""


class SchemaNotAtHead(LoaderError):
    """The schema needs a migration and the settings forbid the load to run it."""

    exit_code = 4


class SchemaRefused(LoaderError):
    """The schema is not one that the loader made for this source."""


class SchemaDrift(LoaderError):
    """The tables in the database are not what the loader declared."""


class WarehouseUnavailable(LoaderError):
    """The server cannot be reached, refuses the connection, or was lost."""


class TransientFault(WarehouseUnavailable):
    """A fault of the server or the network that may pass; worth another try."""


class MissingRight(LoaderError):
    """The role lacks a right in the warehouse."""


class WarehouseFailed(LoaderError):
    """The server refused a statement for a reason that trying again does not cure."""


class LedgerDisagrees(LoaderError):
    """The server does not have what a load has committed, or not as this load's."""


class RowsDropped(LoaderError):
    """The server kept fewer rows than it was sent, and reported no error."""


class InputUnreadable(LoaderError):
    """An input cannot be listed, opened, or read to its end."""


class BrokenInstallation(LoaderError):
    """The installed package is not whole."""


class LockHeld(LoaderError):
    """Another load of the same source is running."""

    exit_code = 75


class LoadFailure(NamedTuple):
    """A load that failed among others."""

    source: str
    warehouse: str | None
    error: Exception

    def __str__(self) -> str:
        into = "" if self.warehouse is None else f" into {self.warehouse!r}"
        return f"{self.source!r}{into}: {str(self.error) or type(self.error).__name__}"


class LoadsFailed(LoaderError):
    """Some of several loads failed, after all of them were tried."""

    def __init__(self, failures: "Sequence[LoadFailure]", results: "Sequence[LoadResult]") -> None:
        self.failures = list(failures)
        self.results = list(results)  # of the loads that did not fail
        self.exit_code = first_of(getattr(one.error, "exit_code", 1) for one in failures)
        total = len(self.failures) + len(self.results)
        told = "; ".join(map(str, self.failures))
        super().__init__(f"{len(self.failures)} of {total} loads failed: {told}")

    def __reduce__(self) -> "tuple[object, ...]":
        return type(self), (self.failures, self.results)


# What somebody must know of comes before the rest.
_FIRST = (130, 143, 1, 4, 2, 3, 75, 0)


def first_of(codes: Iterable[int]) -> int:
    """The exit code that somebody must know of before the others."""
    return min(codes, key=lambda code: _FIRST.index(code if code in _FIRST else 1), default=0)


class LoaderWarning(UserWarning):
    """Something that works and is probably not meant."""


class Committed(NamedTuple):
    """What a load had done when it was stopped."""

    source: str
    records: int
    batches: int
    warehouse: str | None = None


class Interrupted(BaseException):
    """A signal asks the load to stop. Not an Exception: nothing on the way may swallow it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.committed: Committed | None = None  # where a load was stopped


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like one that is not known."""
    import difflib

    by_fold = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=cutoff)
    return by_fold[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """`: did you mean 'x'?` where a known name is near, else `: otherwise`."""
    near = nearest(name, known)
    if near is not None:
        return f": did you mean {near!r}?"
    return f": {otherwise}" if otherwise else ""


OUT_OF_MEMORY = "out of memory: lower batch_records and batch_bytes, or give the job more"
# What Python says instead where it has not even the memory for a MemoryError.
_NO_MEMORY = ("can't start new thread", "can't allocate lock", "out of memory")
# The system's words, and those of the linker.
_NO_ROOM = ("Cannot allocate memory", "failed to map segment")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one behind it, came of a lack of memory."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, RuntimeError) and str(error) in _NO_MEMORY:
            return True
        # Reading a file, or mapping a library that is imported.
        if isinstance(error, OSError | ImportError) and any(w in str(error) for w in _NO_ROOM):
            return True
        # Of the interpreter's own: a function failed and could not say why.
        if isinstance(error, SystemError) and "without" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
