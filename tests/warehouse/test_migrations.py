"""Migrations as a loader runs them: from nothing to head, down, and up again."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import SCHEMA, Database
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from loader.config import Source
from loader.errors import SchemaNotAtHead, SchemaRefused
from loader.warehouse import migrate
from loader.warehouse.engine import OLDEST_VERSION
from loader.warehouse.tables import metadata

SOURCE = Source()  # type: ignore[call-arg]
REVISIONS = sorted(path.name[:4] for path in (migrate.FOLDER / "versions").glob("[0-9]*.py"))


@contextmanager
def connected(db: Database) -> Iterator[Connection]:
    engine = create_engine(
        db.url.replace("postgresql://", "postgresql+psycopg2://"), poolclass=NullPool
    )
    with engine.connect() as connection:
        yield connection


def differences(db: Database) -> list[Any]:
    """What Alembic would change to make the schema as it is declared."""
    with connected(db) as connection, connection.begin():
        connection.execute(text(f"SET LOCAL search_path = {SCHEMA}"))
        connection.dialect.default_schema_name = SCHEMA
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))


def downgrade(connection: Connection, to: str = "base") -> None:
    """Run downgrades, as the loader's own connection would."""
    from alembic import command

    config = migrate._config()
    config.attributes["connection"] = connection
    config.attributes["source"] = SOURCE
    command.downgrade(config, to)


def test_head_equals_the_declared_tables_with_types_comments_and_defaults(db: Database) -> None:
    assert differences(db) == []


def test_up_down_and_up_again_gives_the_same_schema(empty_db: Database) -> None:
    nothing = [row for row in empty_db.dump() if len(row) > 3]
    with connected(empty_db) as connection:
        migrate.upgrade(connection, SOURCE)
    first = empty_db.dump()
    with connected(empty_db) as connection:
        downgrade(connection)
    left = [row for row in empty_db.dump() if len(row) > 3 and row[1] != "alembic_version"]
    assert [row for row in left if not row[1].startswith("alembic_version")] == nothing
    with connected(empty_db) as connection:
        assert migrate.read_state(connection, SCHEMA).kind == "empty"
        connection.rollback()
        migrate.upgrade(connection, SOURCE)
    assert empty_db.dump() == first
    assert differences(empty_db) == []


def test_every_table_and_column_has_a_comment(db: Database) -> None:
    without = db.rows(
        """
        SELECT c.relname::text, a.attname::text FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'customerio'::regnamespace AND c.relkind = 'r'
            AND c.relname <> 'alembic_version'
            AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
        """
    )
    assert without == []


def test_every_constraint_has_a_name_by_the_convention(db: Database) -> None:
    found = db.rows(
        "SELECT conrelid::regclass::text, conname::text FROM pg_constraint "
        "WHERE connamespace = 'customerio'::regnamespace AND contype <> 'n' ORDER BY 1"
    )
    assert len(found) == 18
    assert all(name == f"{table}_pkey" for table, name in found if table != "alembic_version")


def test_a_migration_that_fails_leaves_nothing(empty_db: Database) -> None:
    # An index of this name is in the way of the third revision.
    empty_db.execute(
        "CREATE SCHEMA customerio; CREATE TYPE customerio.email_bounced AS ENUM ('in the way')"
    )
    with connected(empty_db) as connection, pytest.raises(Exception, match="email_bounced"):
        migrate.upgrade(connection, SOURCE)
    assert empty_db.tables() == []


def state(db: Database) -> tuple[str, str | None]:
    with connected(db) as connection:
        return tuple(migrate.read_state(connection, SCHEMA))  # type: ignore[return-value]


def test_files_are_sorted_by_the_bytes_of_their_names_unless_a_view_reads_these(
    empty_db: Database,
) -> None:
    """PostgreSQL changes no column that a view reads: that must not end the migration."""
    collation = """
        SELECT l.collname FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
        WHERE a.attrelid = '_files'::regclass AND a.attname = 'uri'
    """
    with connected(empty_db) as connection:
        migrate.upgrade(connection, SOURCE)
        assert empty_db.value(collation) == "C"
        downgrade(connection, "0006")
        assert empty_db.value(collation) == "default"
        empty_db.execute("CREATE VIEW seen AS SELECT uri FROM _files")
        migrate.upgrade(connection, SOURCE)
        assert migrate.read_state(connection, SCHEMA).kind == "head"
    assert empty_db.value(collation) == "default"


