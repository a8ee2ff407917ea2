"""The pages of marts and metrics say what the data say."""

import re

import pytest
from acceptance.harness import ROOT

from loader.warehouse.marts import metrics
from loader.warehouse.marts.view import View
from loader.warehouse.marts.views import VIEWS

METRICS = (ROOT / "docs" / "metrics.md").read_text("utf-8")
MARTS = (ROOT / "docs" / "marts.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$", METRICS, re.MULTILINE)


def test_the_page_has_each_metric_with_its_formula_and_no_other() -> None:
    said = [(name, label, formula) for name, label, formula, _ in ROWS]
    assert said == [
        *((count.name, count.label, count.sql) for count in metrics.COUNTS),
        *((rate.name, rate.label, metrics.rate_sql(rate)) for rate in metrics.RATES),
    ]


@pytest.mark.parametrize("count", metrics.COUNTS, ids=lambda count: count.name)
def test_what_is_counted_is_said_as_in_the_comment_of_the_column(count: metrics.Count) -> None:
    [words] = [words for name, _, _, words in ROWS if name == count.name]
    assert words == count.comment[0].lower() + count.comment[1:].rstrip(".")


def test_the_day_of_a_metric_is_said() -> None:
    assert f"`{metrics.DAY}`" in METRICS


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_the_page_of_the_marts_names_each_column(view: View) -> None:
    assert f"`{view.name}`" in MARTS
    assert [c.name for c in view.columns if f"`{c.name}`" not in MARTS] == []
