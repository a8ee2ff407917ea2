"""The bundle for Superset: what an import of it relies on. No database."""

import io
import json
import re
import zipfile
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
import yaml

from loader.dashboards.address import PASSWORD, address_of
from loader.dashboards.bundle import yaml_of
from loader.dashboards.charts import CHARTS
from loader.dashboards.datasets import DATASETS
from loader.dashboards.superset import Target, documents, make_bundle
from loader.errors import UsageError
from loader.warehouse.marts.metrics import COUNTS, RATES, rate_sql
from loader.warehouse.marts.views import VIEWS

TARGET = Target("Customer.io", "customerio", "postgresql://bi@db.example.com/analytics", 90)
HOSTILE = (
    "quote\" and 'quote'",
    "../../etc/passwd",
    "C:\\odd\\name",
    "{{ 7 * 7 }} {% raw %}",
    "line\nbreak\u2028and\x85more\x07",
    "emoji \U0001f600 and \u202eright to left",
    "key: value # no comment",
    "*alias &anchor !tag",
    "日本",
    "x" * 5_000,
)


def read(bundle: bytes) -> dict[str, Any]:
    """The documents of a bundle by path, as Superset reads them."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        return {name: yaml.safe_load(opened.read(name)) for name in opened.namelist()}


def kind(found: dict[str, Any], folder: str) -> list[dict[str, Any]]:
    return [one for path, one in found.items() if f"/{folder}/" in path]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return read(make_bundle(TARGET))


def test_the_same_target_gives_the_same_bytes() -> None:
    assert make_bundle(TARGET) == make_bundle(TARGET)


def test_yaml_reads_what_was_written(found: dict[str, Any]) -> None:
    written = {f"customerio_dashboards/{path}": one for path, one in documents(TARGET).items()}
    assert found == json.loads(json.dumps(written))


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_of_a_source_or_schema_makes_valid_files(name: str) -> None:
    target = TARGET._replace(source=name, schema=name)
    found = read(make_bundle(target))
    assert all(re.fullmatch(r"[A-Za-z0-9_/-]+\.yaml", path) for path in found)
    assert all(len(path) < 200 for path in found)
    assert {name} == {one["schema"] for one in kind(found, "datasets")}
    (database,), (dashboard,) = kind(found, "databases"), kind(found, "dashboards")
    assert database["database_name"].startswith(name[:200])
    assert dashboard["dashboard_title"] == f"{name[:200]} e-mail"
    assert max(len(database["database_name"]), len(dashboard["dashboard_title"])) <= 250


def test_a_text_with_half_a_character_is_written_nevertheless() -> None:
    assert b"\\ud800" in yaml_of({"name": "\ud800"}).encode()


def test_each_uuid_is_there_once_and_another_schema_has_others(found: dict[str, Any]) -> None:
    own = [one["uuid"] for one in found.values() if "uuid" in one]
    assert len(own) == len(set(own)) == 2 + len(CHARTS) + len(DATASETS)
    assert all(UUID(one).version == 5 for one in own)
    other = read(make_bundle(TARGET._replace(schema="other")))
    assert not set(own) & {one["uuid"] for one in other.values() if "uuid" in one}


def test_what_an_import_knows_again_stays_the_same() -> None:
    """A uuid that changes makes a second dashboard beside the one of an earlier version."""
    found = documents(TARGET._replace(source="Renamed", days=7))
    assert found["dashboards/customerio.yaml"]["uuid"] == "fef4d84a-234e-5f01-8ff3-857b57945a8e"
    assert found["charts/rates_by_day.yaml"]["uuid"] == "48af95b5-b918-53b9-9948-ddd0dff0672d"


def test_no_two_charts_have_one_title(found: dict[str, Any]) -> None:
    """They would look alike in Superset's list."""
    titles = [one["slice_name"] for one in kind(found, "charts")]
    assert len(titles) == len(set(titles))


def test_the_layout_names_each_chart_once_with_title_and_uuid(found: dict[str, Any]) -> None:
    (dashboard,) = kind(found, "dashboards")
    titles = {one["uuid"]: one["slice_name"] for one in kind(found, "charts")}
    parts = [one for one in dashboard["position"].values() if isinstance(one, dict)]
    placed = [one["meta"] for one in parts if one["type"] == "CHART"]
    assert titles == {one["uuid"]: one["sliceName"] for one in placed}
    assert len(placed) == len(titles) == len({one["chartId"] for one in placed})


def test_the_layout_is_a_tree_of_rows_that_are_full(found: dict[str, Any]) -> None:
    (dashboard,) = kind(found, "dashboards")
    position = dashboard["position"]
    parts = {name: one for name, one in position.items() if isinstance(one, dict)}
    children = Counter(child for one in parts.values() for child in one["children"])
    assert set(children) == set(parts) - {"ROOT_ID", "GRID_ID", "HEADER_ID"}
    assert set(children.values()) == {1}
    for name, one in parts.items():
        assert one["id"] == name
        for child in one["children"]:
            assert parts[child]["parents"] == [*one["parents"], name]
        if one["type"] == "ROW":
            assert sum(parts[child]["meta"]["width"] for child in one["children"]) == 12


