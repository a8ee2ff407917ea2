"""Columns: infer their types, coerce their values.

A batch goes by columns, because Python then spends its time once per column and not once per
value. Every function here has the same shape of input: one entry per row, None where a row has no
value (a missing key and a JSON null mean the same).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from loader.normalize.collections import Type
from loader.normalize.event import Object, json_text, put_extra
from loader.normalize.numbers import (
    MAX_DIGITS,
    LongNumber,
    is_storable,
    number_text,
    parse_number,
)
from loader.normalize.times import parse_times

Values = list[Any]
Texts = list[str | None]

_MOST_BRACKETS = 128  # nested deeper than this, PostgreSQL's parser may run out of its stack
_BIGINT = range(-(2**63), 2**63)
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_NONE = type(None)
_NUMBERS = frozenset({int, Decimal, LongNumber})
_to_json = msgspec.json.Encoder(decimal_format="number").encode


class Column(NamedTuple):
    """A column as text in the form that PostgreSQL reads."""

    texts: Texts
    rough: bool = False  # some text has a backslash, tab or line break, which COPY must escape
    full: bool = False  # every row has a text
    replaced: int = 0  # characters that PostgreSQL cannot store, now U+FFFD
    rows: Sequence[int] | None = None  # the rows that `texts` are for; None: all, in order

    def spread(self, size: int) -> Texts:
        """One text for each of `size` rows."""
        if self.rows is None:
            return self.texts
        texts: Texts = [None] * size
        for row, text in zip(self.rows, self.texts, strict=True):
            texts[row] = text
        return texts


def join(values: Values) -> str | None:
    """The values joined, or None if one of them is not a string.

    Trying is the quickest way to ask, and who cleans the column needs the answer anyway.
    """
    try:
        return "".join(values)
    except TypeError:
        return None


# infer


def infer(values: Iterable[Any]) -> Type:
    """The narrowest of boolean, bigint, numeric, text, jsonb that holds every one of `values`."""
    kept = [value for value in values if value is not None]
    kinds = set(map(type, kept))
    if kinds & {list, dict}:
        return "jsonb"
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and min(kept) in _BIGINT and max(kept) in _BIGINT:
        return "bigint"
    if kinds and kinds <= {int, Decimal} and all(map(is_storable, kept)):
        return "numeric"
    return "text"


# coerce


def coerce(values: Values, type_: Type, joined: str | None = None) -> tuple[Column, dict[int, Any]]:
    """`values` as texts of `type_`, and by row the ones that do not convert without loss.

    `joined` are the values joined, where the caller knows that all of them are strings.
    """
    if type_ == "text" and (joined is not None or (joined := join(values)) is not None):
        return _clean(values, joined)._replace(full=True), {}
    kinds = set(map(type, values)) - {_NONE}
    texts: Texts
    if kinds == _EXACT.get(type_) and (type_ != "bigint" or _in_bigint(values)):
        if type_ == "text":
            return clean(values), {}
        if type_ == "boolean":
            return Column([_BOOLEANS[v] for v in values]), {}
        return Column([None if v is None else str(v) for v in values]), {}
    misfits: dict[int, Any] = {}
    if type_ == "timestamptz":
        texts, inexact = parse_times(values)
        for row in inexact:
            texts[row], misfits[row] = None, values[row]
        return Column(texts), misfits
    if type_ == "jsonb":
        return _coerce_jsonb(values), {}
    one = _COERCE[type_]
    texts = []
    for row, value in enumerate(values):
        text = None if value is None else one(value)
        texts.append(text)
        if text is None and value is not None:
            misfits[row] = value
    return (clean(texts) if type_ == "text" else Column(texts)), misfits


_EXACT: Mapping[str, set[type]] = {"text": {str}, "bigint": {int}, "boolean": {bool}}


def _in_bigint(values: Values) -> bool:
    numbers = [v for v in values if v is not None] if None in values else values
    return min(numbers) in _BIGINT and max(numbers) in _BIGINT


_BOOLEANS: Mapping[bool | None, str | None] = {True: "true", False: "false", None: None}


def _coerce_text(value: Any) -> str | None:
    if type(value) is str:
        return value
    if type(value) is bool:
        return _BOOLEANS[value]
    return number_text(value) if type(value) in _NUMBERS else None


def _coerce_bigint(value: Any) -> str | None:
    if type(value) is str:
        if len(value) > 20 or not _PLAIN_INTEGER.fullmatch(value) or value == "-0":
            return None
        value = int(value)
    elif type(value) is Decimal:
        if not -18 <= value.adjusted() <= 18 or value != value.to_integral_value():
            return None
        value = int(value)
    return str(value) if type(value) is int and value in _BIGINT else None


def _coerce_numeric(value: Any) -> str | None:
    if type(value) is str:
        if len(value) > 2 * MAX_DIGITS + 2 or not _PLAIN_NUMBER.fullmatch(value):
            return None
        value = Decimal(value)
        if value.is_zero() and value.is_signed():  # numeric has no negative zero
            return None
    if (type(value) is int or type(value) is Decimal) and is_storable(value):
        return number_text(value)
    return None


def _coerce_boolean(value: Any) -> str | None:
    if type(value) is bool:
        return _BOOLEANS[value]
    return value if value in ("true", "false") and type(value) is str else None


def _coerce_jsonb(values: Values) -> Column:
    texts: Texts = []
    replaced = 0
    for value in values:
        plain = None if value is None else _plain_json(value)
        if plain is not None:
            texts.append(plain.decode())
        elif value is None:
            texts.append(None)
        else:
            texts.append(_to_json(_clean_json(value, 1)).decode())
            replaced += _count_unstorable(value)
    return clean(texts)._replace(replaced=replaced)


_COERCE: Mapping[str, Callable[[Any], str | None]] = {
    "text": _coerce_text,
    "bigint": _coerce_bigint,
    "numeric": _coerce_numeric,
    "boolean": _coerce_boolean,
    "other": lambda value: None,
}


# text that PostgreSQL can store


def clean(texts: Texts) -> Column:
    """A column of texts without what PostgreSQL cannot store, see `clean_text`."""
    return _clean(texts, "".join(filter(None, texts)))


def _clean(texts: Texts, joined: str) -> Column:
    replaced = unstorable(joined)
    if replaced:
        texts = [None if t is None else clean_text(t) for t in texts]
        joined = "".join(filter(None, texts))
    rough = "\\" in joined or "\n" in joined or "\t" in joined or "\r" in joined
    return Column(texts, rough, replaced=replaced)


def clean_text(text: str) -> str:
    """`text` with NUL and lone surrogates replaced by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if _is_unicode(text) else _SURROGATE.sub("\ufffd", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def unstorable(text: str) -> int:
    """How many characters of `text` `clean_text` replaces."""
    nulls = text.count("\0") if "\0" in text else 0
    return nulls if _is_unicode(text) else nulls + len(_SURROGATE.findall(text))


def unstorable_in(value: Any) -> int:
    """How many characters of the texts in a JSON value `dump_json` replaces."""
    if type(value) is dict and _HOLD_TEXT.isdisjoint(map(type, value.values())):
        return unstorable("".join(value))
    return 0 if _plain_json(value) is not None else _count_unstorable(value)


_HOLD_TEXT = frozenset({str, dict, list})


def _count_unstorable(value: Any) -> int:
    found = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is str:
            found += unstorable(item)
        elif type(item) is dict:
            waiting += [*item, *item.values()]
        elif type(item) is list:
            waiting += item
    return found


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(text: str, type_: Type) -> Any:
    """A value for a text of `coerce`, which `coerce` takes again without loss."""
    if type_ == "jsonb":
        return json.loads(text, parse_float=parse_number)
    if type_ == "numeric":
        return Decimal(text)
    return text == "true" if type_ == "boolean" else text


def dump_json(value: Any) -> str:
    """`value` as JSON that PostgreSQL accepts as jsonb, with every digit of its numbers."""
    plain = _plain_json(value)
    return (_to_json(_clean_json(value, 1)) if plain is None else plain).decode()


def _plain_json(value: Any) -> bytes | None:
    """`value` as JSON, if PostgreSQL takes it as it is; None if parts of it may need a change."""
    try:
        text = _to_json(value)
    except (TypeError, ValueError, RecursionError):  # long numbers, lone surrogates, deep nesting
        return None
    if b"\\u0000" in text or text.count(b"[") + text.count(b"{") > _MOST_BRACKETS:
        return None
    if len(text) > MAX_DIGITS and _LONG_INTEGER in text.translate(_DIGITS_ALIKE):
        return None
    return text


_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * (MAX_DIGITS + 1)


def _clean_json(value: Any, depth: int) -> Any:
    if type(value) is str:
        return clean_text(value)
    if type(value) in _NUMBERS:
        return value if type(value) is not LongNumber and is_storable(value) else number_text(value)
    if depth > _MOST_BRACKETS and type(value) in (dict, list):
        # PostgreSQL's parser has a stack too; what is this deep is kept as text.
        return clean_text(json_text(value))
    if type(value) is dict:
        cleaned: Object = {}
        for key, inner in value.items():
            put_extra(cleaned, clean_text(key), _clean_json(inner, depth + 1))
        return cleaned
    if type(value) is list:
        return [_clean_json(v, depth + 1) for v in value]
    return value
