"""The shortest fast program that a user could write, into the same tables with the same keys."""

import sys
from dataclasses import replace
from pathlib import Path

from psycopg2 import sql

from bench import measure
from bench.baseline import TABLES, create_tables
from bench.measure import Run
from bench.server import SCHEMA, Server

_SCRIPT = Path(__file__).resolve().parent / "peers" / "shortest.py"
_SCHEMA = "program"


def prepare(server: Server) -> None:
    """Make its tables, empty ones with the keys and indexes of the job's own."""
    server.drop(_SCHEMA)
    create_tables(server, _SCHEMA, like=SCHEMA)


def load(server: Server, path: Path, tables: Path) -> Run:
    """Load a file; only that is timed."""
    server.execute(*(sql.SQL("TRUNCATE {}").format(sql.Identifier(_SCHEMA, t)) for t in TABLES))
    server.settle()
    done = measure.run([sys.executable, str(_SCRIPT), str(path), str(tables), _SCHEMA, server.url])
    rows = server.count(_SCHEMA, TABLES)
    events = rows.pop("tracks")
    if sum(rows.values()) != events:
        raise SystemExit(f"bench: the program wrote {events} tracks, {sum(rows.values())} others")
    return replace(done, events=events)
