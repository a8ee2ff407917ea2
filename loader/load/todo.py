"""Which inputs a load has to read. Mostly it is none, so nothing that reads is imported here."""

from collections.abc import Iterable, Mapping

from loader.load.result import Tally
from loader.sources.files import InputFile
from loader.warehouse.batch import FileProgress

Todo = list[tuple[InputFile, FileProgress | None]]  # each with how far it was read before


def choose_inputs(
    inputs: Iterable[InputFile], known: Mapping[str, FileProgress], tally: Tally
) -> Todo:
    """The inputs that are new or changed; what is left out is noted in the tally."""
    todo: Todo = []
    for file in inputs:
        before = known.get(file.uri)
        if file.skipped:
            tally.warnings.append(file.skipped)
        elif before is not None and before.finished and is_same(file, before):
            tally.files_skipped += 1
        else:
            todo.append((file, before))
    return todo


def is_same(file: InputFile, before: FileProgress) -> bool:
    """Whether a file is as it was when a load before this one read it. A stream never is."""
    was = (before.size, before.modified_at)
    return file.size is not None and was == (file.size, file.modified_at)
