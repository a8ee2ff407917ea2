"""Schema changes as values: what is printed is what runs."""

import pytest
from acceptance.harness import SCHEMA, Database
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from loader.normalize.collections import Type
from loader.warehouse.evolve import (
    AddColumn,
    Change,
    CreateTable,
    apply_changes,
    changes_sql,
    column_comment,
    table_comment,
)

TYPES: tuple[Type, ...] = ("text", "bigint", "numeric", "boolean", "jsonb", "timestamptz")


def changes(name: str) -> list[Change]:
    """A table and a column of every type, with comments that hold `name`."""
    return [
        CreateTable(table="made", comment=table_comment(name)),
        *[
            AddColumn(
                table="made",
                column=f"a_{type_}",
                type=type_,
                comment=column_comment("Property", name),
            )
            for type_ in TYPES
        ],
        AddColumn(
            table="tracks", column="select", type="text", comment=column_comment("Key", name)
        ),
    ]


def apply(db: Database, planned: list[Change]) -> None:
    engine = create_engine(
        db.url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool
    )
    with engine.begin() as connection:
        apply_changes(connection, SCHEMA, planned)


@pytest.mark.parametrize(
    "name",
    [
        "Plain Name",
        'it\'s "quoted" \\ and :bound ',
        "line\nbreak",
        "ünïcödé 🙂",
        "x" * 3000,
        "nul \0 and \ud800",
        pytest.param(
            "100%",
        ),
        pytest.param(
            "tab\t",
        ),
    ],
    ids=["plain", "quotes", "blanks", "unicode", "long", "unstorable", "percent", "tab"],
)
def test_the_printed_sql_makes_what_applying_makes(
    db: Database, empty_db: Database, name: str
) -> None:
    planned = changes(name)
    empty_db.execute("CREATE SCHEMA customerio; CREATE TABLE customerio.tracks (id text)")
    empty_db.execute(changes_sql(SCHEMA, planned))
    apply(db, planned)

    def made(database: Database) -> list[object]:
        return [
            row
            for row in database.dump()
            if len(row) > 3 and (row[1] == "made" or row[3] == "select")
        ]

    def without_table(rows: list[object]) -> list[object]:
        return [row[:8] for row in rows]  # type: ignore[index]

    assert without_table(made(empty_db)) == without_table(made(db))


def test_a_created_table_has_the_shared_columns_and_those_of_its_events(db: Database) -> None:
    apply(db, changes("Made"))
    assert list(db.types("made")) == [
        *[name for name in db.types("tracks") if name != "select"],
        *[f"a_{type_}" for type_ in TYPES],
    ]
    assert db.value("SELECT obj_description('made'::regclass)") == 'One row per event "Made".'


def test_ids_are_compared_byte_by_byte_in_every_table_also_a_created_one(db: Database) -> None:
    apply(db, changes("Made"))
    found = db.rows(
        """
        SELECT c.relname, l.collname
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        JOIN pg_collation l ON l.oid = a.attcollation
        WHERE c.relnamespace = %s::regnamespace AND a.attname = 'id'
            AND c.relkind = 'r' AND c.relname !~ '^_'
        """,
        SCHEMA,
    )
    assert {"tracks", "made", "email_opened"} < {table for table, _ in found}
    assert {collation for _, collation in found} == {"C"}


def test_ids_join_with_those_of_other_tables(db: Database) -> None:
    db.execute("CREATE TABLE others (id text)")
    joined = "SELECT count(*) FROM tracks t JOIN others o ON o.id = t.id WHERE o.id > t.id"
    assert db.value(joined) == 0


def test_no_change_is_no_sql(db: Database) -> None:
    assert changes_sql(SCHEMA, []) == ""
    before = db.dump()
    apply(db, [])
    assert db.dump() == before


def test_a_change_is_recorded_as_json() -> None:
    assert [change.as_json() for change in changes("Made")[:2]] == [
        {"change": "create table", "table": "made"},
        {"change": "add column", "table": "made", "column": "a_text", "type": "text"},
    ]
