"""The views over the ledger, as data: loads without JSON, and rejects without their texts."""

from loader.warehouse.marts.view import View, ViewColumn

# Somebody may have edited the row.
_CHANGES = "CASE WHEN jsonb_typeof(l.schema_changes) = 'array' THEN l.schema_changes ELSE '[]' END"


def _same(*facts: tuple[str, str]) -> tuple[ViewColumn, ...]:
    return tuple(ViewColumn(name, "bigint", comment, f"l.{name}") for name, comment in facts)


LOAD_HEALTH = View(
    "load_health",
    "One row per load: what it read, how it ended and how long it took; plot by started_at.",
    (
        ViewColumn("started_at", "timestamptz", "Start; plot by this.", "l.started_at"),
        ViewColumn("load_id", "bigint", "Number of the load.", "l.id"),
        ViewColumn("source", "text", "Name of the source.", "l.source"),
        ViewColumn(
            "status", "text", "running, success, partial, failure or interrupted.", "l.status"
        ),
        ViewColumn("finished_at", "timestamptz", "End; null while running.", "l.finished_at"),
        ViewColumn(
            "seconds",
            "numeric",
            "From start to end; null while running.",
            "round(extract(epoch FROM l.finished_at - l.started_at)::numeric, 3)",
        ),
        *_same(
            ("records_read", "Records read; rows_loaded + duplicates + rejects + ignored."),
            ("rows_loaded", "Events written."),
            ("duplicates", "Records that were there already."),
            ("rejects", "Records that could not be loaded."),
            ("ignored", "Records left out on purpose."),
            ("extra_values", "Values put into _extra, because they fit no column."),
        ),
        ViewColumn(
            "reject_ratio",
            "numeric",
            "Share of rejects in the records that were not ignored; null if there were none. Do "
            "not average it: divide sums.",
            "round(l.rejects::numeric / nullif(l.records_read - l.ignored, 0), 6)",
        ),
        ViewColumn(
            "schema_changes",
            "integer",
            "Tables and columns that the load added.",
            f"jsonb_array_length({_CHANGES})",
        ),
        ViewColumn(
            "last_timestamp",
            "timestamptz",
            "Latest timestamp of the events written.",
            "l.last_timestamp",
        ),
        ViewColumn(
            "last_received_at",
            "timestamptz",
            "Latest received_at of the events written.",
            "l.last_received_at",
        ),
        ViewColumn("loader_version", "text", "Version of the loader.", "l.loader_version"),
    ),
    "{schema}._loads AS l",
)

SCHEMA_CHANGES = View(
    "schema_changes",
    "One row per table or column that a load added, or that was widened; plot by changed_at.",
    (
        ViewColumn("changed_at", "timestamptz", "Start of the load; plot by this.", "l.started_at"),
        ViewColumn("load_id", "bigint", "Number of the load.", "l.id"),
        ViewColumn(
            "change",
            "text",
            "create table, add column or widen column.",
            "change.facts ->> 'change'",
        ),
        ViewColumn("table_name", "text", "The table.", "change.facts ->> 'table'"),
        ViewColumn(
            "column_name", "text", "The column; null for a table.", "change.facts ->> 'column'"
        ),
        ViewColumn(
            "type", "text", "Type that the column got; null for a table.", "change.facts ->> 'type'"
        ),
    ),
    f"{{schema}}._loads AS l CROSS JOIN LATERAL jsonb_array_elements({_CHANGES}) AS change(facts)",
)

REJECTS_BY_REASON = View(
    "rejects_by_reason",
    "One row per UTC day and reason of records that could not be loaded; plot by day. Has no "
    "texts, so the reader_role may see it.",
    (
        ViewColumn("day", "date", "UTC day of the load that rejected them; plot by this."),
        ViewColumn("reason", "text", "Reason code."),
        ViewColumn("rejects", "bigint", "Records.", "count(*)"),
        ViewColumn(
            "waiting",
            "bigint",
            "Of them, those that no replay has settled.",
            "count(*) FILTER (WHERE is_waiting)",
        ),
    ),
    "(\nSELECT (coalesce(l.started_at, r.rejected_at) AT TIME ZONE 'UTC')::date AS day, r.reason, "
    "coalesce(r.outcome, 'rejected') = 'rejected' AS is_waiting\n"
    "FROM {schema}._rejects AS r LEFT JOIN {schema}._loads AS l ON l.id = r.load_id\n"
    ") AS reject GROUP BY day, reason",
)
