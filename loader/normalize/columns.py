"""Columns: flatten objects into them, infer their types, coerce their values.

A batch goes by columns, because Python then spends its time once per column and not once per
value. Every function here has the same shape of input: one entry per row, None where a row has no
value (a missing key and a JSON null mean the same).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from operator import itemgetter
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
NameOf = Callable[[str], str]
# Values that have no fitting column: row -> key -> value.
Extra = dict[int, dict[str, Any]]

MAX_DEPTH = 64  # nested deeper than this, an object is a value, not more columns
_BIGINT = range(-(2**63), 2**63)
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_NONE = type(None)
_NUMBERS = frozenset({int, Decimal, LongNumber})
_EMPTY: Object = {}
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


class Flat(NamedTuple):
    """Objects as columns."""

    columns: dict[str, Values]
    rare: dict[str, dict[int, Any]]  # columns that few rows have: row -> value
    joined: dict[str, str]  # column -> its values joined, where all of them are strings
    keys: dict[str, str]  # column -> the key it was first seen under, nested keys with dots
    extra: Extra  # values that lost their column to another key of the same record

    def take(self, name: str, row: int) -> Any:
        """Take a value out of its column."""
        if name in self.rare:
            return self.rare[name].pop(row, None)
        self.joined.pop(name, None)
        value, self.columns[name][row] = self.columns[name][row], None
        return value


# flatten


def limit_row(
    flat: Flat, objects: Sequence[Object], name_of: NameOf, most: int, first: frozenset[str]
) -> None:
    """Move the values of a record beyond `most` to its extra values, those of `first` last.

    A row has to fit into one page of 8 kB, where each value takes up to 25 bytes.
    """
    if len(flat.columns) + len(flat.rare) <= most:
        return
    for row, record in enumerate(objects):
        names = sorted(flatten_one(record, name_of)[0], key=lambda name: name not in first)
        for name in names[most:]:
            put_extra(flat.extra.setdefault(row, {}), name, flat.take(name, row))


def flatten(objects: Sequence[Object], name_of: NameOf) -> Flat:
    """The columns of `objects`: nested keys joined, arrays kept as values, empty objects dropped.

    Where two keys of one record become one column, the key that is written like the column wins,
    else the first; the other value goes to `extra` under its own key.
    """
    flat = Flat({}, {}, {}, {}, {})
    tangled: set[int] = set()
    _flatten(objects, "", 1, name_of, flat, tangled)
    for row in tangled:
        for name in (*flat.columns, *flat.rare):
            flat.take(name, row)
        values, losers = flatten_one(objects[row], name_of)
        for name, value in values.items():
            (flat.rare[name] if name in flat.rare else flat.columns[name])[row] = value
        if losers:
            flat.extra[row] = losers
    return flat


def _flatten(
    objects: Sequence[Object],
    prefix: str,
    depth: int,
    name_of: NameOf,
    flat: Flat,
    tangled: set[int],
) -> None:
    common, rare = _by_key(objects)
    for key, by_row in rare.items():
        if depth < MAX_DEPTH and dict in set(map(type, by_row.values())):
            common.append((key, [by_row.get(row) for row in range(len(objects))]))
            continue
        name = name_of(prefix + key)
        if name in flat.columns or name in flat.rare:
            _merge(flat, name, by_row, len(objects), tangled)
        else:
            flat.rare[name] = by_row
            flat.keys[name] = prefix + key
    for key, values in common:
        path = prefix + key
        joined = _join(values)
        kinds = set(map(type, values)) if joined is None else _STRINGS
        if kinds == {_NONE}:
            continue
        if dict in kinds and depth < MAX_DEPTH:
            nested = (
                [v if type(v) is dict else _EMPTY for v in values] if len(kinds) > 1 else values
            )
            _flatten(nested, path + ".", depth + 1, name_of, flat, tangled)
            if kinds <= {dict, _NONE}:
                continue
            values = [None if type(v) is dict else v for v in values]
        name = name_of(path)
        if name in flat.columns or name in flat.rare:
            by_row = {row: value for row, value in enumerate(values) if value is not None}
            _merge(flat, name, by_row, len(objects), tangled)
        else:
            flat.columns[name] = values
            flat.keys[name] = path
            if joined is not None:
                flat.joined[name] = joined


def _merge(flat: Flat, name: str, by_row: Mapping[int, Any], size: int, tangled: set[int]) -> None:
    """Put another key's values into a column; rows that had one already are `tangled`."""
    flat.joined.pop(name, None)
    known = flat.columns.get(name)
    if known is None:
        before = flat.rare.pop(name)
        known = flat.columns[name] = [before.get(row) for row in range(size)]
    for row, value in by_row.items():
        if value is not None:
            if known[row] is not None:
                tangled.add(row)
            known[row] = value


