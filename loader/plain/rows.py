"""Fields -> rows: which field stands in which cell becomes lines for COPY."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from loader.warehouse.binary import Array, cut, longs, texts


def lines_of(fields: Array, nulls: int, empty: int, cells: Any, widths: Any) -> Array:
    """The line of each row: `cells` [row, column] are numbers of fields, -1 for null.

    Of each row as many columns count as `widths` says. `nulls` is the number of a field of no
    nulls at all; the next ones are runs of one, two, ... nulls. `empty` stands where the field of
    a column before has this one too.
    """
    rows, most = cells.shape
    flat = cells.reshape(-1)
    at = np.flatnonzero(flat >= 0)
    row = at // max(most, 1)
    column = at - row * most
    count = np.bincount(row, minlength=rows)
    behind = np.cumsum(count)
    # In each row: the nulls before a field and the field, in turn; and the nulls at its end.
    pieces = np.empty(2 * len(at) + rows, np.int64)
    place = 2 * np.arange(len(at)) + row
    gap = np.diff(column, prepend=-1) - 1
    first = (behind - count).compress(count > 0)
    gap[first] = column.take(first, mode="clip")
    pieces[place] = nulls + gap
    pieces[place + 1] = flat.take(at, mode="clip")
    last = np.append(column, -1).take(behind - 1, mode="wrap") * (count > 0) - (count == 0)
    ends = 2 * behind + np.arange(rows)
    pieces[ends] = nulls + widths - 1 - last
    is_piece = (pieces != nulls) & (pieces != empty)
    taken = pc.take(fields, longs(pieces.compress(is_piece)), boundscheck=False)
    # What was taken stands one behind the other, so that a line is all from one end to the next.
    _, offsets, letters = taken.buffers()
    at_end = np.cumsum(is_piece).take(ends, mode="clip")
    line_ends = np.frombuffer(offsets, np.int32).take(np.append(0, at_end), mode="clip")
    return cut(letters, line_ends)


def side_by_side(*parts: Array) -> Array:
    """Parts of each line as one; a part that is bytes stands in every line."""
    arrays = [texts([part])[0] if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*arrays, texts([b""])[0])
