"""The baseline: psql copies ready-made CSV files of the same rows into the same tables."""

from pathlib import Path

from psycopg2 import sql

from bench import measure
from bench.measure import Run
from bench.server import SCHEMA, Server
from loader.normalize.collections import declared_tables

TABLES = tuple(declared_tables())
BASELINE = "baseline"
# Empty tables with the keys, indexes and defaults of the job's own.
_TEMPLATE = "baseline_template"


def prepare(server: Server, *, key: str = "id") -> dict[str, int]:
    """Export what the job has loaded, in the order of arrival; returns the rows by table.

    `key` is the SQL of the ids that the rows get.
    """
    export = (
        "\\copy (SELECT {2} FROM {0}.{1} ORDER BY received_at, id) TO '{1}.csv' WITH (FORMAT csv)"
    )
    lines = [
        export.format(SCHEMA, table, ", ".join([key, *server.columns(SCHEMA, table)[1:]]))
        for table in TABLES
    ]
    measure.run(server.psql("-f", str(_script("export", lines))))
    server.drop(_TEMPLATE)
    create_tables(server, _TEMPLATE, like=SCHEMA)
    return server.count(SCHEMA, TABLES)


def load(server: Server) -> Run:
    """Copy the files into tables of their own."""
    create_tables(server, BASELINE, like=_TEMPLATE)
    return load_into(server, BASELINE)


def load_into(server: Server, schema: str) -> Run:
    """Copy the files, one after the other; only that is timed."""
    lines = [f"\\copy {schema}.{t} FROM '{t}.csv' WITH (FORMAT csv)" for t in TABLES]
    command = server.psql("-f", str(_script("import", lines)))
    server.settle()
    return measure.run(command)


def create_tables(server: Server, schema: str, *, like: str) -> None:
    """Make a schema with empty tables like those of another one."""
    create = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)")
    tables = (
        create.format(sql.Identifier(schema, table), sql.Identifier(like, table))
        for table in TABLES
    )
    server.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)), *tables)


def _script(name: str, lines: list[str]) -> Path:
    path = measure.SCRATCH / f"{name}.sql"
    path.write_text("\n".join(lines) + "\n")
    return path
