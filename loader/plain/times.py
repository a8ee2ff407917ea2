"""Usual times -> microseconds, many at once."""

import numpy as np

from loader.plain.words import Flags, Letters, Longs, Places, not_digits, number, word, words_at

# How most senders write a time; three words, with zeros where its digits are.
USUAL = b"0000-00-00T00:00:00.000Z"
_FORM = np.frombuffer(USUAL, "<u8")
_DIGITS = np.frombuffer(bytes(255 if one == ord("0") else 0 for one in USUAL), "<u8")
_MONTHS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0])
_DAY_OF_2000 = 730_425  # counted from 1 March of the year 0
_DAY = 86_400_000_000


def usual_times(letters: Letters, starts: Places, ends: Places) -> tuple[Longs, Flags]:
    """Microseconds since 2000 of some texts, and which of them are real times in the usual form."""
    words = words_at(letters, starts, len(_FORM))
    wrong = (words ^ _FORM) & ~_DIGITS
    words &= _DIGITS
    words |= _ZEROS & ~_DIGITS
    wrong |= not_digits(words)
    fits = (wrong[:, 0] | wrong[:, 1] | wrong[:, 2]) == 0
    fits &= ends - starts == len(USUAL)
    parts = number(words).T
    (year, month), (day, clock), (second, milli) = map(_cut, parts, _UNITS)
    month, milli = month // 10, milli // 10
    hour, minute = _cut(clock, 1_000)
    century, in_century = _cut(year, 100)
    is_leap = np.where(in_century == 0, century, year) & 3 == 0
    last = _MONTHS.take(month, mode="clip") + (is_leap & (month == 2))
    fits &= (year > 0) & (day > 0) & (day <= last)
    fits &= (hour < 24) & (minute < 60) & (second < 60)
    days = _days(year, month, day) - _DAY_OF_2000
    seconds = (hour * 60 + minute) * 60 + second
    return days * _DAY + seconds * 1_000_000 + milli * 1_000, fits


# Where each word's two parts are cut: year and month, day and clock, seconds and milliseconds.
_UNITS = (10_000, 1_000_000, 100_000)
_ZEROS = word(b"00000000")


def _cut(numbers: Longs, unit: int) -> tuple[Longs, Longs]:
    """What numbers are in a unit, and the rest; several times faster than `divmod`."""
    whole = numbers // unit
    return whole, numbers - whole * unit


def _days(year: Longs, month: Longs, day: Longs) -> Longs:
    """Days since 1 March of the year 0, in the Gregorian calendar: years begin in March here."""
    years = year - (month <= 2)
    in_year = (153 * (month + 9 - 12 * (month > 2)) + 2) // 5 + day - 1
    centuries = years // 100
    days: Longs = 365 * years + (years >> 2) - centuries + (centuries >> 2) + in_year
    return days
