"""Plain events: what the lines of a block say, before anything is known of the tables."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from loader import native
from loader.normalize.batch import MAX_CONTEXT_VALUES, MAX_PROPERTY_VALUES
from loader.normalize.names import context_column, property_column
from loader.plain.arrays import NotPlain, Places
from loader.plain.paths import Paths
from loader.plain.tokens import EMPTY, NULL, OPEN, OTHER, STRING, TIME, Tokens, read_tokens
from loader.sources.records import WholeLines

T = TypeVar("T", bound=Hashable)

# Groups of values: what a path leads to. The first two have no columns.
UNKNOWN, USED, CONTEXT, PROPERTIES = range(-1, 3)
# Their rule for names, and how many values of one event get columns.
_RULES: dict[int, tuple[Callable[[str], str], int]] = {
    CONTEXT: (context_column, MAX_CONTEXT_VALUES),
    PROPERTIES: (property_column, MAX_PROPERTY_VALUES),
}
# The group of a path, and the key that its column is named by.
Role = tuple[int, str]

# By kind.
IS_NOTHING = np.isin(np.arange(TIME + 1), (0, NULL))
MAY_BE_OBJECT = np.isin(np.arange(TIME + 1), (0, NULL, OPEN, EMPTY))
_IS_VALUE = np.isin(np.arange(TIME + 1), range(STRING, OTHER + 1))


class PlainEvents(NamedTuple):
    """The plain events of a block, one entry of an array for each.

    Places are those of tokens, counted from 1; 0 means none.
    """

    tokens: Tokens
    line: Places  # the line of each event in its block
    ids: list[str]
    texts: dict[str, Places]  # by shared column, `id` first; without `event_text` it is the name
    times: dict[str, Places]  # by shared column; the number of such a token is microseconds
    names: list[str]
    name: Any  # the place in `names` of each event's name
    arrival: str | None = None  # `received_at` of all, ISO 8601, where they bring none

    def take(self, at: Any) -> "PlainEvents":
        """Some of the events."""
        return self._replace(
            line=self.line[at],
            ids=[self.ids[one] for one in at.tolist()],
            texts={column: places[at] for column, places in self.texts.items()},
            times={column: places[at] for column, places in self.times.items()},
            name=self.name[at],
        )


def kinds(tokens: Tokens, cells: Places) -> Any:
    """The kind of the value in each cell, 0 for none."""
    return tokens.kind.take(cells - 1, mode="clip") * (cells > 0)


def sizes(tokens: Tokens, cells: Places) -> Places:
    """The size of the text in each cell, in bytes; where there is none, any number."""
    at = cells - 1
    found: Places = tokens.end.take(at, mode="clip") - tokens.start.take(at, mode="clip")
    return found


def given(tokens: Tokens, cells: Places) -> Places:
    """The cells without those that are null."""
    return np.where(kinds(tokens, cells) == STRING, cells, 0)


def texts(tokens: Tokens, cells: Places) -> list[str]:
    """The texts of strings."""
    size = sizes(tokens, cells)
    begins = tokens.start.take(cells - 1, mode="clip") + tokens.letters.ctypes.data
    # No text holds a zero, so it can stand between them.
    letters = np.zeros(int(size.sum()) + len(size), np.uint8)
    native.gather(begins.ctypes.data, size.ctypes.data, len(size), letters.ctypes.data, 1)
    return letters.tobytes().decode().split("\0")[:-1]


def distinct(said: Sequence[T]) -> tuple[list[T], Any]:
    """What is said, each once; and the place there of each."""
    found = list(dict.fromkeys(said))
    number = {one: at for at, one in enumerate(found)}
    return found, np.array(list(map(number.__getitem__, said)), np.int64)


class Reader:
    """What reads blocks of one form has: the paths of its lines, and their columns."""

    def __init__(self, role: Callable[[tuple[str, ...]], Role]) -> None:
        self.paths = Paths()
        self.columns = Columns(self.paths, role)

    def tokens(self, block: WholeLines) -> Tokens:
        """The values of a block; the lines that need a decision are odd. May raise NotPlain."""
        tokens = read_tokens(block, self.paths)
        self.columns.learn()
        self.check(tokens)
        self.columns.check(tokens)
        if tokens.odd.all():
            raise NotPlain
        return tokens

    def check(self, tokens: Tokens) -> None:
        """Lines whose envelope is not plain are odd."""
        raise NotImplementedError


class Columns:
    """The column of each path, as far as paths are known."""

    def __init__(self, paths: Paths, role: Callable[[tuple[str, ...]], Role]) -> None:
        self.names: list[str] = []  # by path
        self.keys: list[str] = []  # by path: as sent, nested keys with dots
        self.group = np.zeros(0, np.int8)  # by path
        self._paths = paths
        self._role = role
        self._unknown: list[int] = []  # paths that have no place in an event
        self._shared: list[list[int]] = []  # paths with one column
        self._count = dict.fromkeys(_RULES, 0)  # of paths, by group
        self._known: dict[tuple[int, str], list[int]] = {}

    def learn(self) -> None:
        """Take over paths that are new."""
        groups = self.group.tolist()
        for at in range(len(groups), len(self._paths.paths)):
            group, key = self._role(self._paths.paths[at])
            name = ""
            if group == UNKNOWN:
                self._unknown.append(at)
            elif group in _RULES:
                name = _RULES[group][0](key)
                self._count[group] += 1
                same = self._known.setdefault((group, name), [])
                same.append(at)
                if len(same) == 2:
                    self._shared.append(same)
            self.names.append(name)
            self.keys.append(key)
            groups.append(group)
        self.group = np.array(groups, np.int8)

    def check(self, tokens: Tokens) -> None:
        """Lines with too many values, two for one column, or one without a place are odd."""
        group = self.group.take(tokens.path, mode="clip")
        is_value = tokens.kind <= OTHER
        for number, (_, most) in _RULES.items():
            if self._count[number] > most:
                count = np.bincount(tokens.line[(group == number) & is_value])
                tokens.odd[: len(count)] |= count > most
        for paths in self._shared:
            is_given = [_IS_VALUE.take(kinds(tokens, tokens.cells[at])) for at in paths]
            tokens.odd |= np.sum(is_given, axis=0) > 1
        for path in self._unknown:
            tokens.odd |= ~IS_NOTHING.take(kinds(tokens, tokens.cells[path]))
