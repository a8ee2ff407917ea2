"""See that the views over events read the tables as they are: one may be new, or wider, or gone."""

from sqlalchemy import Connection, select, update

from loader.normalize.collections import EMAIL_MESSAGES
from loader.warehouse.engine import driver_cursor
from loader.warehouse.marts import definition, event_views
from loader.warehouse.marts.messages import SOURCES
from loader.warehouse.marts.texts import Tables, digest_of
from loader.warehouse.marts.views import OVER_EVENTS
from loader.warehouse.tables import marts, select_tables

READ = {*SOURCES, *event_views.READ}


def renew_views(connection: Connection, schema: str) -> Tables:
    """Make those functions anew that would say something else now.

    Returns the types of the columns of the tables that `email_messages` is made of.
    """
    tables = select_tables(connection, schema, READ)
    made = {name: digest for name, digest in connection.execute(_SELECT_MADE)}  # noqa: C416
    for name, statement in functions_of(schema, tables).items():
        digest = digest_of(statement)
        if made.get(name) == digest:
            continue
        with driver_cursor(connection) as cursor:
            cursor.execute(statement)
            if name == EMAIL_MESSAGES:
                for index in definition.index_sql(schema, tables):
                    cursor.execute(index)
        renewed = update(marts).where(marts.c.name == name).values(definition=digest)
        connection.execute(renewed)
    return {table: columns for table, columns in tables.items() if table in SOURCES}


_SELECT_MADE = select(marts.c.name, marts.c.definition)


def functions_of(schema: str, tables: Tables) -> dict[str, str]:
    """By their mart, the functions that depend on the types of columns."""
    made = {EMAIL_MESSAGES: definition.function_sql(schema, tables)}
    for view in OVER_EVENTS:
        made[view.name] = event_views.function_sql(schema, view, tables)
    return made
