"""The objects below a folder of a store, page by page, the oldest day first.

A bucket may hold millions of objects, of which a load needs those of the last days. So folders
that are named after days are found without listing what is in them, and memory does not depend on
what the bucket holds.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

from loader.normalize.times import microseconds
from loader.sources.ahead import Ahead, in_thread
from loader.sources.days import (
    NOTHING,
    Known,
    are_month_first,
    day_of,
    last_day,
    read_folder,
    sort_folders,
)
from loader.sources.keys import Pattern, is_hidden
from loader.sources.page import PAGE_FILES, InputFile, Page
from loader.sources.store_errors import Place, UnreadableKey, explain

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from loader.sources.connect import Store

# What a store answers at once.
_CHUNK = 1_000
# Chunks that a folder is read ahead, and folders that are.
_CHUNKS_AHEAD, _FOLDERS_AHEAD = 3, 4
# Where so many folders are named after no day, their parent is listed as one: a request for each
# would take longer.
_MOST_FOLDERS = 300


class Lister:
    """One pass over what lies below a folder and matches a pattern."""

    def __init__(
        self,
        store: "Store",
        place: Place,
        base: str,
        pattern: Pattern | None = None,
        since: date | None = None,
    ) -> None:
        self.met_any = False  # whether there is anything that matches, however old
        self._store = store
        self._place = place
        self._root = place.address.root
        self._base = base
        self._pattern = pattern
        self._since = since
        self._nodes = 0

    def pages(self) -> Iterator[Page]:
        """The pages of the base; raises InputUnreadable where it cannot be listed."""
        known = NOTHING
        for name in filter(None, self._base.split("/")):
            known = read_folder(known, name)
        yield from self._folder(self._base, known)

    # folders

    def _folder(self, folder: str, known: Known) -> Iterator[Page]:
        """What lies in a folder, and in those below it."""
        if known.is_day:
            yield from self._flat(folder, known)
            return
        first = self._first(folder)
        if first is not None and len(first) < _CHUNK:
            yield from self._few(folder, known, first)
            return
        self._nodes += 1
        if self._nodes > _MOST_FOLDERS or (first is not None and self._is_flat(folder, first)):
            yield from self._flat(folder, known)
            return
        del first
        try:
            inside, names = self._look(folder)
        except UnreadableKey as error:
            yield Page([], last_day(known), error)
            return
        if "" in names:
            yield Page([], None, self._begins_with_slash())
        dated, others = sort_folders(known, filter(None, names))
        if len(others) > _MOST_FOLDERS:
            yield from self._flat(folder, known)
            return
        yield from self._paged([inside], last_day(known))
        for each, name in others:
            yield from self._below(_join(folder, name), each)
        yield from self._dated(folder, dated)

    def _below(self, folder: str, known: Known) -> Iterator[Page]:
        if not self._is_wanted(folder, last_day(known)):
            return
        try:
            yield from self._folder(folder, known)
        except UnreadableKey as error:
            yield Page([], last_day(known), error)

    def _dated(self, folder: str, dated: list[tuple[Known, str]]) -> Iterator[Page]:
        """Folders of days, months and years, the oldest first; some are read ahead."""
        waiting: deque[tuple[Known, str, Ahead[list[ObjectMeta]] | None]] = deque()
        wanted = (
            (known, path)
            for known, name in dated
            if self._is_wanted(path := _join(folder, name), last_day(known))
        )
        try:
            while True:
                while len(waiting) < _FOLDERS_AHEAD and (one := next(wanted, None)):
                    known, path = one
                    ahead = self._ahead(path) if known.is_day else None
                    waiting.append((known, path, ahead))
                if not waiting:
                    return
                known, path, ahead = waiting.popleft()
                if ahead is None:
                    yield from self._below(path, known)
                else:
                    yield from self._flat(path, known, ahead)
        finally:
            for _, _, ahead in waiting:
                if ahead is not None:
                    ahead.close()

    def _is_wanted(self, folder: str, last: date | None) -> bool:
        if is_hidden(folder, self._hidden_from) or not self._may_hold(folder):
            return False
        if self._since is not None and last is not None and last < self._since:
            self.met_any = True
            return False
        return True

    def _may_hold(self, folder: str) -> bool:
        return self._pattern is None or self._pattern.may_hold(folder)

    @property
    def _hidden_from(self) -> int:
        """Where in a key that part begins whose dots hide it; a pattern sees to its own."""
        if self._pattern is not None:
            return 1 << 30
        return len(self._base) + 1 if self._base else 0

    # listings

    def _first(self, folder: str) -> "list[ObjectMeta] | None":
        """The first objects below a folder; None where a key among them cannot be read."""
        try:
            return in_thread(lambda: next(iter(self._chunks(folder)), []))
        except UnreadableKey:
            return None

    def _is_flat(self, folder: str, first: "list[ObjectMeta]") -> bool:
        """Whether a folder seems to hold files rather than folders.

        To find its folders, the library would hold all of its files in memory. So the first files
        are looked at, and those behind the folder that the last of them is in.
        """
        skip = len(folder) + 1 if folder else 0
        if _most_are_files(first, skip):
            return True
        last = str(first[-1]["path"])
        end = last.find("/", skip)
        if end < 0:
            return False
        # `0` is behind the slash. A store that does not know where to start gives the first again.
        behind = last[:end] + "0"
        try:
            second = in_thread(lambda: next(iter(self._chunks(folder, behind)), []))
        except UnreadableKey:
            return False
        return _most_are_files(second, skip)

    def _look(self, folder: str) -> "tuple[list[ObjectMeta], list[str]]":
        """The files in a folder, and the names of its folders."""
        import obstore

        def look() -> "tuple[list[ObjectMeta], list[str]]":
            try:
                found = obstore.list_with_delimiter(self._store, folder or None)
            except Exception as error:
                raise explain(error, "list", folder, self._place) from error
            names = [path.rpartition("/")[2] for path in found["common_prefixes"]]
            return list(found["objects"]), names

        return in_thread(look)

    def _begins_with_slash(self) -> UnreadableKey:
        return UnreadableKey(
            f"cannot list {self._root + '/'!r}: keys that begin with a slash cannot be read; "
            "rename these objects, or name the folders beside them"
        )

    def _chunks(self, folder: str, behind: str | None = None) -> "Iterator[list[ObjectMeta]]":
        """All objects below a folder, by name, about a thousand at a time."""
        import obstore

        try:
            for chunk in obstore.list(
                self._store, folder or None, offset=behind, chunk_size=_CHUNK
            ):
                yield list(chunk)
        except Exception as error:
            raise explain(error, "list", folder, self._place) from error

    def _ahead(self, folder: str) -> "Ahead[list[ObjectMeta]]":
        return Ahead(lambda: self._chunks(folder), _CHUNKS_AHEAD)

    # pages

    def _flat(
        self, folder: str, known: Known, ahead: "Ahead[list[ObjectMeta]] | None" = None
    ) -> Iterator[Page]:
        """Everything below a folder, in the order of the store."""
        ahead = ahead or self._ahead(folder)
        day = last_day(known)
        try:
            yield from self._paged(ahead, day)
        except UnreadableKey as error:
            yield Page([], day, error)
        finally:
            ahead.close()

    def _few(self, folder: str, known: Known, found: "list[ObjectMeta]") -> Iterator[Page]:
        """All that a small folder holds, by day."""
        skip = len(folder) + 1 if folder else 0
        names = {name for meta in found for name in meta["path"][skip:].split("/")[:-1]}
        month_first = are_month_first(names)

        def order(meta: "ObjectMeta") -> date:
            below = meta["path"][skip:].split("/")[:-1]
            return day_of(below, known, month_first=month_first) or date.min

        for day, group in groupby(sorted(found, key=order), key=order):
            is_old = self._since is not None and date.min < day < self._since
            for page in self._paged([list(group)], day if day > date.min else None):
                if not is_old:
                    yield page

    def _paged(self, chunks: "Iterable[list[ObjectMeta]]", day: date | None) -> Iterator[Page]:
        """The files of some chunks that are wanted, at most PAGE_FILES to a page."""
        files: list[InputFile] = []
        for chunk in chunks:
            files += self._wanted(chunk)
            while len(files) >= PAGE_FILES:
                yield _page(files[:PAGE_FILES], day)
                del files[:PAGE_FILES]
        if files:
            yield _page(files, day)

    def _wanted(self, chunk: "list[ObjectMeta]") -> Iterator[InputFile]:
        behind = self._hidden_from
        for meta in chunk:
            key = meta["path"]
            # Of size 0 are the markers that consoles make for folders.
            if not meta["size"] or is_hidden(key, behind):
                continue
            if self._pattern is not None and not self._pattern.matches(key):
                continue
            self.met_any = True
            yield as_file(self._root, meta)


def as_file(root: str, meta: "ObjectMeta", *, is_named: bool = False) -> InputFile:
    """An object as it is in a listing, or in the head of an answer."""
    modified_at, tag = meta["last_modified"], meta["e_tag"]
    return InputFile(
        uri=root + meta["path"],
        size=meta["size"],
        # The head of an answer has whole seconds.
        modified=microseconds(modified_at.replace(microsecond=0)),
        version=tag.strip('"') if tag else None,
        is_named=is_named,
    )


def _page(files: list[InputFile], day: date | None) -> Page:
    return Page(sorted(files, key=lambda file: file.uri), day)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _most_are_files(found: "list[ObjectMeta]", skip: int) -> bool:
    """Whether most objects are in the folder itself, whose name takes `skip` characters."""
    return sum("/" not in meta["path"][skip:] for meta in found) * 2 > len(found)
