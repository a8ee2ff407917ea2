"""Values at the paths of times -> microseconds, and the time when an event happened."""

import numpy as np

from loader.columns.times import microseconds_of
from loader.columns.tokens import DECIMAL, INTEGER, IS_NOTHING, STRING, TIME, Flags, Longs, Tokens
from loader.forms.events import Times
from loader.normalize.ignoring import Ignore
from loader.normalize.jsontext import read_value
from loader.normalize.times import MILLISECONDS_FROM, parse_times

_EPOCH_2000 = 946_684_800
# The last moment of the year 9999, in milliseconds, and the first of the year 1, in seconds.
_LAST, _FIRST = 253_402_300_799_999, -62_135_596_800


def read_times(tokens: Tokens, cells: Longs) -> tuple[Times, list[int]]:
    """The time in each cell, and the indexes of values that are none, or are finer than stored."""
    kind = tokens.kinds(cells)
    is_given = kind == TIME
    number = tokens.number.take(cells)
    misfits = np.flatnonzero(is_given & (tokens.fraction.take(cells) > 0)).tolist()
    if is_given.all():
        return Times(microseconds=number, is_given=is_given), misfits
    is_integer = (kind == INTEGER) & (number >= _FIRST) & (number <= _LAST)
    if is_integer.any():
        unit = np.where(np.abs(number) >= MILLISECONDS_FROM, 1_000, 1_000_000)
        epoch = np.where(is_integer, number, 0) * unit - _EPOCH_2000 * 1_000_000
        number = np.where(is_integer, epoch, number)
        is_given |= is_integer
    is_fraction = (kind == DECIMAL) & (number < MILLISECONDS_FROM)
    if is_fraction.any():
        at = np.flatnonzero(is_fraction)
        scale = tokens.scale[cells[at]].astype(np.int64)
        at, scale = at[scale <= 6], scale[scale <= 6]
        fraction = tokens.fraction[cells[at]].astype(np.int64) * 10 ** (6 - scale)
        number[at] = (number[at] - _EPOCH_2000) * 1_000_000 + fraction
        is_given[at] = True
    rest = np.flatnonzero(~is_given & ~IS_NOTHING.take(kind))
    if len(rest):
        texts = tokens.texts(cells[rest])
        strings = (kind[rest] == STRING).tolist()
        values = [t if s else read_value(t) for t, s in zip(texts, strings, strict=True)]
        parsed, inexact = parse_times(values)
        misfits += rest[inexact].tolist()
        for index, text in zip(rest.tolist(), parsed, strict=True):
            if text is not None:
                number[index] = microseconds_of(text)
                is_given[index] = True
    return Times(microseconds=number, is_given=is_given), misfits


def when_it_happened(times: dict[str, Times], load_started_at: int) -> Longs:
    """`timestamp` of each event: as given, else by Segment's rule for clock skew."""
    own, received, sent, original = (
        times[name] for name in ("timestamp", "received_at", "sent_at", "original_timestamp")
    )
    corrected = received.microseconds - (sent.microseconds - original.microseconds)
    is_corrected = received.is_given & sent.is_given & original.is_given
    is_corrected &= corrected >= (_FIRST - _EPOCH_2000) * 1_000_000
    is_corrected &= corrected < (_LAST // 1_000 + 1 - _EPOCH_2000) * 1_000_000
    arrived = np.where(received.is_given, received.microseconds, load_started_at)
    guessed = np.where(
        is_corrected, corrected, np.where(original.is_given, original.microseconds, arrived)
    )
    return np.where(own.is_given, own.microseconds, guessed)


def is_out_of_range(timestamp: Longs, ignore: Ignore) -> Flags:
    """Which events are left out for their time."""
    is_out = np.zeros(len(timestamp), bool)
    if ignore.after is not None:
        is_out |= timestamp < ignore.after
    if ignore.before is not None:
        is_out |= timestamp >= ignore.before
    return is_out
