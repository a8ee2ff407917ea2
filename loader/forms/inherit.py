"""What an envelope says once for all of its calls."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from loader.columns.paths import Path, Paths
from loader.columns.tokens import IS_NOTHING, IS_OBJECT, JSON, OPEN, Flags, Ints, Longs
from loader.forms.model import Container
from loader.forms.recognize import CONTAINERS, dotted
from loader.forms.records import Records
from loader.normalize.jsontext import encode_json, encode_text


class Inherited(NamedTuple):
    """Values of envelopes, one entry for each record that one counts for."""

    record: Ints
    token: Longs
    path: Ints  # as if it stood in the record

    def take(self, which: Flags) -> "Inherited":
        """Some of them."""
        return Inherited(self.record[which], self.token[which], self.path[which])


# The containers that say something for their records.
_ENVELOPES = {number: form for number, form in CONTAINERS.items() if form.inherited}


def inherit(records: Records, paths: Paths, is_event: Flags) -> Inherited | None:
    """Give events the values of their envelopes that count for them; cells are filled here.

    An envelope inside of another one is given some first, and hands them on.
    """
    found: list[Inherited] = []
    depth = (records.within >= 0).sum(axis=0)
    takes = is_event | np.isin(records.form, list(_ENVELOPES))
    for level in range(2, len(records.within) + 1):
        child = np.flatnonzero(takes & (depth == level))
        for number, form in _ENVELOPES.items():
            own = child[records.form[records.parent[child]] == number]
            if not len(own):
                continue
            pairs = _Pairs(records, own, found)
            more: list[Inherited] = []
            for key in form.inherited:
                other = dotted(form.spellings[key]) if key in form.spellings else None
                more += _inherit_path(records, paths, dotted(key), pairs, key in form.merged, other)
            found += more + _inherit_rest(records, paths, form, pairs)
    return _concatenate(found) if found else None


def _concatenate(found: Sequence[Inherited]) -> Inherited:
    return Inherited(*(np.concatenate(each) for each in zip(*found, strict=True)))


class _Pairs:
    """The records in some containers, with the values of their container."""

    def __init__(self, records: Records, child: Longs, inherited: Sequence[Inherited]) -> None:
        tokens, parent = records.tokens, records.parent[child]
        order = np.argsort(parent, kind="stable")
        self.child, self.parent = child[order], parent[order]
        at = np.flatnonzero(np.isin(tokens.record, self.parent))
        said = [Inherited(tokens.record[at], at, tokens.path[at])]
        said += [one.take(np.isin(one.record, self.parent)) for one in inherited]
        self.said = _concatenate(said)  # of the containers, what they were given included

    def of(self, paths: list[int]) -> Inherited:
        """Each record with each of its container's values at some paths."""
        said = self.said.take(np.isin(self.said.path, paths))
        first = np.searchsorted(self.parent, said.record, side="left")
        count = np.searchsorted(self.parent, said.record, side="right") - first
        skipped = np.repeat(np.cumsum(count) - count - first, count)
        record = self.child[np.arange(len(skipped)) - skipped]
        token, path = np.repeat(said.token, count), said.path.repeat(count)
        return Inherited(record, token, path)


def _inherit_rest(
    records: Records, paths: Paths, form: Container, pairs: _Pairs
) -> list[Inherited]:
    """What else the containers say, as one object each."""
    if not form.rest:
        return []
    left_out = {*form.inherited, *form.transport, form.items}
    keys = np.flatnonzero(paths.parents == 0).tolist()  # the paths of one key
    rest = [number for number in keys if number and paths.keys[number] not in left_out]
    said = pairs.said.take(np.isin(pairs.said.path, rest))
    objects: dict[int, list[bytes]] = {}
    for number, token, path in zip(*map(np.ndarray.tolist, said), strict=True):
        text = encode_text(paths.keys[path]) + b":" + records.json(token)
        objects.setdefault(number, []).append(text)
    for number in sorted(records.repeated.keys() & set(pairs.parent.tolist())):
        for key_path, value in records.repeated[number]:
            if key_path != form.items and key_path.partition(".")[0] not in form.transport:
                text = encode_text(f"{key_path}#2") + b":" + encode_json(value)
                objects.setdefault(number, []).append(text)
    if not objects:
        return []
    made = records.tokens.add([b"{" + b",".join(parts) + b"}" for parts in objects.values()], JSON)
    token_of = np.zeros(len(records.form), np.int64)
    token_of[list(objects)] = made
    has_rest = token_of[pairs.parent] > 0
    child, token = pairs.child[has_rest], token_of[pairs.parent[has_rest]]
    at: Longs = np.full(len(child), paths.make((form.rest,)))
    return [Inherited(child, token, at)]


def _inherit_path(
    records: Records, paths: Paths, above: Path, pairs: _Pairs, merge: bool, other: Path | None
) -> list[Inherited]:
    tokens, child = records.tokens, pairs.child
    cells = tokens.cells[paths.number[above]]
    theirs = cells[pairs.parent]
    if not theirs.any():
        return []
    own_kind, their_kind = tokens.kinds(cells[child]), tokens.kinds(theirs)
    takes = np.zeros(len(records.form), bool)  # by record: takes the value as a whole
    takes[child] = IS_NOTHING.take(own_kind) & ~IS_NOTHING.take(their_kind)
    if other is not None:  # a value in another spelling is one's own, too
        takes[child] &= IS_NOTHING.take(tokens.kinds(tokens.cells[paths.number[other]][child]))
    merges = np.zeros(len(records.form), bool)
    merges[child] = merge & IS_OBJECT.take(own_kind) & (their_kind == OPEN)
    cells[child] = np.where(takes[child], theirs, cells[child])
    found: list[Inherited] = []
    for top, below in _below(paths, above).items():
        has_top = np.zeros(len(records.form), bool)
        has_top[tokens.record[tokens.path == top]] = True
        given = pairs.of(below)
        given = given.take(takes[given.record] | (merges[given.record] & ~has_top[given.record]))
        found.append(given)
        named = given.take(given.path < paths.named)
        tokens.cells[named.path, named.record] = named.token
    return found


def _below(paths: Paths, above: Path) -> dict[int, list[int]]:
    """A path, and those right below it, each with itself and all that are below it."""
    number = paths.number[above]
    found: dict[int, list[int]] = {number: [number]}
    tops = paths.tops(number)
    at = np.flatnonzero(tops)
    for one, top in zip(at.tolist(), tops[at].tolist(), strict=True):
        found.setdefault(top, []).append(one)
    return found
