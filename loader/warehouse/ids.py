"""Which ids a table has: the query, and the session that sends it beside the writer."""

import threading
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from psycopg2 import sql
from sqlalchemy import Connection

from loader.errors import TransientFault
from loader.normalize.collections import TRACKS
from loader.warehouse.engine import Session, driver_cursor, retrying, translate
from loader.warehouse.threads import SteadyThread


class Ids(NamedTuple):
    """Some ids, none of them blank, as one text: the driver takes longer to quote many."""

    text: str
    separator: str  # stands in none of them

    @classmethod
    def join(cls, ids: Iterable[str]) -> "Ids":
        """Any ids."""
        ids = list(ids)
        used = set("".join(ids))
        separator = next(mark for mark in map(chr, count(1)) if mark not in used)
        return cls(separator.join(ids), separator)

    def split(self) -> list[str]:
        """The ids."""
        return self.text.split(self.separator) if self.text else []


class Known(NamedTuple):
    """Ids that the server said it has."""

    ids: set[str]
    beside: int  # number of the writer's connection that led to the same server


NOTHING_KNOWN = Known(set(), 0)


def select_existing(connection: Connection, schema: str, table: str, ids: Ids) -> set[str]:
    """Which of some ids a table has."""
    # Behind a SELECT, because the planner would estimate how often each of them is there.
    statement = sql.SQL(
        "SELECT string_agg(id, %s) FROM {} WHERE id = ANY((SELECT string_to_array(%s, %s))::text[])"
    ).format(sql.Identifier(schema, table))
    with driver_cursor(connection) as cursor:
        cursor.execute(statement, (ids.separator, ids.text, ids.separator))
        ((found,),) = cursor.fetchall()
        return set(ids._replace(text=found or "").split())


class KnownIds:
    """Asks `tracks` for ids, on a connection of its own, beside the writer.

    An event whose id is there is dropped, so the answer must come from the server that is written
    to. While the writer has lost its connection, an answer may tell of rows that the server that
    takes over never had: of another load that could begin meanwhile, say. So whenever the writer
    has connected anew, this does too, and asks the server for the writer's session before anything
    else; where it is not found, no id is known. That costs time and no event: the primary key
    finds what is there. Answers from before are looked at again, see `Writer`.
    """

    def __init__(
        self, session: Session, *, retry_timeout: float, beside: Session | None = None
    ) -> None:
        self.thread = SteadyThread("prefetch")  # whatever is done on the session, it does
        self._session = session
        self._beside = beside  # the writer's; None where nothing is written
        self._stopped = threading.Event()
        self._retry_timeout = retry_timeout
        self._connected_for: int | None = None  # number of the writer's connection

    def __call__(self, ids: Ids) -> Known:
        """Which of `ids` are there."""
        found = Known(set(), 0)
        for attempt in retrying(self._retry_timeout, self._stopped.is_set):
            with attempt:
                found = self._ask(ids)
        return found

    def close(self, seconds: float) -> None:
        """Close the connection, if that takes only so long."""
        self._stopped.set()
        self.thread.within(seconds, self._session.close)
        self.thread.close()

    def _ask(self, ids: Ids) -> Known:
        number = self._beside.number if self._beside is not None else 0
        try:
            with translate(self._session.engine.url):
                if not self._is_connected_for(number):
                    return Known(set(), number)
                with self._session.connection.begin():
                    found = select_existing(
                        self._session.connection, self._session.schema, TRACKS, ids
                    )
                    return Known(found, number)
        except TransientFault:
            self._disconnect()
            raise

    def _is_connected_for(self, number: int) -> bool:
        """Connect to the writer's server, unless that is done; False if it is another one."""
        if self._connected_for != number:
            self._disconnect()
            self._session.connect()
            if self._beside is not None and not self._session.is_beside(self._beside):
                self._disconnect()
                return False
            self._connected_for = number
        return True

    def _disconnect(self) -> None:
        self._session.close()
        self._connected_for = None


class SeenIds:
    """Remembers ids, however many, as 64 bits of each.

    Python's hash of a text is keyed anew for each process, so that nobody can choose ids that are
    taken for each other; of ten million others two are, once in 300,000 times.
    """

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []  # sorted; each at most half as long as the one before

    def add(self, ids: Sequence[str]) -> None:
        """Remember some ids."""
        if not ids:
            return
        added = np.sort(_hashes(ids))
        while self._hashes and len(self._hashes[-1]) < 2 * len(added) <= _MOST_MERGED:
            added = np.concatenate([self._hashes.pop(), added])
            added.sort(kind="stable")  # which merges what is sorted in parts
        self._hashes.append(added)

    def among(self, ids: Sequence[str]) -> set[str]:
        """Which of some ids are remembered."""
        asked = _hashes(ids)
        found = np.zeros(len(asked), bool)
        for one in self._hashes:
            indexes = np.minimum(np.searchsorted(one, asked), len(one) - 1)
            found |= one[indexes] == asked
        return {ids[at] for at in np.flatnonzero(found).tolist()}


# More are not merged: that takes room for both, and few parts are looked through soon.
_MOST_MERGED = 4_000_000


def _hashes(ids: Sequence[str]) -> "np.ndarray":
    return np.fromiter(map(hash, ids), np.int64, len(ids))
