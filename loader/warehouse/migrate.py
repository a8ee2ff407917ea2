"""Migrations: which revision a schema has, and bringing it to head with Alembic."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from psycopg2 import errors
from sqlalchemy import Connection, column, exists, select, table, text
from sqlalchemy.exc import DBAPIError

from loader import __version__
from loader.config import Source
from loader.errors import SchemaNotAtHead, SchemaRefused
from loader.warehouse.engine import retrying
from loader.warehouse.faults import explain

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.operations import Operations
    from alembic.script.base import Script

_HERE = Path(__file__).resolve().parent.parent
# In a wheel the migrations are inside the package; in the repository they are beside it.
FOLDER = next(
    folder for folder in (_HERE / "migrations", _HERE.parent / "migrations") if folder.is_dir()
)


class SchemaState(NamedTuple):
    """What a load finds where its schema should be."""

    # A newer revision that suits this loader counts as its head.
    kind: Literal["missing", "empty", "foreign", "behind", "head", "ahead"]
    revision: str | None


def head_revision() -> str:
    """The newest revision; the files are numbered, so a listing is enough."""
    return max(path.name[:4] for path in (FOLDER / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def read_state(connection: Connection, schema: str) -> SchemaState:
    """The state of a schema, and its revision if it has one."""
    exists, tables, versioned, promised = connection.execute(
        _SELECT_STATE, {"schema": schema}
    ).one()
    if not exists:
        return SchemaState("missing", None)
    if not versioned:
        return SchemaState("foreign" if tables else "empty", None)
    revision = read_revision(connection, schema)
    if revision is None:
        return SchemaState("empty", None)
    head = head_revision()
    if revision < head:
        return SchemaState("behind", revision)
    return SchemaState("head" if revision == head or _suits(promised) else "ahead", revision)


def read_revision(connection: Connection, schema: str) -> str | None:
    """The revision of a schema that has a table for it."""
    versions = table("alembic_version", schema=schema)
    return connection.scalar(select(column("version_num")).select_from(versions))


# The comment of `alembic_version`: what a revision promises to loaders that do not know it.
_PROMISE = "Loaders from version {} on can work with this schema."
_PROMISED = re.compile(
    re.escape(_PROMISE).replace(r"\{\}", r"([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})")
)


def promise(revision: "Script") -> str | None:
    """The comment that `alembic_version` has at a revision; None where it promises nothing."""
    oldest = getattr(revision.module, "oldest_loader", None)
    return oldest and _PROMISE.format(oldest)


def _suits(promised: str | None) -> bool:
    """Whether a newer schema promises to work with this version of the loader."""
    found = _PROMISED.fullmatch(promised or "")
    own = re.match(r"(\d+)\.(\d+)\.(\d+)", __version__)
    if found is None or own is None:
        return False
    return [*map(int, found.groups())] <= [*map(int, own.groups())]


_SELECT_STATE = text(
    """
    -- Does the schema exist, has it tables, and is one of them Alembic's beside our ledger?
    SELECT
        EXISTS (SELECT FROM pg_namespace WHERE nspname = :schema),
        count(*) > 0,
        count(*) FILTER (WHERE c.relname = 'alembic_version') > 0
            AND (count(*) = 1 OR count(*) FILTER (WHERE c.relname = '_loads') > 0),
        max(obj_description(c.oid, 'pg_class')) FILTER (WHERE c.relname = 'alembic_version')
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    """
)


def check_state(state: SchemaState, source: Source, *, auto_migrate: bool) -> None:
    """Raise unless the schema is at head or a migration may bring it there."""
    schema = source.schema_
    if state.kind == "foreign":
        raise SchemaRefused(
            f"the schema {schema!r} has tables that customerio-loader did not make: "
            f'set another `schema` for the source {source.name!r}, for example "{schema}_events"'
        )
    if state.kind == "ahead":
        raise SchemaNotAtHead(
            f"the schema {schema!r} is at revision {state.revision}, newer than this loader's "
            f"{head_revision()}: install a newer customerio-loader"
        )
    if state.kind != "head" and not auto_migrate:
        raise SchemaNotAtHead(
            f"the schema {schema!r} is not at revision {head_revision()} and auto_migrate is off: "
            "run `customerio-loader migrate`"
        )


def upgrade(connection: Connection, source: Source, *, retry_timeout: float = 0.0) -> None:
    """Bring a schema to head, on an open connection without a transaction.

    Where somebody holds a table, it is tried again for so many seconds, in short tries.
    """
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    config.attributes["source"] = source
    for attempt in retrying(retry_timeout):
        with attempt:
            try:
                command.upgrade(config, "head")
            except DBAPIError as error:
                connection.rollback()
                if isinstance(error.orig, errors.LockNotAvailable):
                    raise explain(error.orig, connection.engine.url) from error
                raise


def upgrade_sql(source: Source, start: str | None) -> str:
    """The SQL that brings a schema from revision `start` to head."""
    from alembic import command

    config = _config()
    config.attributes["source"] = source
    output = io.StringIO()
    config.output_buffer = output
    with redirect_stdout(output):
        command.upgrade(config, f"{start or 'base'}:head", sql=True)
    return output.getvalue()


def _config() -> "Config":
    from alembic.config import Config

    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


def made_by_events(connection: Connection) -> list[str]:
    """Tables that loads added to the schema on the search path: they have the stamp of a row."""
    statement = text(
        """
        SELECT table_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND column_name IN ('event_text', 'uuid_ts', '_extra')
        GROUP BY table_name HAVING count(*) = 3 ORDER BY table_name
        """
    )
    return list(connection.scalars(statement))


def refuse_loss(op: "Operations", tables: list[str]) -> None:
    """Stop a downgrade that would destroy rows, unless `-x drop=yes` was said.

    Without a database (`--sql`) nothing can be known, so there the same word is asked for.
    """
    from alembic import context
    from alembic.util import CommandError

    if context.get_x_argument(as_dictionary=True).get("drop") == "yes":
        return
    if context.is_offline_mode():
        raise CommandError(
            "this downgrade may destroy loaded events: say `-x drop=yes` to print it"
        )
    connection = op.get_bind()
    for name in tables:
        if connection.scalar(select(exists().select_from(table(name)))):
            raise CommandError(
                f"this downgrade would destroy the rows of {name!r}: "
                "save them, then say `-x drop=yes`"
            )


_SELECT_TAKEN = text(
    """
    -- Of some names, those that something in the schema on the search path has.
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relname = ANY(:names) ORDER BY 1
    """
)


def refuse_taken(op: "Operations", names: Sequence[str]) -> None:
    """Stop a migration that needs names which somebody has given to something else."""
    from alembic import context

    if context.is_offline_mode():
        return  # the server will say so
    taken = list(op.get_bind().scalars(_SELECT_TAKEN, {"names": list(names)}))
    if taken:
        raise SchemaRefused(
            f"this migration makes {', '.join(taken)}, and the schema has something else of that "
            "name: rename it, or move it to another schema"
        )


# Tables that events made, and what they are to be called.
_TABLES_OF_EVENTS = """
        SELECT c.relname, {becomes} AS becomes
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND {named}
          AND 3 = (
            SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
              AND a.attname IN ('event_text', 'uuid_ts', '_extra')
          )
        ORDER BY 1