def test_the_state_of_a_schema_is_told_apart(empty_db: Database) -> None:
    head = migrate.head_revision()
    assert state(empty_db) == ("missing", None)
    empty_db.execute("CREATE SCHEMA customerio")
    assert state(empty_db) == ("empty", None)
    empty_db.execute("CREATE VIEW customerio.v AS SELECT 1")
    assert state(empty_db) == ("foreign", None)
    empty_db.execute("DROP VIEW customerio.v")
    with connected(empty_db) as connection:
        migrate.upgrade(connection, SOURCE)
    assert state(empty_db) == ("head", head)
    empty_db.execute("UPDATE alembic_version SET version_num = '0001'")
    assert state(empty_db) == ("behind", "0001")
    empty_db.execute("UPDATE alembic_version SET version_num = '9999'")
    # What a newer revision promises to older loaders.
    assert state(empty_db) == ("head", "9999")
    for comment, kind in (
        ("NULL", "ahead"),
        ("'Loaders from version 999.0.0 on can work with this schema.'", "ahead"),
        ("'Loaders from version 0.1.9 on can work with this schema.'", "head"),
        ("'Loaders from version 0.1.9 on can work with this schema, perhaps.'", "ahead"),
    ):
        empty_db.execute(f"COMMENT ON TABLE alembic_version IS {comment}")
        assert state(empty_db) == (kind, "9999")


@pytest.mark.parametrize(
    ("kind", "revision", "auto", "error"),
    [
        ("head", migrate.head_revision(), True, None),
        ("head", migrate.head_revision(), False, None),
        ("missing", None, True, None),
        ("behind", "0001", True, None),
        ("missing", None, False, SchemaNotAtHead),
        ("behind", "0001", False, SchemaNotAtHead),
        ("ahead", "9999", True, SchemaNotAtHead),
        ("foreign", None, True, SchemaRefused),
    ],
)
def test_a_load_goes_on_only_in_a_schema_of_its_own_at_head(
    kind: Any, revision: str | None, auto: bool, error: type[Exception] | None
) -> None:
    found = migrate.SchemaState(kind, revision)
    if error is None:
        migrate.check_state(found, SOURCE, auto_migrate=auto)
    else:
        with pytest.raises(error):
            migrate.check_state(found, SOURCE, auto_migrate=auto)


