"""Tokens -> track calls: the rules of `sources.segment`, for the lines that need no decision."""

from typing import Any, NamedTuple

import numpy as np

from loader import native
from loader.normalize.batch import MAX_CONTEXT_VALUES, MAX_PROPERTY_VALUES
from loader.normalize.collections import UNSUBSCRIBED_ALIASES
from loader.normalize.event import MAX_ID_BYTES
from loader.normalize.names import context_column, property_column, table_name
from loader.plain.arrays import Places
from loader.plain.paths import Paths
from loader.plain.tokens import EMPTY, NULL, OPEN, OTHER, STRING, TIME, Tokens, read_tokens
from loader.sources.records import WholeLines
from loader.sources.segment import KNOWN

# The times of a call, and their columns.
TIMES = {
    "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp",
    "timestamp": "timestamp",
}
_TEXTS = ("type", "event", "messageId", "userId", "anonymousId")
_TRACK = "track"
NEEDED_TIMES = ("receivedAt", "timestamp")
# The objects of a call, with their rule for names, and how many values of one get columns.
_OBJECTS = {
    "context": (context_column, MAX_CONTEXT_VALUES),
    "properties": (property_column, MAX_PROPERTY_VALUES),
}
# Groups of paths.
CONTEXT, PROPERTIES = 1, 2
_GROUPS = {"context": CONTEXT, "properties": PROPERTIES}

# By kind.
_IS_NOTHING = np.isin(np.arange(TIME + 1), (0, NULL))
_MAY_BE_OBJECT = np.isin(np.arange(TIME + 1), (0, NULL, OPEN, EMPTY))
_IS_VALUE = np.isin(np.arange(TIME + 1), range(STRING, OTHER + 1))


class Calls(NamedTuple):
    """The plain calls of a block. An entry of an array is for one call, and 0 means none."""

    tokens: Tokens
    line: Places  # the line of each call in its block
    ids: list[str]
    id: Places  # its token, counted from 1, as those below
    user_id: Places
    anonymous_id: Places
    event_text: Places
    times: dict[str, Places]  # by column
    names: list[str]  # of events
    name: Any  # the place in `names` of each call's event


class Reader:
    """Reads blocks of lines into calls."""

    def __init__(self, only: frozenset[str] | None, taken: frozenset[str]) -> None:
        self.paths = Paths()
        self.columns = Columns(self.paths)
        self._only = only
        self._taken = taken
        path = self.paths.path
        self._at = {key: path(key) for key in KNOWN} | {key: self.paths.time(key) for key in TIMES}
        self._email = path("context", "traits", "email")

    def read(self, block: WholeLines) -> Calls:
        """The calls in a block that need no decision; may raise NotPlain."""
        tokens = read_tokens(block, self.paths)
        self.columns.learn()
        self._check_envelopes(tokens)
        self._check_objects(tokens)
        cells, at = tokens.cells, self._at
        times = self._times(tokens)
        event = cells[at["event"]]
        names, name = self._names(tokens, event)
        line = np.flatnonzero(~tokens.odd)
        user = _given(tokens, cells[at["userId"]])
        anonymous = _given(tokens, cells[at["anonymousId"]])
        email = cells[self._email]
        is_address = (_kinds(tokens, email) == STRING) & (_sizes(tokens, email) > 0)
        nobody = (user == 0) & (anonymous == 0) & is_address
        anonymous = np.where(nobody, email, anonymous)
        ids = cells[at["messageId"]].take(line, mode="clip")
        return Calls(
            tokens=tokens,
            line=line,
            ids=_texts(tokens, ids),
            id=ids,
            user_id=user[line],
            anonymous_id=anonymous[line],
            event_text=event[line],
            times={name: one[line] for name, one in times.items()},
            names=names,
            name=name[line],
        )

    def _check_envelopes(self, tokens: Tokens) -> None:
        """Lines that are no plain track call are odd."""
        cells, odd = tokens.cells, tokens.odd
        at = {key: cells[self._at[key]] for key in (*_TEXTS, *_OBJECTS)}
        kinds = {key: _kinds(tokens, found) for key, found in at.items()}
        sizes = {key: _sizes(tokens, at[key]) * (kinds[key] == STRING) for key in _TEXTS}
        odd |= sizes["type"] != len(_TRACK)
        tracks = np.flatnonzero(~odd)
        odd[tracks] = [text != _TRACK for text in _texts(tokens, at["type"][tracks])]
        odd |= (sizes["event"] == 0) | (sizes["messageId"] == 0)
        odd |= sizes["messageId"] > MAX_ID_BYTES // 4
        for key in ("userId", "anonymousId"):
            odd |= (kinds[key] != 0) & (kinds[key] != NULL) & (sizes[key] == 0)
        for key in _OBJECTS:
            odd |= ~_MAY_BE_OBJECT.take(kinds[key])
        for path in self.columns.unknown:
            odd |= ~_IS_NOTHING.take(_kinds(tokens, cells[path]))

    def _check_objects(self, tokens: Tokens) -> None:
        """Lines with too many values, or with two for one column, are odd."""
        group = self.columns.group.take(tokens.path, mode="clip")
        is_value = tokens.kind <= OTHER
        for key, (_, most) in _OBJECTS.items():
            if self.columns.count[key] > most:
                count = np.bincount(tokens.line[(group == _GROUPS[key]) & is_value])
                tokens.odd[: len(count)] |= count > most
        for paths in self.columns.shared:
            is_given = [_IS_VALUE.take(_kinds(tokens, tokens.cells[at])) for at in paths]
            tokens.odd |= np.sum(is_given, axis=0) > 1

    def _times(self, tokens: Tokens) -> dict[str, Places]:
        """The times of all lines, by column; lines with others than usual ones are odd."""
        times = {}
        for key, name in TIMES.items():
            found = tokens.cells[self._at[key]]
            kind = _kinds(tokens, found)
            is_time = kind == TIME
            if key in NEEDED_TIMES:
                tokens.odd |= ~is_time
            else:
                tokens.odd |= ~is_time & ~_IS_NOTHING.take(kind)
            times[name] = np.where(is_time, found, 0)
        return times

    def _names(self, tokens: Tokens, event: Places) -> tuple[list[str], Any]:
        """The names of events; and which one each line has. Lines of some names are odd."""
        line = np.flatnonzero(~tokens.odd)
        texts = _texts(tokens, event[line])
        names = list(dict.fromkeys(texts))
        number = {text: at for at, text in enumerate(names)}
        name = np.zeros(len(event), np.int64)
        name[line] = list(map(number.__getitem__, texts))
        is_odd = [not self._is_plain(text) for text in names]
        tokens.odd[line] |= np.array(is_odd, bool)[name[line]]
        return names, name

    def _is_plain(self, text: str) -> bool:
        if text.isspace():
            return False
        table = table_name(text)
        return table not in UNSUBSCRIBED_ALIASES | self._taken and (
            self._only is None or table in self._only
        )


