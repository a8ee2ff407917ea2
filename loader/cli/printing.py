"""How results are shown to people, and as flat keys to machines."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loader.pipeline import LoadResult


def facts(result: "LoadResult") -> dict[str, Any]:
    """A result as flat keys, for JSON and the log."""
    flat: dict[str, Any] = asdict(result)
    flat.pop("pending_sql")
    counts = flat.pop("counts")
    rate = round(counts["records_read"] / result.seconds) if result.seconds else 0
    for name in ("seconds", "waited_for_input", "waited_for_server"):
        flat[name] = round(flat[name], 3)
    return {**flat, **counts, "records_per_second": rate}


def print_load(result: "LoadResult") -> None:
    """Rows by table, what became of the records, and what the time went by with."""
    counts = result.counts
    head = f"{result.source} -> schema {result.schema}"
    if not counts.records_read:
        skipped = f" ({number(result.files_skipped, 'file')} loaded before)"
        print(f"{head}: nothing new{skipped * bool(result.files_skipped)}.")
    else:
        print(head)
        if counts.rows_per_table:
            rows = [(name, f"{count:,}") for name, count in counts.rows_per_table.items()]
            print_table(("table", "rows"), rows)
        print(
            f"records {counts.records_read:,} = rows {counts.rows_loaded:,} "
            f"+ duplicates {counts.duplicates:,} + rejects {counts.rejects:,}; "
            f"values in _extra {counts.extra_values:,}"
        )
        own = max(0.0, result.seconds - result.waited_for_input - result.waited_for_server)
        print(
            f"{number(result.files, 'file')}, {result.bytes_read / 1e6:,.1f} MB, "
            f"{result.seconds:.2f} s: {counts.records_read / result.seconds:,.0f} records/s "
            f"(waited {result.waited_for_input:.2f} s for input, "
            f"{result.waited_for_server:.2f} s for the server, worked {own:.2f} s)"
        )
    if counts.schema_changes and result.load_id is not None:
        changes = number(len(counts.schema_changes), "schema change")
        print(f"{changes}: schema_changes in {result.schema}._loads, load {result.load_id}")
    if result.errors:
        print(f"{number(len(result.errors), 'file')} not read to the end")


def number(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns padded to their widest entry; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    for row in [list(head), *texts]:
        cells = [
            cell.rjust(width) if cell.replace(",", "").isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        print("  " + "  ".join(cells).rstrip())


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
    print("\nTry:")
    for title, statement in _HINTS:
        query = shlex.quote(statement.format(schema=quoted))
        print(f"\n# {title}\n{setting}{program} warehouse psql -- -c {query}")


def print_status(shown: dict[str, Any]) -> None:
    """The last loads, the tables, and the rejects of a source."""
    print(f"{shown['source']} -> schema {shown['schema']}\n")
    print_table(
        ("load", "status", "started", "records", "rows", "duplicates", "rejects", "error"),
        [
            (
                one["id"],
                one["status"],
                f"{one['started_at']:%Y-%m-%d %H:%M:%S}",
                f"{one['records_read']:,}",
                f"{one['rows_loaded']:,}",
                f"{one['duplicates']:,}",
                f"{one['rejects']:,}",
                one["error"] or "",
            )
            for one in shown["loads"]
        ],
    )
    print()
    print_table(
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
    if shown["rejects"]:
        print()
        print_table(("rejects", "count"), list(shown["rejects"].items()))
