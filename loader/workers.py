"""Workers: processes that parse and normalize, for machines with more cores than two.

The reader hands on blocks of whole lines as they stand; what spans lines it reads itself. Answers
are taken in the order of the questions, so the order of records still decides which copy of an id
wins.
"""

import multiprocessing
import pickle
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from loader.chunk import Work, parse_chunk, process_chunk
from loader.sources.records import WholeLines, read_chunks
from loader.warehouse.encode import Layouts

if TYPE_CHECKING:
    from loader.plain import Plain

# Of this process: a worker keeps its layouts, so that a table's lines go into few COPY commands.
_layouts: Layouts = {}
_tables: dict[str, Any] = {}  # as they were when the block in hand was submitted
_plain: "Plain | None" = None


class Workers:
    """A pool of workers for one load."""

    def __init__(self, count: int, **options: Any) -> None:
        self.depth = 2 * count  # blocks under way
        self._options = options
        # Not `fork`: this process has threads.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context)

    def submit(self, lines: WholeLines, tables: dict[str, Any]) -> Future[list[Work]]:
        """Have some lines parsed and normalized, with the tables as they are now."""
        return self._pool.submit(_work, lines, pickle.dumps(tables), self._options)

    def close(self) -> None:
        """End the workers, without waiting for what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _work(lines: WholeLines, tables: bytes, options: dict[str, Any]) -> list[Work]:
    global _plain
    _tables.clear()
    _tables.update(pickle.loads(tables))
    process = {k: v for k, v in options.items() if k not in ("max_record_bytes", "chunk_records")}
    limit = options["max_record_bytes"]
    if _plain is None:
        from loader.plain import Plain

        _plain = Plain(tables=_tables, layouts=_layouts, max_record_bytes=limit, **process)
    works = _plain.process(lines, _plain.read(lines)) if _plain.is_worth_trying() else None
    if works is not None:
        return works
    chunks = read_chunks(
        [lines.data],
        max_record_bytes=limit,
        chunk_records=options["chunk_records"],
        first_line=lines.line,
    )
    return [
        process_chunk(parse_chunk(chunk), tables=_tables, layouts=_layouts, **process)
        for chunk in chunks
    ]