def _kinds(tokens: Tokens, cells: Places) -> Any:
    """The kind of the value in each cell, 0 for none."""
    return tokens.kind.take(cells - 1, mode="clip") * (cells > 0)


def _sizes(tokens: Tokens, cells: Places) -> Places:
    """The size of the text in each cell, in bytes; where there is none, any number."""
    at = cells - 1
    sizes: Places = tokens.end.take(at, mode="clip") - tokens.start.take(at, mode="clip")
    return sizes


def _given(tokens: Tokens, cells: Places) -> Places:
    """The cells without those that are null."""
    return np.where(_kinds(tokens, cells) == STRING, cells, 0)


def _texts(tokens: Tokens, cells: Places) -> list[str]:
    """The texts of strings."""
    size = _sizes(tokens, cells)
    begins = tokens.start.take(cells - 1, mode="clip") + tokens.letters.ctypes.data
    # No text holds a zero, so it can stand between them.
    letters = np.zeros(int(size.sum()) + len(size), np.uint8)
    native.gather(begins.ctypes.data, size.ctypes.data, len(size), letters.ctypes.data, 1)
    return letters.tobytes().decode().split("\0")[:-1]


class Columns:
    """The column of each path, as far as paths are known."""

    def __init__(self, paths: Paths) -> None:
        self.names: list[str] = []  # by path
        self.keys: list[str] = []  # by path: as sent, nested keys with dots
        self.unknown: list[int] = []  # paths of keys that an envelope does not have
        self.shared: list[list[int]] = []  # paths with one column
        self.count = dict.fromkeys(_OBJECTS, 0)  # of paths
        self.group = np.zeros(0, np.int8)  # by path
        self._paths = paths
        self._known: dict[tuple[str, str], list[int]] = {}

    def learn(self) -> None:
        """Take over paths that are new."""
        groups = self.group.tolist()
        for at in range(len(groups), len(self._paths.paths)):
            path = self._paths.paths[at]
            root = path[0] if path else ""
            key, name, group = ".".join(path[1:]), "", 0
            if len(path) == 1 and root not in KNOWN:
                self.unknown.append(at)
            elif len(path) > 1 and root in _OBJECTS:
                name, group = _OBJECTS[root][0](key), _GROUPS[root]
                self.count[root] += 1
                same = self._known.setdefault((root, name), [])
                same.append(at)
                if len(same) == 2:
                    self.shared.append(same)
            self.names.append(name)
            self.keys.append(key)
            groups.append(group)
        self.group = np.array(groups, np.int8)
