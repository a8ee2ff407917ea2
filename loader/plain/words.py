"""Bytes by the thousand: eight letters are one number, and numpy compares many of those at once.

Places are int64, and `take` and `compress` stand where brackets would do: they are several times
faster than indexing with smaller integers or with flags.
"""

from typing import Any

import numpy as np
import pyarrow as pa

Letters = np.ndarray[Any, np.dtype[np.uint8]]
Words = np.ndarray[Any, np.dtype[np.uint64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

# So many bytes stand before and behind a text, so that a word may begin or end outside of it.
PAD = 32

_WORD = 8
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(_WORD + 1)], np.uint64)


class NotPlain(Exception):
    """A block, or too much of it, needs decisions about single records."""


def padded(data: bytes) -> Letters:
    """The letters of a text, from place `PAD` on."""
    letters = np.empty(len(data) + 2 * PAD, np.uint8)
    letters[:PAD] = letters[PAD + len(data) :] = 0
    letters[PAD : PAD + len(data)] = np.frombuffer(data, np.uint8)
    return letters


def words_at(letters: Letters, places: Places, count: int = 1) -> Words:
    """Some words from each place on, a row each; the first letter is in the lowest byte."""
    kind = np.dtype(f"V{_WORD * count}")
    every: Any = np.ndarray((len(letters) - kind.itemsize + 1,), kind, letters.data, 0, (1,))
    words: Words = every[places].view("<u8").reshape(-1, count)
    return words


def heads(letters: Letters, starts: Places, sizes: Places) -> Words:
    """The first letters of some texts, up to eight."""
    words: Words = words_at(letters, starts)[:, 0] & _MASKS.take(sizes, mode="clip")
    return words


def word(text: bytes) -> np.uint64:
    """A text of up to eight letters as `heads` gives it."""
    return np.uint64(int.from_bytes(text, "little"))


def is_utf8(data: bytes | Letters) -> bool:
    """Whether `data` is UTF-8, at a tenth of what decoding them would cost."""
    ends = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


# numbers: the digits of a word become one number in three steps


_ZEROS = word(b"00000000")
_HIGH = np.uint64(0x8080808080808080)
_LOW = np.uint64(0x0101010101010101)
_OVER_NINE = np.uint64(0x4646464646464646)
_8, _16, _32 = np.uint64(8), np.uint64(16), np.uint64(32)
_PAIRS = np.uint64(0x000000FF000000FF)
_STEPS = (np.uint64(0x000F424000000064), np.uint64(0x0000271000000001))
_10 = np.uint64(10)
_10_8 = np.uint64(10**8)
_POINTS = word(b"........")
_1 = np.uint64(1)

MOST_DIGITS = 2 * _WORD
# Of a decimal, behind its point.
MOST_PLACES = _WORD - 1


def not_digits(words: Words) -> Words:
    """Zero where all letters of a word are digits."""
    return ((words + _OVER_NINE) | (words - _ZEROS)) & _HIGH


def number(words: Words) -> Longs:
    """The numbers that words of eight digits write."""
    digits = words - _ZEROS
    pairs = digits * _10 + (digits >> _8)
    found = ((pairs & _PAIRS) * _STEPS[0] + ((pairs >> _16) & _PAIRS) * _STEPS[1]) >> _32
    return found.astype(np.int64)


def integers(letters: Letters, starts: Places, ends: Places) -> tuple[Longs, Flags]:
    """The numbers of up to 16 digits that some texts are, and which of them are such numbers."""
    sizes = ends - starts
    low, fits = _last_digits(words_at(letters, ends - _WORD)[:, 0], sizes.clip(0, _WORD))
    fits &= (sizes > 0) & (sizes <= MOST_DIGITS)
    fits &= (letters.take(starts, mode="clip") != ord("0")) | (sizes == 1)
    is_long = np.flatnonzero(fits & (sizes > _WORD))
    if len(is_long):
        more = words_at(letters, ends[is_long] - 2 * _WORD)[:, 0]
        high, high_fits = _last_digits(more, sizes[is_long] - _WORD)
        low[is_long] += high * 10**_WORD
        fits[is_long] &= high_fits
    return low, fits


def decimals(letters: Letters, starts: Places, ends: Places) -> tuple[Longs, Longs, Longs, Flags]:
    """The numbers with a point that some texts are.

    Each as the digits before the point, those behind it, and how many those are; and which texts
    are such numbers, with up to 16 digits before the point and 7 behind it.
    """
    outside = _MASKS.take((_WORD - (ends - starts)).clip(0))
    last = words_at(letters, ends - _WORD)[:, 0] & ~outside
    differs = last ^ _POINTS
    is_point = (differs - _LOW) & ~differs & _HIGH
    # The lowest flag is exact; a point before it would be in the digits, where it does not fit.
    place = np.bitwise_count((is_point & (~is_point + _1)) - _1).astype(np.int64) // _WORD
    count = (_WORD - 1 - place).clip(0)
    before, fits = integers(letters, starts, ends - count - 1)
    behind, behind_fits = _last_digits(last, count)
    fits &= behind_fits & (is_point != 0) & (count > 0)
    return before, behind, count, fits


def _last_digits(words: Words, sizes: Places) -> tuple[Longs, Flags]:
    """The numbers that the last letters of words write; zeros stand for the letters before."""
    rest = _MASKS.take(_WORD - sizes, mode="clip")
    filled = (words & ~rest) | (_ZEROS & rest)
    return number(filled), not_digits(filled) == 0
