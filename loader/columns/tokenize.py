"""Spans of records -> tokens. Irregular records are rewritten before they are read."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from loader import native
from loader.columns.paths import Paths, PathsFull
from loader.columns.regular import Regular, Room, make_regular
from loader.columns.tokens import TOKEN_ARRAYS, Longs, Text, Tokens
from loader.normalize.event import Reject
from loader.normalize.jsontext import TOO_DEEP, Repeated, check_memory

# The shortest value with its key, and the shortest item of an array with its comma.
_TOKEN_BYTES, _ITEM_BYTES = 4, 2
# There is room for so many items. A block of many records cannot have more; a larger record that
# has is looked at in Python, which refuses it.
_MOST_ITEMS = 1 << 20


class Scratch:
    """Memory for the tokens of one block after the other: most of it would be mapped anew."""

    def __init__(self) -> None:
        self.arrays = {name: np.empty(0, type_) for name, type_ in TOKEN_ARRAYS.items()}
        self.items = np.empty((3, 0), np.int64)
        self.room = 0

    def make_room_for_items(self, size: int) -> None:
        """Have room for so many items; memory that none comes to is never touched."""
        if size > self.items.shape[1]:
            self.items = np.empty((3, size), np.int64)

    def make_room(self, size: int, used: int = 0) -> None:
        """Have room for so many tokens; those in use stay."""
        if size <= self.room:
            return
        self.room = size
        for name, array in self.arrays.items():
            self.arrays[name] = np.empty(size, array.dtype)
            self.arrays[name][:used] = array[:used]


@dataclass(kw_only=True)
class Found:
    """What was read of some records, besides their tokens."""

    items: list[Longs]  # spans of records inside of records: start, end, parent
    rejects: dict[int, Reject] = field(default_factory=dict)
    repeated: dict[int, Repeated] = field(default_factory=dict)
    replaced: dict[int, int] = field(default_factory=dict)  # code points that cannot be stored
    rewritten: list[int] = field(default_factory=list)  # records that were irregular


class Tokenizer:
    """Reads the records of one block into one set of arrays."""

    def __init__(
        self,
        text: Text,
        paths: Paths,
        scratch: Scratch,
        *,
        is_wide: bool = False,
        refuse: Callable[[bytes], Reject | None] = lambda raw: None,
    ) -> None:
        self._refuse = refuse  # asked before an irregular record is read in Python
        # Of records that have more paths than there is room for, so many are read as such.
        self._room = Room(paths.number) if is_wide else None
        self.text = text
        self._paths = paths
        self._scratch = scratch
        scratch.make_room(text.size // _TOKEN_BYTES + 2)
        for array in scratch.arrays.values():
            array[0] = 0  # token 0 is no value
        self.count = 1  # of tokens, token 0 included

    def read(self, starts: Longs, ends: Longs, numbers: Longs) -> Found:
        """Add the tokens of the records in some spans, which have these numbers."""
        if self._room is None:
            found, refused = self._read(starts, ends, numbers)
        else:
            found, refused = Found(items=list(np.empty((3, 0), np.int64))), np.arange(len(starts))
        if len(refused):
            self._read_irregular(starts[refused], ends[refused], numbers[refused], found)
        self._paths.learn()
        return found

    def tokens(self, first: int = 1, before: int = 0, records: int = 0) -> Tokens:
        """All tokens; with cells for so many records behind `before`, from token `first` on."""
        arrays = {name: each[: self.count] for name, each in self._scratch.arrays.items()}
        record, path = arrays["record"], arrays["path"]
        cells = np.zeros((self._paths.named, records), np.int32)
        named = np.flatnonzero(path[first:] < self._paths.named) + first
        cells.reshape(-1)[path[named] * np.int64(records) + record[named] - before] = named
        return Tokens(source=self.text, cells=cells, **arrays)

    def _read(
        self, starts: Longs, ends: Longs, numbers: Longs, *, is_rewritten: bool = False
    ) -> tuple[Found, Longs]:
        """Add the tokens of regular records; returns the indexes of the others."""
        size = int((ends - starts).sum())
        self._scratch.make_room(self.count + size // _TOKEN_BYTES + 1, self.count)
        self._scratch.make_room_for_items(min(size // _ITEM_BYTES + 1, _MOST_ITEMS))
        arrays, items = self._scratch.arrays, self._scratch.items
        refused = np.zeros(len(starts), np.uint8)
        spans = [np.ascontiguousarray(one, np.int64) for one in (starts, ends, numbers)]
        tokens = native.Tokens(
            *(arrays[name].ctypes.data for name in TOKEN_ARRAYS),
            *(self.count, self._scratch.room),
            *(each.ctypes.data for each in items),
            *(0, items.shape[1]),
        )
        done, text = 0, self.text
        while done < len(starts):
            tokens.text_size, tokens.text_room = text.size, text.room
            count = native.read_records(
                *(self._paths.handle, text.bytes.ctypes.data),
                *(*(one[done:].ctypes.data for one in spans), len(starts) - done),
                *(is_rewritten, refused[done:].ctypes.data, tokens),
            )
            if count < 0:
                raise PathsFull
            text.size, done = tokens.text_size, done + count
            if done < len(starts):
                text.make_room(int(ends[done] - starts[done]))
        self.count = tokens.count
        return Found(items=list(items[:, : tokens.items].copy())), np.flatnonzero(refused)

    def _read_irregular(self, starts: Longs, ends: Longs, numbers: Longs, found: Found) -> None:
        checked = 0
        written: list[bytes] = []
        kept: list[int] = []
        for start, end, number in zip(
            *map(np.ndarray.tolist, (starts, ends, numbers)), strict=True
        ):
            raw = self.text.cut(start, end)
            reject = self._refuse(raw)
            if not reject and len(raw) > checked:
                check_memory(checked := len(raw))
            regular = Regular() if reject else make_regular(raw, self._room)
            if reject or regular.reject:
                found.rejects[number] = reject or regular.reject  # type: ignore[assignment]
                continue
            written.append(regular.text)
            kept.append(number)
            if regular.repeated:
                found.repeated[number] = regular.repeated
            if regular.replaced:
                found.replaced[number] = regular.replaced
        if not kept:
            return
        sizes = np.array([len(one) for one in written], np.int64)
        ends = np.cumsum(sizes) + self.text.append(b"".join(written))
        starts = ends - sizes
        more, refused = self._read(starts, ends, np.array(kept), is_rewritten=True)
        for at in refused.tolist():
            found.rejects[kept[at]] = TOO_DEEP
        found.items = [np.append(*both) for both in zip(found.items, more.items, strict=True)]
        found.rewritten += kept