# A key is rare if it is in fewer than one of so many objects, and there are enough of them.
_RARE = 8
_ENOUGH = 64


def _by_key(
    objects: Sequence[Object],
) -> tuple[list[tuple[str, Values]], dict[str, dict[int, Any]]]:
    """The values of each key of `objects`: one per object, or by row where the key is rare."""
    if not objects:
        return [], {}
    keys = tuple(objects[0])
    if len(keys) > 1 and set(map(len, objects)) == {len(keys)}:
        try:
            columns = zip(*map(itemgetter(*keys), objects), strict=True)
        except KeyError:
            pass  # as many keys, but others
        else:  # all objects have the same keys
            return [(key, list(values)) for key, values in zip(keys, columns, strict=True)], {}
    counts = Counter(chain.from_iterable(objects))
    few = len(objects) / _RARE if len(objects) >= _ENOUGH else 0
    rare: dict[str, dict[int, Any]] = {key: {} for key, count in counts.items() if count < few}
    if rare:
        rarely = frozenset(rare)
        for row, record in enumerate(objects):
            for key in rarely.intersection(record):
                if record[key] is not None:
                    rare[key][row] = record[key]
    everywhere = [key for key, count in counts.items() if count == len(objects)]
    common: list[tuple[str, Values]] = []
    if len(everywhere) > 1:
        columns = zip(*map(itemgetter(*everywhere), objects), strict=True)
        common = [(key, list(values)) for key, values in zip(everywhere, columns, strict=True)]
    sometimes = [key for key, count in counts.items() if count < len(objects) or not common]
    common += [(key, [o.get(key) for o in objects]) for key in sometimes if key not in rare]
    return common, {key: by_row for key, by_row in rare.items() if by_row}


_STRINGS: set[type] = {str}


def _join(values: Values) -> str | None:
    """The values joined, or None if one of them is not a string.

    Trying is the quickest way to ask, and who cleans the column needs the answer anyway.
    """
    try:
        return "".join(values)
    except TypeError:
        return None


def flatten_one(record: Object, name_of: NameOf) -> tuple[Object, Object]:
    """One object as `(values by column, losers by key)`: the rule of `flatten` in plain words."""
    values: Object = {}
    owners: dict[str, str] = {}
    losers: Object = {}
    for path, value in _leaves(record, "", 1):
        name = name_of(path)
        if name not in values:
            values[name], owners[name] = value, path
        elif _is_canonical(path, name) and not _is_canonical(owners[name], name):
            put_extra(losers, owners[name], values[name])
            values[name], owners[name] = value, path
        else:
            put_extra(losers, path, value)
    return values, losers


def _is_canonical(path: str, column: str) -> bool:
    """Whether a key is written exactly like its column; context keys lack its prefix."""
    return column in (path, "context_" + path)


def _leaves(record: Object, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if value is None:
            continue
        if type(value) is dict and depth < MAX_DEPTH:
            yield from _leaves(value, prefix + key + ".", depth + 1)
        else:
            yield prefix + key, value


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
    if type_ == "text" and (joined is not None or (joined := _join(values)) is not None):
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
    one = _COERCE[type_]
    texts = []
    for row, value in enumerate(values):
        text = None if value is None else one(value)
        texts.append(text)
        if text is None and value is not None:
            misfits[row] = value
    if type_ not in ("text", "jsonb"):
        return Column(texts), misfits
    column = clean(texts)
    if type_ == "jsonb":
        column = column._replace(replaced=sum(map(unstorable_in, values)))
    return column, misfits


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


def _coerce_jsonb(value: Any) -> str | None:
    return dump_json(value)


_COERCE: Mapping[str, Callable[[Any], str | None]] = {
    "text": _coerce_text,
    "bigint": _coerce_bigint,
    "numeric": _coerce_numeric,
    "boolean": _coerce_boolean,
    "jsonb": _coerce_jsonb,
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
    return _to_json(_clean_json(value, 1)).decode()


def _clean_json(value: Any, depth: int) -> Any:
    if type(value) is str:
        return clean_text(value)
    if type(value) in _NUMBERS:
        return value if type(value) is not LongNumber and is_storable(value) else number_text(value)
    if depth > 2 * MAX_DEPTH and type(value) in (dict, list):
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
