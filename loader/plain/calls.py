"""Tokens -> track calls: the rules of `sources.segment`, for the lines that need no decision."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from loader.normalize.batch import MAX_CONTEXT_VALUES, MAX_PROPERTY_VALUES
from loader.normalize.collections import UNSUBSCRIBED_ALIASES
from loader.normalize.event import MAX_ID_BYTES
from loader.normalize.names import context_column, property_column, table_name
from loader.plain.paths import Paths
from loader.plain.times import usual_times
from loader.plain.tokens import EMPTY, NULL, OPEN, OTHER, STRING, Tokenizer, Tokens
from loader.plain.words import Flags, Longs, Places, heads, word
from loader.sources.records import WholeLines
from loader.sources.segment import KNOWN
from loader.warehouse.binary import longs

# The times of a call, and their columns.
TIMES = {
    "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp",
    "timestamp": "timestamp",
}
_TEXTS = ("type", "event", "messageId", "userId", "anonymousId")
_TRACK = b"track"
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
_IS_NOTHING = np.isin(np.arange(OPEN + 1), (0, NULL))
_MAY_BE_OBJECT = np.isin(np.arange(OPEN + 1), (0, NULL, OPEN, EMPTY))
_IS_VALUE = np.isin(np.arange(OPEN + 1), range(STRING, OTHER + 1))


class Times(NamedTuple):
    """One of the times of each call."""

    microseconds: Longs  # since 2000
    is_given: Flags

    def take(self, at: Places) -> "Times":
        """Those of some calls."""
        return Times(self.microseconds[at], self.is_given[at])


class Calls(NamedTuple):
    """The plain calls of a block. An entry of an array is for one call, and 0 means none."""

    tokens: Tokens
    line: Places  # the line of each call in its block
    ids: list[str]
    id: Places  # its token, counted from 1, as those below
    user_id: Places
    anonymous_id: Places
    event_text: Places
    times: dict[str, Times]  # by column
    names: list[str]  # of events
    name: Any  # the place in `names` of each call's event


class Reader:
    """Reads blocks of lines into calls."""

    def __init__(self, only: frozenset[str] | None, taken: frozenset[str]) -> None:
        self.paths = Paths()
        self.columns = Columns(self.paths)
        self._only = only
        self._taken = taken
        self._tokenizer = Tokenizer(self.paths)
        path = self.paths.path
        self._at = {key: path(key) for key in (*KNOWN,)}
        self._email = path("context", "traits", "email")

    def read(self, block: WholeLines) -> Calls:
        """The calls in a block that need no decision; may raise NotPlain."""
        tokens = self._tokenizer.read(block)
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
        is_address = _kinds(tokens, email) == STRING
        is_address &= tokens.end[email - 1] > tokens.start[email - 1]
        nobody = (user == 0) & (anonymous == 0) & is_address
        anonymous = np.where(nobody, email, anonymous)
        ids = cells[at["messageId"]].take(line, mode="clip")
        return Calls(
            tokens=tokens,
            line=line,
            ids=_texts(tokens, ids).to_pylist(),
            id=ids,
            user_id=user[line],
            anonymous_id=anonymous[line],
            event_text=event[line],
            times={name: one.take(line) for name, one in times.items()},
            names=names,
            name=name[line],
        )

    def _check_envelopes(self, tokens: Tokens) -> None:
        """Lines that are no plain track call are odd."""
        cells, odd = tokens.cells, tokens.odd
        at = {key: cells[self._at[key]] for key in (*_TEXTS, *_OBJECTS)}
        kinds = {key: _kinds(tokens, found) for key, found in at.items()}
        starts = {key: tokens.start.take(at[key] - 1, mode="clip") for key in _TEXTS}
        sizes = {
            key: (tokens.end.take(at[key] - 1, mode="clip") - starts[key]) * (kinds[key] == STRING)
            for key in _TEXTS
        }
        odd |= sizes["type"] != len(_TRACK)
        odd |= heads(tokens.letters, starts["type"], sizes["type"]) != word(_TRACK)
        odd |= (sizes["event"] == 0) | (sizes["messageId"] == 0)
        odd |= sizes["messageId"] > MAX_ID_BYTES // 4
        for key in ("userId", "anonymousId"):
            odd |= (kinds[key] != 0) & (kinds[key] != NULL) & (sizes[key] == 0)
        for key in _OBJECTS:
            odd |= ~_MAY_BE_OBJECT.take(kinds[key])
        for key in ("event", "messageId"):  # those with escapes, which stand elsewhere
            odd |= starts[key] > tokens.block_end
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

    def _times(self, tokens: Tokens) -> dict[str, Times]:
        """The times of all lines, by column; lines with others than usual ones are odd."""
        at = tokens.cells.take([self._at[key] for key in TIMES], axis=0, mode="clip")
        kinds = _kinds(tokens, at.reshape(-1)).reshape(at.shape)
        places = at.reshape(-1) - 1
        found, fits = usual_times(
            tokens.letters,
            tokens.start.take(places, mode="clip"),
            tokens.end.take(places, mode="clip"),
        )
        found, is_given = found.reshape(at.shape), (kinds == STRING) & fits.reshape(at.shape)
        for key, kind, given in zip(TIMES, kinds, is_given, strict=True):
            may_lack = key not in NEEDED_TIMES
            tokens.odd |= ~given & ~(may_lack & ((kind == 0) | (kind == NULL)))
        return {
            name: Times(*both) for name, *both in zip(TIMES.values(), found, is_given, strict=True)
        }

    def _names(self, tokens: Tokens, event: Places) -> tuple[list[str], Any]:
        """The names of events; and which one each line has. Lines of some names are odd."""
        line = np.flatnonzero(~tokens.odd)
        found = _texts(tokens, event[line]).dictionary_encode()
        names: list[str] = found.dictionary.to_pylist()
        name = np.zeros(len(event), np.int64)
        name[line] = np.frombuffer(found.indices.buffers()[1], np.int32, len(line))
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


def _given(tokens: Tokens, cells: Places) -> Places:
    """The cells without those that are null."""
    return np.where(_kinds(tokens, cells) == STRING, cells, 0)


def _texts(tokens: Tokens, cells: Places) -> Any:
    """The texts of strings without escapes, as a pyarrow.StringArray."""
    ends = np.empty(2 * len(cells) + 1, np.int32)
    ends[:-1:2], ends[1::2] = tokens.start[cells - 1], tokens.end[cells - 1]
    ends[-1] = tokens.block_end
    every = pa.StringArray.from_buffers(
        2 * len(cells), pa.py_buffer(ends), pa.py_buffer(tokens.letters)
    )
    return every.take(longs(np.arange(0, 2 * len(cells), 2)))


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
