"""Values -> fields of COPY's binary format, and fields -> lines; `rows.c` writes them.

What becomes of a value is a cell: a number that says which value, and how it is written.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from loader import native
from loader.normalize.collections import Type
from loader.normalize.columns import coerce
from loader.plain.tokens import DECIMAL, FALSE, INTEGER, STRING, TIME, TRUE, Tokens
from loader.warehouse.binary import Lines, cut, field

TYPES: tuple[Type, ...] = ("text", "bigint", "numeric", "boolean", "jsonb", "timestamptz", "other")
CODES = {type_: code for code, type_ in enumerate(TYPES)}

Cells = np.ndarray[Any, np.dtype[np.int64]]

# As in `rows.c`: how a value is written, in the lowest bits of its cell.
NULL = -1
_READY, _AS_TEXT, _AS_LONG, _AS_NUMERIC, _AS_TRUE, _AS_FALSE = range(1, 7)
_HOW_BITS = 3
# How a value of a kind is written in a column of a type; what is not here needs Python. The texts
# of numbers are as PostgreSQL would write them.
_HOW = np.zeros((TIME + 1, len(TYPES)), np.int64)
for _kind, _type, _how in (
    (STRING, "text", _AS_TEXT),
    (INTEGER, "text", _AS_TEXT),
    (INTEGER, "bigint", _AS_LONG),
    (INTEGER, "numeric", _AS_NUMERIC),
    (DECIMAL, "numeric", _AS_NUMERIC),
    (TRUE, "boolean", _AS_TRUE),
    (FALSE, "boolean", _AS_FALSE),
):
    _HOW[_kind, TYPES.index(_type)] = _how


class Fields:
    """The fields of a block."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._ready: list[bytes] = []

    def texts(self, tokens: Any) -> Cells:
        """The cells of strings, whose tokens are counted from 1; null for 0."""
        return np.where(tokens > 0, (tokens - 1) << _HOW_BITS | _AS_TEXT, NULL)

    def times(self, tokens: Any) -> Cells:
        """The cells of times, whose tokens are counted from 1; null for 0."""
        return np.where(tokens > 0, (tokens - 1) << _HOW_BITS | _AS_LONG, NULL)

    def ready(self, fields: Sequence[bytes]) -> Cells:
        """The cells of fields that are given."""
        self._ready += fields
        numbers = np.arange(len(self._ready) - len(fields), len(self._ready))
        return numbers << _HOW_BITS | _READY

    def settle(self, at: Any, codes: Any) -> tuple[Cells, dict[int, Any]]:
        """The cells of some tokens in columns of types by code; null where a value does not fit.

        Also the values that do not fit, by place in `at`.
        """
        how = _HOW[self._tokens.kind.take(at, mode="clip"), codes]
        cells: Cells = at << _HOW_BITS | how
        misfits: dict[int, Any] = {}
        rest = np.flatnonzero(how == 0)
        for code in np.unique(codes[rest]).tolist():
            places = rest[codes[rest] == code]
            values = [self._tokens.value(one) for one in at[places].tolist()]
            column, wrong = coerce(values, TYPES[code])
            cells[places] = self.ready([field(text, TYPES[code]) for text in column.texts])
            for i, value in wrong.items():
                cells[places[i]] = NULL
                misfits[int(places[i])] = value
        return cells, misfits

    def lines(
        self, cells: Cells, rows: Any, columns: int, *, heads: tuple[Lines, int] | None = None
    ) -> Lines:
        """The lines of some rows: the first `columns` of their `cells` [row, column].

        They begin with all fields of their `heads`, lines by row of so many fields, if there are.
        """
        tokens = self._tokens
        ready = b"".join(self._ready)
        ready_ends = np.zeros(len(self._ready) + 1, np.int64)
        np.cumsum(list(map(len, self._ready)), out=ready_ends[1:])
        arrays = (tokens.letters, tokens.start, tokens.end, tokens.number, tokens.behind)
        pointers = [each.ctypes.data for each in (*arrays, tokens.places)]
        fields = native.Fields(*pointers, ready, ready_ends.ctypes.data)
        rows = np.ascontiguousarray(rows, np.int64)
        common = (fields, cells.ctypes.data, cells.shape[1], columns, rows.ctypes.data, len(rows))
        head_begins = head_sizes = None
        of_heads = 0
        if heads is not None:
            lines, of_heads = heads
            head_begins, head_sizes = lines.begins.ctypes.data, lines.sizes.ctypes.data
        size = native.measure_rows(*common, head_sizes)
        letters, ends = np.empty(size, np.uint8), np.empty(len(rows), np.int64)
        native.write_rows(
            *common,
            head_begins,
            head_sizes,
            columns + of_heads,
            letters.ctypes.data,
            ends.ctypes.data,
        )
        return cut(letters, ends)