"""
# The values of `event` first, for from the renaming to the end of the transaction those wait who
# read the table.
_RENAME = """
DO $rename$
DECLARE
    was text;
    becomes text;
BEGIN
    FOR was, becomes IN {tables}    LOOP
        EXECUTE 'UPDATE ' || quote_ident(was) || ' SET event = ' || quote_literal(becomes)
            || ' WHERE event = ' || quote_literal(was);
        UPDATE tracks SET event = becomes WHERE event = was;
        UPDATE _waiting_columns SET table_name = becomes WHERE table_name = was;
        EXECUTE 'ALTER TABLE ' || quote_ident(was) || ' RENAME TO ' || quote_ident(becomes);
        EXECUTE 'ALTER INDEX IF EXISTS ' || quote_ident(was || '_pkey')
            || ' RENAME TO ' || quote_ident(becomes || '_pkey');
    END LOOP;
END $rename$"""


def rename_tables_of_events(op: "Operations", named: str, *, back: bool = False) -> None:
    """Put `_` in front of the names of tables that events made, or take it away again.

    `named` is SQL that tells which ones, where `name` is the name without it. What somebody else
    has made has not the columns of such a table, and is left alone.
    """
    from alembic import context

    name = "substr(c.relname, 2)" if back else "c.relname"
    named = f"({named.format(name=name)})"
    if back:
        named = f"starts_with(c.relname, '_') AND {named}"
    becomes = name if back else "'_' || c.relname"
    tables = _TABLES_OF_EVENTS.format(becomes=becomes, named=named)
    if not context.is_offline_mode():
        found = op.get_bind().execute(text(tables.replace(":", "\\:"))).all()
        refuse_taken(op, [one.becomes for one in found])
    op.execute(text(_RENAME.format(tables=tables).replace(":", "\\:")))


_SELECT_USERS = text(
    """
    -- Views that use some others of the schema on the search path, and are none of these.
    SELECT DISTINCT v.oid::regclass::text
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_depend d ON d.refobjid = c.oid AND d.refclassid = 'pg_class'::regclass
        AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE n.nspname = current_schema() AND c.relname = ANY(:names)
      AND NOT (v.relnamespace = n.oid AND v.relname = ANY(:names))
    ORDER BY 1
    """
)


def refuse_users(op: "Operations", names: Sequence[str]) -> None:
    """Stop a downgrade that would take away what somebody else's views use."""
    from alembic import context
    from alembic.util import CommandError

    if context.is_offline_mode():
        return  # the server will say so
    users = list(op.get_bind().scalars(_SELECT_USERS, {"names": list(names)}))
    if users:
        raise CommandError(
            f"views use what this downgrade takes away: {', '.join(users)}; "
            "drop them, and make them again when there is something to use"
        )