def test_charts_datasets_and_filters_refer_to_what_is_there(found: dict[str, Any]) -> None:
    datasets = {one["uuid"]: one for one in kind(found, "datasets")}
    (database,), (dashboard,) = kind(found, "databases"), kind(found, "dashboards")
    assert {database["uuid"]} == {one["database_uuid"] for one in datasets.values()}
    # A dataset without a chart would not be imported.
    assert set(datasets) == {one["dataset_uuid"] for one in kind(found, "charts")}
    for chart in kind(found, "charts"):
        dataset = datasets[chart["dataset_uuid"]]
        metrics = {one["metric_name"] for one in dataset["metrics"]}
        columns = {one["column_name"] for one in dataset["columns"]}
        form = chart["params"]
        assert {*form.get("metrics", []), *filter(None, [form.get("metric")])} <= metrics
        named = [*form.get("groupby", []), *form.get("all_columns", [])]
        named += [one["subject"] for one in form["adhoc_filters"] if "subject" in one]
        assert {*named, form.get("x_axis", dataset["main_dttm_col"])} <= columns
        context = json.loads(chart["query_context"])
        assert context["form_data"] == form | {"datasource": "0__table"}
    for one in dashboard["metadata"]["native_filter_configuration"]:
        for target in filter(None, one["targets"]):
            columns = {c["column_name"] for c in datasets[target["datasetUuid"]]["columns"]}
            assert target["column"]["name"] in columns


def test_no_metric_is_called_as_a_column(found: dict[str, Any]) -> None:
    for one in kind(found, "datasets"):
        columns = {column["column_name"] for column in one["columns"]}
        metrics = [metric["metric_name"] for metric in one["metrics"]]
        assert len(metrics) == len(set(metrics))
        assert not set(metrics) & columns


def test_counts_and_rates_are_those_of_the_one_definition() -> None:
    metrics = {one.name: one.sql for one in DATASETS["campaign_performance"].metrics}
    counts = {f"sum_{one.name}": f"sum({one.name})" for one in COUNTS}
    assert metrics.pop("last_name") == "max(message_name)"
    assert metrics == counts | {one.name: rate_sql(one) for one in RATES}


def test_steps_of_different_messages_are_different_rows() -> None:
    """A campaign and a newsletter may have one id, and a step stands under another one."""
    (steps,) = [one for one in CHARTS if one.key == "steps"]
    view = next(one for one in VIEWS if one.name == "campaign_performance")
    named = ("message_kind", "message_source_id", "action_id", "parent_action_id", "content_id")
    assert set(named) <= {column.name for column in view.columns}
    assert set(steps.by) == set(named)


def test_rates_have_the_digits_of_the_one_definition() -> None:
    for dataset in DATASETS.values():
        shown = {one.name: one.format for one in dataset.metrics}
        for rate in RATES:
            assert shown.get(rate.name) in (None, f".{rate.digits}%")


def test_filters_leave_alone_the_charts_that_lack_their_column(found: dict[str, Any]) -> None:
    (dashboard,) = kind(found, "dashboards")
    numbers = {
        one["meta"]["chartId"]: one["meta"]["uuid"]
        for one in dashboard["position"].values()
        if isinstance(one, dict) and one["type"] == "CHART"
    }
    charts = {one["uuid"]: one for one in kind(found, "charts")}
    datasets = {one["uuid"]: one for one in kind(found, "datasets")}
    _, *choices = dashboard["metadata"]["native_filter_configuration"]
    for one in choices:
        column = one["targets"][0]["column"]["name"]
        for number, uuid in numbers.items():
            dataset = datasets[charts[uuid]["dataset_uuid"]]
            has = column in {c["column_name"] for c in dataset["columns"]}
            assert has == (number not in one["scope"]["excluded"])


@pytest.mark.parametrize(("days", "shown"), [(90, "Last 90 days : now"), (0, "No filter")])
def test_the_dashboard_opens_with_the_last_days(days: int, shown: str) -> None:
    dashboard = documents(TARGET._replace(days=days))["dashboards/customerio.yaml"]
    time, *_ = dashboard["metadata"]["native_filter_configuration"]
    assert time["defaultDataMask"]["extraFormData"] == {"time_range": shown}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://bi@db.example.com/a", f"postgresql://bi:{PASSWORD}@db.example.com/a"),
        ("postgres://bi:s3cret@db:5433/a", f"postgresql://bi:{PASSWORD}@db:5433/a"),
        (
            "postgresql+psycopg2://bi:s%40cret@db/a?sslmode=require",
            f"postgresql://bi:{PASSWORD}@db/a?sslmode=require",
        ),
        ("postgresql://bi@db/a?password=s3cret", f"postgresql://bi:{PASSWORD}@db/a"),
        ("postgresql://bi@db/a?sslpassword=s3cret", f"postgresql://bi:{PASSWORD}@db/a"),
        ("postgresql://bi@db/a?passfile=/s3cret", f"postgresql://bi:{PASSWORD}@db/a"),
        (
            "postgresql://postgres@/postgres?host=/tmp",
            "postgresql://postgres@/postgres?host=%2Ftmp",
        ),
        ("postgresql://db/a", "postgresql://db/a"),
    ],
)
def test_no_password_is_in_the_address(url: str, shown: str) -> None:
    assert address_of(url) == shown


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="does not begin with postgresql://"):
        address_of("mysql://db/a")
