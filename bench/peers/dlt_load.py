"""Load events with dlt: CSV files that COPY takes, one table per event name plus `tracks`.

python dlt_load.py INPUT TABLES.json SCHEMA append|merge; the server and the
settings for speed are in dlt's own variables.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import orjson

# Found beside this script; the repository is not on the path of dlt's environment.
from events import Row, Tables, read_rows

_TYPES = {"timestamptz": "timestamp", "boolean": "bool"}
_PAGE = 10_000


def main(path: str, tables_path: str, schema: str, disposition: str) -> None:
    """Extract, normalize and load, as dlt calls it."""
    tables: Tables = json.loads(Path(tables_path).read_text())

    @dlt.source(name="events", max_table_nesting=0)
    def source() -> Any:
        hints = {t: _hints(columns) for t, columns in tables.items()}

        @dlt.resource(name="rows", write_disposition=disposition, primary_key="id")  # type: ignore
        def rows() -> Iterator[Any]:
            for table, page in _pages(read_rows(path, orjson.loads)):
                yield dlt.mark.with_hints(
                    page,
                    dlt.mark.make_hints(
                        table_name=table,
                        write_disposition=disposition,  # type: ignore[arg-type]
                        primary_key="id",
                        columns=hints[table],
                    ),
                    create_table_variant=True,
                )

        return rows

    pipeline = dlt.pipeline(
        "bench", destination="postgres", dataset_name=schema, pipelines_dir="dlt"
    )
    print(pipeline.run(source(), loader_file_format="csv"))


def _hints(columns: dict[str, str]) -> Any:
    hints: dict[str, Any] = {n: {"data_type": _TYPES.get(t, t)} for n, t in columns.items()}
    hints["id"] |= {"nullable": False, "unique": True}  # dlt makes the index for `unique`
    return hints


def _pages(rows: Iterator[tuple[str, Row, Row]]) -> Iterator[tuple[str, list[Row]]]:
    pages: dict[str, list[Row]] = defaultdict(list)
    for table, shared, row in rows:
        pages["tracks"].append(shared)
        pages[table].append(row)
        if len(pages["tracks"]) == _PAGE:
            yield from pages.items()
            pages.clear()
    yield from pages.items()


if __name__ == "__main__":
    main(*sys.argv[1:])
