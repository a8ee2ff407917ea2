"""Where the charts stand on the dashboard, and its filters, in the words of Superset."""

from typing import Any, NamedTuple

from loader.dashboards.bundle import Document
from loader.dashboards.charts import CHARTS, TABS, Chart, Row, Tab
from loader.dashboards.datasets import DATASETS
from loader.dashboards.forms import ALL_TIME

# Superset counts its charts; in a bundle the numbers only have to differ.
NUMBERS = {chart.key: number for number, chart in enumerate(CHARTS, 1)}

_ROOT, _GRID, _HEADER, _TABS = "ROOT_ID", "GRID_ID", "HEADER_ID", "TABS-pages"
_KIND, _MESSAGE, _TIME = ("NATIVE_FILTER-kind", "NATIVE_FILTER-message", "NATIVE_FILTER-time")


class Choice(NamedTuple):
    """A filter by the values of a column."""

    id: str
    title: str
    column: str
    after: tuple[str, ...] = ()  # filters that say which of its values there are


# Both take their values from this mart.
CHOSEN_FROM = "campaign_performance"
_CHOICES = (
    Choice(_KIND, "Kind of message", "message_kind"),
    Choice(_MESSAGE, "Campaign or message", "message_name", (_KIND,)),
)


def positions(title: str, ids: dict[str, str]) -> Document:
    """The tree of pages, rows and charts; `ids` are the charts' own, by key."""
    parts: Document = {"DASHBOARD_VERSION_KEY": "v2"}

    def add(id_: str, type_: str, parents: list[str], children: list[str], **meta: Any) -> None:
        parts[id_] = {"id": id_, "type": type_, "parents": parents, "children": children}
        if meta:
            parts[id_]["meta"] = meta

    add(_ROOT, "ROOT", [], [_TABS])
    add(_GRID, "GRID", [_ROOT], [])
    add(_HEADER, "HEADER", [], [], text=title)
    add(_TABS, "TABS", [_ROOT], [_tab_id(tab) for tab in TABS])
    for tab in TABS:
        above = [_ROOT, _TABS]
        rows = [_row_id(tab, row) for row in tab.rows]
        add(_tab_id(tab), "TAB", above, rows, text=tab.title, defaultText="Page")
        for row in tab.rows:
            above = [_ROOT, _TABS, _tab_id(tab)]
            charts = [_chart_id(chart) for chart, _ in row.charts]
            add(_row_id(tab, row), "ROW", above, charts, background="BACKGROUND_TRANSPARENT")
            for chart, width in row.charts:
                # Without name and uuid an import loses the title, and makes the chart a second
                # time where it is there.
                add(
                    _chart_id(chart),
                    "CHART",
                    [*above, _row_id(tab, row)],
                    [],
                    chartId=NUMBERS[chart.key],
                    uuid=ids[chart.key],
                    sliceName=chart.title,
                    width=width,
                    height=row.height,
                )
    return parts


def _tab_id(tab: Tab) -> str:
    return f"TAB-{tab.key}"


def _row_id(tab: Tab, row: Row) -> str:
    return f"ROW-{tab.key}-{tab.rows.index(row)}"


def _chart_id(chart: Chart) -> str:
    return f"CHART-{chart.key}"


def filters(dataset_id: str, days: int) -> list[Document]:
    """The filters of the dashboard; it opens with the last so many days, 0: with all."""
    return [_time_filter(days), *(_choice(one, dataset_id) for one in _CHOICES)]


def _time_filter(days: int) -> Document:
    # Without an end Superset leaves today out, and with it the load that has failed this morning.
    shown = f"Last {days} days : now" if days else ALL_TIME
    return _filter(_TIME, "filter_time", "Time", []) | {
        "targets": [{}],
        "defaultDataMask": {
            "extraFormData": {"time_range": shown},
            "filterState": {"value": shown},
            "ownState": {},
        },
    }


def _choice(choice: Choice, dataset_id: str) -> Document:
    others = [NUMBERS[one.key] for one in CHARTS if not DATASETS[one.dataset].has(choice.column)]
    return _filter(choice.id, "filter_select", choice.title, others) | {
        "targets": [{"datasetUuid": dataset_id, "column": {"name": choice.column}}],
        "controlValues": {
            "multiSelect": True,
            "enableEmptyFilter": False,
            "defaultToFirstItem": False,
            "inverseSelection": False,
            "searchAllOptions": False,
        },
        "cascadeParentIds": [*choice.after],
    }


def _filter(id_: str, type_: str, title: str, excluded: list[int]) -> Document:
    return {
        "id": id_,
        "name": title,
        "type": "NATIVE_FILTER",
        "filterType": type_,
        "description": "",
        "targets": [],
        "controlValues": {"enableEmptyFilter": False},
        "defaultDataMask": {"extraFormData": {}, "filterState": {}, "ownState": {}},
        "cascadeParentIds": [],
        "scope": {"rootPath": [_ROOT], "excluded": excluded},
    }
