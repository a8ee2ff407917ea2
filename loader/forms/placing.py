"""Values -> the columns they belong to, or `_extra`, whatever their form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loader.columns.paths import Paths
from loader.columns.tokens import IS_OBJECT, IS_VALUE, JSON, Ints, Longs
from loader.forms.columns import NONE, Columns
from loader.forms.events import Extra, Values
from loader.forms.inherit import Inherited
from loader.forms.model import EXTRA
from loader.forms.recognize import FORMS
from loader.forms.records import Records
from loader.normalize.collections import DECLARED_NAMES
from loader.normalize.jsontext import Repeated, encode_json

# So many values of one event get columns: a row has to fit into one page of 8 kB, where each value
# takes up to 25 bytes.
MAX_PROPERTY_VALUES = 230
MAX_CONTEXT_VALUES = 40


class Left(NamedTuple):
    """Values that were of no use where they stand, or that count once more."""

    group: int
    record: Longs
    token: Longs
    path: int


@dataclass(kw_only=True)
class Given:
    """The values of a block before they are placed."""

    records: Records
    paths: Paths
    columns: Columns
    inherited: Inherited | None
    left: list[Left] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = self.records.tokens
        self.path = self.tokens.path.copy()  # of each value's column; lifted ones get another

    def add(self, texts: Sequence[bytes], kind: int) -> Longs:
        """New tokens, which stand in no record."""
        self.path = np.append(self.path, np.zeros(len(texts), np.int64))
        return self.tokens.add(texts, kind)


def place(given: Given, event: Longs) -> tuple[Values, Extra, list[str]]:
    """Each value in its column, what is left, and under which names. `event` is by record, or -1.

    Its last entry is -1, for tokens that stand in no record.
    """
    return _Placing(given, event).place()


# Group, event, token and path of values.
_Kept = tuple[NDArray[np.int8] | Longs, Longs, Longs, Ints]


class _Placing:
    def __init__(self, given: Given, event: Longs) -> None:
        self._given = given
        self._event = event
        self._names: dict[str, int] = {}
        self._extra: list[Extra] = []
        self._repeated: list[tuple[int, int, bytes]] = []  # event, name, JSON

    def place(self) -> tuple[Values, Extra, list[str]]:
        group, event, token, path = self._all()
        is_extra = group == EXTRA
        if is_extra.any():
            at = np.flatnonzero(is_extra)
            self._keep_whole(event[at], token[at], path[at])
            at = np.flatnonzero(~is_extra)
            event, token, path = event[at], token[at], path[at]
        columns = self._given.columns
        if columns.has_many:
            event, token, path = self._settle_collisions(event, token, path)
        values = self._limit(Values(event, token, columns.column(path)))
        for number, others in self._given.records.repeated.items():
            self._keep_repeated(number, others)
        if self._repeated:
            events, names, texts = zip(*self._repeated, strict=True)
            tokens = self._given.add(texts, JSON)
            self._keep(np.array(events), tokens, np.array(names), is_own=False)
        return values, self._gather(), list(self._names)

    def _all(self) -> _Kept:
        """The values that are kept: group, event, token, path."""
        given, tokens = self._given, self._given.tokens
        found = [self._kept(tokens.record, np.arange(len(tokens.record)), given.path)]
        if given.inherited is not None:
            found.append(self._kept(*given.inherited))
        for left in given.left:
            event = self._event[left.record]
            at = np.flatnonzero(event >= 0)
            group, path = (np.full(len(at), each) for each in (left.group, left.path))
            found.append((group, event[at], left.token[at], path))
        if len(found) == 1:
            return found[0]
        group, event, token, path = (np.concatenate(each) for each in zip(*found, strict=True))
        return group, event, token, path

    def _kept(self, record: Ints, token: Longs, path: Ints) -> _Kept:
        given = self._given
        group = given.columns.groups(given.records.form, record, path)
        kind = given.tokens.kind.take(token)
        is_kept = (group > NONE) & (IS_VALUE.take(kind) | ((group == EXTRA) & IS_OBJECT.take(kind)))
        at = np.flatnonzero(is_kept)
        event = self._event.take(record[at])
        if len(event) and event.min() < 0:
            kept = np.flatnonzero(event >= 0)
            at, event = at[kept], event[kept]
        return group[at], event, token[at], path[at]

    def _name(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _keep(self, event: Longs, token: Longs, name: Longs, *, is_own: bool) -> None:
        self._extra.append(Extra(event, token, name, np.full(len(event), is_own)))

    def _keep_whole(self, event: Longs, token: Longs, path: Ints) -> None:
        """Values of the record itself that have no column, objects as a whole."""
        block = self._given
        opened = np.flatnonzero(IS_OBJECT.take(block.tokens.kinds(token)))
        if len(opened):
            texts = [block.records.json(one) for one in token[opened].tolist()]
            token[opened] = block.add(texts, JSON)
        numbers = np.zeros(int(path.max()) + 1, np.int64)
        for one in np.unique(path).tolist():
            numbers[one] = self._name(".".join(block.paths[one]))
        self._keep(event, token, numbers[path], is_own=False)

    def _keep_repeated(self, record: int, others: Repeated) -> None:
        """Values of keys that stand twice in one object."""
        event = int(self._event[record])
        if event < 0:
            return
        form = FORMS[self._given.records.form[record]]
        for path, value in others:
            if path.partition(".")[0] in form.transport:
                continue
            name = path.partition(".")[2] if path.startswith(_OPENED) else path
            self._repeated.append((event, self._name(name), encode_json(value)))

    def _settle_collisions(
        self, event: Longs, token: Longs, path: Ints
    ) -> tuple[Longs, Longs, Ints]:
        """Of several values of one event for one column, that of the key written like it counts,
        else the first; the others go to `_extra`.
        """
        columns = self._given.columns
        at = np.flatnonzero(columns.is_shared(path))
        code = event[at] * len(columns.names) + columns.column(path[at])
        order = np.argsort(code, kind="stable")
        at, code = at[order], code[order]
        is_repeated = np.zeros(len(code), bool)
        is_repeated[1:] = code[1:] == code[:-1]
        if not is_repeated.any():
            return event, token, path
        names: dict[int, int] = {}  # of the values that lose
        is_own: list[bool] = []
        firsts = np.flatnonzero(~is_repeated)
        for first, end in zip(firsts.tolist(), [*firsts[1:].tolist(), len(code)], strict=True):
            if end - first > 1:
                some = at[first:end]
                column = int(columns.column(path[some[:1]])[0])
                keys = [columns.key(one) for one in path[some].tolist()]
                is_winner = [_is_canonical(key, columns.names[column]) for key in keys]
                winner = is_winner.index(True) if any(is_winner) else 0
                losers = [i for i in range(len(keys)) if i != winner]
                names |= {int(some[i]): self._name(keys[i]) for i in losers}
                is_own += [not columns.is_context[column]] * len(losers)
        lost = np.array(list(names))
        name = np.array(list(names.values()))
        self._extra.append(Extra(event[lost], token[lost], name, np.array(is_own)))
        kept = np.delete(np.arange(len(event)), lost)
        return event[kept], token[kept], path[kept]

    def _limit(self, values: Values) -> Values:
        """Values beyond those that a row has room for lose their column, declared ones last."""
        names, is_context = self._given.columns.names, self._given.columns.is_context
        for most, wanted in ((MAX_CONTEXT_VALUES, True), (MAX_PROPERTY_VALUES, False)):
            if len(names) <= most:
                continue
            of_group = is_context.take(values.column) == wanted
            count = np.bincount(values.event[of_group], minlength=1)
            if count.max() <= most:
                continue
            at = np.flatnonzero(of_group & (count.take(values.event, mode="clip") > most))
            is_declared = np.array([name in DECLARED_NAMES for name in names])
            at = at[np.lexsort((at, ~is_declared[values.column[at]], values.event[at]))]
            firsts = np.searchsorted(values.event[at], values.event[at], side="left")
            lost = at[np.arange(len(at)) - firsts >= most]
            numbers = np.zeros(len(names), np.int64)
            for column in np.unique(values.column[lost]).tolist():
                numbers[column] = self._name(names[column])
            name = numbers[values.column[lost]]
            self._keep(values.event[lost], values.token[lost], name, is_own=not wanted)
            is_kept = np.ones(len(values.event), bool)
            is_kept[lost] = False
            values = values.take(np.flatnonzero(is_kept))
        return values

    def _gather(self) -> Extra:
        if not self._extra:
            none = np.zeros(0, np.int64)
            return Extra(none, none, none, none.astype(bool))
        extra = Extra(*(np.concatenate(each) for each in zip(*self._extra, strict=True)))
        return extra.take(np.argsort(extra.event, kind="stable"))


# The objects whose keys become columns by themselves.
_OPENED = ("properties.", "context.", "data.")


def _is_canonical(key: str, column: str) -> bool:
    """Whether a key is written exactly like its column; context keys lack its prefix."""
    return column in (key, "context_" + key)
