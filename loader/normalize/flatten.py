"""Flatten: objects -> columns of values, one level of keys at a time.

A batch goes by columns, because Python then spends its time once per column and not once per
value; a map, which has its own keys in each record, goes by records.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from loader.normalize.columns import Values, join
from loader.normalize.event import Object, put_extra
from loader.normalize.names import property_column, property_columns

NameOf = Callable[[str], str]
# Asks for new columns, in this order; the answer is all that there are, or will be.
Claim = Callable[[Iterable[str]], frozenset[str]]
# Values that have no fitting column: row -> key -> value.
Extra = dict[int, dict[str, Any]]

MAX_DEPTH = 64  # nested deeper than this, an object is a value, not more columns
_NONE = type(None)
_EMPTY: Object = {}
_STRINGS: set[type] = {str}


class Flat(NamedTuple):
    """Objects as columns."""

    columns: dict[str, Values]
    rare: dict[str, dict[int, Any]]  # columns that few rows have: row -> value
    joined: dict[str, str]  # column -> its values joined, where all of them are strings
    keys: dict[str, str]  # column -> the key it was first seen under, nested keys with dots
    extra: Extra  # values that lost their column to another key of the same record, or have none
    most: list[int]  # of each row, how many values in columns it has at most

    def take(self, name: str, row: int) -> Any:
        """Take a value out of its column."""
        if name in self.rare:
            return self.rare[name].pop(row, None)
        if name not in self.columns:
            return None  # it is an extra value
        self.joined.pop(name, None)
        value, self.columns[name][row] = self.columns[name][row], None
        return value

    def put(self, name: str, row: int, value: Any) -> None:
        """Put a value into its column, or to the extra ones if there is none."""
        if name in self.rare:
            self.rare[name][row] = value
        elif name in self.columns:
            self.joined.pop(name, None)
            self.columns[name][row] = value
        else:
            self.extra.setdefault(row, {})[name] = value


def limit_row(
    flat: Flat,
    objects: Sequence[Object],
    name_of: NameOf,
    most: int,
    first: frozenset[str],
    whole: Set[str] = frozenset(),
) -> None:
    """Move the values of a record beyond `most` to its extra values, those of `first` last.

    A row has to fit into one page of 8 kB, where each value takes up to 25 bytes.
    """
    for row, count in enumerate(flat.most):
        if count <= most:
            continue
        names = sorted(
            flatten_one(objects[row], name_of, whole)[0], key=lambda name: name not in first
        )
        for name in names[most:]:
            if (value := flat.take(name, row)) is not None:
                put_extra(flat.extra.setdefault(row, {}), name, value)


def flatten(
    objects: Sequence[Object],
    name_of: NameOf,
    *,
    whole: Set[str] = frozenset(),
    claim: Claim | None = None,
) -> Flat:
    """The columns of `objects`: nested keys joined, arrays kept as values, empty objects dropped.

    Where two keys of one record become one column, the key that is written like the column wins,
    else the first; the other value goes to `extra` under its own key. The objects at the paths in
    `whole` are values too. With `claim`, for properties, the values of a map (which has its own
    keys in each record) go to `extra` at once where they can have no column.
    """
    flat = Flat({}, {}, {}, {}, {}, [0] * len(objects))
    walk = _Walk(flat, name_of, whole, with_maps=claim is not None)
    walk.flatten(objects, "", 1)
    known: frozenset[str] = frozenset()
    if walk.maps and claim is not None:
        claim(chain(flat.columns, flat.rare))
        for found, prefix, depth in walk.maps:
            walk.flatten_map(found, prefix, depth, claim)
        others = frozenset(chain(flat.columns, flat.rare))
        walk.tangled.update(
            row for row, values in flat.extra.items() if not others.isdisjoint(values)
        )
    for row in walk.tangled:
        values, losers = flatten_one(objects[row], name_of, whole)
        flat.extra[row] = {}
        if walk.maps and claim is not None:
            known = claim(values)
        for name, value in values.items():
            if name in known and name not in flat.columns and name not in flat.rare:
                flat.rare[name], flat.keys[name] = {}, name
            flat.put(name, row, value)
        for key, value in losers.items():
            put_extra(flat.extra[row], key, value)
        if not flat.extra[row]:
            del flat.extra[row]
    return flat


class _Walk:
    """Goes through objects, one level of keys at a time."""

    def __init__(self, flat: Flat, name_of: NameOf, whole: Set[str], *, with_maps: bool) -> None:
        self.flat = flat
        self.name_of = name_of
        self.whole = whole
        self.with_maps = with_maps
        # Objects, path and depth of maps, for later: what is no map comes first for a column.
        self.maps: list[tuple[Sequence[Object], str, int]] = []
        self.tangled: set[int] = set()  # rows with two keys for one column

    def flatten(self, objects: Sequence[Object], prefix: str, depth: int) -> None:
        """Find the columns of objects that stand at a path, one per row."""
        if self.with_maps and _is_map(objects):
            self.maps.append((objects, prefix, depth))
            return
        flat = self.flat
        for row, size in enumerate(map(len, objects)):
            flat.most[row] += size
        common, rare = _by_key(objects)
        if rare:
            self._flatten_rare(objects, rare, prefix, depth)
        for key, values in common:
            path = prefix + key
            joined = join(values)
            kinds = set(map(type, values)) if joined is None else _STRINGS
            if kinds == {_NONE}:
                continue
            if dict in kinds and depth < MAX_DEPTH and path not in self.whole:
                nested = (
                    [v if type(v) is dict else _EMPTY for v in values] if len(kinds) > 1 else values
                )
                self.flatten(nested, path + ".", depth + 1)
                if kinds <= {dict, _NONE}:
                    continue
                values = [None if type(v) is dict else v for v in values]
            name = self.name_of(path)
            if name in flat.columns or name in flat.rare:
                by_row = {row: value for row, value in enumerate(values) if value is not None}
                self._merge(name, by_row)
            else:
                flat.columns[name] = values
                flat.keys[name] = path
                if joined is not None:
                    flat.joined[name] = joined

    def _flatten_rare(
        self, objects: Sequence[Object], rare: frozenset[str], prefix: str, depth: int
    ) -> None:
        """Find the columns of keys that few of the objects have."""
        found: dict[str, dict[int, Any]] = {}  # by path and row
        for row, record in enumerate(objects):
            for key in rare.intersection(record):
                value = record[key]
                if self._is_opened(value, prefix + key, depth):
                    for path, leaf in self._leaves(value, prefix + key, depth):
                        found.setdefault(path, {})[row] = leaf
                        self.flat.most[row] += 1
                elif value is not None:
                    found.setdefault(prefix + key, {})[row] = value
        if self.name_of is property_column:
            names = property_columns("", list(found))
        else:
            names = list(map(self.name_of, found))
        for (path, by_row), name in zip(found.items(), names, strict=True):
            if name in self.flat.columns or name in self.flat.rare:
                self._merge(name, by_row)
            else:
                self.flat.rare[name] = by_row
                self.flat.keys[name] = path

    def flatten_map(self, objects: Sequence[Object], prefix: str, depth: int, claim: Claim) -> None:
        """Put values whose column can never be to the extra ones, without a look at each key."""
        names = property_columns(prefix, list(chain.from_iterable(objects)))
        found: list[
            tuple[int, Object, list[str]]
        ] = []  # row, values by column, columns of all keys
        opened: list[tuple[int, str, Any]] = []  # row, path and value of what is nested
        at = 0
        for row, record in enumerate(objects):
            own = names[at : at + len(record)]
            at += len(record)
            values = dict(zip(own, record.values(), strict=True))
            if len(values) < len(record):
                self.tangled.add(row)
                continue
            kinds = set(map(type, values.values()))
            if dict in kinds:
                for (key, value), name in zip(record.items(), own, strict=True):
                    if self._is_opened(value, prefix + key, depth):
                        del values[name]
                        leaves = self._leaves(value, prefix + key, depth)
                        opened += ((row, *leaf) for leaf in leaves)
            if _NONE in kinds:
                values = {name: value for name, value in values.items() if value is not None}
            found.append((row, values, own))
        known = claim(chain.from_iterable(values for _, values, _ in found))
        known = known.intersection(names)
        for row, values, own in found:
            if known and not known.isdisjoint(values):
                keys = dict(zip(own, objects[row], strict=True))
                for name in [name for name in values if name in known]:
                    self._put_known(name, row, values.pop(name), prefix + keys[name])
            self._spill(row, values)
        names = property_columns("", [path for _, path, _ in opened])
        known = claim(names)
        for (row, path, value), name in zip(opened, names, strict=True):
            if name in known:
                self._put_known(name, row, value, path)
            else:
                self._spill(row, {name: value})

    def _put_known(self, name: str, row: int, value: Any, path: str) -> None:
        self.flat.most[row] += 1
        if name in self.flat.columns or name in self.flat.rare:
            self._merge(name, {row: value})
        else:
            self.flat.rare[name] = {row: value}
            self.flat.keys[name] = path

    def _spill(self, row: int, values: Object) -> None:
        if not values:
            return
        extra = self.flat.extra.setdefault(row, values)
        if extra is not values:
            if not extra.keys().isdisjoint(values):
                self.tangled.add(row)
            extra.update(values)

    def _is_opened(self, value: Any, path: str, depth: int) -> bool:
        return type(value) is dict and depth < MAX_DEPTH and path not in self.whole

    def _leaves(self, value: Object, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        return _leaves(value, path + ".", depth + 1, self.whole)

    def _merge(self, name: str, by_row: Mapping[int, Any]) -> None:
        """Put another key's values into a column; rows that had one already are `tangled`."""
        self.flat.joined.pop(name, None)
        column = self.flat.columns.get(name)
        rare = self.flat.rare.get(name, {})
        for row, value in by_row.items():
            if value is None:
                continue
            if (rare.get(row) if column is None else column[row]) is not None:
                self.tangled.add(row)
            if column is None:
                rare[row] = value
            else:
                column[row] = value


