"""The dbt package in `dbt/`: what it names is there. dbt itself runs in `make bi`."""

import re
from typing import Any

import pytest
import yaml
from acceptance.harness import ROOT, Database

from loader import __version__
from loader.dashboards.datasets import DATASETS, IS_LOAD
from loader.normalize.collections import MARTS
from loader.warehouse.marts.metrics import COUNTS, RATES, rate_sql
from loader.warehouse.tables import LEDGER, metadata

PACKAGE = ROOT / "dbt"
TABLES: list[dict[str, Any]] = yaml.safe_load((PACKAGE / "models" / "sources.yml").read_text())[
    "sources"
][0]["tables"]
QUERIES = sorted([*PACKAGE.glob("models/*.sql"), *PACKAGE.glob("tests/*.sql")])
RATES_MACRO = (PACKAGE / "macros" / "rates.sql").read_text()


def promises_of(table: dict[str, Any]) -> dict[str, list[Any]]:
    return {one["name"]: one.get("data_tests", []) for one in table.get("columns", [])}


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one["name"])
def test_a_source_has_the_columns_that_the_package_names(
    table: dict[str, Any], sample: Database
) -> None:
    columns = set(sample.types(table["name"]))
    assert columns
    assert set(promises_of(table)) <= columns
    loaded_at = table.get("config", {}).get("loaded_at_field")
    assert loaded_at is None or loaded_at in columns


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one["name"])
def test_what_the_package_tests_holds_on_the_sample(
    table: dict[str, Any], sample: Database
) -> None:
    name = table["name"]
    for column, promises in promises_of(table).items():
        for promise in promises:
            if promise == "not_null":
                wrong = sample.value(f"SELECT count(*) FROM {name} WHERE {column} IS NULL")
            elif promise == "unique":
                repeated = f"SELECT count({column}) - count(DISTINCT {column}) FROM {name}"
                wrong = sample.value(repeated)
            else:
                values = promise["accepted_values"]["arguments"]["values"]
                other = f"SELECT count(*) FROM {name} WHERE {column} <> ALL (%s)"
                wrong = sample.value(other, values)
            assert wrong == 0, (column, promise)


def test_every_mart_and_declared_table_is_a_source() -> None:
    declared = set(metadata.tables) - {table.name for table in LEDGER}
    shown = {name for name in (*declared, *MARTS) if not name.startswith("_")}
    assert shown - {"email_messages_now"} == {table["name"] for table in TABLES}


@pytest.mark.parametrize("path", QUERIES, ids=lambda one: one.name)
def test_queries_read_sources_that_are_declared(path: Any) -> None:
    named = re.findall(r"source\('customerio', '(\w+)'\)", path.read_text())
    assert named
    assert set(named) <= {table["name"] for table in TABLES}


def test_the_example_model_runs_on_the_sample(sample: Database) -> None:
    sql = (PACKAGE / "models" / "message_weeks.sql").read_text()
    body = RATES_MACRO.partition("%}\n")[2].rpartition("{%")[0]
    sql = sql.replace("{{ customerio_rates() }}", body)
    sql = re.sub(r"\{\{ source\('customerio', '(\w+)'\) \}\}", r"customerio.\1", sql)
    rows = sample.dicts(sql)
    total = sample.value("SELECT sum(delivered) FROM customerio.campaign_performance")
    assert total == sum(row["delivered"] for row in rows)
    assert total > 0


def test_rates_are_worded_as_in_the_one_definition() -> None:
    worded = re.findall(r"^    (.+) as (\w+),?$", RATES_MACRO, re.MULTILINE)
    assert worded == [(rate_sql(one), one.name) for one in RATES]
    assert not [one.name for one in COUNTS if f" as {one.name}" in RATES_MACRO]


def test_exposures_depend_on_what_they_read() -> None:
    exposures = yaml.safe_load((PACKAGE / "models" / "exposures.yml").read_text())["exposures"]
    dashboard, report = (
        {re.fullmatch(r"source\('customerio', '(\w+)'\)", one)[1] for one in found["depends_on"]}  # type: ignore[index]
        for found in exposures
    )
    assert dashboard == set(DATASETS)
    assert {"email_messages", "email_link_clicked", "dim_messages", "tracks"} <= report
    assert report <= {table["name"] for table in TABLES}


def test_freshness_of_loads_leaves_out_what_is_no_load() -> None:
    [health] = [table for table in TABLES if table["name"] == "load_health"]
    assert health["config"]["freshness"]["filter"] == IS_LOAD


def test_the_package_has_the_version_of_the_loader() -> None:
    project = yaml.safe_load((PACKAGE / "dbt_project.yml").read_text())
    assert project["version"] == __version__
