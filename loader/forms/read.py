"""Blocks of records -> events in columns, in parts where they have too many paths."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from loader.columns.paths import MOST_PATHS, Paths, PathsFull
from loader.columns.tokenize import Scratch
from loader.columns.tokens import Longs, Text
from loader.forms.columns import Columns
from loader.forms.events import Read, Refused
from loader.forms.interpret import interpret
from loader.forms.model import too_large
from loader.forms.recognize import is_container, named_paths
from loader.forms.records import read_records
from loader.normalize.event import Reject
from loader.normalize.ignoring import NOTHING_IGNORED, Ignore

# So many records are read together, unless they have too many paths.
_MOST_RECORDS = 5_000


class Reader:
    """Reads blocks of records; remembers the paths it has met."""

    def __init__(
        self,
        *,
        max_record_bytes: int,
        json_columns: Collection[str] = frozenset(),
        ignore: Ignore = NOTHING_IGNORED,
    ) -> None:
        self._max_record_bytes = max_record_bytes
        self._ignore = ignore
        self._marks = named_paths(json_columns)
        self._scratch = Scratch()
        self._most_records = _MOST_RECORDS  # that are read together
        self._renew()

    def _renew(self) -> None:
        self._paths = Paths(self._marks)
        self._columns = Columns(self._paths)
        self._is_new = True

    def read(self, text: Text, starts: Longs, ends: Longs, first: int = 0) -> list[Read]:
        """The events of the records in some spans, in order.

        They come in parts where their paths are too many to be read together. `first` is the number
        of the first record.
        """
        found: list[Read] = []
        at = 0
        while at < len(starts):
            behind = min(at + self._most_records, len(starts))
            some = starts[at:behind], ends[at:behind]
            try:
                found.append(self._read(*_cut(text, *some), first + at))
            except PathsFull:
                # Where each record has its own paths, few are read together, with new paths.
                is_new = self._is_new
                self._renew()
                if is_new and behind - at == 1 and self._most_records == 1:
                    raise
                if is_new:
                    self._most_records = max((behind - at) // 2, 1)
            else:
                at = behind
                self._is_new = False
                if len(self._paths) > MOST_PATHS // 2:  # more of them come
                    self._renew()
        return found

    def _read(self, text: Text, starts: Longs, ends: Longs, first: int) -> Read:
        is_wide, limit = self._is_new and self._most_records == 1, self._max_record_bytes
        records = read_records(
            *(text, starts, ends, self._paths, self._scratch),
            is_wide=is_wide,
            max_record_bytes=limit,
        )
        if len(self._paths) < MOST_PATHS // 4:
            self._most_records = min(2 * self._most_records, _MOST_RECORDS)
        sizes = records.end - records.start
        for number in np.flatnonzero(sizes > limit).tolist():
            if not is_container(records.form[number]):
                records.rejects.setdefault(number, too_large(int(sizes[number]), limit))
        return interpret(records, self._paths, self._columns, self._ignore, first)

    def refuse(self, text: Text, starts: Longs, ends: Longs, first: int, reject: Reject) -> Read:
        """What reading one record that cannot be read comes to."""
        (read,) = self.read(text, starts, starts, first)  # of no bytes, so of no events
        raw = text.cut(starts[0], ends[0])
        refused = Refused(record=0, items=(), reject=reject, raw=raw)
        return replace(read, refused=[refused], records=1)


def _cut(text: Text, starts: Longs, ends: Longs) -> tuple[Text, Longs, Longs]:
    """The text that some spans need, and the spans in it; not copied where it is most."""
    begin, end = int(starts[0]), int(ends[-1])
    if 2 * (end - begin) > text.size:
        return text, starts, ends
    return Text([text.bytes[begin:end]]), starts - begin, ends - begin
