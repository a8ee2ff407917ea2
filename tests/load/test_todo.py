"""Which files are looked up in the ledger, and how."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from loader.config import Source
from loader.load.result import Tally
from loader.load.todo import Choice, Lookups
from loader.sources.inputs import Inputs
from loader.warehouse.batch import FileProgress


def test_only_files_that_are_not_known_as_finished_are_looked_up_by_name(tmp_path: Path) -> None:
    """Of a million files nearly all are finished, and a search for each takes most of a load."""
    names = [tmp_path / f"{number}.json" for number in range(5)]
    for path in names:
        path.write_text("{}")
    listed = {file.uri: file for one in Inputs([str(tmp_path)]).list() for file in one.page.files}
    assert list(listed) == [str(path) for path in names]
    asked: list[Sequence[str]] = []

    def find(uris: Sequence[str]) -> dict[str, FileProgress]:
        asked.append(uris)
        return {}

    def find_finished(first: str, last: str, most: int) -> set[str]:
        assert (first, last) == (str(names[0]), str(names[-1]))
        assert most >= len(names)
        return {listed[str(names[number])].mark for number in (0, 1, 4)}

    tally = Tally()
    choice = Choice(
        Inputs([str(tmp_path)]),
        Source(),  # type: ignore[call-arg]
        tally,
        started_at=datetime.now(UTC),
        lookups=Lookups(files=find, finished=find_finished),
    )
    assert [one.file for one in choice] == [listed[str(path)] for path in names[2:4]]
    assert asked == [[str(path) for path in names[2:4]]]
    assert tally.files_skipped == 3
