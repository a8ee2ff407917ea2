"""What becomes of the value at a path: which group of columns it belongs to, and which column."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loader.columns.paths import Path, Paths
from loader.columns.tokens import Flags, Ints, Longs
from loader.forms.model import CONTEXT, EXTRA, PROPERTIES, Form
from loader.forms.recognize import FORMS, dotted
from loader.normalize.names import context_column, property_columns

# Of a value that is used for a shared column, or not kept at all.
NONE = 0


def _context_columns(keys: Sequence[str]) -> list[str]:
    return list(map(context_column, keys))


_NAMES_OF = {CONTEXT: _context_columns, PROPERTIES: property_columns}
# Objects whose keys become columns, in whichever form.
_GROUPS = {
    path: columns.group
    for form in FORMS
    if isinstance(form, Form)
    for path, columns in form.columns.items()
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
        self.names = [""]  # by column
        self.keys = [""]  # by column: as first sent, nested keys with dots
        self.is_context: list[bool] = [False]  # by column
        self._paths = paths
        self._first = [0]  # by column: the path that it was first seen at
        self._numbers: dict[int, dict[str, int]] = {CONTEXT: {}, PROPERTIES: {}}
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
        roots: dict[str, list[int]] = {}
        for at in range(known, now):
            path = self._paths[at]
            if len(path) > 1:
                roots.setdefault(path[0], []).append(at)
            else:
                self._group[: len(FORMS), at] = [
                    self.natural(form, path) if isinstance(form, Form) else NONE for form in FORMS
                ]
        for root, paths in roots.items():
            if root in _GROUPS:
                self._group[:, paths] = np.array(_BELOW[root])[:, None]
                self._name(paths, _GROUPS[root])
        for at in range(known, min(now, self._paths.named)):
            is_consumed = [self._paths[at] in some for some in self._consumed]
            self._group[: len(FORMS), at][is_consumed] = NONE
        self._learned = now

    def _name(self, paths: list[int], group: int) -> None:
        """Give paths of a group their columns."""
        keys = [".".join(self._paths[path][1:]) for path in paths]
        numbers, names = self._numbers[group], _NAMES_OF[group](keys)
        columns: list[int] = []
        for path, key, name in zip(paths, keys, names, strict=True):
            column = numbers.get(name)
            if column is None:
                column = numbers[name] = len(self.names)
                self.names.append(name)
                self.keys.append(key)
                self._first.append(path)
            else:
                self._has_many[self._first[column]] = self._has_many[path] = self.has_many = True
            columns.append(column)
        self.is_context += [group == CONTEXT] * (len(self.names) - len(self.is_context))
        self._column[paths] = columns


def consumed(form: Form) -> frozenset[Path]:
    """The paths whose values are shared columns and no others."""
    used = (*form.event.by, form.id, *form.user_id, *form.anonymous_id, *form.times.values())
    outside = {dotted(path) for path in used if path.partition(".")[0] not in form.columns}
    outside -= {dotted(path) for path in form.lifted}
    outside |= {dotted(path) for path in form.spellings.values()}
    return frozenset(outside | {dotted(path) for path in form.consumed})
