"""Inputs in a store: which objects an address names, and the bytes of these.

The client library is imported where it is used: a load of local files does not need it.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from loader.errors import InputUnreadable
from loader.sources.ahead import in_thread
from loader.sources.connect import Patience, StoreOptions, connect
from loader.sources.days import day_of
from loader.sources.keys import Pattern, has_magic, why_unreadable
from loader.sources.listing import Lister, as_file
from loader.sources.opening import Pieces
from loader.sources.page import InputFile, ObjectChanged, ObjectGone, Page
from loader.sources.selection import base_of
from loader.sources.store_errors import Deed, NoRight, changed, explain
from loader.sources.urls import Address, read_url

if TYPE_CHECKING:
    from obstore import Bytes, BytesStream, GetOptions, GetResult

# What is asked of the library at once; it comes as the store sends it.
_PIECE_BYTES = 1 << 18


class Bucket:
    """A bucket or container. Threads may share it."""

    def __init__(
        self,
        address: Address,
        options: StoreOptions | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Nothing is sent yet. Raises UsageError where the settings are wrong."""
        self._store, self._place = connect(
            address, options or StoreOptions(), patience or Patience()
        )
        self.root = address.root

    # what an address names

    def pages(self, url: str, since: date | None = None) -> Iterator[Page]:
        """The objects that an address names: one, those below a folder, or those of a pattern.

        A page has at most 10,000 objects of one folder, by name; folders of days come the oldest
        first, and those before `since` are not listed. What is in no folder of a day always is.
        Objects of size 0, and names that begin with a dot, are left out, as folders' markers are.

        Raises InputUnreadable where nothing matches, or nothing can be listed. A folder that
        cannot be listed for a key in it is a page with a `failure`, and the others go on.
        """
        key = read_url(url).key
        self._check(key)
        is_pattern = has_magic(key)
        may_be_file = bool(key) and not key.endswith("/")
        denied: InputUnreadable | None = None
        empty: InputFile | None = None  # some tools make such an object for a folder
        # A name may have any characters, and a pattern may be a name.
        if may_be_file and (is_pattern or "." in key.rpartition("/")[2]):
            file, denied = self._find(key)
            if file is not None and file.size:
                yield _page_of(file, key)
                return
            may_be_file, empty = False, file
        folder = key.rstrip("/")
        listers = [Lister(self._store, self._place, folder, None, since)]
        if is_pattern:
            base = base_of(key).rstrip("/")
            listers.append(Lister(self._store, self._place, base, Pattern(key), since))
        try:
            for lister in listers:
                yield from self._listed(lister)
                if lister.met_any:
                    return
        except NoRight:
            # Who may read but not list can still name an object.
            file = self._find(key)[0] if may_be_file else None
            if file is None:
                raise
            yield _page_of(file, key)
            return
        if may_be_file:
            file, denied = self._find(key)
            if file is not None:
                yield _page_of(file, key)
                return
        if empty is not None:
            yield _page_of(empty, key)
            return
        if denied is not None and not is_pattern:
            raise denied
        raise InputUnreadable(
            f"no object matches {url!r}: nothing is there yet, or the address is wrong; it is that "
            "of a whole folder or object, and what only begins like it is named with a star, as in "
            f"{self.root + folder + '*'!r}"
        )

    def _listed(self, lister: Lister) -> Iterator[Page]:
        for page in lister.pages():
            if page.failure is not None:
                lister.met_any = True
            yield page

    def _check(self, key: str) -> None:
        if why := why_unreadable(key):
            raise InputUnreadable(
                f"{self.root + key!r} cannot be read: {why}, and the client of the store takes no "
                "such key; name a folder above it, or rename the object"
            )

    def _find(self, key: str) -> tuple[InputFile | None, InputUnreadable | None]:
        """The object of a key, if there is one; else why that cannot be told, if it cannot."""
        try:
            found = in_thread(lambda: self._get(key, None))
        except ObjectGone:
            return None, None
        except NoRight as error:
            return None, error
        return as_file(self.root, found.meta, is_named=True), None

    # bytes

    def open(self, file: InputFile) -> "StoredObject":
        """Open an object as it was listed; without a `version`, as it is now.

        Raises ObjectChanged where it is another by now, ObjectGone where it is not there any
        more, and InputUnreadable where it cannot be read.
        """
        key = file.uri.removeprefix(self.root)
        found = self._get(key, file.version)
        opened = as_file(self.root, found.meta, is_named=file.is_named)
        # Not every store heeds the condition.
        if file.version is not None and file.version != opened.version:
            raise changed(file.uri)
        return StoredObject(self, opened, key, found.stream(_PIECE_BYTES))

    def _get(self, key: str, version: str | None) -> "GetResult":
        import obstore

        # A weak version is no condition that a store could heed.
        is_strong = version is not None and not version.startswith("W/")
        options: GetOptions = {"if_match": f'"{version}"'} if is_strong else {}
        try:
            return obstore.get(self._store, key, options=options)
        except Exception as error:
            explained = self.explain(error, "read", key)
            if version is not None and isinstance(explained, ObjectChanged):
                # To some stores, an object that is gone is one that has changed.
                self._get(key, None)
            raise explained from error

    def explain(self, error: Exception, deed: Deed, key: str) -> InputUnreadable:
        """The error of ours for one of the library's."""
        return explain(error, deed, key, self._place)

    def why_broken(self, error: Exception, key: str, version: str | None) -> InputUnreadable:
        """Why an object could not be read on; the library only says that the connection broke."""
        try:
            self._get(key, version)
        except InputUnreadable as found:
            return found
        return self.explain(error, "read", key)


def _page_of(file: InputFile, key: str) -> Page:
    return Page([file], day_of(key.split("/")[:-1]))


class StoredObject(Pieces):
    """An object that is being read: its bytes as stored. A read that breaks is resumed.

    A read raises ObjectChanged or ObjectGone where it broke and the object was replaced or deleted
    meanwhile, and InputUnreadable where it cannot be read on.
    """

    def __init__(self, bucket: Bucket, file: InputFile, key: str, stream: "BytesStream") -> None:
        super().__init__(self._fetch(stream))
        self.file = file  # as it was when it was opened
        self._bucket = bucket
        self._key = key

    def __enter__(self) -> "StoredObject":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetch(self, stream: "BytesStream") -> "Iterator[Bytes]":
        try:
            yield from stream
        except Exception as error:
            raise self._bucket.why_broken(error, self._key, self.file.version) from error
