"""Blocks: spans of bytes with a record each, or a container of records, from one file."""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from loader.columns.tokens import Bytes, Longs, Text
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

    text: Text
    size: int  # bytes of the file that the text begins with
    starts: Longs
    ends: Longs
    lines: Longs  # the line that a record begins on
    items: Longs  # its number in an array, or 0
    bad: list[BadRecord]

    @property
    def bytes(self) -> Bytes:
        """What stood in the file."""
        return self.text.bytes[: self.size]

    @property
    def spans(self) -> tuple[Text, Longs, Longs]:
        """What a reader of records takes."""
        return self.text, self.starts, self.ends

    def position(self, record: int, items: tuple[int, ...] = ()) -> str:
        """Where a record stands in its file, in words; `items` are within the record."""
        item = int(self.items[record])
        return position_of(int(self.lines[record]), *((item, *items) if item else items))


def position_of(line: int, *items: int) -> str:
    """A position in words, as `_rejects` has it."""
    return f"line {line}" + "".join(f", item {item}" for item in items)


class _Piece(NamedTuple):
    """Some records as they were found; the spans are within its bytes."""

    bytes: bytes | Bytes
    starts: Longs
    ends: Longs
    lines: Longs
    items: Longs

    def split(self, records: int) -> tuple["_Piece", "_Piece"]:
        """The first records, and the others."""
        end, behind = int(self.ends[records - 1]), slice(records, None)
        first = _Piece(self.bytes[:end], *(each[:records] for each in self[1:]))
        starts, ends, lines, items = (each[behind] for each in self[1:])
        return first, _Piece(self.bytes[end:], starts - end, ends - end, lines, items)


@dataclass
class Gathering:
    """Blocks while they are gathered."""

    most_records: int
    _records: int = 0
    _size: int = 0  # bytes of records, and of what is no record
    _pieces: deque[_Piece] = field(default_factory=deque)
    _bad: list[BadRecord] = field(default_factory=list)
    _before_bad: list[int] = field(default_factory=list)  # records in front of each bad one

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand a block on."""
        return self._records >= self.most_records or self._size >= _BLOCK_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand on."""
        return not self._pieces and not self._bad

    def add(self, data: Bytes, starts: Longs, ends: Longs, lines: Longs, items: Longs) -> None:
        """Add records in their order; the spans are within `data`."""
        if len(starts):
            self._add(_Piece(data, starts, ends, lines, items))

    def add_one(self, raw: bytes, line: int, item: int = 0) -> None:
        """Add one record."""
        self._add(_Piece(raw, *(np.array([one]) for one in (0, len(raw), line, item))))

    def _add(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        self._records += len(piece.starts)
        self._size += len(piece.bytes)

    def add_bad(self, position: str, reject: Reject, raw: bytes) -> None:
        """Add a piece of input that is no record."""
        raw = raw.rstrip(b"\r")
        self._bad.append(BadRecord(position, reject, raw))
        self._before_bad.append(self._records)
        self._size += len(raw)

    def take(self) -> Block:
        """The next block, of no more than the most records.

        A bad record is in the block of the one in front of it: a load that goes on counts both.
        """
        taken, records = [_NOTHING], 0
        while self._pieces and records < self.most_records:
            piece = self._pieces.popleft()
            if records + len(piece.starts) > self.most_records:
                piece, rest = piece.split(self.most_records - records)
                self._pieces.appendleft(rest)
            taken.append(piece)
            records += len(piece.starts)
        behind = bisect_right(self._before_bad, records)
        bad, self._bad = self._bad[:behind], self._bad[behind:]
        self._before_bad = [before - records for before in self._before_bad[behind:]]
        text = Text([piece.bytes for piece in taken])
        self._records -= records
        self._size -= text.size + sum(len(one.raw) for one in bad)
        begins = np.cumsum([0, *(len(piece.bytes) for piece in taken)])
        found = [
            (piece.starts + begin, piece.ends + begin, piece.lines, piece.items)
            for piece, begin in zip(taken, begins, strict=False)
        ]
        starts, ends, lines, items = (np.concatenate(each) for each in zip(*found, strict=True))
        size = text.size
        return Block(
            text=text, size=size, starts=starts, ends=ends, lines=lines, items=items, bad=bad
        )


_NOTHING = _Piece(np.zeros(0, np.uint8), *4 * [np.zeros(0, np.int64)])
