"""The documentation names everything that a user can meet."""

import re

import pytest
from acceptance.harness import Database
from acceptance.pages import PAGES

from loader.config import Destination, Settings, Source, Storage
from loader.config.warehouse import WarehouseTable
from loader.normalize import collections as catalogue
from loader.normalize.event import IGNORE_REASONS, REASONS
from loader.warehouse.opening import LIMITS, SETTINGS
from loader.warehouse.tables import metadata

DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_documented(setting: str) -> None:
    assert f"`{setting}`" in DOCS or f"`[[{setting}]]`" in DOCS


@pytest.mark.parametrize(
    "key", sorted(field.alias or name for name, field in Source.model_fields.items())
)
def test_every_key_of_a_source_is_documented(key: str) -> None:
    assert f"| `{key}` |" in DOCS


@pytest.mark.parametrize("key", sorted(Destination.model_fields))
def test_every_key_of_a_destination_is_documented(key: str) -> None:
    assert f"| `{key}` | needed |" in DOCS or f"| `{key}` | all" in DOCS


@pytest.mark.parametrize("key", sorted(Storage.model_fields))
def test_every_key_of_a_bucket_is_documented(key: str) -> None:
    assert f"| `{key}` |" in DOCS


@pytest.mark.parametrize("key", sorted(WarehouseTable.model_fields))
def test_every_key_of_a_warehouse_is_documented(key: str) -> None:
    assert f"| `{key}` |" in DOCS


@pytest.mark.parametrize("setting", [*LIMITS, *(setting.name for setting in SETTINGS)])
def test_every_setting_of_a_session_is_documented(setting: str) -> None:
    assert f"`{setting}`" in DOCS


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_table_and_its_columns_are_documented(table: str) -> None:
    assert f"`{table}`" in DOCS
    missing = [c.name for c in metadata.tables[table].columns if f"`{c.name}`" not in DOCS]
    assert missing == []


@pytest.mark.parametrize("code", [*REASONS, *IGNORE_REASONS])
def test_every_reason_code_is_documented(code: str) -> None:
    assert f"`{code}`" in DOCS


@pytest.mark.parametrize(
    "command",
    [
        *("load", "plan", "check", "status", "migrate", "rejects list", "rejects replay"),
        *("columns list", "columns widen", "marts rebuild", "warehouse start", "warehouse stop"),
        *("warehouse url", "warehouse psql", "config show", "config check"),
        *("forward", "destinations list", "destinations test", "destinations dead"),
        *("destinations replay", "sources add", "sources list", "sources key", "sources remove"),
        *("receive", "spool status", "spool prune", "spool recover"),
        *("report", "dashboards superset"),
    ],
)
def test_every_command_is_documented(command: str) -> None:
    assert f"| `{command}" in DOCS
    assert f"`customerio-loader {command}" in DOCS


def test_the_declared_catalogue_and_the_tables_of_the_documentation_have_the_same_types() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+)", DOCS, re.MULTILINE))
    for column in (*catalogue.SHARED, *catalogue.COLLECTIONS[0].properties):
        assert rows[column.name] == column.type


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("tracks", "received_at", "plot by timestamp"),
        ("email_opened", "received_at", "plot by timestamp"),
        ("tracks", "anonymous_id", "e-mail address, not the id of a browser"),
        ("email_opened", "email_id", "template"),
    ],
)
def test_comments_warn_of_what_is_easily_misread(
    db: Database, table: str, column: str, words: str
) -> None:
    comment = db.value(
        "SELECT col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attname = %s",
        table,
        column,
    )
    assert words in comment
