"""Records -> events in columns: the one interpreter of the tables.

Each form's records are read together, a column at a time. No rule of a form stands here.
"""

from collections.abc import Sequence

import numpy as np

from loader.columns.paths import Paths
from loader.columns.tokens import (
    DECIMAL,
    INTEGER,
    IS_NOTHING,
    IS_OBJECT,
    IS_TEXT,
    IS_VALUE,
    JSON,
    STRING,
    Flags,
    Longs,
    is_one_of,
)
from loader.forms.columns import Columns
from loader.forms.content import hash_of_content, raw_text
from loader.forms.events import Events, Read, Refused, Times
from loader.forms.inherit import inherit
from loader.forms.model import CONTEXT, EXTRA, REASONS_OF_FORMS, Address, Form, Name, Named, reject
from loader.forms.placing import Given, Left, place
from loader.forms.recognize import EVENT_FORMS, UNKNOWN, dotted
from loader.forms.records import Records
from loader.forms.rules import is_address
from loader.forms.times import is_out_of_range, read_times, when_it_happened
from loader.normalize.event import (
    IGNORE_REASONS,
    MAX_ID_BYTES,
    IgnoreReason,
    Reason,
    usable_id,
)
from loader.normalize.ignoring import Ignore
from loader.normalize.jsontext import read_value
from loader.normalize.names import snake_case
from loader.normalize.numbers import written

_TIMES = ("received_at", "sent_at", "original_timestamp", "timestamp")
_TEXTS = ("id", "user_id", "anonymous_id")
_IS_ID = is_one_of(STRING, INTEGER, DECIMAL)


def interpret(records: Records, paths: Paths, columns: Columns, ignore: Ignore, first: int) -> Read:
    """The events of a block's records, and its rejects; `first` is the number of its first one."""
    return _Block(records, paths, columns, ignore).read(first)


