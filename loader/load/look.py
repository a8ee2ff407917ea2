"""What a load would read of each input, for people."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from loader.load.todo import FindFiles, is_same
from loader.sources.inputs import Inputs
from loader.sources.page import InputFile


@dataclass(kw_only=True)
class InputSummary:
    """One input; sizes are those of the files as stored, in bytes."""

    input: str
    files: int = 0
    bytes: int = 0
    new_files: int = 0  # new or changed, or not read to the end
    new_bytes: int = 0
    finished_files: int = 0
    not_events: int = 0  # finished ones that hold no events
    excluded_files: int = 0  # by `include` and `exclude`
    skipped: int = 0  # pipes and the like
    # Of the folders where these are days, else of the times of the files; UTC.
    first_day: date | None = None
    last_day: date | None = None
    errors: list[str] = field(default_factory=list)

    def add(self, file: InputFile, day: date | None) -> None:
        """Count a file."""
        self.files += 1
        self.bytes += file.size or 0
        day = day or (file.modified_at.date() if file.modified_at else None)
        if day is not None:
            self.first_day = min(day, self.first_day or day)
            self.last_day = max(day, self.last_day or day)


def summarize(inputs: Inputs, find_files: FindFiles) -> Iterator[InputSummary]:
    """Each input, once it is listed."""
    summary: InputSummary | None = None
    for listed in inputs.list():
        summary = summary or InputSummary(input=listed.path)
        for error in filter(None, (listed.error, listed.page.failure)):
            summary.errors.append(str(error))
        summary.excluded_files += listed.page.excluded
        known = find_files([file.uri for file in listed.page.files])
        for file in listed.page.files:
            before = known.get(file.uri)
            if file.skipped:
                summary.skipped += 1
            else:
                summary.add(file, listed.page.day)
                if before is not None and before.finished and is_same(file, before):
                    summary.finished_files += 1
                    summary.not_events += before.not_events is not None
                else:
                    summary.new_files += 1
                    summary.new_bytes += file.size or 0
        if listed.is_end:
            yield summary
            summary = None