# A key is rare if it is in fewer than one of so many objects, and there are enough of them.
_RARE = 8
_ENOUGH = 16


def _is_map(objects: Sequence[Object]) -> bool:
    """Whether objects seem to have keys of their own each."""
    some = list(islice(filter(None, objects), _SAMPLE))
    total = sum(map(len, some))
    return len(some) > 1 and 2 * len(set().union(*some)) > total


_SAMPLE = 64


def _by_key(objects: Sequence[Object]) -> tuple[list[tuple[str, Values]], frozenset[str]]:
    """The values of each key of `objects`, one per object; and the keys that few of them have."""
    if not objects:
        return [], _NO_KEYS
    keys = tuple(objects[0])
    if len(keys) > 1 and set(map(len, objects)) == {len(keys)}:
        try:
            columns = zip(*map(itemgetter(*keys), objects), strict=True)
        except KeyError:
            pass  # as many keys, but others
        else:  # all objects have the same keys
            return [
                (key, list(values)) for key, values in zip(keys, columns, strict=True)
            ], _NO_KEYS
    counts = Counter(chain.from_iterable(objects))
    few = len(objects) / _RARE if len(objects) >= _ENOUGH else 0
    often = {key: count for key, count in counts.items() if count >= few}
    everywhere = [key for key, count in often.items() if count == len(objects)]
    common: list[tuple[str, Values]] = []
    if len(everywhere) > 1:
        columns = zip(*map(itemgetter(*everywhere), objects), strict=True)
        common = [(key, list(values)) for key, values in zip(everywhere, columns, strict=True)]
    sometimes = [key for key, count in often.items() if count < len(objects) or not common]
    common += [(key, [o.get(key) for o in objects]) for key in sometimes]
    return common, frozenset(counts.keys() - often.keys())


_NO_KEYS: frozenset[str] = frozenset()


def flatten_one(
    record: Object, name_of: NameOf, whole: Set[str] = frozenset()
) -> tuple[Object, Object]:
    """One object as `(values by column, losers by key)`: the rule of `flatten` in plain words."""
    values: Object = {}
    owners: dict[str, str] = {}
    losers: Object = {}
    for path, value in _leaves(record, "", 1, whole):
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


def _leaves(record: Object, prefix: str, depth: int, whole: Set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if value is None:
            continue
        path = prefix + key
        if type(value) is dict and depth < MAX_DEPTH and path not in whole:
            yield from _leaves(value, path + ".", depth + 1, whole)
        else:
            yield path, value
