"""The bar that shows how far a load is."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loader.reading import Progress


@contextmanager
def show_progress(inputs: Sequence[str], *, quiet: bool) -> Iterator["Progress | None"]:
    """A bar on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from loader.sources.files import list_inputs

    total = sum(file.size or 0 for file in list_inputs(inputs)) or None
    columns = (
        TextColumn("{task.fields[records]:,} records"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, records=0)
        yield lambda stored, records: bar.update(task, completed=stored, records=records)
