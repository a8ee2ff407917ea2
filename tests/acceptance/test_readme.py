"""The README names everything that a user can meet."""

import re
from pathlib import Path

import pytest

from loader.config import Settings, Source
from loader.normalize import collections as catalogue
from loader.warehouse.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODES = sorted(
    {
        code
        for path in (ROOT / "loader" / "sources").glob("*.py")
        for code in re.findall(r'reason(?:=| = )"(\w+)"', path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(setting: str) -> None:
    assert f"`{setting}`" in README or f"`[[{setting}]]`" in README


@pytest.mark.parametrize(
    "key", sorted(field.alias or name for name, field in Source.model_fields.items())
)
def test_every_key_of_a_source_is_in_the_readme(key: str) -> None:
    assert f"| `{key}` |" in README


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_table_and_its_columns_are_in_the_readme(table: str) -> None:
    assert f"`{table}`" in README
    missing = [c.name for c in metadata.tables[table].columns if f"`{c.name}`" not in README]
    assert missing == []


@pytest.mark.parametrize("code", CODES)
def test_every_reason_code_is_in_the_readme(code: str) -> None:
    assert f"`{code}`" in README


@pytest.mark.parametrize(
    "command",
    [
        *("load", "plan", "check", "status", "migrate", "rejects list", "rejects replay"),
        *("columns list", "columns widen", "warehouse start", "warehouse stop"),
        *("warehouse url", "warehouse psql"),
    ],
)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"| `{command}" in README
    assert f"`customerio-loader {command}" in README


def test_the_declared_catalogue_and_the_tables_of_the_readme_have_the_same_types() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+)", README, re.MULTILINE))
    for column in (*catalogue.SHARED, *catalogue.COLLECTIONS[0].properties):
        assert rows[column.name] == column.type
