"""Irregular records -> regular ones: the compiled tokenizer reads the same value from them.

It refuses repeated keys, text that PostgreSQL cannot store, very long numbers, nesting beyond its
depth, and what is no JSON. Such a record is read in Python and written again, so that there is only
one way from bytes to tokens; or it is a reject.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from loader.columns.paths import Path
from loader.normalize.event import JSON, Object, Reject, json_text, put_extra
from loader.normalize.jsontext import Repeated, may_repeat_keys, parse_json, parse_repeated
from loader.normalize.numbers import LongNumber, is_storable, number_text
from loader.normalize.text import clean_text, is_plain, unstorable

# Objects and lists inside one another; the compiled tokenizer reads a few more.
_MOST_DEPTH = 190
# The tokenizer has room for more.
_MOST_NEW_PATHS, _KEY_BYTES = 2_000, 1 << 19
_NOT_AN_OBJECT = Reject(reason="not_an_object", detail="the record is not a JSON object")
_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


@dataclass(frozen=True, kw_only=True)
class Regular:
    """A record written again, and what did not go with it."""

    text: bytes = b""
    repeated: Repeated = field(default_factory=list)
    replaced: int = 0  # code points that PostgreSQL cannot store
    reject: Reject | None = None


class Room:
    """Room for the paths of records that have too many, and for their keys.

    The paths that the forms name need none, so what tells a record and its time is always read.
    """

    def __init__(self, named: Collection[Path], paths: int = _MOST_NEW_PATHS) -> None:
        self._met = set(named)
        self._paths, self._bytes = paths, _KEY_BYTES

    def has(self, path: Path) -> bool:
        """Whether a path was met before, or there is room for it."""
        if path in self._met:
            return True
        size = 4 * len(path[-1])
        if not self._paths or size > self._bytes:
            return False
        self._met.add(path)
        self._paths, self._bytes = self._paths - 1, self._bytes - size
        return True


def make_regular(raw: bytes, room: Room | None = None) -> Regular:
    """The same record, in a form that the compiled tokenizer reads; see `check_memory`.

    Values at paths for which there is no `room` are among the repeated ones.
    """
    value, reject = parse_json(raw)
    if reject is not None:
        return Regular(reject=reject)
    if type(value) is not dict and type(value) is not list:
        return Regular(reject=_NOT_AN_OBJECT)
    value, repeated = first_values(value, raw)
    if room is not None and type(value) is dict:
        value = _narrow(value, room, repeated)
    cleaner = _Cleaner()
    return Regular(
        text=_encode(cleaner.clean(value, 0)),
        repeated=[(clean_text(path), cleaner.clean(one, 1)) for path, one in repeated],
        replaced=cleaner.replaced,
    )


def first_values(value: JSON, raw: bytes) -> tuple[JSON, Repeated]:
    """`value`, read from `raw`, with the first value of each repeated key; and the other values."""
    return parse_repeated(raw) if may_repeat_keys(value, raw) else (value, [])


def _narrow(value: Object, room: Room, others: Repeated) -> Object:
    """`value` with the paths for which there is room; the rest goes to `others`.

    Of an object with too many, keys of its own level come first: the declared ones are there.
    """
    kept: Object = {}
    for key, inner in value.items():
        if not room.has((key,)):
            others += _leaves({key: inner}, "")
            continue
        if type(inner) is not dict:
            kept[key] = inner
            continue
        own: Object = {}
        kept[key] = own
        for name, one in inner.items():
            if type(one) is not dict and room.has((key, name)):
                own[name] = one
            else:
                others += _leaves({name: one}, f"{key}.")
    return kept


def _leaves(value: Object, above: str) -> Iterator[tuple[str, JSON]]:
    for key, inner in value.items():
        if type(inner) is dict:
            yield from _leaves(inner, f"{above}{key}.")
        elif inner is not None:
            yield f"{above}{key}", inner


class _Cleaner:
    """Makes values that PostgreSQL can store.

    What is nested very deep is kept as text: PostgreSQL's parser has a stack too. So are numbers
    that are very long when they are written out.
    """

    def __init__(self) -> None:
        self.replaced = 0

    def clean(self, value: Any, depth: int) -> Any:
        """The value, which stands so deep in its record."""
        kind = type(value)
        if depth > _MOST_DEPTH and kind in (dict, list):
            value, kind = json_text(value), str
        if kind is dict:
            cleaned: dict[str, Any] = {}
            for key, inner in value.items():
                name = key if is_plain(key) else self.clean(key, depth)
                if type(inner) is not str or not is_plain(inner):
                    inner = self.clean(inner, depth + 1)
                if name in cleaned:
                    put_extra(cleaned, name, inner)
                else:
                    cleaned[name] = inner
            return cleaned
        if kind is list:
            return [self.clean(inner, depth + 1) for inner in value]
        if kind is LongNumber or (kind in (int, Decimal) and not is_storable(value)):
            return number_text(value)
        if kind is Decimal and value.as_tuple().exponent == 0:
            return msgspec.Raw(f"{value}e0".encode())  # it was sent with an exponent
        if kind is not str:
            return value
        self.replaced += unstorable(value)
        return clean_text(value)
