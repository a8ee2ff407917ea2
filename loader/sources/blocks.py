"""Blocks: spans of bytes with a record each, or a container of records, from one file."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from loader.columns.tokens import Longs
from loader.normalize.event import Reject

# A block is handed on when it has so many bytes.
_BLOCK_BYTES = 4 << 20


class BadRecord(NamedTuple):
    """A piece of input that is not a record."""

    position: str
    reject: Reject
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some consecutive records of a file, not read yet; arrays have an entry per record."""

    data: bytes
    starts: Longs
    ends: Longs
    lines: Longs  # the line that a record begins on
    items: Longs  # its number in an array, or 0
    bad: list[BadRecord]

    @property
    def spans(self) -> tuple[bytes, Longs, Longs]:
        """What a reader of records takes."""
        return self.data, self.starts, self.ends

    def position(self, record: int, items: tuple[int, ...] = ()) -> str:
        """Where a record stands in its file, in words; `items` are within the record."""
        item = int(self.items[record])
        return position_of(int(self.lines[record]), *((item, *items) if item else items))


def position_of(line: int, *items: int) -> str:
    """A position in words, as `_rejects` has it."""
    return f"line {line}" + "".join(f", item {item}" for item in items)


@dataclass
class Gathering:
    """A block while it is gathered."""

    most_records: int
    bad: list[BadRecord] = field(default_factory=list)
    records: int = 0
    size: int = 0  # bytes of records
    _bad_size: int = 0
    _before_bad: list[int] = field(default_factory=list)  # records in front of each bad one
    _parts: list[bytes] = field(default_factory=list)
    _spans: list[tuple[Longs, Longs, Longs, Longs]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand the block on."""
        return self.records >= self.most_records or self.size + self._bad_size >= _BLOCK_BYTES

    def add(self, data: bytes, starts: Longs, ends: Longs, lines: Longs, items: Longs) -> None:
        """Add records in their order; the spans are within `data`."""
        if len(starts):
            self._spans.append((starts + self.size, ends + self.size, lines, items))
            self._parts.append(data)
            self.records += len(starts)
            self.size += len(data)

    def add_one(self, raw: bytes, line: int, item: int = 0) -> None:
        """Add one record."""
        self.add(raw, *(np.array([one]) for one in (0, len(raw), line, item)))

    def add_bad(self, position: str, reject: Reject, raw: bytes) -> None:
        """Add a piece that is no record."""
        self.bad.append(BadRecord(position, reject, raw.rstrip(b"\r")))
        self._before_bad.append(self.records)
        self._bad_size += len(raw)

    def blocks(self) -> list[Block]:
        """What was gathered, in blocks of no more than the most records; it is empty then.

        A bad record is in the block of the one in front of it: a load that goes on counts both.
        """
        if not self._spans and not self.bad:
            return []
        spans = [np.concatenate(each) for each in zip(*self._spans, strict=True)] or [_NONE] * 4
        data, found = b"".join(self._parts), []
        for first in range(0, max(len(spans[0]), 1), self.most_records):
            starts, ends, lines, items = (each[first : first + self.most_records] for each in spans)
            begin = int(starts[0]) if len(starts) else 0
            end = int(ends[-1]) if len(ends) else 0
            behind = first + self.most_records
            from_, to = (bisect_right(self._before_bad, at) for at in (first or -1, behind))
            found.append(
                Block(
                    data=data[begin:end],
                    starts=starts - begin,
                    ends=ends - begin,
                    lines=lines,
                    items=items,
                    bad=self.bad[from_:to],
                )
            )
        self.bad, self._before_bad, self._parts, self._spans = [], [], [], []
        self.records = self.size = self._bad_size = 0
        return found


_NONE = np.zeros(0, np.int64)
