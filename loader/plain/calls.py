"""Tokens -> track calls: the rules of `sources.segment`, for the lines that need no decision."""

from collections.abc import Callable
from typing import Any

import numpy as np

from loader.normalize.collections import UNSUBSCRIBED_ALIASES
from loader.normalize.event import MAX_ID_BYTES
from loader.normalize.names import table_name
from loader.plain.arrays import Places
from loader.plain.events import (
    CONTEXT,
    IS_NOTHING,
    MAY_BE_OBJECT,
    PROPERTIES,
    UNKNOWN,
    USED,
    PlainEvents,
    Reader,
    Role,
    distinct,
    given,
    kinds,
    sizes,
    texts,
)
from loader.plain.tokens import NULL, STRING, TIME, Tokens
from loader.sources.records import WholeLines
from loader.sources.segment import KNOWN

# The times of a call, and their columns.
_TIMES = {
    "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp",
    "timestamp": "timestamp",
}
_NEEDED_TIMES = ("receivedAt", "timestamp")
_TEXTS = ("type", "event", "messageId", "userId", "anonymousId")
_TRACK = "track"
_OBJECTS = {"context": CONTEXT, "properties": PROPERTIES}


def _role(path: tuple[str, ...]) -> Role:
    root, *keys = path or ("",)
    if keys and root in _OBJECTS:
        return _OBJECTS[root], ".".join(keys)
    return (UNKNOWN if len(path) == 1 and root not in KNOWN else USED), ""


class Calls(Reader):
    """Reads blocks of track calls."""

    def __init__(self, is_made: Callable[[str], bool]) -> None:
        super().__init__(_role)
        self._is_made = is_made
        path = self.paths.path
        self._at = {key: path(key) for key in KNOWN}
        self._at |= {key: self.paths.time(key) for key in _TIMES}
        self._email = path("context", "traits", "email")

    def read(self, block: WholeLines) -> PlainEvents:
        """The calls in a block that need no decision; may raise NotPlain."""
        tokens = self.tokens(block)
        cells, at = tokens.cells, self._at
        times = self._times(tokens)
        event = cells[at["event"]]
        names, name = self._names(tokens, event)
        line = np.flatnonzero(~tokens.odd)
        user = given(tokens, cells[at["userId"]])
        anonymous = given(tokens, cells[at["anonymousId"]])
        email = cells[self._email]
        is_address = (kinds(tokens, email) == STRING) & (sizes(tokens, email) > 0)
        nobody = (user == 0) & (anonymous == 0) & is_address
        anonymous = np.where(nobody, email, anonymous)
        ids = cells[at["messageId"]][line]
        return PlainEvents(
            tokens=tokens,
            line=line,
            ids=texts(tokens, ids),
            texts={
                "id": ids,
                "anonymous_id": anonymous[line],
                "user_id": user[line],
                "event_text": event[line],
            },
            times={column: places[line] for column, places in times.items()},
            names=names,
            name=name[line],
        )

    def check(self, tokens: Tokens) -> None:
        """Lines that are no plain track call are odd."""
        cells, odd = tokens.cells, tokens.odd
        at = {key: cells[self._at[key]] for key in (*_TEXTS, *_OBJECTS)}
        kind = {key: kinds(tokens, found) for key, found in at.items()}
        size = {key: sizes(tokens, at[key]) * (kind[key] == STRING) for key in _TEXTS}
        odd |= size["type"] != len(_TRACK)
        tracks = np.flatnonzero(~odd)
        odd[tracks] = [text != _TRACK for text in texts(tokens, at["type"][tracks])]
        odd |= (size["event"] == 0) | (size["messageId"] == 0)
        odd |= size["messageId"] > MAX_ID_BYTES // 4
        for key in ("userId", "anonymousId"):
            odd |= (kind[key] != 0) & (kind[key] != NULL) & (size[key] == 0)
        for key in _OBJECTS:
            odd |= ~MAY_BE_OBJECT.take(kind[key])

    def _times(self, tokens: Tokens) -> dict[str, Places]:
        """The times of all lines, by column; lines with others than usual ones are odd."""
        times = {}
        for key, name in _TIMES.items():
            found = tokens.cells[self._at[key]]
            kind = kinds(tokens, found)
            is_time = kind == TIME
            if key in _NEEDED_TIMES:
                tokens.odd |= ~is_time
            else:
                tokens.odd |= ~is_time & ~IS_NOTHING.take(kind)
            times[name] = np.where(is_time, found, 0)
        return times

    def _names(self, tokens: Tokens, event: Places) -> tuple[list[str], Any]:
        """The names of events; and which one each line has. Lines of some names are odd."""
        line = np.flatnonzero(~tokens.odd)
        names, place = distinct(texts(tokens, event[line]))
        name = np.zeros(len(event), np.int64)
        name[line] = place
        is_odd = [not self._is_plain(text) for text in names]
        tokens.odd[line] |= np.array(is_odd, bool)[place]
        return names, name

    def _is_plain(self, text: str) -> bool:
        table = table_name(text)
        return not text.isspace() and table not in UNSUBSCRIBED_ALIASES and self._is_made(table)
