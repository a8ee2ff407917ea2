"""Events that are called as a mart: their tables give way, before and after the marts come."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import SCHEMA, Database, Result, ndjson, track
from alembic.util import CommandError
from warehouse.folded import SOURCE, Place

from loader.errors import SchemaRefused
from loader.normalize.collections import DIM_MESSAGES, MARTS, VIEWS
from loader.warehouse import migrate
from loader.warehouse.engine import make_engine
from loader.warehouse.tables import select_tables

TEXTS = ("Campaign Performance", "Messages", "Identities", "dim users", "Dim Messages")
TABLES = ("_campaign_performance", "_dim_messages", "_dim_users", "_identities", "_messages")


def to(db: Database, revision: str, **attributes: Any) -> None:
    """Up or down to a revision."""
    from alembic import command

    with make_engine(db.url).connect() as connection:
        config = migrate._config()
        config.attributes |= {"connection": connection, "source": SOURCE}
        is_up = (migrate.read_state(connection, SCHEMA).revision or "") < revision
        connection.rollback()
        (command.upgrade if is_up else command.downgrade)(config, revision)


def brought(db: Database) -> list[str]:
    """The tables that events brought."""
    with make_engine(db.url).connect() as connection:
        declared = ("tracks", "email_")
        return sorted(t for t in select_tables(connection, SCHEMA) if not t.startswith(declared))


def as_before(db: Database) -> None:
    """Make the tables that a loader of the revision before would have made, with an event each."""
    for number, text in enumerate(TEXTS):
        table = text.lower().replace(" ", "_")
        db.execute(
            f"CREATE TABLE {table} (LIKE tracks INCLUDING DEFAULTS INCLUDING COMMENTS, "
            f"color text, CONSTRAINT {table}_pkey PRIMARY KEY (id)); "
            f"INSERT INTO {table} (id, event, event_text, user_id, color) "
            f"VALUES ('m-{number}', '{table}', '{text}', 'u', 'red'); "
            f"INSERT INTO tracks (id, event, event_text, user_id) "
            f"VALUES ('m-{number}', '{table}', '{text}', 'u')"
        )
    db.execute(
        "INSERT INTO _waiting_columns (table_name, column_name, type, comment, blocker, load_id) "
        "VALUES ('messages', 'size', 'bigint', 'Property \"size\".', 'somebody', 1)"
    )


def agree(db: Database, tables: tuple[str, ...]) -> None:
    """Each table has the events that `tracks` has of its name."""
    for table in tables:
        own = db.rows(f"SELECT id, event FROM {table} ORDER BY 1")
        assert own == db.rows("SELECT id, event FROM tracks WHERE event = %s ORDER BY 1", table)
        assert {event for _, event in own} == {table}


def test_after_the_marts_an_event_of_their_name_gets_a_table_of_another(
    db: Database, tmp_path: Path
) -> None:
    place = Place(db, tmp_path)
    place.load(*(track(text, color="red") for text in TEXTS))
    place.load(*(track(text, color="blue") for text in TEXTS))
    assert brought(db) == list(TABLES)
    agree(db, TABLES)
    assert db.rows("SELECT color, count(*) FROM _messages GROUP BY 1 ORDER BY 1") == [
        ("blue", 1),
        ("red", 1),
    ]
    assert db.rows(f"SELECT * FROM {DIM_MESSAGES}") == []
    place.check()


def test_tables_that_are_there_get_another_name_and_the_next_load_finds_them(
    empty_db: Database, tmp_path: Path
) -> None:
    to(empty_db, "0008")
    as_before(empty_db)
    empty_db.execute("CREATE VIEW public.mine AS SELECT id, color FROM customerio.messages")
    place = Place(empty_db, tmp_path)
    place.load(*(track(text, color="blue", size=1) for text in TEXTS))
    assert brought(empty_db) == list(TABLES)
    agree(empty_db, TABLES)
    for table in TABLES:
        assert empty_db.value(f"SELECT count(*) FROM {table}") == 2
        keys = empty_db.rows(
            "SELECT indexname::text FROM pg_indexes WHERE schemaname = %s AND tablename = %s",
            SCHEMA,
            table,
        )
        assert keys == [(f"{table}_pkey",)]
    # What read them reads them on; the column that waited is there.
    assert empty_db.value("SELECT count(*) FROM public.mine") == 2
    assert empty_db.rows("SELECT sum(size) FROM _messages") == [(1,)]
    assert empty_db.rows("SELECT * FROM _waiting_columns") == []
    place.check()


def test_on_the_way_back_the_tables_get_their_names_again(empty_db: Database) -> None:
    to(empty_db, "0008")
    as_before(empty_db)
    before = empty_db.dump()
    rows = empty_db.rows("SELECT id, event FROM tracks ORDER BY 1")
    to(empty_db, "0009")
    agree(empty_db, TABLES)
    to(empty_db, "0008")
    assert empty_db.dump() == before
    assert empty_db.rows("SELECT id, event FROM tracks ORDER BY 1") == rows
    to(empty_db, "0009")
    agree(empty_db, TABLES)


def test_printed_sql_gives_the_tables_their_names(empty_db: Database, db: Database) -> None:
    to(empty_db, "0008")
    as_before(empty_db)
    printed = migrate.upgrade_sql(SOURCE, "0008")
    assert "RENAME TO" in printed
    assert all(f"'{name}'" in printed for name in (*VIEWS, DIM_MESSAGES))
    empty_db.execute(printed)
    agree(empty_db, TABLES)
    for name in MARTS:
        assert empty_db.types(name) == db.types(name)


def test_what_somebody_else_has_made_is_named_and_left_alone(empty_db: Database) -> None:
    to(empty_db, "0008")
    empty_db.execute(
        "CREATE VIEW messages AS SELECT 1 AS one; CREATE TABLE identities (email text); "
        "CREATE TABLE dim_people (id text)"
    )
    before = empty_db.dump()
    with pytest.raises(SchemaRefused, match="makes identities, messages, and the schema has"):
        to(empty_db, "0009")
    assert empty_db.dump() == before
    empty_db.execute("DROP VIEW messages; DROP TABLE identities")
    to(empty_db, "0009")
    # A table of the customer's own that describes things is no table of events.
    assert brought(empty_db) == []
    assert empty_db.types("dim_people") == {"id": "text"}


@pytest.mark.parametrize("name", ["email_messages", "email_messages_now"])
def test_a_view_of_the_customers_is_named_and_left_alone(empty_db: Database, name: str) -> None:
    to(empty_db, "0007")
    empty_db.execute(f"CREATE VIEW {name} AS SELECT id FROM email_opened")
    before = empty_db.dump()
    with pytest.raises(SchemaRefused, match=f"makes {name}, and the schema has something else"):
        to(empty_db, "0008")
    assert empty_db.dump() == before
    empty_db.execute(f"ALTER VIEW {name} RENAME TO _{name}")
    to(empty_db, "0008")
    to(empty_db, "0007")
    assert empty_db.value(f"SELECT count(*) FROM _{name}") == 0


def test_on_both_ways_a_name_that_the_customer_took_is_named(empty_db: Database) -> None:
    to(empty_db, "0008")
    as_before(empty_db)
    empty_db.execute("CREATE TABLE _dim_users (id text)")
    with pytest.raises(SchemaRefused, match="makes _dim_users, and the schema has something else"):
        to(empty_db, "0009")
    empty_db.execute("DROP TABLE _dim_users")
    to(empty_db, "0009")
    empty_db.execute("CREATE VIEW dim_users AS SELECT 'u' AS id")
    before = empty_db.dump()
    with pytest.raises(SchemaRefused, match="makes dim_users, and the schema has something else"):
        to(empty_db, "0008")
    assert empty_db.dump() == before
    empty_db.execute("DROP VIEW dim_users")
    to(empty_db, "0008")
    assert "dim_users" in empty_db.tables()


def test_on_the_way_back_only_tables_with_the_sign_in_front_are_renamed(db: Database) -> None:
    db.execute("CREATE TABLE xmessages (LIKE tracks INCLUDING ALL)")
    to(db, "0008")
    assert brought(db) == ["xmessages"]


def test_a_view_on_ours_is_in_the_way_of_a_downgrade_and_named(db: Database) -> None:
    db.execute(
        "CREATE VIEW public.mine AS SELECT * FROM customerio.campaign_performance; "
        "CREATE MATERIALIZED VIEW public.links AS SELECT * FROM customerio.email_links"
    )
    before = db.dump()
    with pytest.raises(CommandError, match=r"takes away: public\.links, public\.mine; drop them"):
        to(db, "0008")
    assert db.dump() == before
    db.execute("DROP VIEW public.mine; DROP MATERIALIZED VIEW public.links")
    to(db, "0008")
    assert not set(db.tables()) & {*VIEWS, DIM_MESSAGES}
    to(db, migrate.head_revision())
    assert db.dump() != []


def test_names_that_the_customer_gave_are_not_thrown_away(db: Database) -> None:
    db.execute("INSERT INTO dim_messages VALUES ('campaign', '6', 'Spring')")
    with pytest.raises(CommandError, match="destroy the rows of 'dim_messages'"):
        to(db, "0008")
    assert db.rows("SELECT name FROM dim_messages") == [("Spring",)]


def test_marts_are_no_tables_of_events(db: Database, run: Callable[..., Result]) -> None:
    assert run("load", "-", stdin=ndjson(track("Messages", a=1))).code == 0
    for command in (["status"], ["columns", "list"]):
        shown = run(*command, "--json").out
        tables = set(re.findall(r'"table": "(\w+)"', shown))
        assert "_messages" in tables
        assert not tables & MARTS
