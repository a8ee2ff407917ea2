"""Values -> fields of COPY's binary format, each under a number in one pool."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from loader.normalize.collections import Type
from loader.normalize.columns import coerce
from loader.plain.tokens import DECIMAL, FALSE, INTEGER, SIZE_BYTES, STRING, TRUE, Tokens
from loader.plain.words import Longs
from loader.warehouse.binary import NULL, Array, cut, field, texts

# Arrow's own pool would keep what Python could use in its turn.
pa.set_memory_pool(pa.system_memory_pool())

Slots = np.ndarray[Any, np.dtype[np.int64]]

TYPES: tuple[Type, ...] = ("text", "bigint", "numeric", "boolean", "jsonb", "timestamptz", "other")
CODES = {type_: code for code, type_ in enumerate(TYPES)}
_TEXT, _BIGINT = CODES["text"], CODES["bigint"]
_NUMERIC, _BOOLEAN = CODES["numeric"], CODES["boolean"]
# What makes eight digits of those behind a point.
_SHIFT = 10 ** np.arange(8, -1, -1)
_LONG_BYTES = SIZE_BYTES + 8


class Pool:
    """Fields by number. The strings of a block are there from the start, where they stand."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._slot, strings = _strings(tokens)
        self._parts: list[Array] = [strings]
        self._size = len(strings)
        self.empty = int(self.add([b""])[0])
        self._booleans = self.add([field("true", "boolean"), field("false", "boolean")])

    def array(self) -> Array:
        """All fields."""
        return pa.concat_arrays(self._parts)

    def strings(self, cells: Any) -> Slots:
        """The fields of strings, whose tokens are counted from 1; -1 for 0."""
        slots: Slots = np.where(cells > 0, self._slot[cells - 1], -1)
        return slots

    def add(self, fields: Sequence[bytes] | Array) -> Slots:
        """Add fields; returns their numbers."""
        array = fields if isinstance(fields, pa.Array) else texts(fields)
        self._parts.append(array)
        self._size += len(array)
        return np.arange(self._size - len(array), self._size)

    def add_longs(self, values: Longs, together: int = 1) -> Slots:
        """Add fields of eight bytes: integers, or times in microseconds.

        So many of them, one behind the other, are added as one.
        """
        matrix = np.empty((len(values), _LONG_BYTES), np.uint8)
        matrix[:, :SIZE_BYTES] = (0, 0, 0, 8)
        matrix[:, SIZE_BYTES:] = values.astype(">i8").view(np.uint8).reshape(-1, 8)
        ends = np.arange(0, matrix.size + 1, _LONG_BYTES * together, dtype=np.int32)
        return self.add(cut(matrix, ends))

    def _add_numerics(self, at: Any) -> Slots:
        """Add integers and decimals as fields of fixed size: groups of four digits."""
        tokens = self._tokens
        places = tokens.places.take(at, mode="clip")
        before = tokens.number.take(at, mode="clip")
        behind = tokens.behind.take(at, mode="clip") * _SHIFT.take(places, mode="clip")
        groups = [before // unit % 10_000 for unit in (10**12, 10**8, 10**4, 1)]
        groups += [behind // 10_000, behind % 10_000]
        weight = np.full(len(at), 3)  # of the first group, as a power of 10,000
        sign = np.zeros(len(at), np.int64)
        head = [np.full(len(at), len(groups)), weight, sign, places]
        matrix = np.zeros((len(at), SIZE_BYTES // 2 + len(head) + len(groups)), ">i2")
        matrix[:, 1] = 2 * (len(head) + len(groups))
        matrix[:, SIZE_BYTES // 2 :] = np.array(head + groups).T
        ends = np.arange(0, matrix.nbytes + 1, matrix.shape[1] * 2, dtype=np.int32)
        return self.add(cut(matrix, ends))

    def add_nulls(self, most: int) -> int:
        """Add runs of null fields: of none, of one, ... of `most`; returns the first's number."""
        ends = np.cumsum(np.arange(-1, most + 1).clip(0) * len(NULL), dtype=np.int32)
        null = np.frombuffer(NULL * (ends[-1] // len(NULL)), np.uint8)
        return int(self.add(cut(null, ends))[0])

    def settle(self, at: Any, codes: Any) -> tuple[Slots, dict[int, Any]]:
        """The fields of some tokens in columns of types by code; -1 where a value does not fit.

        Also the values that do not fit, by place in `at`.
        """
        tokens = self._tokens
        kind = tokens.kind.take(at, mode="clip")
        # The texts of numbers are as PostgreSQL would write them.
        is_text = ((kind == STRING) | (kind == INTEGER)) & (codes == _TEXT)
        slots: Slots = self._slot.take(at, mode="clip") * is_text - ~is_text
        found = np.flatnonzero((kind == INTEGER) & (codes == _BIGINT))
        slots[found] = self.add_longs(tokens.number.take(at.take(found), mode="clip"))
        found = np.flatnonzero(((kind == TRUE) | (kind == FALSE)) & (codes == _BOOLEAN))
        slots[found] = self._booleans.take(kind.take(found) == FALSE, mode="clip")
        found = np.flatnonzero(((kind == INTEGER) | (kind == DECIMAL)) & (codes == _NUMERIC))
        slots[found] = self._add_numerics(at.take(found, mode="clip"))
        misfits: dict[int, Any] = {}
        rest = np.flatnonzero(slots < 0)
        for code in np.unique(codes[rest]).tolist():
            places = rest[codes[rest] == code]
            values = [self._tokens.value(one) for one in at[places].tolist()]
            column, wrong = coerce(values, TYPES[code])
            slots[places] = self.add([field(text, TYPES[code]) for text in column.texts])
            for i, value in wrong.items():
                slots[places[i]] = -1
                misfits[int(places[i])] = value
        return slots, misfits


def _strings(tokens: Tokens) -> tuple[Slots, Array]:
    """The number of each string's field, and the fields.

    A field is the size of its value and the value; integers count as their texts. The size is
    written over the end of the key and its signs, which nobody needs any more.
    """
    at = np.flatnonzero((tokens.kind == STRING) | (tokens.kind == INTEGER))
    start, end = tokens.start.take(at, mode="clip"), tokens.end.take(at, mode="clip")
    sizes: Any = np.ndarray((len(tokens.letters) - 3,), np.dtype(">i4"), tokens.letters, 0, (1,))
    sizes[start - SIZE_BYTES] = end - start
    is_behind = start > tokens.block_end  # what had escapes
    inside, behind = np.flatnonzero(~is_behind), np.flatnonzero(is_behind)
    ends = np.empty(2 * len(inside) + len(behind) + 1, np.int32)
    ends[: 2 * len(inside) : 2] = start.take(inside, mode="clip") - SIZE_BYTES
    ends[1 : 2 * len(inside) : 2] = end.take(inside, mode="clip")
    ends[2 * len(inside) : -1] = start.take(behind, mode="clip") - SIZE_BYTES
    ends[-1] = end[behind[-1]] if len(behind) else len(tokens.letters)
    slot = np.full(len(tokens.kind), -1)
    slot[at.take(inside, mode="clip")] = np.arange(0, 2 * len(inside), 2)
    slot[at.take(behind, mode="clip")] = 2 * len(inside) + np.arange(len(behind))
    return slot, cut(tokens.letters, ends)
