"""Run migrations for one source's schema or for every configured one.

The schema comes first on the search path, so revisions name tables without it and each source has
its own `alembic_version`. A load passes its own connection and source in `config.attributes`.
"""

import logging.config
from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text

from loader.config import Settings, Source, Warehouse, load_settings
from loader.errors import LoaderError, LockHeld
from loader.load.pairs import choose_sources, pairs_of
from loader.normalize.collections import EMAIL_MESSAGES
from loader.normalize.types import TYPES
from loader.warehouse import embedded
from loader.warehouse.engine import connect, lock_key, make_engine
from loader.warehouse.marts import fold
from loader.warehouse.marts.messages import OFF_COMMENT, TABLE_COMMENT
from loader.warehouse.migrate import check_state, promise, read_state
from loader.warehouse.tables import catalogue_type, metadata

# Readers queue behind a migration that waits for one of them. A load tries again for a while.
LOCK_TIMEOUT = "1s"

config = context.config
if config.cmd_opts is not None and config.file_config.has_section("formatters"):
    logging.config.fileConfig(config.file_config, disable_existing_loggers=False)


def sources_and_warehouse(settings: Settings) -> tuple[list[Source], Warehouse]:
    """The sources of the one warehouse that is meant, or the one source that is."""
    asked = context.get_x_argument(as_dictionary=True)
    chosen = choose_sources(settings, asked.get("source"))
    pairs = pairs_of(settings, [(one, ()) for one in chosen], asked.get("warehouse"))
    names = sorted({str(pair.warehouse.name) for pair in pairs})
    if len(names) > 1:
        raise CommandError(
            f"there are several warehouses ({', '.join(names)}): say -x warehouse=NAME"
        )
    return [pair.source for pair in pairs], pairs[0].warehouse


def run_here(connection: Connection, sources: list[Source]) -> None:
    for source in sources:
        if len(sources) > 1:
            config.print_stdout("%s:", source.schema_)
        run_online(connection, source)


def ours(_object: Any, _name: Any, _kind: str, reflected: bool, compare_to: Any) -> bool:
    """Tables and columns that loads added, and users' own indexes, are not drift."""
    return not (reflected and compare_to is None)


def type_differs(
    _context: Any, _inspected: Any, _declared: Any, inspected_type: Any, declared_type: Any
) -> bool | None:
    """A column that was widened on purpose is not drift; None leaves the question to Alembic."""
    before = catalogue_type(declared_type)
    return False if catalogue_type(inspected_type) in TYPES[before].wider else None


def configure(**options: Any) -> None:
    context.configure(
        target_metadata=metadata,
        compare_type=type_differs,
        include_object=ours,
        transaction_per_migration=False,
        **options,
    )


def changes_schema() -> bool:
    """Whether the command of this run changes the schema, rather than shows something."""
    command = getattr(config.cmd_opts, "cmd", None)
    return command is None or command[0].__name__ in ("upgrade", "downgrade", "stamp")


def run_online(connection: Connection, source: Source) -> None:
    quoted = connection.dialect.identifier_preparer.quote_identifier(source.schema_)
    state = read_state(connection, source.schema_)
    check_state(state, source, auto_migrate=True)
    # Alembic compares with the connection's default schema: that is the source's, from here on.
    connection.dialect.default_schema_name = source.schema_
    if changes_schema():
        key = {"key": lock_key(source.schema_)}
        if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), key):
            raise LockHeld(f"a load of {source.name!r} is running: migrate when it has ended")
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        if state.kind == "missing":
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
    elif state.revision is None:
        raise CommandError(f"the schema {source.schema_!r} is not there: `alembic upgrade head`")
    connection.exec_driver_sql(f"SET LOCAL search_path = {quoted}")
    config.attributes["schema"] = source.schema_
    # With `mart = "off"` the table says that it is not filled, which is no drift.
    is_off = fold.is_off(connection, source.schema_)
    metadata.tables[EMAIL_MESSAGES].comment = OFF_COMMENT if is_off else TABLE_COMMENT
    configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
        if changes_schema():
            revision = context.get_context().get_current_revision()
            if revision is None:
                # Back at the beginning; SQL printed for an upgrade makes this table again.
                connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
            else:
                write_promise(revision)
    connection.commit()


def run_offline(source: Source) -> None:
    quoted = '"' + source.schema_.replace('"', '""') + '"'
    config.attributes["schema"] = source.schema_
    quoted = quoted.replace(":", "\\:")  # which would be a parameter
    configure(dialect_name="postgresql", literal_binds=True, output_buffer=config.output_buffer)
    with context.begin_transaction():
        context.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        context.execute(f"SET LOCAL search_path = {quoted}")
        context.run_migrations()
        target = context.script.get_revision(context.get_revision_argument())
        if target is not None:
            write_promise(target.revision)


def write_promise(revision: str) -> None:
    """Say in the schema which loaders can work with it, whichever revision they know."""
    script = context.script.get_revision(revision)
    said = promise(script) if script is not None else None
    literal = f"'{said}'" if said else "NULL"
    context.execute(f"COMMENT ON TABLE alembic_version IS {literal}")


try:
    if "source" in config.attributes:  # called by the loader
        sources, warehouse = [config.attributes["source"]], None
    else:
        sources, warehouse = sources_and_warehouse(load_settings())
    if context.is_offline_mode():
        for source in sources:
            run_offline(source)
    elif warehouse is None:
        run_here(config.attributes["connection"], sources)
    else:
        with embedded.server_of(warehouse) as url, connect(make_engine(url)) as connection:
            run_here(connection, sources)
except LoaderError as error:
    if config.cmd_opts is None:  # called by the loader, which shows its own errors
        raise
    raise CommandError(str(error)) from error
