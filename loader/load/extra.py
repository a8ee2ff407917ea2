"""The values of some events that go to `_extra`, with their names."""

from collections.abc import Sequence

import numpy as np

from loader.columns.tokens import Flags, Longs
from loader.forms.columns import Columns
from loader.normalize.event import put_extra


class Names:
    """Names by number: those of the columns of a block, and others behind them."""

    def __init__(self, columns: Columns) -> None:
        self._columns, self._first = columns, len(columns.names)
        self._others: list[str] = []
        self._number: dict[str, int] = {}  # of the others

    def __len__(self) -> int:
        return self._first + len(self._others)

    def number(self, name: str) -> int:
        """The number of a name; there may be a column that is called like a key without one."""
        column = self._columns.number.get(name, self._first)
        if column < self._first:
            return column
        if name not in self._number:
            self._number[name] = len(self)
            self._others.append(name)
        return self._number[name]

    def numbers(self, names: Sequence[str]) -> Longs:
        """The numbers of some names."""
        return np.array(list(map(self.number, names)), np.int64)

    def texts(self, numbers: Longs) -> list[str]:
        """The names behind some numbers."""
        columns, others, first = self._columns.names, self._others, self._first
        return [columns[n] if n < first else others[n - first] for n in numbers.tolist()]


class Pairs:
    """Values: of which event, under which name."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._found: list[tuple[Longs, Longs, Longs]] = []  # event, token, number of the name

    def add(self, event: Longs, token: Longs, name: Longs) -> None:
        """Add values; `name` are numbers of names."""
        if len(event):
            self._found.append((event, token, name))

    def join(self, others: "Pairs", which: Flags) -> tuple[Longs, Longs, Longs]:
        """All values of some events, those of `others` first; by event."""
        found = [*others._found, *self._found] if others is not self else self._found
        if not found:
            none = np.zeros(0, np.int64)
            return none, none, none
        event, token, name = (np.concatenate(each) for each in zip(*found, strict=True))
        at = np.flatnonzero(which[event])
        at = at[np.argsort(event[at], kind="stable")]
        return event[at], token[at], self._without_repeated(event[at], name[at])

    def _without_repeated(self, event: Longs, name: Longs) -> Longs:
        """The names, with other ones where an event has one twice."""
        code = event * len(self.names) + name
        in_order = np.sort(code)
        is_repeated = in_order[1:] == in_order[:-1]
        if not is_repeated.any():
            return name
        name = name.copy()
        for one in np.unique(in_order[1:][is_repeated] // len(self.names)).tolist():
            at = slice(*np.searchsorted(event, [one, one + 1]).tolist())
            used: dict[str, object] = {}
            for text in self.names.texts(name[at]):
                put_extra(used, text, None)
            name[at] = self.names.numbers(list(used))
        return name
