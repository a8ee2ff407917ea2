"""Values -> cells: which value becomes a field, and how `rows.c` writes it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loader import native
from loader.columns.binary import EncodedRows, field
from loader.columns.tokens import (
    DECIMAL,
    FALSE,
    INTEGER,
    ITEMS,
    JSON,
    STRING,
    TIME,
    TRUE,
    Longs,
    Tokens,
)
from loader.normalize.collections import Type
from loader.normalize.jsontext import encode_text
from loader.normalize.types import TYPES

_CODED: tuple[Type, ...] = tuple(TYPES)
CODES = {type_: code for code, type_ in enumerate(_CODED)}

# As in `rows.c`: how a value is written, in the lowest bits of its cell.
NULL = -1
_LITERAL, _AS_TEXT, _AS_LONG, _AS_NUMERIC, _AS_TRUE, _AS_FALSE, _AS_JSON, _AS_STORED = range(1, 9)
_HOW_BITS = 4
# How a value of a kind is written in a column of a type; what is not here needs Python. The texts
# of numbers are as PostgreSQL would write them.
_HOW = np.zeros((ITEMS + 1, len(_CODED)), np.int64)
_HOW[[STRING, TIME, INTEGER, DECIMAL, TRUE, FALSE], CODES["text"]] = _AS_TEXT
_HOW[[STRING, TIME, INTEGER, DECIMAL, TRUE, FALSE, JSON], CODES["jsonb"]] = _AS_JSON
_HOW[INTEGER, CODES["bigint"]] = _AS_LONG
_HOW[[INTEGER, DECIMAL], CODES["numeric"]] = _AS_NUMERIC
_HOW[TRUE, CODES["boolean"]] = _AS_TRUE
_HOW[FALSE, CODES["boolean"]] = _AS_FALSE
_NO_ROWS = np.zeros(0, np.int64)


class Cells:
    """The cells of a block, and what they refer to."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._literals: list[bytes] = []
        self._stored: list[Longs] = []
        self._literals_size = self._stored_size = 0

    def texts(self, tokens: Longs) -> Longs:
        """The cells of strings; null for token 0."""
        return np.where(tokens > 0, tokens << _HOW_BITS | _AS_TEXT, NULL)

    def stored(self, numbers: Longs) -> Longs:
        """The cells of numbers that are given: times in microseconds."""
        first = self._stored_size
        self._stored.append(numbers)
        self._stored_size += len(numbers)
        return np.arange(first, self._stored_size) << _HOW_BITS | _AS_STORED

    def literals(self, fields: Sequence[bytes]) -> Longs:
        """The cells of fields that are given."""
        first = self._literals_size
        self._literals += fields
        self._literals_size += len(fields)
        return np.arange(first, self._literals_size) << _HOW_BITS | _LITERAL

    def settle(self, tokens: Longs, codes: Longs) -> tuple[Longs, Longs]:
        """The cells of values in columns of types by code, null where a value does not fit.

        Also the indexes of the values that do not fit.
        """
        how = _HOW[self._tokens.kind.take(tokens), codes]
        cells = tokens << _HOW_BITS | how
        rest = np.flatnonzero(how == 0)
        if not len(rest):
            return cells, _NO_ROWS
        cells[rest] = NULL
        kinds = self._tokens.kind[tokens[rest]]
        # A list or an object fits nothing but jsonb.
        first = self._tokens.text[self._tokens.start[tokens[rest]]]
        is_nested = (kinds == JSON) & ((first == ord("[")) | (first == ord("{")))
        is_misfit = is_nested | (codes[rest] == CODES["other"])
        for code in np.flatnonzero(np.bincount(codes[rest[~is_misfit]])).tolist():
            at = np.flatnonzero(~is_misfit & (codes[rest] == code))
            values = [self._tokens.value(one) for one in tokens[rest[at]].tolist()]
            type_ = _CODED[code]
            texts = list(map(TYPES[type_].coerce, values))
            fits = np.array([text is not None for text in texts], bool)
            cells[rest[at[fits]]] = self.literals(
                [field(text, type_) for text in texts if text is not None]
            )
            is_misfit[at[~fits]] = True
        return cells, rest[is_misfit]

    def objects(self, tokens: Longs, names: Longs, firsts: Longs, texts: Sequence[str]) -> Longs:
        """The cells of objects of values: each begins at one of `firsts`, which has one more.

        `names` are indexes in `texts`.
        """
        fields, kept = self._fields()
        objects = len(firsts) - 1
        name_json, name_ends = _as_json(texts)
        name_texts = np.frombuffer(name_json, np.uint8)
        tokens, names = (np.ascontiguousarray(each, np.int64) for each in (tokens, names))
        firsts = np.ascontiguousarray(firsts, np.int64)
        common = (fields, tokens.ctypes.data, names.ctypes.data)
        size = native.measure_objects(*common, len(tokens), name_ends.ctypes.data, objects)
        out, ends = np.empty(size, np.uint8), np.zeros(objects + 1, np.int64)
        native.write_objects(
            *common,
            *(name_texts.ctypes.data, name_ends.ctypes.data, firsts.ctypes.data, objects),
            *(out.ctypes.data, ends[1:].ctypes.data),
        )
        del kept
        buffer = out.tobytes()
        return self.literals(
            [buffer[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
        )

    def rows(self) -> "Rows":
        """What writes rows of cells, once all of them are known."""
        return Rows(*self._fields())

    def _fields(self) -> tuple[native.Fields, list[NDArray[np.generic]]]:
        """What the compiled part reads, and what has to stay in memory for it."""
        tokens = self._tokens
        literals = np.frombuffer(b"".join(self._literals) or b" ", np.uint8)
        literal_ends = np.append(0, np.cumsum(list(map(len, self._literals)), dtype=np.int64))
        stored = np.concatenate(self._stored) if self._stored else _NO_ROWS
        arrays: list[NDArray[np.generic]] = [
            *(tokens.text, tokens.kind, tokens.start, tokens.end),
            *(tokens.number, tokens.fraction, tokens.scale, literals, literal_ends, stored),
        ]
        arrays = [np.ascontiguousarray(each) for each in arrays]
        return native.Fields(*(each.ctypes.data for each in arrays)), arrays


def _as_json(names: Sequence[str]) -> tuple[bytes, Longs]:
    """Names as JSON strings, one behind the other, and where each begins; with one entry more.

    They are encoded as one text with line breaks, mostly, and not one by one.
    """
    together = encode_text("\n".join(names))
    breaks = np.flatnonzero(np.frombuffer(together, np.uint8) == ord("\\"))
    if len(breaks) != len(names) - 1:  # a name has what has to be escaped
        texts = list(map(encode_text, names))
        return b"".join(texts), np.append(0, np.cumsum(list(map(len, texts)), dtype=np.int64))
    text = together.replace(b"\\n", b'""')
    return text, np.concatenate(([0], breaks + 1, [len(text)]))


class Rows:
    """Writes rows of cells."""

    def __init__(self, fields: native.Fields, kept: list[NDArray[np.generic]]) -> None:
        self._fields, self._kept = fields, kept

    def write(
        self,
        cells: Longs,
        at: Longs,
        columns: int,
        *,
        prefixes: EncodedRows | None = None,
        prefix_fields: int = 0,
    ) -> EncodedRows:
        """Some rows of `cells` [row, column], their first `columns`.

        They begin with all fields of their `prefixes`, rows of so many fields, if there are any.
        """
        at = np.ascontiguousarray(at, np.int64)
        cells = np.ascontiguousarray(cells)
        common = (self._fields, cells.ctypes.data, cells.shape[1], columns, at.ctypes.data, len(at))
        begins = sizes = None
        if prefixes is not None:
            begins, sizes = prefixes.begins.ctypes.data, prefixes.sizes.ctypes.data
        size = native.measure_rows(*common, sizes)
        out, ends = np.empty(size, np.uint8), np.empty(len(at), np.int64)
        native.write_rows(
            *common, begins, sizes, columns + prefix_fields, out.ctypes.data, ends.ctypes.data
        )
        return EncodedRows.cut(out, ends)