def test_the_sql_of_the_rest_brings_an_older_schema_to_head(
    empty_db: Database, db: Database
) -> None:
    from alembic import command

    with connected(empty_db) as connection:
        config = migrate._config()
        config.attributes |= {"connection": connection, "source": SOURCE}
        command.upgrade(config, "0001")
    assert state(empty_db) == ("behind", "0001")
    with closing(empty_db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(migrate.upgrade_sql(SOURCE, "0001"))
    assert empty_db.dump() == db.dump()


@pytest.mark.parametrize("name", [":name", r"a\b", r"a\:b", 'it"s', "a@b"])
def test_a_schema_may_have_any_name(empty_db: Database, name: str) -> None:
    source = Source(schema=name)  # type: ignore[call-arg]
    with connected(empty_db) as connection:
        migrate.upgrade(connection, source)
    made = empty_db.tables(name)
    assert "email_messages" in made
    empty_db.execute('DROP SCHEMA "{}" CASCADE'.format(name.replace('"', '""')))
    with closing(empty_db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(migrate.upgrade_sql(source, None))
        connection.commit()
    assert empty_db.tables(name) == made


def test_a_table_that_an_event_brought_gives_way_to_email_messages(empty_db: Database) -> None:
    from alembic import command

    with connected(empty_db) as connection:
        config = migrate._config()
        config.attributes |= {"connection": connection, "source": SOURCE}
        command.upgrade(config, "0006")
    empty_db.execute(
        "CREATE TABLE email_messages (LIKE tracks INCLUDING ALL); "
        "INSERT INTO email_messages (id) VALUES ('kept')"
    )
    with connected(empty_db) as connection:
        migrate.upgrade(connection, SOURCE)
    assert empty_db.rows("SELECT id FROM _email_messages") == [("kept",)]
    assert empty_db.rows("SELECT * FROM email_messages") == []
    assert empty_db.rows("SELECT * FROM email_messages_now") == []


def test_a_table_that_gave_way_to_email_messages_gets_its_name_back_and_gives_way_again(
    empty_db: Database,
) -> None:
    """An older loader made another one, for which no name was left on the way to head."""
    from alembic import command

    def migrated(how: Any, revision: str) -> None:
        with connected(empty_db) as connection:
            config = migrate._config()
            config.attributes |= {"connection": connection, "source": SOURCE}
            how(config, revision)

    migrated(command.upgrade, "0007")
    empty_db.execute(
        "CREATE TABLE email_messages (LIKE tracks INCLUDING ALL); "
        "INSERT INTO email_messages (id, event) VALUES ('kept', 'email_messages')"
    )
    for _ in range(2):
        migrated(command.upgrade, "head")
        found = empty_db.rows("SELECT id, event FROM _email_messages")
        assert found == [("kept", "_email_messages")]
        migrated(command.downgrade, "0007")
        assert empty_db.rows("SELECT id, event FROM email_messages") == [("kept", "email_messages")]


def test_an_index_of_a_reader_on_uuid_ts_stays_under_another_name(empty_db: Database) -> None:
    """It had the name that PostgreSQL gives, which is that of an index of ours."""
    from alembic import command

    with connected(empty_db) as connection:
        config = migrate._config()
        config.attributes |= {"connection": connection, "source": SOURCE}
        command.upgrade(config, "0007")
        empty_db.execute("CREATE INDEX ON email_opened (uuid_ts)")
        migrate.upgrade(connection, SOURCE)
    found = "SELECT indexname FROM pg_indexes WHERE tablename = 'email_opened' ORDER BY 1"
    names = [("_email_opened_uuid_ts_idx",), ("email_opened_pkey",), ("email_opened_uuid_ts_idx",)]
    assert empty_db.rows(found) == names


def test_the_view_reads_columns_that_were_widened_before_it_came(empty_db: Database) -> None:
    from alembic import command

    with connected(empty_db) as connection:
        config = migrate._config()
        config.attributes |= {"connection": connection, "source": SOURCE}
        command.upgrade(config, "0006")
    empty_db.execute(
        "ALTER TABLE email_opened ALTER campaign_id TYPE jsonb USING to_jsonb(campaign_id), "
        "ALTER machine TYPE text; "
        "INSERT INTO email_opened (id, delivery_id, campaign_id, machine) "
        "VALUES ('a', 'd1', '\"x\"', 'true'), ('b', 'd1', '7', 'odd')"
    )
    with connected(empty_db) as connection:
        migrate.upgrade(connection, SOURCE)
    assert empty_db.rows("SELECT campaign_id, opens, human_opens FROM email_messages_now") == [
        ("x", 2, 1)
    ]


def lint(sql: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What squawk says of some SQL, for the oldest server that the loader works with."""
    path = folder / "migration.sql"
    path.write_text(sql, "utf-8")
    squawk = Path(sys.executable).with_name("squawk")
    # A limit of time would end a migration of many tables, which is one transaction, in vain; what
    # stops others is waiting for a lock, and that has a limit. Alembic's own table has a varchar.
    without = "require-statement-timeout,prefer-text-field"
    options = ["--exclude", without, "--pg-version", f"{OLDEST_VERSION}.0"]
    return subprocess.run(
        [squawk, *options, path], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("start", [None, *REVISIONS[:-1]])
def test_no_migration_stops_others_for_long(start: str | None, tmp_path: Path) -> None:
    done = lint(migrate.upgrade_sql(SOURCE, start), tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_linter_finds_what_would_stop_others(tmp_path: Path) -> None:
    slow = "SET lock_timeout = '1s'; ALTER TABLE tracks ALTER COLUMN user_id TYPE bigint;"
    done = lint(slow, tmp_path)
    assert done.returncode != 0
    assert "changing-column-type" in done.stdout
