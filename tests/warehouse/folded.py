"""A database with `email_messages`, and what happens to it."""

from itertools import count
from pathlib import Path
from typing import Any

from acceptance.harness import SCHEMA, Database, ndjson

import loader
from loader.cli.app import main
from loader.config import Source
from loader.warehouse import migrate
from loader.warehouse.engine import make_engine
from loader.warehouse.marts import fold

SOURCE = Source()  # type: ignore[call-arg]
DIFFERENCE = """
    (SELECT 'only in the table' AS where_, t.* FROM
        (TABLE email_messages EXCEPT ALL TABLE email_messages_now) AS t)
    UNION ALL
    (SELECT 'only in the view', v.* FROM
        (TABLE email_messages_now EXCEPT ALL TABLE email_messages) AS v)
"""


class Place:
    """A database, and what happens to it."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self._folder = folder
        self._numbers = count()

    def load(self, *events: dict[str, Any], **options: Any) -> loader.LoadResult:
        path = self._folder / f"{next(self._numbers)}.ndjson"
        path.write_bytes(ndjson(*events))
        options = {"batch_records": 2, "max_reject_ratio": 1} | options
        result = loader.load([path], warehouse_url=self.db.url, **options)
        assert result.status == "success"
        return result

    def run(self, *arguments: str) -> None:
        assert main([*arguments, "--warehouse-url", self.db.url]) == 0

    def migrate(self, revision: str) -> None:
        """Down to a revision, and back to head."""
        from alembic import command

        with make_engine(self.db.url).connect() as connection:
            config = migrate._config()
            config.attributes |= {"connection": connection, "source": SOURCE}
            command.downgrade(config, revision)
            command.upgrade(config, "head")

    def check(self) -> None:
        """Alembic finds no drift."""
        from alembic import command

        with make_engine(self.db.url).connect() as connection:
            config = migrate._config()
            config.attributes |= {"connection": connection, "source": SOURCE}
            command.check(config)

    def waiting(self) -> int:
        """Batches and messages that the table lacks."""
        found: int = self.db.value(
            "SELECT (SELECT count(*) FROM _batches WHERE NOT folded) "
            "+ (SELECT count(*) FROM _stale_messages)"
        )
        return found

    def is_behind(self) -> bool:
        """Whether the loader itself says that the table lacks something."""
        with make_engine(self.db.url).connect() as connection:
            named = connection.execution_options(schema_translate_map={None: SCHEMA})
            return fold.select_state(named, SCHEMA).is_behind

    def agree(self) -> None:
        """The table is what the view says."""
        assert not self.is_behind()
        assert self.db.dicts(DIFFERENCE) == []


def messages(db: Database, *columns: str) -> dict[str, tuple[Any, ...]]:
    rows = db.rows(f"SELECT {', '.join(('message_key', *columns))} FROM email_messages")
    return {key: tuple(values) for key, *values in rows}


def at(minute: int) -> str:
    return f"2026-03-04T05:{minute:02}:00.000Z"
