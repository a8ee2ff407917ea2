"""How results are shown to people, and as flat keys to machines."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from loader.cli.text import number, out, out_exactly, out_table

if TYPE_CHECKING:
    from loader.load.look import InputSummary
    from loader.load.result import LoadResult
    from loader.normalize.event import IgnoreReason

# A line with more names than these is not read.
_NAMES = 8


def facts(result: "LoadResult") -> dict[str, object]:
    """A result as flat keys, for JSON and the log."""
    flat = asdict(result)
    flat.pop("pending_sql")
    counts = flat.pop("counts")
    del counts["ignored"]  # the sum of those by reason
    rate = round(counts["records_read"] / result.seconds) if result.seconds else 0
    for name in ("seconds", "waited_for_input", "waited_for_server"):
        flat[name] = round(flat[name], 3)
    return {**flat, **counts, "records_per_second": rate}


def heading(source: str, warehouse: str | None, schema: str) -> str:
    """What is loaded where: the first line of a result."""
    return f"{source} -> {f'{warehouse}, ' if warehouse is not None else ''}schema {schema}"


def print_load(result: "LoadResult") -> None:
    """Rows by table, what became of the records, and what the time went by with."""
    _print_counts(result)
    changes = result.counts.schema_changes
    if changes:
        where = f"schema_changes in {result.schema}._loads, load {result.load_id}"
        out(f"{number(len(changes), 'schema change')}: {where}")
    if result.errors:
        out(f"{number(len(result.errors), 'input')} not read to the end", fg="red")
    for file, what in islice(result.not_events.items(), _NAMES):
        out(f"left out {file}: no events, but {what}", fg="yellow")
    if (more := len(result.not_events) - _NAMES) > 0:
        out(f"and {number(more, 'more file')} without events; see not_events in --json")


def print_plan(result: "LoadResult", *, sql: bool) -> None:
    """What a load would do; as comments of the SQL, where that follows."""
    if sql:
        with StringIO() as shown, redirect_stdout(shown):
            _print_summary(result)
            summary = shown.getvalue()
        out_exactly("".join(f"-- {line}".rstrip() + "\n" for line in summary.splitlines()))
        out_exactly(result.pending_sql.strip())
    else:
        _print_summary(result)
        if result.pending_sql.strip():
            out("See the SQL with --sql.", dim=True)


def _print_summary(result: "LoadResult") -> None:
    out("Nothing was written. A load would do this:")
    out()
    _print_counts(result)
    out()
    if result.migration:
        out(f"schema {result.schema}: {result.migration}")
    new: dict[str, list[str]] = {}  # columns by table
    for change in result.counts.schema_changes:
        columns = new.setdefault(change["table"], [])
        if "column" in change:
            columns.append(f"{change['column']} {change['type']}")
    made = [c["table"] for c in result.counts.schema_changes if c["change"] == "create table"]
    if made:
        out(f"{number(len(made), 'new table')}: {_some(made)}")
    added = sum(map(len, new.values()))
    if added:
        out(f"{number(added, 'new column')}:")
        out_table(
            ("table", "columns", "which"),
            [(table, f"{len(names):,}", _some(names)) for table, names in new.items() if names],
        )
    if not result.pending_sql.strip():
        out("No schema change.")


def _print_counts(result: "LoadResult") -> None:
    counts = result.counts
    head = heading(result.source, result.warehouse, result.schema)
    if not counts.records_read:
        without, skipped = result.files_without_events, ""
        if result.files_skipped:
            others = f", {without:,} of them without events" * bool(without)
            skipped = f" ({number(result.files_skipped, 'file')} loaded before{others})"
        what = "nothing was loaded" if result.errors else "nothing new"
        out(f"{head}: {what}{skipped}.")
        return
    out(head, bold=True)
    if counts.rows_per_table:
        rows = [(name, f"{count:,}") for name, count in counts.rows_per_table.items()]
        out_table(("table", "rows"), rows)
    out(
        f"records {counts.records_read:,} = rows {counts.rows_loaded:,} "
        f"+ duplicates {counts.duplicates:,} + rejects {counts.rejects:,} "
        f"+ ignored {counts.ignored:,}{_by_reason(result.ignored)}; "
        f"values in _extra {counts.extra_values:,}",
        fg="yellow" if counts.rejects else "green",
    )
    own = max(0.0, result.seconds - result.waited_for_input - result.waited_for_server)
    out(
        f"{number(result.files, 'file')}, {result.bytes_read / 1e6:,.1f} MB, "
        f"{result.seconds:.2f} s: {counts.records_read / result.seconds:,.0f} records/s "
        f"(waited {result.waited_for_input:.2f} s for input, "
        f"{result.waited_for_server:.2f} s for the server, worked {own:.2f} s)",
        dim=True,
    )


def _by_reason(counts: "Mapping[IgnoreReason, int]") -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
    return f" ({reasons})" if reasons else ""


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


_HINTS = (
    (
        "Events and people by name",
        "SELECT event_text, count(*) AS events, "
        "count(DISTINCT coalesce(user_id, anonymous_id)) AS people "
        "FROM {schema}.tracks GROUP BY 1 ORDER BY 2 DESC",
    ),
    (
        "Opens per delivered e-mail by campaign, without machine opens",
        "SELECT d.campaign_id, count(DISTINCT d.delivery_id) AS delivered, "
        "count(DISTINCT o.delivery_id) AS opened, "
        "round(100.0 * count(DISTINCT o.delivery_id) / count(DISTINCT d.delivery_id), 1) "
        "AS percent_opened FROM {schema}.email_delivered d "
        "LEFT JOIN {schema}.email_opened o ON o.delivery_id = d.delivery_id "
        "AND o.prefetched IS NOT TRUE AND o.machine IS NOT TRUE "
        "WHERE d.campaign_id IS NOT NULL AND d.delivery_id IS NOT NULL GROUP BY 1 ORDER BY 1",
    ),
    (
        "What could not be loaded, and why",
        "SELECT reason, detail, count(*) FROM {schema}._rejects GROUP BY 1, 2 ORDER BY 3 DESC",
    ),
)


def print_hints(schema: str) -> None:
    """Three statements worth trying, each with the command that runs it."""
    program = os.path.relpath(sys.argv[0]) if os.sep in sys.argv[0] else sys.argv[0]
    if program.endswith("__main__.py"):
        program = "python -m loader"
    folder = os.environ.get("LOADER_WAREHOUSE_DIR")
    setting = f"LOADER_WAREHOUSE_DIR={shlex.quote(os.path.relpath(folder))} " if folder else ""
    quoted = schema if schema.isidentifier() else '"' + schema.replace('"', '""') + '"'
    out()
    out("Try:", bold=True)
    for title, statement in _HINTS:
        query = shlex.quote(statement.format(schema=quoted))
        out()
        out(f"# {title}", dim=True)
        out(f"{setting}{program} warehouse psql -- -c {query}")


def print_inputs(source: str, warehouse: str | None, found: "Sequence[InputSummary]") -> None:
    """What a load of a source would read, by input."""
    out(source if warehouse is None else f"{source} -> {warehouse}", bold=True)
    out_table(
        (
            "input",
            "files",
            "MB",
            "to read",
            "MB to read",
            "loaded",
            "no events",
            "excluded",
            "days",
        ),
        [
            (
                one.input,
                f"{one.files:,}",
                f"{one.bytes / 1e6:,.1f}",
                f"{one.new_files:,}",
                f"{one.new_bytes / 1e6:,.1f}",
                f"{one.finished_files - one.not_events:,}",
                f"{one.not_events:,}",
                f"{one.excluded_files:,}",
                f"{one.first_day} to {one.last_day}" if one.first_day else "-",
            )
            for one in found
        ],
    )


def print_rejects(found: Sequence[dict[str, object]]) -> None:
    """Where rejects stood, why, and how they begin."""
    names = ("load_id", "file", "position", "reason", "detail", "place", "outcome", "raw")
    out_table(
        ("load", "file", "position", "reason", "detail", "place", "outcome", "record"),
        [[one[name] or "" for name in names] for one in found],
    )


_COLOURS = {"success": "green", "partial": "yellow", "failure": "red", "interrupted": "yellow"}


def print_status(shown: dict[str, Any]) -> None:
    """The last loads, the tables, and the rejects of a source."""
    out(heading(shown["source"], shown["warehouse"], shown["schema"]), bold=True)
    out()
    out_table(
        (
            *("load", "status", "started", "records", "rows", "duplicates", "rejects", "ignored"),
            "error",
        ),
        [
            (
                one["id"],
                one["status"],
                f"{one['started_at']:%Y-%m-%d %H:%M:%S}",
                f"{one['records_read']:,}",
                f"{one['rows_loaded']:,}",
                f"{one['duplicates']:,}",
                f"{one['rejects']:,}",
                f"{one['ignored']:,}",
                one["error"] or "",
            )
            for one in shown["loads"]
        ],
        [{"fg": _COLOURS.get(one["status"])} for one in shown["loads"]],
    )
    out()
    out_table(
        ("table", "rows", "last received_at", "last timestamp", "rows with _extra"),
        [
            (
                one["table"],
                f"{one['rows']:,}",
                f"{one['last_received_at']:%Y-%m-%d %H:%M:%S}" if one["last_received_at"] else "-",
                f"{one['last_timestamp']:%Y-%m-%d %H:%M:%S}" if one["last_timestamp"] else "-",
                f"{one['rows_with_extra']:,}",
            )
            for one in shown["tables"]
        ],
    )
    out()
    out_table(
        ("mart", "rows", "state"),
        [(m["mart"], f"{m['rows']:,}", _state(m)) for m in shown["marts"]],
    )
    if shown["waiting_columns"]:
        out()
        out_table(
            ("waiting for a lock", "type", "since", "held by"),
            [
                (
                    f"{one['table']}.{one['column']}",
                    one["type"],
                    f"{one['since']:%Y-%m-%d %H:%M:%S}",
                    one["blocker"],
                )
                for one in shown["waiting_columns"]
            ],
        )
    if shown["rejects"]:
        out()
        out_table(("rejects", "count"), list(shown["rejects"].items()))


def _state(mart: dict[str, Any]) -> str:
    """Whether a mart has all events, in words."""
    if mart["is_off"]:
        return "off"
    waiting, all_of_them, stale = mart["waiting_batches"], mart["batches"], mart["stale_rows"]
    if waiting:
        return f"lacks {waiting:,} of {all_of_them:,} batches"
    return f"{stale:,} rows to be made anew" if stale else "up to date"
