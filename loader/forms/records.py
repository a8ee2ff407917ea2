"""The records of a block: containers are opened until what is left are events.

What stands inside of a record is found while that is read, and read in the next round. Of each
record the numbers of the records around it are kept, so that events come out in the order of the
input.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from loader.columns.paths import Paths
from loader.columns.regular import make_regular
from loader.columns.tokenize import Found, Scratch, Tokenizer
from loader.columns.tokens import IS_TEXT, ITEMS, JSON, STRING, Flags, Longs, Text, Tokens
from loader.forms.model import Container, reject, too_large
from loader.forms.recognize import ARRAY, CONTAINERS, dotted, recognize
from loader.normalize.event import JSON as Json
from loader.normalize.event import Reject
from loader.normalize.jsontext import Repeated, check_memory, encode_json, encode_text

_BLANKS = np.frombuffer(b" \t\r\n", np.uint8)
_ANY_SIZE = 1 << 40
# What an envelope says may stand for all of its calls so many times its size, beyond so many bytes.
_MOST_TIMES, _MOST_REPEATED = 64, 1 << 20
_ITEM_KEYS = [f'"{form.items}"'.encode() for form in CONTAINERS.values()]
_MOST_VALUES = 2_000_000
# A call of an envelope takes 250 bytes of memory, whatever its size. Real ones have that in text.
_MOST_CALLS = 200_000
# Arrays or envelopes inside one another.
_MOST_ROUNDS = 5


@dataclass(kw_only=True)
class Records:
    """All records of a block, containers among them; arrays have an entry per record."""

    text: Text
    tokens: Tokens
    start: Longs
    end: Longs
    parent: Longs  # the record around it, or -1
    form: Longs
    within: Longs  # [round, record]: the number of the record there that it is, or is in; or -1
    rejects: dict[int, Reject]
    repeated: dict[int, Repeated]
    replaced: dict[int, int]  # code points that cannot be stored
    rewritten: frozenset[int]  # records that were irregular
    # What `content` makes of containers, while their block is read.
    envelopes: dict[int, Json] = field(default_factory=dict)
    opened: dict[int, Json] = field(default_factory=dict)
    elements: dict[int, list[bytes]] = field(default_factory=dict)  # of arrays, as they stood

    def raw(self, record: int) -> bytes:
        """A record as it stood, or as it was written again where it stands inside of another."""
        return self.text.cut(self.start[record], self.end[record])

    def json(self, token: int) -> bytes:
        """A value as JSON, wherever it stands."""
        if IS_TEXT[self.tokens.kind[token]]:
            return encode_text(self.tokens.value(token))
        return self.text.cut(self.tokens.start[token], self.tokens.end[token])

    def number(self, record: int) -> int:
        """The number of the record of the block that a record is, or is in."""
        return int(self.within[0, record])

    def index(self, record: int) -> int:
        """Where a record stands in its container."""
        return record - int(np.searchsorted(self.parent, self.parent[record]))

    def items(self, record: int) -> tuple[int, ...]:
        """Where a record stands in each container, counted from 1."""
        return tuple(self.index(one) + 1 for one in reversed(self.around(record)[:-1]))

    def around(self, record: int) -> list[int]:
        """A record and those around it, from the inside out."""
        found = [record]
        while (parent := int(self.parent[found[-1]])) >= 0:
            found.append(parent)
        return found

    def in_order(self, which: Flags) -> Longs:
        """The numbers of some records, in the order of the input."""
        found = np.flatnonzero(which)
        if len(self.within) == 1:
            return found
        return found[np.lexsort(self.within[::-1, found])]


class _Inner(NamedTuple):
    """Records that stand inside of others."""

    start: Longs
    end: Longs
    parent: Longs

    def take(self, at: Longs) -> "_Inner":
        return _Inner(*(each[at] for each in self))


@dataclass
class _Round:
    """Records that stand equally deep; the first one has the number `first`."""

    start: Longs
    end: Longs
    parent: Longs
    first: int
    form: Longs
    found: Found
    tokens: Tokens

    @property
    def numbers(self) -> Longs:
        return np.arange(self.first, self.first + len(self.start))


def read_records(
    text: Text,
    starts: Longs,
    ends: Longs,
    paths: Paths,
    scratch: Scratch,
    *,
    is_wide: bool = False,
    max_record_bytes: int = _ANY_SIZE,
) -> Records:
    """The records in some spans of a block. May raise PathsFull, unless `is_wide`."""
    refuse = partial(_refuse_large, limit=max_record_bytes)
    tokenizer = Tokenizer(text, paths, scratch, is_wide=is_wide, refuse=refuse)
    rounds = [_read_round(tokenizer, paths, starts, ends, np.full(len(starts), -1), 0)]
    rejects = rounds[0].found.rejects
    while True:
        inner = _inner(rounds[-1], paths, tokenizer.text, rejects)
        if not len(inner.parent):
            break
        if len(rounds) == _MOST_ROUNDS:
            rejects |= dict.fromkeys(inner.parent.tolist(), reject("too_deep"))
            break
        after = rounds[-1].first + len(rounds[-1].start)
        rounds.append(_read_round(tokenizer, paths, *inner, after))
        rejects |= rounds[-1].found.rejects
    tokens = rounds[-1].tokens
    if len(rounds) > 1:
        tokens.cells = np.concatenate([one.tokens.cells for one in rounds], axis=1)
    return Records(
        text=tokenizer.text,
        tokens=tokens,
        start=np.concatenate([one.start for one in rounds]),
        end=np.concatenate([one.end for one in rounds]),
        parent=np.concatenate([one.parent for one in rounds]),
        form=np.concatenate([one.form for one in rounds]),
        within=_within(rounds),
        rejects=rejects,
        repeated={number: each for one in rounds for number, each in one.found.repeated.items()},
        replaced={number: each for one in rounds for number, each in one.found.replaced.items()},
        rewritten=frozenset(number for one in rounds for number in one.found.rewritten),
    )


def _read_round(
    tokenizer: Tokenizer, paths: Paths, start: Longs, end: Longs, parent: Longs, first: int
) -> _Round:
    before = tokenizer.count
    found = tokenizer.read(start, end, np.arange(first, first + len(start)))
    tokens = tokenizer.tokens(before, first, len(start))
    form = recognize(tokens, paths, len(start))
    form[tokenizer.text.bytes[_first_bytes(tokenizer.text, start, end)] == ord("[")] = ARRAY
    return _Round(start, end, parent, first, form, found, tokens)


def _refuse_large(raw: bytes, *, limit: int) -> Reject | None:
    """Whether a record is too large for Python, where values take thirty times as much as in text.

    A container may be larger than a record, but not with any number of values.
    """
    if len(raw) <= limit:
        return None
    is_list = raw.lstrip()[:1] == b"["
    if not (is_list or any(key in raw for key in _ITEM_KEYS)) or raw.count(b",") > _MOST_VALUES:
        return too_large(len(raw), limit)
    return None


def _first_bytes(text: Text, start: Longs, end: Longs) -> Longs:
    """Where the first byte of each record stands that is not blank."""
    start = start.copy()
    for at in np.flatnonzero(np.isin(text.bytes[start], _BLANKS)).tolist():
        raw = text.cut(start[at], end[at])
        start[at] += len(raw) - len(raw.lstrip(_BLANKS.tobytes()))
    return start


def _inner(now: _Round, paths: Paths, text: Text, rejects: dict[int, Reject]) -> _Inner:
    """The records inside of those of a round, in their order."""
    cells = np.zeros(len(now.form), np.int64)  # of each container: what holds its records
    found: list[_Inner] = []
    for form_number, form in CONTAINERS.items():
        rows = np.flatnonzero(now.form == form_number)
        if not len(rows):
            continue
        cells[rows] = now.tokens.cells[paths.number[dotted(form.items)]][rows]
        kind = now.tokens.kinds(cells[rows])
        is_text = (kind == STRING) & form.is_text
        found.append(_texts_inside(now, text, cells[rows[is_text]], rows[is_text]))
        for number in (rows + now.first).tolist():
            found += _repeated_items(now, text, number, form)
        others = rows[(kind != ITEMS) & ~is_text] + now.first
        rejects |= dict.fromkeys(others.tolist(), reject(form.not_items))
    found.insert(0, _items_of(now, cells))
    for form_number, form in CONTAINERS.items():
        rows = np.flatnonzero(now.form == form_number)
        lists = rows[now.tokens.kinds(cells[rows]) == ITEMS] + now.first
        has_items = np.isin(lists, np.concatenate([one.parent for one in found]))
        rejects |= dict.fromkeys(lists[~has_items].tolist(), reject(form.no_items))
    _close_others(now, text, cells, rejects)
    inner = _Inner(*(np.concatenate(each) for each in zip(*found, strict=True)))
    inner = inner.take(np.argsort(inner.parent, kind="stable"))
    refused = _refuse_repetitive(now, cells, inner)
    rejects |= {number: reject("record_too_large") for number in refused}
    if rejects:  # of a container that is a reject, nothing is loaded
        inner = inner.take(np.flatnonzero(~np.isin(inner.parent, list(rejects))))
    return inner


def _items_of(now: _Round, cells: Longs) -> _Inner:
    """The elements of arrays, and of the lists of containers: those in `cells`."""
    inner = _Inner(*now.found.items)
    at = inner.parent - now.first
    token, tokens = cells[at], now.tokens
    is_own = (tokens.start[token] <= inner.start) & (inner.start < tokens.end[token])
    return inner.take(np.flatnonzero((now.form[at] == ARRAY) | is_own))


def _refuse_repetitive(now: _Round, cells: Longs, inner: _Inner) -> list[int]:
    """Envelopes of which small inputs would become large ones.

    They have very many calls, or say so much for all of their calls.
    """
    own = now.end - now.start
    calls = np.bincount(inner.parent - now.first, minlength=len(own))
    says = np.maximum(own - now.tokens.sizes(cells), 0)  # for each call, as far as it counts there
    is_refused = (calls * says > _MOST_REPEATED) & (calls * says > _MOST_TIMES * own)
    is_refused |= calls > _MOST_CALLS
    return (np.flatnonzero(is_refused & (now.form != ARRAY)) + now.first).tolist()


def _repeated_items(now: _Round, text: Text, number: int, form: Container) -> list[_Inner]:
    """The records in further lists of a container that has the key twice."""
    found = []
    for key, value in now.found.repeated.get(number, []):
        if key == form.items and type(value) is list and value:
            texts = [encode_json(item) for item in value]
            end = text.append(b",".join(texts)) + np.cumsum([len(one) + 1 for one in texts]) - 1
            size = np.array([len(one) for one in texts])
            found.append(_Inner(end - size, end, np.full(len(texts), number)))
    return found


def _texts_inside(now: _Round, text: Text, cells: Longs, rows: Longs) -> _Inner:
    """Records that stand as JSON text in a string."""
    if not len(rows):
        return _Inner(rows, rows, rows)
    size = now.tokens.sizes(cells)
    end = text.append(now.tokens.gather(cells)) + np.cumsum(size + 1) - 1
    return _Inner(end - size, end, rows + now.first)


def _close_others(now: _Round, text: Text, cells: Longs, rejects: dict[int, Reject]) -> None:
    """Lists that might have held records, and hold none, are values.

    Only their brackets were looked at so far, so they are read as an irregular record is.
    """
    tokens = now.tokens
    at = np.flatnonzero(tokens.kind == ITEMS)
    at = at[tokens.record[at] >= now.first]
    at = at[cells[tokens.record[at] - now.first] != at]
    for token, number in zip(at.tolist(), tokens.record[at].tolist(), strict=True):
        raw = text.cut(tokens.start[token], tokens.end[token])
        check_memory(len(raw))
        regular = make_regular(raw)
        if regular.reject is not None:
            rejects.setdefault(number, regular.reject)
            continue
        start = text.append(regular.text)
        tokens.start[token], tokens.end[token] = start, start + len(regular.text)
        replaced = now.found.replaced.get(number, 0) + regular.replaced
        now.found.replaced |= {number: replaced} if replaced else {}
    tokens.kind[at] = JSON


def _within(rounds: list[_Round]) -> Longs:
    within = np.full((len(rounds), sum(len(one.start) for one in rounds)), -1)
    for depth, one in enumerate(rounds):
        if depth:
            within[:depth, one.numbers] = within[:depth, one.parent]
        within[depth, one.numbers] = one.numbers
    return within
