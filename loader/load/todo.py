"""Which inputs a load has to read. Mostly it is none, so nothing that reads is imported here.

Of a bucket with folders by day only those are listed that may have something new: from the day on
up to which everything is loaded (`_listings`), less `lookback_days`. All folders are listed once in
`full_listing_days`, because archives are rewritten and filled from behind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from loader.config import Settings, Source
from loader.load.result import Tally
from loader.sources.connect import StoreOptions
from loader.sources.inputs import Inputs
from loader.sources.page import InputFile, Page
from loader.sources.urls import is_url
from loader.warehouse.batch import FileProgress
from loader.warehouse.ledger import ListedBefore

# How far files were read before, by what they are called in the ledger.
FindFiles = Callable[[Sequence[str]], Mapping[str, FileProgress]]
# Up to which day inputs in buckets are loaded.
FindListings = Callable[[], Mapping[str, ListedBefore]]


@dataclass(kw_only=True)
class _Listing:
    """What one load finds in the folders by day of an input."""

    since: date | None  # from which day on they are listed; None for all
    before: ListedBefore | None
    newest: date | None = None  # of the folders, without those of the future
    troubled: date | None = None  # the oldest one with something that was not read to its end
    is_whole: bool = False

    def fail(self, day: date | None) -> None:
        """Have the folder of a day listed by the next loads, too."""
        if day is not None:
            self.troubled = min(day, self.troubled or day)

    def reached(self, started_at: datetime) -> ListedBefore | None:
        """What the next loads may know, if everything that was listed was read."""
        days = [day for day in (self.newest, self.before and self.before.day) if day]
        if not self.is_whole or not days:
            return None
        reached = max(days) if self.troubled is None else min(max(days), self.troubled)
        if self.since is not None and self.before is not None:
            return ListedBefore(reached, self.before.listed_at)
        return ListedBefore(reached, started_at)


class Todo(NamedTuple):
    """A file to read."""

    file: InputFile
    before: FileProgress | None  # how far it was read before
    day: date | None
    listing: _Listing

    def is_done(self) -> bool:
        """Whether there is nothing to read. That a file has no events is told who names it."""
        if self.before is None or not self.before.finished or not is_same(self.file, self.before):
            return False
        return self.before.not_events is None or not self.file.is_named

    def fail(self) -> None:
        """Note that it was not read to its end."""
        self.listing.fail(self.day)


def inputs_of(paths: Sequence[str], source: Source, settings: Settings) -> Inputs:
    """The inputs at some paths, as a source and the settings want them to be read."""
    return Inputs(
        paths,
        selection=source.selection,
        storage={
            root: StoreOptions(**storage.model_dump()) for root, storage in settings.storage.items()
        },
    )


class Choice:
    """The files that a load has to read: those that are new or changed."""

    def __init__(
        self,
        inputs: Inputs,
        source: Source,
        tally: Tally,
        *,
        started_at: datetime,
        find_files: FindFiles,
        find_listings: FindListings = dict,
        lists_all: bool = False,
    ) -> None:
        self._inputs = inputs
        self._source = source
        self._tally = tally
        self._started_at = started_at
        self._find_files = find_files
        self._find_listings = find_listings
        self._lists_all = lists_all
        self._listings: dict[str, _Listing] = {}
        self._before: Mapping[str, ListedBefore] | None = None

    def __iter__(self) -> Iterator[Todo]:
        """The files, while they are listed; what is left out is noted in the tally."""
        for path, page, error, is_end in self._inputs.list(self._since):
            listing = self._listing(path)
            if error:
                self._tally.errors.append(error)
            elif is_end:
                listing.is_whole = True
            yield from self._of_page(page, listing)

    def reached(self) -> dict[str, ListedBefore]:
        """Up to which day each input in a bucket is loaded, once all of it was read."""
        found = {path: one.reached(self._started_at) for path, one in self._listings.items()}
        return {path: one for path, one in found.items() if one is not None}

    def _of_page(self, page: Page, listing: _Listing) -> Iterator[Todo]:
        if page.day is not None and page.day <= self._started_at.date():
            listing.newest = max(page.day, listing.newest or page.day)
        known = self._find_files([one.uri for one in page.files]) if page.files else {}
        if page.failure is not None:
            self._tally.errors.append(str(page.failure))
            listing.fail(page.day)
        for file in page.files:
            todo = Todo(file, known.get(file.uri), page.day, listing)
            if file.skipped:
                self._tally.warnings.append(file.skipped)
            elif todo.is_done():
                self._tally.files_skipped += 1
            else:
                yield todo

    def _since(self, path: str) -> date | None:
        return self._listing(path).since

    def _listing(self, path: str) -> _Listing:
        if path not in self._listings:
            before, since = self._known(path), None
            if before is not None and not self._lists_all:
                due = before.listed_at + timedelta(days=self._source.full_listing_days)
                if self._started_at < due:
                    since = before.day - timedelta(days=self._source.lookback_days)
            self._listings[path] = _Listing(since=since, before=before)
        return self._listings[path]

    def _known(self, path: str) -> ListedBefore | None:
        if not is_url(path):
            return None
        if self._before is None:
            self._before = self._find_listings()
        return self._before.get(path)


def is_same(file: InputFile, before: FileProgress) -> bool:
    """Whether a file is as it was when a load before this one read it. A stream never is."""
    if file.size is None or file.size != before.size:
        return False
    if file.version is not None and before.version is not None:
        return file.version == before.version
    return file.modified_at == before.modified_at
