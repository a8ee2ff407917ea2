"""What tests are written with: databases, results of the command line, factories of events."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest
from sqlalchemy import make_url

SCHEMA = "customerio"
ROOT = Path(__file__).resolve().parent.parent.parent


# databases


class Database(NamedTuple):
    """A database of the test server, looked into with plain SQL."""

    url: str

    @property
    def name(self) -> str:
        """The name of the database."""
        return self.url.partition("?")[0].rpartition("/")[2]

    def connect(self, **options: str) -> Any:
        """A connection of the driver's, in autocommit."""
        connection = psycopg2.connect(self.url, **options)
        connection.autocommit = True
        return connection

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a SELECT; tables are looked up in the schema `customerio` first."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET TIME ZONE 'UTC'; SET search_path = {SCHEMA}, public")
            cursor.execute(statement, parameters or None)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def dicts(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """The rows of a SELECT, with the names of their columns."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET TIME ZONE 'UTC'; SET search_path = {SCHEMA}, public")
            cursor.execute(statement, parameters or None)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def value(self, statement: str, *parameters: Any) -> Any:
        """The only value of a SELECT."""
        [(found,)] = self.rows(statement, *parameters)
        return found

    def execute(self, statement: str, *parameters: Any) -> None:
        """Run statements that return nothing."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {SCHEMA}, public")
            cursor.execute(statement, parameters or None)

    def types(self, table: str) -> dict[str, str]:
        """Types by column, in their order."""
        return dict(
            self.rows(
                "SELECT column_name::text, data_type::text FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
                SCHEMA,
                table,
            )
        )

    def tables(self, schema: str = SCHEMA) -> list[str]:
        """The tables of a schema."""
        found = self.rows(
            "SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = %s AND relkind IN ('r', 'p', 'v') ORDER BY 1",
            schema,
        )
        return [name for (name,) in found]

    def dump(self) -> list[tuple[Any, ...]]:
        """Everything in the schemas of sources: definitions, comments and numbers of rows."""
        catalogue = self.rows(
            """
            SELECT n.nspname::text, c.relname::text, c.relkind::text, a.attname::text,
                format_type(a.atttypid, a.atttypmod), a.attnotnull,
                pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum),
                obj_description(c.oid)
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
            WHERE n.nspname !~ '^(pg_|information_schema)'
            ORDER BY 1, 2, a.attnum
            """
        )
        found = {(row[0], row[1]) for row in catalogue if row[2] == "r"}
        counts = [
            (schema, table, self.value(f'SELECT count(*) FROM "{schema}"."{table}"'))
            for schema, table in sorted(found)
        ]
        schemas = self.rows("SELECT nspname::text FROM pg_namespace ORDER BY 1")
        return [*schemas, *catalogue, *counts]


class Server(NamedTuple):
    """The embedded server of the session."""

    folder: Path
    url: str

    def database(self, name: str, **changes: Any) -> Database:
        """A database of the server, as the administrator or as another role."""
        url = make_url(self.url).set(database=name, **changes)
        return Database(url.render_as_string(hide_password=False))


def enterable_folder() -> Path:
    """A folder with a short path that another system user can enter.

    The path of a socket has at most about 100 bytes, and for root the server runs as another user.
    """
    folder = Path(tempfile.mkdtemp(prefix="cio-"))
    folder.chmod(0o755)
    return folder


# other users

PACKAGES = Path(psycopg2.__file__).parents[1]


def run_as(
    user: int | None, *arguments: str | Path, cwd: Path, **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run Python, with the packages of this one, as another system user; None: as this one."""
    python = Path("/usr/bin/python{}.{}".format(*sys.version_info))  # this one may be below /root
    options: dict[str, Any] = {}
    if user is not None:
        options = {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run(
            [python if python.exists() else sys.executable, *arguments],
            env={"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{PACKAGES}", **env},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
    except PermissionError:
        pytest.skip("another user cannot reach Python")
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip("another user cannot reach the installed packages")
    return done


# the command line


class Result(NamedTuple):
    """How a run of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The result on stdout, parsed."""
        return json.loads(self.out)


Run = Callable[..., Result]
Write = Callable[..., Path]


# events


_events = count(1)


def track(event: str | None, /, **overrides: Any) -> dict[str, Any]:
    """A Segment track call. Keys of the envelope stay there, all others become properties.

    A key whose override is `...` is left out.
    """
    number = next(_events)
    call: dict[str, Any] = {
        "type": "track",
        "event": event,
        "messageId": f"m-{number:06}",
        "userId": f"u_{number % 7}",
        "timestamp": "2026-03-04T05:06:07.000Z",
        "originalTimestamp": "2026-03-04T05:06:07.000Z",
        "sentAt": "2026-03-04T05:06:08.000Z",
        "receivedAt": "2026-03-04T05:06:09.000Z",
        "context": {},
        "properties": {},
    }
    envelope = {*call, "anonymousId", "integrations"}
    properties = {key: value for key, value in overrides.items() if key not in envelope}
    call |= {key: value for key, value in overrides.items() if key in envelope}
    if properties:
        call["properties"] = call["properties"] | properties
    return {key: value for key, value in call.items() if value is not ...}


def webhook(channel: str, metric: str, **overrides: Any) -> dict[str, Any]:
    """A reporting webhook. Keys of the envelope stay there, all others go into `data`.

    A key whose override is `...` is left out.
    """
    number = next(_events)
    hook: dict[str, Any] = {
        "event_id": f"w-{number:06}",
        "object_type": channel,
        "metric": metric,
        "timestamp": 1_772_600_767,
        "data": {
            "customer_id": f"u_{number % 7}",
            "identifiers": {"id": f"u_{number % 7}", "email": f"p{number % 7}@example.com"},
            "delivery_id": f"d-{number:06}",
        },
    }
    data = {key: value for key, value in overrides.items() if key not in hook}
    hook |= {key: value for key, value in overrides.items() if key in hook}
    if data:
        kept = {**hook["data"], **data}
        hook["data"] = {key: value for key, value in kept.items() if value is not ...}
    return {key: value for key, value in hook.items() if value is not ...}


def ndjson(*records: dict[str, Any] | str | bytes) -> bytes:
    """A line per record; a text or bytes stand as they are."""
    lines = [
        record
        if isinstance(record, bytes)
        else record.encode()
        if isinstance(record, str)
        else json.dumps(record).encode()
        for record in records
    ]
    return b"".join(line + b"\n" for line in lines)
