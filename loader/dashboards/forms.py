"""A chart in the words of Superset: the form that draws it, and the query behind that."""

import json
from typing import Any

from loader.dashboards.bundle import Document
from loader.dashboards.charts import Chart
from loader.dashboards.datasets import Dataset, Metric

# Superset's words for all the time there is; a filter of the dashboard takes its place.
ALL_TIME = "No filter"
_PAGE = 15  # rows of a table at once
_KEY_VALUE_PERCENT = 5  # what stands on the parts of a funnel
_MOST_POINTS = 10_000  # of a chart over time


def form_of(chart: Chart, dataset: Dataset) -> Document:
    """What Superset calls the parameters of a chart."""
    shared = {
        "adhoc_filters": [
            _time_filter(dataset),
            *map(_present_filter, chart.present),
            *([_sql_filter(chart.where)] if chart.where else []),
        ],
        "color_scheme": "supersetColors",
        "extra_form_data": {},
    }
    return shared | _FORMS[chart.kind](chart, dataset)


def _time_filter(dataset: Dataset) -> Document:
    return _filter(dataset.time, "TEMPORAL_RANGE", ALL_TIME)


def _present_filter(column: str) -> Document:
    return _filter(column, "IS NOT NULL", None) | {"operatorId": "IS_NOT_NULL"}


def _sql_filter(where: str) -> Document:
    return {"expressionType": "SQL", "clause": "WHERE", "sqlExpression": where}


def _filter(column: str, operator: str, value: str | None) -> Document:
    return {
        "expressionType": "SIMPLE",
        "clause": "WHERE",
        "subject": column,
        "operator": operator,
        "comparator": value,
    }


def _figure(chart: Chart, dataset: Dataset) -> Document:
    metric = dataset.metric(chart.metrics[0])
    return {
        "viz_type": "big_number_total",
        "metric": metric.name,
        "subtitle": chart.note,
        "header_font_size": 0.4,
        "subtitle_font_size": 0.15,
        "y_axis_format": metric.format,
    }


def _over_time(chart: Chart, dataset: Dataset) -> Document:
    return {
        "x_axis": chart.across or dataset.time,
        "time_grain_sqla": "P1D",
        "metrics": [*chart.metrics],
        "groupby": [*chart.by],
        "order_desc": True,
        "row_limit": _MOST_POINTS,
        "limit": 0,
        "truncate_metric": True,
        "show_empty_columns": True,
        "comparison_type": "values",
        "annotation_layers": [],
        "show_legend": len(chart.metrics) > 1 or bool(chart.by),
        "legendType": "scroll",
        "legendOrientation": "top",
        "x_axis_time_format": "smart_date",
        "y_axis_format": dataset.metric(chart.metrics[0]).format,
        "y_axis_bounds": [None, None],
        "rich_tooltip": True,
        "tooltipTimeFormat": "%Y-%m-%d",
    }


def _lines(chart: Chart, dataset: Dataset) -> Document:
    return _over_time(chart, dataset) | {
        "viz_type": "echarts_timeseries_line",
        "seriesType": "line",
        "markerEnabled": False,
        "opacity": 0.2,
    }


def _bars(chart: Chart, dataset: Dataset) -> Document:
    form = _over_time(chart, dataset) | {
        "viz_type": "echarts_timeseries_bar",
        "orientation": "vertical",
        "stack": "Stack" if len(chart.metrics) > 1 or chart.by else None,
    }
    if chart.across:  # numbers that stand beside each other as words do
        form |= {
            "xAxisForceCategorical": True,
            "x_axis_sort": chart.across,
            "x_axis_sort_asc": True,
            "x_axis_title": _label(dataset, chart.across),
            "x_axis_title_margin": 30,
            "row_limit": chart.limit,
        }
    return form


def _label(dataset: Dataset, column: str) -> str:
    return next(one.label for one in dataset.fields if one.name == column)


def _table(chart: Chart, dataset: Dataset) -> Document:
    metrics = [dataset.metric(name) for name in chart.metrics]
    return _any_table(chart) | {
        "query_mode": "aggregate",
        "groupby": [*chart.by],
        "metrics": [*chart.metrics],
        "timeseries_limit_metric": _order(chart),
        "order_desc": True,
        "show_cell_bars": True,
        "column_config": {
            one.name: {"d3NumberFormat": one.format} for one in metrics if one.format
        },
    }


def _order(chart: Chart) -> str:
    return chart.order or chart.metrics[0]


def _rows(chart: Chart, dataset: Dataset) -> Document:
    return _any_table(chart) | {
        "query_mode": "raw",
        "all_columns": [*chart.columns],
        "order_by_cols": [f'["{dataset.time}", false]'],
        "show_cell_bars": False,
    }


def _any_table(chart: Chart) -> Document:
    return {
        "viz_type": "table",
        "row_limit": chart.limit,
        "page_length": _PAGE,
        "include_search": chart.limit > _PAGE,
        "table_timestamp_format": "%Y-%m-%d %H:%M",
        "color_pn": False,
        "allow_rearrange_columns": True,
    }


def _funnel(chart: Chart, dataset: Dataset) -> Document:
    metric: Metric = dataset.metric(chart.metrics[0])
    return {
        "viz_type": "funnel",
        "groupby": [*chart.by],
        "metric": metric.name,
        "row_limit": chart.limit,
        # The stages stand in their order, whichever has more messages.
        "sort_by_metric": False,
        "order_by_cols": [json.dumps([_order(chart), True])],
        "sort": "none",
        "percent_calculation_type": "first_step",
        "label_type": _KEY_VALUE_PERCENT,
        "tooltip_label_type": _KEY_VALUE_PERCENT,
        "number_format": metric.format,
        "show_labels": True,
        "show_tooltip_labels": True,
        "show_legend": False,
        "legendOrientation": "top",
    }


_FORMS = {
    "figure": _figure,
    "lines": _lines,
    "bars": _bars,
    "table": _table,
    "rows": _rows,
    "funnel": _funnel,
}


def query_of(chart: Chart, dataset: Dataset) -> Document:
    """What Superset asks the database for a chart where no browser draws it."""
    filters: list[Document] = [
        {"col": dataset.time, "op": "TEMPORAL_RANGE", "val": ALL_TIME},
        *({"col": column, "op": "IS NOT NULL"} for column in chart.present),
    ]
    return {
        "columns": _columns_of(chart, dataset),
        "metrics": [*chart.metrics],
        "orderby": _order_of(chart, dataset),
        "filters": filters,
        "extras": {"having": "", "where": f"({chart.where})" if chart.where else ""},
        "row_limit": _MOST_POINTS if chart.kind in ("lines", "bars") else chart.limit,
        "series_limit": 0,
        "order_desc": True,
        "annotation_layers": [],
        "applied_time_extras": {},
        "url_params": {},
        "custom_params": {},
        "custom_form_data": {},
    }


def _columns_of(chart: Chart, dataset: Dataset) -> list[Any]:
    if chart.kind not in ("lines", "bars"):
        return [*chart.by, *chart.columns]
    axis = chart.across or dataset.time
    by_day = {} if chart.across else {"timeGrain": "P1D"}
    column = {"columnType": "BASE_AXIS", "expressionType": "SQL", "label": axis}
    return [column | {"sqlExpression": axis} | by_day, *chart.by]


def _order_of(chart: Chart, dataset: Dataset) -> list[list[Any]]:
    if chart.kind == "rows":
        return [[dataset.time, False]]
    return [[_order(chart), chart.kind == "funnel"]] if chart.by else []
