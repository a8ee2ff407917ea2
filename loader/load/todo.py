"""Which inputs a load has to read. Mostly it is none, so nothing that reads is imported here.

Of a bucket with folders by day only those are listed that may have something new: from the day on
up to which everything is loaded (`_listings`), less `lookback_days`. All folders are listed once in
`full_listing_days`, because archives are rewritten and filled from behind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from loader.config import Settings, Source
from loader.load.result import Tally
from loader.sources.connect import StoreOptions
from loader.sources.inputs import Inputs
from loader.sources.page import InputFile, Page
from loader.sources.selection import base_of
from loader.sources.urls import is_url, read_url
from loader.warehouse.batch import FileProgress
from loader.warehouse.ledger import ListedBefore

# How far files were read before, by what they are called in the ledger.
FindFiles = Callable[[Sequence[str]], Mapping[str, FileProgress]]


class Lookups(NamedTuple):
    """What is looked up in the ledger; by default it knows nothing."""

    files: FindFiles = lambda uris: {}
    # The marks of files from one name on up to another that need not be read, so many at most.
    finished: Callable[[str, str, int], AbstractSet[str]] = lambda first, last, most: frozenset()
    # Up to which day inputs in buckets are loaded.
    listings: Callable[[], Mapping[str, ListedBefore]] = dict
    # Objects that were not read to their end since a moment.
    unfinished: Callable[[datetime], Sequence[str]] = lambda since: ()


@dataclass(kw_only=True)
class _Listing:
    """What one load finds in the folders by day of an input."""

    since: date | None  # from which day on they are listed; None for all
    before: ListedBefore | None
    newest: date | None = None  # of the folders, without those of the future
    troubled: date | None = None  # the oldest one with something that was not read to its end
    is_whole: bool = False
    is_broken: bool = False  # there are folders that could not be listed, of whatever days

    def reached(self, started_at: datetime) -> ListedBefore | None:
        """What the next loads may know, if everything that was listed was read."""
        days, listed_at = [self.newest], started_at
        if self.since is not None and self.before is not None:
            days, listed_at = [self.newest, self.before.day], self.before.listed_at
        reached = max(filter(None, days), default=None)
        if not self.is_whole or self.is_broken or reached is None:
            return None
        return ListedBefore(min(reached, self.troubled or reached), listed_at)


class Todo(NamedTuple):
    """A file to read."""

    file: InputFile
    before: FileProgress | None  # how far it was read before
    day: date | None
    listing: _Listing

    def fail(self) -> None:
        """Have the folder of its day listed by the next loads, too; one without is always."""
        if self.day is not None:
            self.listing.troubled = min(self.day, self.listing.troubled or self.day)


def inputs_of(paths: Sequence[str], source: Source, settings: Settings) -> Inputs:
    """The inputs at some paths, as a source and the settings want them to be read."""
    return Inputs(
        paths,
        selection=source.selection,
        spool_dir=settings.spool_dir,
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
        lookups: Lookups,
        lists_all: bool = False,
    ) -> None:
        self._inputs = inputs
        self._source = source
        self._tally = tally
        self._started_at = started_at
        self._lookups = lookups
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
        if page.failure is not None:
            self._tally.errors.append(str(page.failure))
            listing.is_broken = True
        files = self._without_finished(page.files)
        known = self._lookups.files([file.uri for file in files]) if files else {}
        for file in files:
            before = known.get(file.uri)
            if file.skipped:
                self._tally.warnings.append(file.skipped)
            elif before is not None and _is_done(file, before):
                self._tally.files_skipped += 1
                self._tally.files_without_events += before.not_events is not None
            else:
                yield Todo(file, before, page.day, listing)

    def _without_finished(self, files: list[InputFile]) -> list[InputFile]:
        """The files of which there may be something to read. Mostly there are none among many."""
        if not files:
            return files
        uris = [file.uri for file in files]
        # Files that are gone may stand between these; what is left out is looked up by its name.
        marks = self._lookups.finished(min(uris), max(uris), 2 * len(files))
        left = [file for file in files if file.mark not in marks]
        self._tally.files_skipped += len(files) - len(left)
        return left

    def _since(self, path: str) -> date | None:
        return self._listing(path).since

    def _listing(self, path: str) -> _Listing:
        if path not in self._listings:
            before, since = self._known(path), None
            if before is not None and not self._lists_all and not self._is_due(path, before):
                since = before.day - timedelta(days=self._source.lookback_days)
            self._listings[path] = _Listing(since=since, before=before)
        return self._listings[path]

    def _is_due(self, path: str, before: ListedBefore) -> bool:
        """Whether all folders have to be listed: it is time, or an old object was not read.

        Any load may have begun to read it. A time that is not yet was written by a wrong clock.
        """
        due = before.listed_at + timedelta(days=self._source.full_listing_days)
        if not before.listed_at <= self._started_at < due:
            return True
        if before.day > self._started_at.date():
            return True
        base = base_of(read_url(path).url)
        return any(uri.startswith(base) for uri in self._lookups.unfinished(before.listed_at))

    def _known(self, path: str) -> ListedBefore | None:
        if not is_url(path):
            return None
        if self._before is None:
            self._before = self._lookups.listings()
        return self._before.get(path)


def _is_done(file: InputFile, before: FileProgress) -> bool:
    """Whether there is nothing to read. That a file has no events is told who names it."""
    if not before.finished or not is_same(file, before):
        return False
    return before.not_events is None or not file.is_named


def is_same(file: InputFile, before: FileProgress) -> bool:
    """Whether a file is as it was when a load before this one read it. A stream never is."""
    if file.size is None or file.size != before.size:
        return False
    if file.version is not None and before.version is not None:
        return file.version == before.version
    return file.modified_at == before.modified_at
