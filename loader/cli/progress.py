"""The bar that shows how far a load is."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loader.cli.text import printable

if TYPE_CHECKING:
    from loader.load.reading import Progress, Seen

# So much of a source's name; the counts are what one looks at.
_NAME = 20


@contextmanager
def show_progress(source: str, *, quiet: bool) -> Iterator["Progress | None"]:
    """A line on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counts]}", markup=False, table_column=Column(no_wrap=True)),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(source)[:_NAME], total=None, counts="")

        def show(seen: "Seen") -> None:
            rate = seen.records / max(time.monotonic() - began, 0.001)
            counts = f"file {seen.file:,} of {seen.files:,}  {rate:,.0f} records/s"
            if seen.rejects:
                counts += f"  {seen.rejects:,} rejects"
            bar.update(task, completed=seen.stored, total=seen.total or None, counts=counts)

        yield show
