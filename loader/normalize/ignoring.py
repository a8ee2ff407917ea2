"""What a source leaves out on purpose: types of calls, names of events, times."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """The rules of a source. A record that one of them names is no row, and no reject either."""

    types: frozenset[str] = frozenset()  # of calls
    tables: frozenset[str] = frozenset()  # of events, as in the column `event`
    # Events whose `timestamp` is not from `after` on and before `before`; microseconds since 2000.
    after: int | None = None
    before: int | None = None
    started: int = 0  # start of the load: `timestamp` of events that bring no time

    @property
    def has_times(self) -> bool:
        """Whether the time of an event counts."""
        return self.after is not None or self.before is not None


NOTHING_IGNORED = Ignore()
