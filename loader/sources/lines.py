"""The lines of a piece of a file: where each begins and ends, and which are not one record."""

from dataclasses import dataclass

import numpy as np

from loader import native
from loader.columns.tokens import Bytes, Flags, Longs

# There is room for so many lines at first.
_LINES = 1 << 12
# A line with an array of more bytes is read element by element.
_LONG_ARRAY = 1 << 20
# What stands on a line; the same numbers stand in spans.h.
_BLANK, _OBJECT, _ARRAY, _IRREGULAR = range(4)


@dataclass
class Lines:
    """The lines of what was read, from `begin` to `cut`; `line` is the number of the first one."""

    text: Bytes
    begin: int
    cut: int
    line: int
    starts: Longs
    ends: Longs
    is_blank: Flags
    irregular: Longs  # the indexes of those that may be no record, several, or go on
    _begins: Longs | None = None  # of all lines, with the blanks before what is on them

    def __len__(self) -> int:
        return len(self.starts)

    def index(self, at: int) -> int | None:
        """The line that begins there, if one does."""
        if at == self.begin:
            return 0
        if self._begins is None:
            breaks = np.flatnonzero(self.text[self.begin : self.cut] == ord("\n"))
            self._begins = np.append(0, breaks + 1) + self.begin
        found = int(np.searchsorted(self._begins, at))
        return found if found < len(self) and self._begins[found] == at else None


class LineRoom:
    """Memory for the lines of one piece after the other."""

    def __init__(self) -> None:
        self._spans = np.empty((2, 0), np.int64)
        self._kinds = np.empty(0, np.uint8)

    def find(self, text: Bytes, begin: int, cut: int, line: int) -> Lines:
        """The lines of `text` from `begin` to `cut`, of which the first has the number `line`."""
        piece = text[begin:]
        while True:
            starts, ends = self._spans
            count = native.find_lines(
                *(piece.ctypes.data, cut - begin, starts.ctypes.data, ends.ctypes.data),
                *(self._kinds.ctypes.data, len(self._kinds)),
            )
            if count >= 0:
                break
            room = 2 * len(self._kinds) + _LINES
            self._spans, self._kinds = np.empty((2, room), np.int64), np.empty(room, np.uint8)
        starts, ends, kinds = starts[:count] + begin, ends[:count] + begin, self._kinds[:count]
        is_long = (kinds == _ARRAY) & (ends - starts > _LONG_ARRAY)
        irregular = np.flatnonzero((kinds == _IRREGULAR) | is_long)
        return Lines(text, begin, cut, line, starts, ends, kinds == _BLANK, irregular)
