"""The marts as a BI tool shows them: the column to plot by, the metrics, words for all of them.

No metric is defined here: counts and rates are those of `loader.warehouse.marts.metrics`, wherever
a mart has the columns for them; the rest is sums of the columns of one mart.
"""

from typing import NamedTuple

from loader.normalize.collections import EMAIL_MESSAGES
from loader.warehouse.marts.messages import COLUMNS, TABLE_COMMENT
from loader.warehouse.marts.metrics import (
    COUNTS,
    RATES,
    Count,
    Rate,
    rate_of_messages_sql,
    rate_sql,
)
from loader.warehouse.marts.view import View
from loader.warehouse.marts.views import VIEWS

NO_NUMBER = ""
NUMBER = ",d"
DECIMAL = ",.1f"

# `columns widen` has a row of its own in the ledger, and is no load: it reads no record, and a load
# that reads none changes no table.
IS_LOAD = "NOT (status = 'success' AND records_read = 0 AND schema_changes > 0)"
# Words that are not made of a column's name.
_LABELS = {
    "human_opened": "Opened by people",
    "messages_per_person": "Messages a week",
    "rows_loaded": "Rows",
    "last_timestamp": "Newest event",
    "message_source_id": "Message id",
    "email_domain": "Domain",
    "action_id": "Step",
    "parent_action_id": "Parent step",
    "content_id": "Variant",
    "stage_number": "Number of the stage",
}
_COUNTS = {count.name: count for count in COUNTS}


class Metric(NamedTuple):
    """An aggregate over the rows of a mart."""

    name: str
    label: str
    sql: str
    format: str  # of d3-format; blank: it is no number
    comment: str


class Field(NamedTuple):
    """A column of a mart."""

    name: str
    label: str
    type: str  # as PostgreSQL calls it
    comment: str
    is_time: bool
    is_group: bool  # whether a chart may have a part for each of its values


class Dataset(NamedTuple):
    """A mart, and what a BI tool has to know of it."""

    table: str
    comment: str
    time: str  # the column that tools plot by
    fields: tuple[Field, ...]
    metrics: tuple[Metric, ...]

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(one for one in self.metrics if one.name == name)

    def has(self, column: str) -> bool:
        """Whether it has a column of that name."""
        return any(one.name == column for one in self.fields)


def _sum(column: str, label: str, comment: str) -> Metric:
    """The sum of a column; it is not called as the column, which is another thing in a query."""
    return Metric(f"sum_{column}", label, f"sum({column})", NUMBER, comment)


def _rate(rate: Rate, sql: str) -> Metric:
    return Metric(rate.name, rate.label, sql, _percent(rate.digits), rate.comment)


def _percent(digits: int) -> str:
    return f".{digits}%"


def _of_counts(columns: set[str]) -> list[Metric]:
    """The metrics of a mart that has some of the counts as columns."""
    counts = [_sum(one.name, one.label, one.comment) for one in COUNTS if one.name in columns]
    rates = [_rate(one, rate_sql(one)) for one in RATES if {one.of, one.per} <= columns]
    return counts + rates


def _of_messages() -> tuple[Metric, ...]:
    """The same where each row is a message."""

    def metric(count: Count) -> Metric:
        return Metric(f"sum_{count.name}", count.label, count.sql, NUMBER, count.comment)

    rates = [_rate(one, rate_of_messages_sql(one)) for one in RATES]
    return (*map(metric, COUNTS), *rates)


def _per_message(name: str) -> Metric:
    """A rate in a mart whose delivered messages are in the column `messages`."""
    rate = next(one for one in RATES if one.name == name)
    return _rate(rate, rate_sql(rate._replace(per="messages")))


# What the columns of one mart alone add up to.
_OWN: dict[str, list[Metric]] = {
    "campaign_performance": [
        Metric(
            "last_name",
            "Name",
            "max(message_name)",
            NO_NUMBER,
            "Name of the message; where it has several, the last in the order of the alphabet.",
        )
    ],
    "email_funnel": [
        _sum("messages", "Messages", "Messages that have come this far, by day of delivery."),
        Metric(
            "first_stage_number",
            "Order of the stages",
            "min(stage_number)",
            NUMBER,
            "By this the stages are in their order.",
        ),
    ],
    "email_links": [_sum("clicks", "Clicks", "Clicks that are not known to be by a machine.")],
    "marketing_pressure": [
        _sum("people", "People", "People who got so many messages, once a week each."),
        _sum("messages", "Messages", "Messages that they got."),
        _per_message("unsubscribe_rate"),
        _per_message("spam_rate"),
    ],
    "load_health": [
        Metric(
            "loads",
            "Loads",
            f"count(*) FILTER (WHERE {IS_LOAD})",
            NUMBER,
            "Loads that were started.",
        ),
        Metric(
            "failed_loads",
            "Failed loads",
            "count(*) FILTER (WHERE status IN ('failure', 'interrupted'))",
            NUMBER,
            "Loads that did not come to their end.",
        ),
        _sum("records_read", "Records read", "Records of the inputs."),
        _sum("rows_loaded", "Rows loaded", "Events that were new."),
        _sum("duplicates", "Duplicates", "Records that were there already."),
        _sum("rejects", "Rejects", "Records that could not be loaded."),
        _sum("extra_values", "Values in _extra", "Values that did not fit their column."),
        Metric(
            "rejects_per_record",
            "Reject ratio",
            "sum(rejects)::numeric / nullif(sum(records_read - ignored), 0)",
            _percent(2),
            "Share of rejects in the records that were not ignored.",
        ),
        Metric("sum_seconds", "Seconds", "sum(seconds)", DECIMAL, "How long the loads took."),
    ],
    "rejects_by_reason": [
        _sum("rejects", "Rejects", "Records that could not be loaded."),
        _sum("waiting", "Waiting", "Those that no replay has loaded yet."),
    ],
}
# Numbers in these are parts of a chart as words are.
_GROUPS = {"messages_per_person", "stage_number", "load_id"}
_NUMBERS = {"bigint", "integer", "numeric"}
_TIMES = {"date", "timestamptz"}


def label_of(name: str) -> str:
    """A column's name for people."""
    if name in _COUNTS:
        return _COUNTS[name].label
    label = _LABELS.get(name) or (name[0].upper() + name[1:].replace("_", " "))
    return label.replace("Utm ", "UTM ")


def _field(name: str, type_: str, comment: str) -> Field:
    is_group = name in _GROUPS or type_ not in _NUMBERS
    return Field(name, label_of(name), type_, comment, type_ in _TIMES, is_group)


def _metrics(table: str, columns: set[str]) -> tuple[Metric, ...]:
    own = _OWN.get(table, [])
    made = {one.name for one in own}
    return (*own, *(one for one in _of_counts(columns) if one.name not in made))


def _of_view(view: View) -> Dataset:
    fields = tuple(_field(one.name, one.type, one.comment) for one in view.columns)
    metrics = _metrics(view.name, {one.name for one in view.columns})
    return Dataset(view.name, view.comment, fields[0].name, fields, metrics)


def _of_table() -> Dataset:
    fields = tuple(_field(one.name, one.type, one.comment) for one in COLUMNS)
    return Dataset(EMAIL_MESSAGES, TABLE_COMMENT, fields[0].name, fields, _of_messages())


_SHOWN = (
    "campaign_performance",
    "email_funnel",
    "deliverability",
    "email_links",
    "marketing_pressure",
    "load_health",
    "rejects_by_reason",
)
DATASETS = {view.name: _of_view(view) for view in VIEWS if view.name in _SHOWN}
DATASETS[EMAIL_MESSAGES] = _of_table()