class _Block:
    """The records of a block, on their way to events."""

    def __init__(self, records: Records, paths: Paths, columns: Columns, ignore: Ignore) -> None:
        self.records, self.tokens = records, records.tokens
        self.paths, self.columns = paths, columns
        self.ignore = ignore
        self.ignored = np.zeros(len(records.form), np.int8)  # by record: number of the reason, or 0
        self.is_event = np.isin(records.form, list(EVENT_FORMS))
        self.given = Given(
            records=records,
            paths=paths,
            columns=columns,
            inherited=inherit(records, paths, self.is_event),
        )
        self.text = {name: np.zeros(len(records.form), np.int64) for name in _TEXTS}
        self.name = np.zeros(len(records.form), np.int64)
        self.times = {
            name: Times(
                microseconds=np.zeros(len(records.form), np.int64),
                is_given=np.zeros(len(records.form), bool),
            )
            for name in _TIMES
        }
        self.names = {Named("", ""): 0}  # of records that name no event

    def read(self, first: int) -> Read:
        rejects, form_of = self.records.rejects, self.records.form
        for number in np.flatnonzero(form_of == UNKNOWN).tolist():
            rejects.setdefault(number, reject("unknown_form"))
        if rejects:  # what cannot be read is named by no rule
            form_of = form_of.copy()
            form_of[list(rejects)] = UNKNOWN
        for number, form in EVENT_FORMS.items():
            if len(rows := np.flatnonzero(form_of == number)):
                self._read_form(form, rows)
        ignored = self._settle_ignored()
        is_refused = np.zeros(len(self.is_event), bool)
        is_refused[list(rejects)] = True
        record = self.records.in_order(self.is_event & ~is_refused)
        refused = [
            Refused(
                record=self.records.number(number),
                items=self.records.items(number),
                reject=rejects[number],
                raw=self._raw(number),
            )
            for number in self.records.in_order(is_refused).tolist()
        ]
        self.records.envelopes.clear()
        self.records.opened.clear()
        self.records.elements.clear()
        return Read(
            first=first,
            events=self._events(record),
            refused=refused,
            ignored=ignored,
            records=len(record) + len(refused) + sum(ignored.values()),
            rewritten=len(self.records.rewritten),
        )

    def _settle_ignored(self) -> dict[IgnoreReason, int]:
        """How many records are left out, by reason. They are no rejects, whatever else is wrong."""
        if not self.ignored.any():
            return {}
        self.is_event &= self.ignored == 0
        for number in [number for number in self.records.rejects if self.ignored[number]]:
            del self.records.rejects[number]
        counts = np.bincount(self.ignored)[1:].tolist()
        return {
            reason: count for reason, count in zip(IGNORE_REASONS, counts, strict=False) if count
        }

    def _raw(self, number: int) -> bytes:
        raw = raw_text(self.records, number)
        # The ids of rejects are made of it, so this stays as it was.
        is_of_form = self.records.rejects[number].reason in REASONS_OF_FORMS
        return raw if is_of_form else raw.rstrip(b"\r")

    def _events(self, record: Longs) -> Events:
        event = np.full(len(self.records.form) + 1, -1)  # the last one is for tokens of none
        event[record] = np.arange(len(record))
        values, extra, extra_names = place(self.given, event)
        self.records.tokens = self.tokens.compact()
        return Events(
            tokens=self.records.tokens,
            records=self.records,
            record=record,
            ids=self.records.tokens.texts(self.text["id"][record]),
            texts={name: each[record] for name, each in self.text.items()},
            times={name: each.take(record) for name, each in self.times.items()},
            names=list(self.names),
            name=self.name[record],
            columns=self.columns,
            values=values,
            extra=extra,
            extra_names=extra_names,
            replaced={
                int(event[number]): count
                for number, count in self.records.replaced.items()
                if event[number] >= 0
            },
        )

    # one form

    def _read_form(self, form: Form, rows: Longs) -> None:
        rows = self._check_type(form, rows)
        if not len(rows):
            return
        self._check_objects(form, rows, required=True)
        names, self.name[rows] = self._name(form, rows)
        self._check_objects(form, rows, required=False)
        self._times(form, rows)
        rows = self._without_ignored(rows, names)
        self.text["id"][rows] = self._id(form, rows)
        user = self._first(form, form.user_id, rows)
        anonymous = self._first(form, form.anonymous_id, rows)
        if form.email_path or (user == 0).any():
            is_email = np.array([one.is_email for one in names], bool)[self.name[rows]]
            email = self._email(form, rows, is_email)
            if form.email_path:
                has_email = email > 0
                number = self.paths.number[dotted(form.email_path)]
                self._leave(CONTEXT, rows[has_email], email[has_email], number)
            anonymous = np.where((user == 0) & (anonymous == 0), email, anonymous)
        self.text["user_id"][rows], self.text["anonymous_id"][rows] = user, anonymous
        self._lift(form, rows)

    def _cells(self, path: str, rows: Longs, form: Form | None = None) -> Longs:
        """The values at a path; where there is none, those at its other spelling."""
        cells: Longs = self.tokens.cells[self.paths.number[dotted(path)]].take(rows)
        if form is None or path not in form.spellings:
            return cells
        other = form.spellings[path]
        others = self.tokens.cells[self.paths.number[dotted(other)]].take(rows)
        if not others.any():
            return cells
        is_other = IS_NOTHING.take(self.tokens.kinds(cells)) & (others > 0)
        self._keep(form, other, rows[~is_other], others[~is_other])
        found: Longs = np.where(is_other, others, cells)
        return found

    def _keep(self, form: Form, path: str, rows: Longs, cells: Longs) -> None:
        """Values that are no use where they stand: they are kept as any other key's."""
        number = self.paths.number[dotted(path)]
        if not self.columns.is_lost(form, dotted(path)):
            return
        at = np.flatnonzero(IS_VALUE.take(self.tokens.kinds(cells)))
        if len(at):
            group = self.columns.natural(form, dotted(path))
            self._leave(group, rows[at], cells[at], number)

    def _leave(self, group: int, rows: Longs, cells: Longs, path: int) -> None:
        if len(rows):
            self.given.left.append(Left(group, rows, cells, path))

    def _refuse(self, rows: Longs, reason: Reason) -> None:
        for number in rows.tolist():
            self.records.rejects.setdefault(number, reject(reason))

    def _without(self, rows: Longs, which: Flags, reason: IgnoreReason) -> Longs:
        """Leave out some of the records; returns the others."""
        if not which.any():
            return rows
        self.ignored[rows[which]] = IGNORE_REASONS.index(reason) + 1
        return rows[~which]

    def _without_ignored(self, rows: Longs, names: Sequence[Named]) -> Longs:
        """The records that no rule leaves out for their names and times."""
        if self.ignore.tables:
            is_named = np.array([one.table in self.ignore.tables for one in names], bool)
            rows = self._without(rows, is_named[self.name[rows]], "ignored_event")
        if self.ignore.has_times:
            times = {name: each.take(rows) for name, each in self.times.items()}
            timestamp = when_it_happened(times, self.ignore.started)
            rows = self._without(rows, is_out_of_range(timestamp, self.ignore), "out_of_range")
        return rows

    def _check_type(self, form: Form, rows: Longs) -> Longs:
        """The records that are not left out for their type."""
        if form.only is None:
            return rows
        path, said, reason = form.only
        cells = self._cells(path, rows)
        kind = self.tokens.kinds(cells)
        texts, number = self.tokens.distinct(np.where(kind == STRING, cells, 0))
        is_wrong = ~IS_NOTHING.take(kind) & np.array([text != said for text in texts], bool)[number]
        if not is_wrong.any():
            return rows
        is_ignored = np.array([text in self.ignore.types for text in texts], bool)[number]
        self._refuse(rows[is_wrong & ~is_ignored], reason)
        return self._without(rows, is_ignored, "ignored_type")

    def _check_objects(self, form: Form, rows: Longs, *, required: bool) -> None:
        for path, columns in form.columns.items():
            if columns.required == required:
                kind = self.tokens.kinds(self._cells(path, rows))
                fits = IS_OBJECT.take(kind) | (IS_NOTHING.take(kind) & (not required))
                self._refuse(rows[~fits], columns.reason)

    def _name(self, form: Form, rows: Longs) -> tuple[list[Named], Longs]:
        """The names of the block so far, and the index of each record's."""
        texts: list[list[str]] = []
        code = np.zeros(len(rows), np.int64)
        for path in (*form.event.by, form.event.hint):
            if path is None:
                continue
            cells = self._cells(path, rows)
            kind = self.tokens.kinds(cells)
            is_text = IS_TEXT.take(kind)
            if path != form.event.hint:
                self._refuse(rows[~is_text & ~IS_NOTHING.take(kind)], form.event.not_text)
            said, number = self.tokens.distinct(np.where(is_text, cells, 0))
            code = code * len(said) + number
            texts.append(said)
        codes, index = np.unique(code, return_inverse=True)
        said_together = [_said(one, texts) for one in codes.tolist()]
        named = [
            [form.event.rule(*said, about) for said in said_together] for about in (False, True)
        ]
        numbers = np.array([
            [self.names.setdefault(one, len(self.names)) if one else 0 for one in each]
            for each in named
        ])  # fmt: skip
        about = 0 if named[0] == named[1] else self._is_about_a_message(form.event, rows)
        found = numbers[about, index]
        self._refuse(rows[found == 0], "no_event_name")
        return list(self.names), found

    def _is_about_a_message(self, name: Name, rows: Longs) -> Longs:
        """1 where a record has a value that makes it about a message, else 0."""
        above, keys = name.message_keys
        below = np.flatnonzero(self.paths.parents == self.paths.number[dotted(above)]).tolist()
        is_evidence = np.zeros(len(self.paths), bool)
        is_evidence[[one for one in below if snake_case(self.paths.keys[one]) in keys]] = True
        tokens = self.tokens
        at = np.flatnonzero(is_evidence.take(tokens.path))
        is_given = IS_VALUE.take(tokens.kind[at]) & (
            (tokens.kind[at] != STRING) | (tokens.end[at] > tokens.start[at])
        )
        about = np.zeros(len(self.records.form), np.int64)
        about[tokens.record[at[is_given]]] = 1
        return about[rows]

    def _first(self, form: Form, paths: Sequence[str], rows: Longs) -> Longs:
        """The first text or number at some paths that is not empty."""
        found = np.zeros(len(rows), np.int64)
        for path in reversed(paths):
            cells = self._as_texts(self._cells(path, rows, form))
            kind = self.tokens.kinds(cells)
            fits = _IS_ID.take(kind)
            if not fits.all():
                self._keep(form, path, rows[~fits], cells[~fits])
            found = np.where(fits & (self.tokens.sizes(cells) > 0), cells, found)
        return found

    def _as_texts(self, cells: Longs) -> Longs:
        """The same values, with texts for numbers that are stored in another way than written."""
        tokens = self.tokens
        at = np.flatnonzero(tokens.kinds(cells) == JSON)
        first = tokens.text[tokens.start[cells[at]]]
        at = at[(first != ord("[")) & (first != ord("{"))]
        if not len(at):
            return cells
        cells = cells.astype(np.int64)
        texts = [written(read_value(text)) for text in tokens.texts(cells[at])]
        cells[at] = self._add_texts(texts)
        return cells

    def _add_texts(self, texts: list[str]) -> Longs:
        return self.given.add([text.encode() for text in texts], STRING)

    def _id(self, form: Form, rows: Longs) -> Longs:
        cells = self._first(form, (form.id,), rows)
        is_long = (cells > 0) & (self.tokens.sizes(cells) > MAX_ID_BYTES)
        at = np.flatnonzero((cells == 0) | is_long)
        if not len(at):
            return cells
        hashed = iter(self.tokens.texts(cells[is_long]))
        self._leave(EXTRA, rows[is_long], cells[is_long], self.paths.make(("id",)))
        texts = [
            usable_id(next(hashed)) if is_long[one] else self._hash_of(int(rows[one]), form)
            for one in at.tolist()
        ]
        cells[at] = self._add_texts(texts)
        return cells

    def _hash_of(self, record: int, form: Form) -> str:
        is_reject = record in self.records.rejects
        return "-" if is_reject else hash_of_content(self.records, record, form)

    def _email(self, form: Form, rows: Longs, is_email: Flags) -> Longs:
        found = np.zeros(len(rows), np.int64)
        for each in form.email:
            path = each.path if isinstance(each, Address) else each
            cells = self._cells(path, rows)
            fits = IS_TEXT.take(self.tokens.kinds(cells))
            if not fits.all():
                self._keep(form, path, rows[~fits], cells[~fits])
            fits &= (found == 0) & (self.tokens.sizes(cells) > 0)
            if isinstance(each, Address):
                at = np.flatnonzero(fits & is_email)
                fits[:] = False
                fits[at] = list(map(is_address, self.tokens.texts(cells[at])))
            found = np.where(fits, cells, found)
        return found

    def _times(self, form: Form, rows: Longs) -> None:
        """Values that are no time are kept under the name of their column."""
        read: dict[str, tuple[Times, Longs, list[int]]] = {}
        for column, path in form.times.items():
            if path not in read:
                cells = self._cells(path, rows, form)
                times, misfits = read_times(self.tokens, cells)
                read[path] = times, cells, misfits
            times, cells, misfits = read[path]
            self.times[column].microseconds[rows] = times.microseconds
            self.times[column].is_given[rows] = times.is_given
            if misfits:
                # Before a value of another spelling, which may want the same name.
                name = self.paths.make((column,))
                self.given.left.insert(0, Left(EXTRA, rows[misfits], cells[misfits], name))

    def _lift(self, form: Form, rows: Longs) -> None:
        """Values that stand for one at another path, where that has none."""
        for path, target in form.lifted.items():
            cells = self._cells(path, rows)
            if not cells.any():
                continue
            is_free = IS_NOTHING.take(self.tokens.kinds(self._cells(target, rows)))
            self.given.path[cells[is_free]] = self.paths.number[dotted(target)]


def _said(code: int, texts: list[list[str]]) -> list[str]:
    """The texts behind a number that was made of their indexes."""
    found = []
    for said in reversed(texts):
        code, index = divmod(code, len(said))
        found.append(said[index])
    return found[::-1]
