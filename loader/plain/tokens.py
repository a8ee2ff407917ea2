"""Lines -> tokens: every value of a block of JSON lines with its path, line and place.

`tokens.c` reads them. A line that is not what it should be is `odd`, and is left to others; so is
one with something rare.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from loader import native
from loader.normalize.columns import unstorable_in
from loader.plain.arrays import Flags, Letters, Longs, NotPlain, Places
from loader.plain.paths import Paths
from loader.sources.jsontext import DECODE_ERRORS, check_memory, decode, may_repeat_keys
from loader.sources.records import WholeLines

# Kinds of values, as in `tokens.c`.
STRING, TRUE, FALSE, INTEGER, DECIMAL, OTHER, NULL, EMPTY, OPEN, TIME = range(1, 11)
# There is room for a token in so many bytes of a block; most take more than twice as many.
_TOKEN_BYTES = 8
# So many letters are read at once, also behind the end.
_WORD_BYTES = 8
# Lines times paths that a block may have.
_MOST_CELLS = 8 << 20


@dataclass(kw_only=True)
class Tokens:
    """The values of a block, in their order. Names of arrays say what they have an entry for."""

    letters: Letters  # of the block, with strings without their escapes
    odd: Flags  # by line: whether it was left out
    cells: Any  # int32 [path, line]: the value there, counted from 1; 0 where there is none
    line: Places
    path: Places
    kind: Any  # uint8
    start: Places
    end: Places
    number: Longs  # of integers; of decimals what stands before the point; of times microseconds
    behind: Longs  # of decimals: what stands behind the point, and in how many digits
    places: Longs
    others: dict[int, Any] = field(default_factory=dict)  # values that Python has to look at

    def text(self, at: int) -> str:
        """The text of a string or a number."""
        return self.letters[self.start[at] : self.end[at]].tobytes().decode()

    def value(self, at: int) -> Any:
        """A value as Python has it."""
        kind = self.kind[at]
        if kind == STRING:
            return self.text(at)
        if kind == INTEGER:
            return int(self.number[at])
        if kind == DECIMAL:
            return Decimal(self.text(at))
        return self.others[at] if kind == OTHER else bool(kind == TRUE)


def read_tokens(block: WholeLines, paths: Paths) -> Tokens:
    """The values of a block."""
    letters = np.zeros(len(block.data) + _WORD_BYTES, np.uint8)
    letters[: len(block.data)] = np.frombuffer(block.data, np.uint8)
    odd = np.zeros(block.lines, bool)
    odd[block.odd] = True
    room = len(block.data) // _TOKEN_BYTES
    values = np.empty((7, room), np.int64)
    kind = np.empty(room, np.uint8)
    count = native.read_lines(
        paths.handle,
        letters.ctypes.data,
        block.ends.ctypes.data,
        block.lines,
        odd.ctypes.data,
        values.ctypes.data,
        kind.ctypes.data,
        room,
    )
    paths.learn()
    if count <= 0 or block.lines * len(paths.paths) > _MOST_CELLS:
        raise NotPlain
    line, path, start, end, number, behind, places = values[:, :count]
    tokens = Tokens(
        letters=letters,
        odd=odd,
        cells=_cells(line, path, block.lines, len(paths.paths)),
        line=line,
        path=path,
        kind=kind[:count],
        start=start,
        end=end,
        number=number,
        behind=behind,
        places=places,
    )
    _look_at_others(tokens)
    return tokens


def _cells(line: Places, path: Places, lines: int, paths: int) -> Any:
    """The tokens by path and line."""
    cells = np.zeros(paths * lines, np.int32)
    cells[path * lines + line] = np.arange(1, len(line) + 1, dtype=np.int32)
    return cells.reshape(paths, lines)


def _look_at_others(tokens: Tokens) -> None:
    """Lists, and numbers that are not small integers."""
    at = np.flatnonzero(tokens.kind == OTHER)
    check_memory(int((tokens.end[at] - tokens.start[at]).sum()))
    for one in at.tolist():
        raw = tokens.letters[tokens.start[one] : tokens.end[one]].tobytes()
        try:
            value = decode(raw)
        except (*DECODE_ERRORS, ValueError):
            tokens.odd[tokens.line[one]] = True
            continue
        tokens.others[one] = value
        if type(value) is list and (unstorable_in(value) or may_repeat_keys([value], [raw])):
            tokens.odd[tokens.line[one]] = True
