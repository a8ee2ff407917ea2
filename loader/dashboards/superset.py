"""The bundle that Apache Superset imports: a connection, datasets, charts and a dashboard.

Superset knows what it has imported before by uuid. Those here are made of the schema and a name
that stays, so a second import finds all of it, and changes it instead of making another.
"""

import json
import re
from typing import NamedTuple
from uuid import UUID, uuid5

from loader.dashboards.bundle import Document, pack
from loader.dashboards.charts import CHARTS, Chart
from loader.dashboards.datasets import DATASETS, Dataset, Field, Metric
from loader.dashboards.forms import form_of, query_of
from loader.dashboards.layout import CHOSEN_FROM, filters, positions

_VERSION = "1.0.0"  # of Superset's format
_ALL_IDS = UUID("9b4c2d0e-6a53-5c0b-8f3e-2d6f0f2f7c11")
_ROOT = "customerio_dashboards"
_LONGEST_NAME = 200  # Superset takes 250 characters
# What Superset shows as the types of columns.
_TYPES = {
    "text": "TEXT",
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "numeric": "NUMERIC",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
}


class Target(NamedTuple):
    """What the dashboard shows."""

    source: str
    schema: str
    url: str  # by which Superset connects, without a password
    days: int  # that the dashboard opens with; 0: all


def make_bundle(target: Target) -> bytes:
    """The ZIP file; the same bytes for the same target."""
    return pack({f"{_ROOT}/{path}": one for path, one in documents(target).items()})


def documents(target: Target) -> dict[str, Document]:
    """What is in the bundle, by path."""
    place = file_name(target.schema)
    found: dict[str, Document] = {
        # Without a type: so both the page for dashboards and the API for all assets take it.
        "metadata.yaml": {"version": _VERSION},
        f"databases/{place}.yaml": _database(target),
        f"dashboards/{place}.yaml": _dashboard(target),
    }
    for dataset in DATASETS.values():
        found[f"datasets/{place}/{dataset.table}.yaml"] = _dataset(target, dataset)
    for chart in CHARTS:
        found[f"charts/{chart.key}.yaml"] = _chart(target, chart)
    return found


def file_name(text: str) -> str:
    """A name for a file that every system takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:60] or "_"


def id_of(schema: str, kind: str, name: str) -> str:
    """The uuid of something in the bundle."""
    return str(uuid5(_ALL_IDS, json.dumps([schema, kind, name])))


def title_of(source: str) -> str:
    """The title of the dashboard."""
    return f"{source[:_LONGEST_NAME]} e-mail"


def _database(target: Target) -> Document:
    return {
        "database_name": f"{target.source[:_LONGEST_NAME]} (customerio-loader)",
        "sqlalchemy_uri": target.url,
        "cache_timeout": None,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_file_upload": False,
        "extra": {"allows_virtual_table_explore": True},
        "uuid": id_of(target.schema, "database", ""),
        "version": _VERSION,
    }


def _dataset(target: Target, dataset: Dataset) -> Document:
    return {
        "table_name": dataset.table,
        "schema": target.schema,
        "description": dataset.comment,
        "main_dttm_col": dataset.time,
        "default_endpoint": None,
        "offset": 0,
        "cache_timeout": None,
        "catalog": None,
        "sql": None,
        "params": None,
        "template_params": None,
        "filter_select_enabled": True,
        "fetch_values_predicate": None,
        "extra": None,
        "normalize_columns": False,
        "always_filter_main_dttm": False,
        "columns": [_column(one) for one in dataset.fields],
        "metrics": [_metric(one) for one in dataset.metrics],
        "uuid": id_of(target.schema, "dataset", dataset.table),
        "database_uuid": id_of(target.schema, "database", ""),
        "version": _VERSION,
    }


def _column(column: Field) -> Document:
    return {
        "column_name": column.name,
        "verbose_name": column.label,
        "description": column.comment,
        "type": _TYPES[column.type],
        "is_dttm": column.is_time,
        "is_active": True,
        "groupby": column.is_group,
        "filterable": True,
        "expression": None,
        "python_date_format": None,
        "extra": {},
    }


def _metric(metric: Metric) -> Document:
    return {
        "metric_name": metric.name,
        "verbose_name": metric.label,
        "description": metric.comment,
        "expression": metric.sql,
        "metric_type": None,
        "d3format": metric.format or None,
        "warning_text": None,
        "extra": {},
    }


def _chart(target: Target, chart: Chart) -> Document:
    dataset = DATASETS[chart.dataset]
    form = form_of(chart, dataset)
    context = {
        # Both numbers are Superset's own, and put in by the import.
        "datasource": {"id": 0, "type": "table"},
        "force": False,
        "queries": [query_of(chart, dataset)],
        "form_data": form | {"datasource": "0__table"},
        "result_format": "json",
        "result_type": "full",
    }
    return {
        "slice_name": chart.title,
        "description": chart.note or None,
        "certified_by": None,
        "certification_details": None,
        "viz_type": form["viz_type"],
        "params": form,
        "query_context": json.dumps(context),
        "cache_timeout": None,
        "uuid": id_of(target.schema, "chart", chart.key),
        "dataset_uuid": id_of(target.schema, "dataset", chart.dataset),
        "version": _VERSION,
    }


def _dashboard(target: Target) -> Document:
    title = title_of(target.source)
    charts = {chart.key: id_of(target.schema, "chart", chart.key) for chart in CHARTS}
    return {
        "dashboard_title": title,
        "description": None,
        "css": "",
        "slug": None,
        "certified_by": None,
        "certification_details": None,
        "published": True,
        "uuid": id_of(target.schema, "dashboard", ""),
        "position": positions(title, charts),
        "metadata": {
            "color_scheme": "supersetColors",
            "cross_filters_enabled": True,
            "refresh_frequency": 0,
            "timed_refresh_immune_slices": [],
            "expanded_slices": {},
            "label_colors": {},
            "native_filter_configuration": filters(
                id_of(target.schema, "dataset", CHOSEN_FROM), target.days
            ),
        },
        "version": _VERSION,
    }
