"""How a load begins: it takes the lock, brings the schema to head, and has a row in `_loads`."""

from typing import NamedTuple

from sqlalchemy import Connection, exists, select, text

from loader import __version__
from loader.config import Settings, Source
from loader.errors import LockHeld, SchemaRefused, UsageError
from loader.normalize.collections import Type
from loader.warehouse import engine as warehouse
from loader.warehouse import ledger, migrate
from loader.warehouse.batch import Waiting
from loader.warehouse.changes import find_waiting
from loader.warehouse.engine import Session
from loader.warehouse.grants import grant_reader, select_readers
from loader.warehouse.ledger import Load
from loader.warehouse.marts import fold
from loader.warehouse.tables import select_slots, select_tables, select_taken, tracks

# How long a server that does not answer yet is waited for before anything was read.
_SECONDS_TO_CONNECT = 10.0


class Start(NamedTuple):
    """What a load finds."""

    load: Load
    revision: str
    tables: dict[str, dict[str, Type]]
    waiting: list[Waiting]
    slots: dict[str, int]
    taken: frozenset[str]
    has_rows: bool
    mart: fold.State


def begin(session: Session, source: Source, settings: Settings, *, wait: bool) -> Start:
    """Take the lock, bring the schema to head, begin a row in `_loads`."""
    found: Start | None = None
    seconds = min(settings.retry_timeout, _SECONDS_TO_CONNECT)
    for attempt in warehouse.retrying(seconds, lambda: session.given_up):
        with attempt, warehouse.translate(session.engine.url):
            session.close()
            if not session.open(wait=wait):
                raise LockHeld(
                    f"another load of {source.name!r} is running: wait for it, or say --wait"
                )
            connection = session.connection
            revision = _prepare_schema(connection, source, auto_migrate=settings.auto_migrate)
            with connection.begin():
                check_owner(connection, source)
                _check_encoding(connection)
                for role in select_readers(connection, settings.reader_role):
                    grant_reader(connection, source.schema_, role)
                load = ledger.start_load(connection, source.name, __version__)
                tables = select_tables(connection, source.schema_)
                found = Start(
                    load,
                    revision,
                    tables,
                    find_waiting(
                        connection, source.schema_, tables, lock_timeout=settings.lock_timeout
                    ),
                    select_slots(connection, source.schema_),
                    select_taken(connection, source.schema_),
                    bool(connection.scalar(select(exists().select_from(tracks)))),
                    fold.select_state(connection, source.schema_),
                )
    assert found is not None
    return found


def _prepare_schema(connection: Connection, source: Source, *, auto_migrate: bool) -> str:
    """Bring a schema to head; returns its revision."""
    with connection.begin():
        state = migrate.read_state(connection, source.schema_)
    migrate.check_state(state, source, auto_migrate=auto_migrate)
    if state.kind == "head" and state.revision is not None:
        return state.revision
    migrate.upgrade(connection, source)
    return migrate.head_revision()


def check_owner(connection: Connection, source: Source) -> None:
    """Raise SchemaRefused if a schema has the events of another source."""
    owner = ledger.select_source(connection)
    if owner not in (None, source.name):
        raise SchemaRefused(
            f"the schema {source.schema_!r} holds the events of the source {owner!r}: "
            f"set another `schema` for {source.name!r}"
        )


def _check_encoding(connection: Connection) -> None:
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise UsageError(
            f"the database has the encoding {encoding}, which cannot hold every character: "
            "use one with ENCODING 'UTF8'"
        )
