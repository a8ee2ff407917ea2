"""The PostgreSQL that all sides load into: the embedded one, new for each benchmark."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import sql

from loader.errors import LoaderError
from loader.warehouse import embedded

# The schema that the job makes for its default source.
SCHEMA = "customerio"
# The only setting that is not PostgreSQL's own: with the default of 1 GB, checkpoints fall into
# some of the loads and not into others, and that is what the clock would measure.
_SETTINGS = "ALTER SYSTEM SET max_wal_size = '4GB'"


class Server:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def execute(self, *statements: str | sql.Composable) -> None:
        """Run statements, each in a transaction of its own."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

    def scalar(self, statement: str | sql.Composable) -> object:
        """Return the first value of a query's first row."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
        return row[0] if row else None

    def columns(self, schema: str, table: str) -> list[str]:
        """Return the columns of a table, quoted; those of the job's tables begin with `id`."""
        query = sql.SQL(
            "SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute "
            "WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped"
        ).format(sql.Literal(f"{schema}.{table}"))
        found = self.scalar(query)
        assert isinstance(found, list)
        return found

    def psql(self, *arguments: str) -> list[str]:
        """Return the command that runs the wheel's own psql, which stops at the first error."""
        return embedded.psql_command(self.url, ["-q", "-v", "ON_ERROR_STOP=1", *arguments])

    def drop(self, *schemas: str) -> None:
        """Remove schemas, and let the server write what it has put off."""
        statement = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
        self.execute(*(statement.format(sql.Identifier(schema)) for schema in schemas))
        self.settle()

    def settle(self) -> None:
        """Write what the server has put off, so that the next one does not pay for it."""
        self.execute("CHECKPOINT")

    def count(self, schema: str, tables: Sequence[str]) -> dict[str, int]:
        """Count the rows of tables."""
        query = sql.SQL("SELECT count(*) FROM {}")
        found = {t: self.scalar(query.format(sql.Identifier(schema, t))) for t in tables}
        return {table: int(str(count)) for table, count in found.items()}


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start a new server in `folder`; it is stopped at the end, whatever happens."""
    try:
        with embedded.running(folder) as url:
            server = Server(url)
            server.execute(_SETTINGS, "SELECT pg_reload_conf()")
            yield server
    finally:
        stop(folder)


def stop(folder: Path) -> None:
    """Stop the server in `folder`, if one runs there, as after a benchmark that was killed."""
    try:
        embedded.stop(folder)
    except LoaderError as error:
        print(f"bench: the server did not stop: {error}")
