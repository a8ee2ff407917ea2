"""The types of columns: which one holds some values, what fits into one, and what is wider.

Values are as JSON has them, with fractions as Decimal and long numbers as LongNumber.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from loader.normalize.collections import Type
from loader.normalize.numbers import MAX_DIGITS, LongNumber, is_storable, number_text
from loader.normalize.times import parse_times

_BIGINT = range(-(2**63), 2**63)
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_BOOLEANS = {True: "true", False: "false"}


# The types that a new column can get.
INFERRED: tuple[Type, ...] = ("boolean", "bigint", "numeric", "text", "jsonb")


def infer(values: Iterable[object]) -> Type:
    """The narrowest of boolean, bigint, numeric, text, jsonb that holds every one of `values`."""
    kept = [value for value in values if value is not None]
    kinds = set(map(type, kept))
    if kinds & {list, dict}:
        return "jsonb"
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(value in _BIGINT for value in kept):
        return "bigint"
    numbers = [value for value in kept if isinstance(value, int | Decimal)]
    if kinds and kinds <= {int, Decimal} and all(map(is_storable, numbers)):
        return "numeric"
    return "text"


def cover(one: Type, other: Type) -> Type:
    """The narrowest type that holds every value of both, of those that `infer` gives."""
    if one == other:
        return one
    both = TYPES[one].wider | {one}
    both &= TYPES[other].wider | {other}
    return next(type_ for type_ in INFERRED if type_ in both)


class Rule(NamedTuple):
    """What a type is for the loader."""

    # A value as the text that PostgreSQL reads; None where it does not convert without loss. Lists
    # and objects fit nothing but jsonb, which takes the JSON as it stands.
    coerce: Callable[[object], str | None]
    wider: frozenset[Type]  # the types that hold every value of it
    dtype: str  # of pandas


def _coerce_text(value: object) -> str | None:
    if type(value) is str:
        return value
    if type(value) is bool:
        return _BOOLEANS[value]
    return number_text(value) if isinstance(value, int | Decimal | LongNumber) else None


def _coerce_bigint(value: object) -> str | None:
    if type(value) is str:
        if len(value) > 20 or not _PLAIN_INTEGER.fullmatch(value) or value == "-0":
            return None
        value = int(value)
    elif type(value) is Decimal:
        if not -18 <= value.adjusted() <= 18 or value != value.to_integral_value():
            return None
        value = int(value)
    return str(value) if type(value) is int and value in _BIGINT else None


def _coerce_numeric(value: object) -> str | None:
    if type(value) is str:
        if len(value) > 2 * MAX_DIGITS + 2 or not _PLAIN_NUMBER.fullmatch(value):
            return None
        value = Decimal(value)
        if value.is_zero() and value.is_signed():  # numeric has no negative zero
            return None
    if (type(value) is int or type(value) is Decimal) and is_storable(value):
        return number_text(value)
    return None


def _coerce_boolean(value: object) -> str | None:
    if type(value) is bool:
        return _BOOLEANS[value]
    return value if value in ("true", "false") and type(value) is str else None


def _coerce_time(value: object) -> str | None:
    texts, inexact = parse_times([value])
    return None if inexact else texts[0]


def _coerce_nothing(_value: object) -> str | None:
    return None


TYPES: Mapping[Type, Rule] = {
    "boolean": Rule(_coerce_boolean, frozenset({"text", "jsonb"}), "boolean"),
    "bigint": Rule(_coerce_bigint, frozenset({"numeric", "text", "jsonb"}), "Int64"),
    "numeric": Rule(_coerce_numeric, frozenset({"text", "jsonb"}), "object"),
    "text": Rule(_coerce_text, frozenset({"jsonb"}), "string"),
    "jsonb": Rule(_coerce_nothing, frozenset(), "object"),
    "timestamptz": Rule(_coerce_time, frozenset(), "datetime64[us, UTC]"),
    "other": Rule(_coerce_nothing, frozenset(), "object"),
}
