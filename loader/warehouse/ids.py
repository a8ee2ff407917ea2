"""Which ids a table has: the question, and who asks it beside the writer."""

import threading
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

from psycopg2 import sql
from sqlalchemy import Connection

from loader.errors import TransientFault
from loader.normalize.collections import TRACKS
from loader.threads import SteadyThread
from loader.warehouse.engine import Session, driver_cursor, retrying, translate


class Ids(NamedTuple):
    """Some ids, none of them blank, as one text: the driver takes longer to quote many."""

    text: str
    separator: str  # stands in none of them

    @classmethod
    def join(cls, ids: Iterable[str]) -> "Ids":
        """Any ids."""
        ids = list(ids)
        letters = set("".join(ids))
        separator = next(mark for mark in map(chr, count(1)) if mark not in letters)
        return cls(separator.join(ids), separator)

    def split(self) -> list[str]:
        """The ids."""
        return self.text.split(self.separator) if self.text else []


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
    """Asks `tracks` for ids, on a connection of its own, beside the writer."""

    def __init__(self, session: Session, *, retry_timeout: float) -> None:
        self.thread = SteadyThread("asker")  # whatever is done on the session, it does
        self._session = session
        self._stopped = threading.Event()
        self._retry_timeout = retry_timeout
        self._connected = False

    def __call__(self, ids: Ids) -> set[str]:
        """Which of `ids` are there."""
        found: set[str] = set()
        for attempt in retrying(self._retry_timeout, self._stopped.is_set):
            with attempt:
                found = self._ask(ids)
        return found

    def close(self, seconds: float) -> None:
        """Close the connection, if that takes only so long."""
        self._stopped.set()
        self.thread.within(seconds, self._session.close)
        self.thread.close()

    def _ask(self, ids: Ids) -> set[str]:
        try:
            with translate(self._session.engine.url):
                if not self._connected:
                    self._session.connect()
                    self._connected = True
                with self._session.connection.begin():
                    return select_existing(
                        self._session.connection, self._session.schema, TRACKS, ids
                    )
        except TransientFault:
            self._session.close()
            self._connected = False
            raise
