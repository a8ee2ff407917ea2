"""What becomes of the value at a path: which group of columns it belongs to, and which column."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loader.columns.paths import Path, Paths
from loader.columns.tokens import Flags, Ints, Longs
from loader.forms.model import CONTEXT, EXTRA, PROPERTIES, Form
from loader.forms.recognize import EVENT_FORMS, FORMS, dotted
from loader.normalize.names import context_column, property_columns

# Of a value that is used for a shared column, or not kept at all.
NONE = 0


# No column of the context has the name of one of properties.
_NAMES_OF: dict[int, Callable[[Sequence[str]], list[str]]] = {
    CONTEXT: lambda keys: list(map(context_column, keys)),
    PROPERTIES: property_columns,
}
# Objects whose keys become columns, in whichever form.
_GROUPS = {
    path: columns.group for form in EVENT_FORMS.values() for path, columns in form.columns.items()
}
# By form, and none, the group of what stands below such an object.
_BELOW = {
    path: [
        form.columns[path].group if isinstance(form, Form) and path in form.columns else NONE
        for form in (*FORMS, None, None)
    ]
    for path in _GROUPS
}


class Columns:
    """The group and the column of each path, as far as paths are known. Column 0 is none."""

    def __init__(self, paths: Paths) -> None:
        self.number = {"": 0}  # by name: its column
        self.names = [""]  # by column
        self.is_context: Flags = np.zeros(1, bool)  # by column
        self._paths = paths
        self._first = np.zeros(1, np.int64)  # by column: the path that it was first seen at
        self._consumed = [
            consumed(form) if isinstance(form, Form) else frozenset() for form in FORMS
        ]
        self._learned = 0
        self._group = np.zeros((len(FORMS) + 2, 256), np.int8)  # [form, path]; room for more
        self._column = np.zeros(256, np.int64)  # by path
        self._has_many = np.zeros(256, bool)  # by path: whether others have its column, too
        self.has_many = False

    def groups(self, form: Longs, record: Ints, path: Ints) -> NDArray[np.int8]:
        """The groups of values at some paths of some records; `form` is by record."""
        self._learn()
        forms = np.flatnonzero(np.bincount(form))
        found: NDArray[np.int8]
        if len(forms) == 1:
            found = self._group[forms[0]].take(path)
        else:
            of_record = form.take(record, mode="clip")
            found = self._group.reshape(-1).take(of_record * self._group.shape[1] + path)
        return found

    def column(self, paths: Ints) -> Longs:
        """The columns of some paths whose group has columns."""
        return self._column.take(paths)

    def is_shared(self, paths: Ints) -> Flags:
        """Whether other paths have the same column."""
        return self._has_many.take(paths)

    def key(self, path: int) -> str:
        """The key of a path below its object, nested keys with dots."""
        keys = self._paths[path]
        return ".".join(keys[1:] if len(keys) > 1 else keys)

    def first_key(self, column: int) -> str:
        """The key of a column as first sent, nested keys with dots."""
        return self.key(int(self._first[column]))

    def natural(self, form: Form, path: Path) -> int:
        """The group of a path whose value is not used."""
        if len(path) > 1:
            columns = form.columns.get(path[0])
            return columns.group if columns is not None else NONE  # it is in the value above
        is_kept = path and path[0] not in form.columns and path[0] not in form.transport
        return EXTRA if is_kept else NONE

    def is_lost(self, form: Form, path: Path) -> bool:
        """Whether a value at a path would be in no column, and is worth keeping."""
        is_consumed = path in self._consumed[FORMS.index(form)]
        return is_consumed and self.natural(form, path) != NONE

    def _learn(self) -> None:
        known, now = self._learned, len(self._paths)
        if now == known:
            return
        if now > self._group.shape[1]:
            more = max(now, 2 * known) - self._group.shape[1]
            self._group = np.append(
                self._group, np.zeros((len(self._group), more), np.int8), axis=1
            )
            self._column = np.append(self._column, np.zeros(more, np.int64))
            self._has_many = np.append(self._has_many, np.zeros(more, bool))
        new, tops = np.arange(known, now), self._paths.tops()[known:]
        for path in new[tops == new].tolist():
            key = self._paths[path]
            natural = [self.natural(form, key) for form in EVENT_FORMS.values()]
            self._group[list(EVENT_FORMS), path] = natural
        tops[tops == new] = 0
        below = {root: new[tops == self._paths.number[(root,)]] for root in _GROUPS}
        met = [root for root in _GROUPS if len(below[root])]
        for root in sorted(met, key=lambda root: int(below[root][0])):
            self._group[:, below[root]] = np.array(_BELOW[root])[:, None]
            self._name(below[root], _GROUPS[root])
        for path in range(known, min(now, self._paths.named)):
            is_consumed = [self._paths[path] in some for some in self._consumed]
            self._group[: len(FORMS), path][is_consumed] = NONE
        self._learned = now

    def _name(self, paths: Longs, group: int) -> None:
        """Give paths below an object of a group their columns."""
        names = _NAMES_OF[group](self._keys(paths))
        before, fresh = len(self.names), dict.fromkeys(names)
        new = list(fresh)
        if not self.number.keys().isdisjoint(fresh.keys()):
            new = [name for name in fresh if name not in self.number]
        self.number.update(zip(new, range(before, before + len(new)), strict=True))
        self.names += new
        self.is_context = np.append(self.is_context, np.full(len(new), group == CONTEXT))
        if len(new) == len(paths):
            self._column[paths] = np.arange(before, len(self.names))
            self._first = np.append(self._first, paths)
            return
        columns = np.array(list(map(self.number.__getitem__, names)))
        found, first_of = np.unique(columns, return_index=True)
        self._column[paths] = columns
        self._first = np.append(self._first, paths[first_of[found >= before]])
        is_other = self._first[columns] != paths
        self._has_many[paths[is_other]] = self._has_many[self._first[columns[is_other]]] = True
        self.has_many = True

    def _keys(self, paths: Longs) -> list[str]:
        """The keys of paths below their object; mostly, many have the same ones above the last."""
        above = self._paths.parents[paths]
        last = list(map(self._paths.keys.__getitem__, paths.tolist()))
        firsts = np.flatnonzero(np.diff(above, prepend=-1)).tolist()
        keys: list[str] = []
        for first, behind in pairwise([*firsts, len(last)]):
            prefix = ".".join((*self._paths[int(above[first])][1:], ""))
            keys += [prefix + key for key in last[first:behind]]
        return keys


def consumed(form: Form) -> frozenset[Path]:
    """The paths whose values are shared columns and no others."""
    used = (*form.event.by, form.id, *form.user_id, *form.anonymous_id, *form.times.values())
    outside = {dotted(path) for path in used if path.partition(".")[0] not in form.columns}
    outside -= {dotted(path) for path in form.lifted}
    outside |= {dotted(path) for path in form.spellings.values()}
    return frozenset(outside | {dotted(path) for path in form.consumed})
