"""The bundle on the marts: columns, metrics and charts, as Superset would ask for them."""

import json
from contextlib import closing
from typing import Any

import pytest
from acceptance.harness import Database

from loader.dashboards.charts import CHARTS, Chart
from loader.dashboards.datasets import DATASETS, Dataset
from loader.dashboards.superset import Target, documents
from loader.warehouse.marts.metrics import COUNTS, FUNNEL

DOCUMENTS = documents(Target("Customer.io", "customerio", "postgresql://bi@db/analytics", 0))

_COLUMNS = """
    SELECT a.attname, upper(format_type(a.atttypid, a.atttypmod)),
        col_description(a.attrelid, a.attnum)
    FROM pg_attribute a
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def column_sql(column: Any) -> str:
    """A column of a query, as Superset makes it."""
    if isinstance(column, str):
        return quoted(column)
    sql = quoted(column["sqlExpression"])
    return f"date_trunc('day', {sql})" if column.get("timeGrain") == "P1D" else sql


def query_sql(chart: dict[str, Any], dataset: dict[str, Any]) -> str:
    """What Superset asks for a chart."""
    (query,) = json.loads(chart["query_context"])["queries"]
    metrics = {one["metric_name"]: one["expression"] for one in dataset["metrics"]}
    columns = [column_sql(one) for one in query["columns"]]
    shown = [*columns, *(f"{metrics[name]} AS {quoted(name)}" for name in query["metrics"])]
    present = [one["col"] for one in query["filters"] if one["op"] == "IS NOT NULL"]
    conditions = [f"{quoted(column)} IS NOT NULL" for column in present]
    where = " AND ".join([*conditions, query["extras"]["where"] or "true"])
    order = [
        f"{metrics.get(name) or quoted(name)} {'ASC' if asc else 'DESC'} NULLS LAST"
        for name, asc in query["orderby"]
    ]
    return (
        f"SELECT {', '.join(shown)} FROM customerio.{quoted(dataset['table_name'])} WHERE {where}"
        + (f" GROUP BY {', '.join(columns)}" if columns and query["metrics"] else "")
        + (f" ORDER BY {', '.join(order)}" if order else "")
        + f" LIMIT {query['row_limit']}"
    )


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda one: one.table)
def test_a_dataset_has_the_columns_of_its_mart(dataset: Dataset, sample: Database) -> None:
    document = DOCUMENTS[f"datasets/customerio/{dataset.table}.yaml"]
    described = [
        (one["column_name"], one["type"], one["description"]) for one in document["columns"]
    ]
    assert described == sample.rows(_COLUMNS, f"customerio.{dataset.table}")
    times = [one["column_name"] for one in document["columns"] if one["is_dttm"]]
    assert document["main_dttm_col"] == times[0] == document["columns"][0]["column_name"]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda one: one.table)
def test_each_metric_is_a_number_on_the_sample(dataset: Dataset, sample: Database) -> None:
    for metric in dataset.metrics:
        found = sample.value(f"SELECT {metric.sql} FROM customerio.{dataset.table}")
        assert found is not None, metric.name
        if not metric.format:
            continue
        assert found >= 0, metric.name
        assert "%" not in metric.format or found <= 1, metric.name


@pytest.mark.parametrize("chart", CHARTS, ids=lambda one: one.key)
def test_each_chart_has_data_on_the_sample(chart: Chart, sample: Database) -> None:
    document = DOCUMENTS[f"charts/{chart.key}.yaml"]
    dataset = DOCUMENTS[f"datasets/customerio/{chart.dataset}.yaml"]
    rows = sample.rows(query_sql(document, dataset))
    assert rows
    assert all(
        any(row[-number] is not None for row in rows) for number in range(1, len(chart.metrics) + 1)
    )


def rows_after(change: str, key: str, database: Database) -> list[Any]:
    """What Superset gets for a chart after a change, which is taken back."""
    [dataset] = [one.dataset for one in CHARTS if one.key == key]
    document = DOCUMENTS[f"datasets/customerio/{dataset}.yaml"]
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"BEGIN; {change}")
        cursor.execute(query_sql(DOCUMENTS[f"charts/{key}.yaml"], document))
        rows: list[Any] = cursor.fetchall()
        cursor.execute("ROLLBACK")
        return rows


def test_stages_of_the_funnel_stand_in_their_order_whichever_is_larger(sample: Database) -> None:
    all_of_them = "UPDATE customerio.email_messages SET converted_at = delivered_at"
    stages = rows_after(all_of_them, "funnel", sample)
    labels = [count.label for name in FUNNEL for count in COUNTS if count.name == name]
    assert [label for label, _ in stages] == labels
    assert stages[3][1] > stages[2][1]
    form = DOCUMENTS["charts/funnel.yaml"]["params"]
    assert (form["sort"], form["sort_by_metric"]) == ("none", False)
    assert [json.loads(one) for one in form["order_by_cols"]] == [["first_stage_number", True]]


@pytest.mark.parametrize("key", ["figure_loads", "loads"])
def test_a_widening_is_no_load(key: str, sample: Database) -> None:
    load = (
        "INSERT INTO customerio._loads "
        "(source, status, finished_at, loader_version, schema_changes) VALUES "
        "('Customer.io', 'success', now(), '0', {})"
    )
    before = rows_after("SELECT", key, sample)
    widened = load.format("""'[{"change": "widen column"}]'""")
    assert rows_after(widened, key, sample) == before
    assert rows_after(load.format("NULL"), key, sample) != before


def test_rates_are_the_same_whichever_mart_they_are_made_of(sample: Database) -> None:
    def rates(table: str) -> dict[str, Any]:
        return {
            one.name: sample.value(f"SELECT {one.sql} FROM customerio.{table}")
            for one in DATASETS[table].metrics
            if one.format
        }

    by_campaign, by_message, by_domain = map(
        rates, ("campaign_performance", "email_messages", "deliverability")
    )
    assert by_campaign == by_message
    assert by_domain.items() <= by_campaign.items()
    assert {"bounce_rate", "spam_rate", "sum_delivered"} <= set(by_domain)
