"""The bundle in a real Superset: imported twice, asked for its data, looked at in a browser."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TOOLS
from superset_server import PASSWORD, USER, Superset, running

from loader.dashboards.charts import CHARTS, TABS
from loader.dashboards.datasets import DATASETS

PYTHON = TOOLS / "superset" / "bin" / "python"
TITLE = "Customer.io e-mail"
FILE = "customerio_dashboards/databases/customerio.yaml"


@pytest.fixture(scope="module")
def superset(folder: Path) -> Iterator[Superset]:
    home = folder / "superset"
    home.mkdir()
    with running(PYTHON, home) as found:
        yield found
    shutil.copy(home / "superset.log", TOOLS / "superset.log")


@pytest.fixture(scope="module")
def bundle(run: Callable[..., str], loaded: str, warehouse: str, folder: Path) -> Path:
    """The bundle, with a password to be asked for: the socket takes any."""
    path = folder / "superset.zip"
    asking = warehouse.replace("@", ":any@", 1)
    printed = run("dashboards", "superset", "-o", path, "--days", "0", "--connect", asking)
    assert "Superset asks for the password" in printed
    return path


@pytest.fixture(scope="module")
def imported(superset: Superset, bundle: Path) -> Superset:
    """Superset with the bundle in it, twice; the second time as it is done after an upgrade."""
    refused = superset.import_bundle(bundle, {})
    assert refused.status == 422
    assert b"Must provide a password" in refused.data
    for _ in range(2):
        done = superset.import_bundle(bundle, {FILE.partition("/")[2]: "any"})
        assert done.status == 200, done.data
    return superset


def test_nothing_is_there_twice_and_titles_are_kept(imported: Superset) -> None:
    titles = Counter(one["slice_name"] for one in imported.all("chart"))
    assert titles == Counter(chart.title for chart in CHARTS)
    tables = Counter((one["schema"], one["table_name"]) for one in imported.all("dataset"))
    assert tables == Counter(("customerio", name) for name in DATASETS)
    assert [one["dashboard_title"] for one in imported.all("dashboard")] == [TITLE]
    assert len(imported.all("database")) == 1


def test_the_dashboard_has_each_chart_with_its_title(imported: Superset) -> None:
    (dashboard,) = imported.all("dashboard")
    shown = imported.ask("GET", f"/dashboard/{dashboard['id']}")["result"]
    parts = json.loads(shown["position_json"]).values()
    charts = [one["meta"] for one in parts if isinstance(one, dict) and one["type"] == "CHART"]
    ids = {one["id"]: one["slice_name"] for one in imported.all("chart")}
    assert ids == {one["chartId"]: one["sliceName"] for one in charts}
    assert set(ids.values()) == set(shown["charts"])
    names = [
        one["name"] for one in json.loads(shown["json_metadata"])["native_filter_configuration"]
    ]
    assert names == ["Time", "Kind of message", "Campaign or message"]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda one: one.key)
def test_each_chart_has_data(chart: Any, imported: Superset) -> None:
    (found,) = [one for one in imported.all("chart") if one["slice_name"] == chart.title]
    (result,) = imported.ask("GET", f"/chart/{found['id']}/data/")["result"]
    assert result["error"] is None
    assert result["rowcount"] > 0
    assert result["rejected_filters"] == []
    expected = [*chart.metrics, *chart.by, *chart.columns]
    assert set(expected) <= set(result["colnames"])
    assert any(row[name] is not None for row in result["data"] for name in expected)


def test_a_filter_of_the_dashboard_reaches_a_chart(imported: Superset) -> None:
    """As the browser sends it: in place of all the time there is."""
    (found,) = [one for one in imported.all("chart") if one["slice_name"] == "Delivered"]
    chart = imported.ask("GET", f"/chart/{found['id']}")["result"]
    context = json.loads(chart["query_context"])
    context["queries"][0]["filters"][0]["val"] = "2026-09-01 : 2026-09-02"
    (day,) = imported.ask("POST", "/chart/data", json=context)["result"]
    (all_days,) = imported.ask("GET", f"/chart/{found['id']}/data/")["result"]
    assert 0 < day["data"][0]["sum_delivered"] < all_days["data"][0]["sum_delivered"]


def test_columns_are_described_and_plotted_by_the_right_time(imported: Superset) -> None:
    for one in imported.all("dataset"):
        shown = imported.ask("GET", f"/dataset/{one['id']}")["result"]
        dataset = DATASETS[one["table_name"]]
        assert shown["main_dttm_col"] == dataset.time
        assert shown["description"] == dataset.comment
        columns = {column["column_name"]: column["description"] for column in shown["columns"]}
        assert columns == {field.name: field.comment for field in dataset.fields}
        metrics = {metric["metric_name"]: metric["expression"] for metric in shown["metrics"]}
        assert metrics == {metric.name: metric.sql for metric in dataset.metrics}


def test_all_is_replaced_by_the_import_of_assets(imported: Superset, bundle: Path) -> None:
    """What an administrator does after an upgrade; the password that is there stays."""
    (found,) = [one for one in imported.all("chart") if one["slice_name"] == "Delivered"]
    imported.ask("PUT", f"/chart/{found['id']}", json={"slice_name": "Changed by hand"})
    done = imported.import_bundle(bundle, {}, "assets")
    assert done.status == 200, done.data
    test_nothing_is_there_twice_and_titles_are_kept(imported)
    test_the_dashboard_has_each_chart_with_its_title(imported)
    (result,) = imported.ask("GET", f"/chart/{found['id']}/data/")["result"]
    assert result["rowcount"] == 1


def test_each_page_is_drawn(imported: Superset) -> None:
    if not Path("/usr/bin/chromedriver").exists():
        pytest.skip("there is no chromedriver: apt-get install chromium chromium-driver")
    (dashboard,) = imported.all("dashboard")
    where = (imported.url, USER, PASSWORD, str(dashboard["id"]), TOOLS)
    program = Path(__file__).with_name("screenshots.py")
    done = subprocess.run(
        [PYTHON, program, *map(str, where)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    for tab in TABS:
        titles = {chart.title for row in tab.rows for chart, _ in row.charts}
        assert titles == set(read[tab.title])
        assert not [title for title, one in read[tab.title].items() if one["wrong"]]
