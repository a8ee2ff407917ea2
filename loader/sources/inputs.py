"""What a load reads, wherever it is: files, folders, globs, stdin, and objects in buckets."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loader.errors import InputUnreadable
from loader.normalize.times import microseconds
from loader.sources import files
from loader.sources.ahead import Ahead
from loader.sources.opening import OpenInput
from loader.sources.page import PAGE_FILES, InputFile, Page
from loader.sources.selection import EVERYTHING, Selection, base_of
from loader.sources.urls import is_url, read_url
from loader.spool import SCHEME, finished, spool_uri

if TYPE_CHECKING:
    from loader.sources.connect import StoreOptions
    from loader.sources.objects import ObjectReader
    from loader.sources.store import Bucket

# From which day on folders are listed; None for all of them. Asked for an input in a bucket.
Since = Callable[[str], date | None]


class Listed(NamedTuple):
    """Some files of an input; or why it could not be listed to its end."""

    path: str  # the input, as it was given
    page: Page
    error: str = ""
    is_end: bool = False  # of the listing of this input


class Inputs:
    """The paths that a load is to read.

    Raises InputUnreadable if one on this machine names nothing, and UsageError where a URL or the
    settings of a bucket cannot be used; stores are asked when they are listed.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        selection: Selection = EVERYTHING,
        storage: "Mapping[str, StoreOptions] | None" = None,
        spool_dir: Path = Path(),
    ) -> None:
        self.selection = selection
        self._storage = storage or {}
        self._spool_dir = spool_dir
        self._matches = {path: self._find_matches(path) for path in paths}
        self._begun: dict[str, ObjectReader] = {}  # by URL
        self._buckets: dict[str, Bucket] = {}  # by the beginning of their URLs
        for path in self.urls:
            self._bucket(path)  # which says if its settings are wrong

    @property
    def urls(self) -> Sequence[str]:
        """The inputs in buckets, as they were given."""
        return [path for path in self._matches if is_url(path)]

    def list(self, since: Since = lambda path: None) -> Iterator[Listed]:
        """All that is there, input by input, some files at a time; what fails costs one input."""
        named = (path for path, matches in self._matches.items() if [path] == matches)
        local = files.Listing(self.selection, (path for path in named if not is_url(path)))
        met: set[str] | None = set() if self._may_overlap() else None
        for path, matches in self._matches.items():
            error, excluded = "", local.excluded
            try:
                if path.startswith(SCHEME):
                    yield from self._received(path)
                elif is_url(path):
                    yield from self._objects(path, matches[0], since(path), met)
                else:
                    yield from (Listed(path, page) for page in _pages(local.files(path, matches)))
            except InputUnreadable as failed:
                error = str(failed)
            for failure in local.failures:
                yield Listed(path, Page([], failure=failure))
            local.failures.clear()
            page = Page([], excluded=local.excluded - excluded)
            yield Listed(path, page, error, is_end=True)

    def open(self, file: InputFile) -> AbstractContextManager[OpenInput]:
        """The decompressed bytes of a file, in blocks; errors as of `open_file`.

        Raises ObjectChanged and ObjectGone besides. An object is the one that was listed, or any
        if it has no version.
        """
        if not is_url(file.uri):
            return files.open_file(file)
        from loader.sources.objects import open_object

        begun = self._begun.pop(file.uri) if file.uri in self._begun else self._begin(file)
        return open_object(begun)

    def prefetch(self, file: InputFile) -> None:
        """Begin to read an object that will be opened soon: its first bytes are waited for."""
        if is_url(file.uri) and file.uri not in self._begun:
            self._begun[file.uri] = self._begin(file)

    def close(self) -> None:
        """Give up what was begun."""
        for reader in self._begun.values():
            reader.close()
        self._begun.clear()

    @staticmethod
    def _find_matches(path: str) -> Sequence[str]:
        if path.startswith(SCHEME):
            return ()
        return [read_url(path).url] if is_url(path) else files.find_matches(path)

    def _received(self, path: str) -> Iterator[Listed]:
        """The finished files of a source in the spool, all of them: no selection is meant for it.

        One never changes, and is known by its name in the spool, wherever that is mounted.
        """
        schema = path.removeprefix(SCHEME)
        found = iter(finished(self._spool_dir, schema))
        while some := list(islice(found, PAGE_FILES)):
            page = [
                InputFile(
                    uri=spool_uri(schema, file.name),
                    path=str(file.path),
                    size=file.size,
                    modified=microseconds(file.written_at),
                    version=file.name,
                )
                for file in some
            ]
            yield Listed(path, Page(page))

    def _may_overlap(self) -> bool:
        """Whether an object may be in several inputs: then those that were met are remembered."""
        roots = [read_url(path).root for path in self.urls]
        return len(set(roots)) < len(roots)

    def _objects(
        self, path: str, url: str, since: date | None, met: set[str] | None
    ) -> Iterator[Listed]:
        for page in self._bucket(url).pages(url, since):
            taken = [file for file in page.files if self._takes(url, file)]
            excluded = len(page.files) - len(taken)
            if met is not None:
                taken = [file for file in taken if file.uri not in met]
                met.update(file.uri for file in taken)
            yield Listed(path, page._replace(files=taken, excluded=excluded))

    def _takes(self, url: str, file: InputFile) -> bool:
        """Whether an object is read that was found at a URL: an object, a folder or a glob."""
        # A folder may have a name like that of a glob.
        folder = url.rstrip("/") + "/"
        base = folder if file.uri.startswith(folder) else base_of(url)
        return file.is_named or self.selection.takes(file.uri[len(base) :])

    def _begin(self, file: InputFile) -> "ObjectReader":
        from loader.sources.objects import ObjectReader

        return ObjectReader(self._bucket(file.uri), file)

    def _bucket(self, url: str) -> "Bucket":
        address = read_url(url)
        if address.root not in self._buckets:
            from loader.sources.store import Bucket  # here, because not every load needs it

            options = self._storage.get(address.root)
            self._buckets[address.root] = Bucket(address, options)
        return self._buckets[address.root]


def _pages(found: Iterator[InputFile]) -> Iterator[Page]:
    """Files of this machine, page by page; the next ones are listed meanwhile."""
    ahead = Ahead(lambda: iter(lambda: list(islice(found, PAGE_FILES)), []))
    try:
        yield from map(Page, ahead)
    finally:
        ahead.close(wait=1)
