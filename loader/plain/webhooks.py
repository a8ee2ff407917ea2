"""Tokens -> webhooks: the rules of `sources.webhook`, for the lines that need no decision."""

from collections.abc import Callable
from typing import Any

import numpy as np

from loader.normalize.event import MAX_ID_BYTES
from loader.normalize.names import table_name
from loader.plain.arrays import Flags, Places
from loader.plain.events import (
    IS_NOTHING,
    MAY_BE_OBJECT,
    PROPERTIES,
    UNKNOWN,
    USED,
    PlainEvents,
    Reader,
    Role,
    distinct,
    kinds,
    sizes,
    texts,
)
from loader.plain.tokens import EMPTY, INTEGER, OPEN, STRING, TIME, Tokens
from loader.sources.records import WholeLines
from loader.sources.webhook import event_name, is_address
from loader.warehouse.binary import EPOCH

# Epoch seconds of ten digits, from 2001 on.
_SECONDS = range(10**9, 10**10)
_EPOCH_SECONDS = int(EPOCH.timestamp())
# By kind.
_MAY_NAME = np.isin(np.arange(TIME + 1), (STRING, INTEGER))
_IS_OBJECT = np.isin(np.arange(TIME + 1), (OPEN, EMPTY))


def _role(path: tuple[str, ...]) -> Role:
    if len(path) == 1 and path[0] in ("object_type", "metric"):
        return PROPERTIES, path[0]
    if path == ("data", "identifiers", "cio_id"):
        return PROPERTIES, path[-1]
    if path in _USED:
        return USED, ""
    if path[:1] == ("data",) and path[1] != "identifiers":
        return PROPERTIES, ".".join(path[1:])
    return UNKNOWN, ""


_USED = (
    *((), ("event_id",), ("timestamp",), ("data",), ("data", "identifiers")),
    *(("data", "identifiers", "id"), ("data", "identifiers", "email")),
)


class Webhooks(Reader):
    """Reads blocks of webhooks."""

    def __init__(self, is_made: Callable[[str], bool], load_started_at: str) -> None:
        super().__init__(_role)
        self._is_made = is_made
        self._load_started_at = load_started_at
        path = self.paths.path
        self._event_id, self._timestamp = path("event_id"), path("timestamp")
        self._channel, self._metric = path("object_type"), path("metric")
        # A key of either makes a record of another form, whatever its value.
        self._other_forms = path("event_type"), path("batch")
        # What the envelope or the identifiers bring under such a name has to give way.
        self._rivals = [path("data", key) for key in ("object_type", "metric", "cio_id")]
        self._data, self._identifiers = path("data"), path("data", "identifiers")
        self._delivery_id = path("data", "delivery_id")
        # Who it is about: the first one that is given counts.
        self._people = path("data", "identifiers", "id"), path("data", "customer_id")
        self._address = path("data", "identifiers", "email")
        self._recipient = path("data", "recipient")
        self._other_address = path("data", "email_address")

    def read(self, block: WholeLines) -> PlainEvents:
        """The webhooks in a block that need no decision; may raise NotPlain."""
        tokens = self.tokens(block)
        names, name, is_email = self._names(tokens)
        line = np.flatnonzero(~tokens.odd)
        person = self._first(tokens, *self._people)
        address = self._addresses(tokens, is_email)
        ids = tokens.cells[self._event_id][line]
        happened = tokens.cells[self._timestamp][line]
        tokens.number[happened - 1] = (tokens.number[happened - 1] - _EPOCH_SECONDS) * 1_000_000
        return PlainEvents(
            tokens=tokens,
            line=line,
            ids=texts(tokens, ids),
            texts={
                "id": ids,
                "anonymous_id": np.where(person > 0, 0, address)[line],
                "user_id": person[line],
                "context_traits_email": address[line],
            },
            times={"original_timestamp": happened, "timestamp": happened},
            arrival=self._load_started_at,
            names=names,
            name=name[line],
        )

    def check(self, tokens: Tokens) -> None:
        """Lines that are no plain webhook are odd."""
        cells, odd = tokens.cells, tokens.odd
        for path in (self._channel, self._metric, self._event_id):
            odd |= kinds(tokens, cells[path]) != STRING
        size = sizes(tokens, cells[self._event_id])
        odd |= (size == 0) | (size > MAX_ID_BYTES // 4)
        odd |= kinds(tokens, cells[self._timestamp]) != INTEGER
        seconds = tokens.number.take(cells[self._timestamp] - 1, mode="clip")
        odd |= (seconds < _SECONDS.start) | (seconds >= _SECONDS.stop)
        odd |= ~_IS_OBJECT.take(kinds(tokens, cells[self._data]))
        odd |= ~MAY_BE_OBJECT.take(kinds(tokens, cells[self._identifiers]))
        for path in self._other_forms:
            odd |= cells[path] != 0
        for path in self._rivals:
            odd |= ~IS_NOTHING.take(kinds(tokens, cells[path]))
        delivery = kinds(tokens, cells[self._delivery_id])
        odd |= ~IS_NOTHING.take(delivery) & (delivery != STRING)
        for path in (*self._people, self._address, self._recipient, self._other_address):
            kind = kinds(tokens, cells[path])
            odd |= ~IS_NOTHING.take(kind) & ~_MAY_NAME.take(kind)

    def _names(self, tokens: Tokens) -> tuple[list[str], Any, Flags]:
        """The names of events; which one each line has; and whether it is about an e-mail.

        Lines of some names are odd.
        """
        line = np.flatnonzero(~tokens.odd)
        channels = texts(tokens, tokens.cells[self._channel][line])
        metrics = texts(tokens, tokens.cells[self._metric][line])
        is_sent = self._is_given(tokens, self._delivery_id)[line].tolist()
        said, place = distinct(list(zip(channels, metrics, is_sent, strict=True)))
        names, is_email = [], []
        for channel, metric, about_a_message in said:
            channel, metric = channel.strip().lower(), metric.strip().lower()
            is_named = bool(channel and metric)
            name = event_name(channel, metric, about_a_message=about_a_message) if is_named else ""
            names.append(name)
            is_email.append(channel == "email")
        is_odd = [not name or not self._is_made(table_name(name)) for name in names]
        of_line = np.zeros(len(tokens.odd), np.int64)
        of_line[line] = place
        tokens.odd[line] |= np.array(is_odd, bool)[place]
        return names, of_line, np.array(is_email, bool).take(of_line, mode="clip")

    def _is_given(self, tokens: Tokens, path: int) -> Flags:
        """Whether a line has a number, or a text that is not blank, there."""
        cells = tokens.cells[path]
        kind = kinds(tokens, cells)
        found: Flags = (kind == INTEGER) | ((kind == STRING) & (sizes(tokens, cells) > 0))
        return found

    def _first(self, tokens: Tokens, *paths: int) -> Places:
        """The first value that is given, of each line."""
        found = np.zeros(len(tokens.odd), np.int64)
        for path in reversed(paths):
            found = np.where(self._is_given(tokens, path), tokens.cells[path], found)
        return found

    def _addresses(self, tokens: Tokens, is_email: Flags) -> Places:
        """The address of each line's person: theirs, else where an e-mail went to."""
        own = self._first(tokens, self._address)
        recipient = tokens.cells[self._recipient]
        asked = ~tokens.odd & (own == 0) & is_email & (kinds(tokens, recipient) == STRING)
        line = np.flatnonzero(asked)
        line = line[list(map(is_address, texts(tokens, recipient[line])))] if len(line) else line
        found = self._first(tokens, self._other_address)
        found[line] = recipient[line]
        return np.where(own > 0, own, found)
