"""Which form each record has: the marks of `tables.py`, over columns."""

from collections.abc import Collection

import numpy as np

from loader.columns.paths import HOLDS_RECORDS, IS_OPENED, MAY_BE_TIME, Path, Paths
from loader.columns.tokens import IS_NOTHING, STRING, Longs, Tokens
from loader.forms.model import PROPERTIES, Address, Container, Form
from loader.forms.tables import MARKS

# By number; what has no form, and JSON arrays, come behind.
FORMS: tuple[Form | Container, ...] = tuple(dict.fromkeys(form for _, form in MARKS))
UNKNOWN, ARRAY = len(FORMS), len(FORMS) + 1
EVENT_FORMS = {number: form for number, form in enumerate(FORMS) if isinstance(form, Form)}
CONTAINERS = {number: form for number, form in enumerate(FORMS) if isinstance(form, Container)}


def is_container(form: int) -> bool:
    """Whether records of a form are no events, but hold some."""
    return form == ARRAY or form in CONTAINERS


def dotted(path: str) -> Path:
    return tuple(path.split("."))


def named_paths(whole: Collection[str] = ()) -> dict[Path, int]:
    """The paths that the tables name, with what the tokenizer has to know about them.

    The properties at the paths in `whole` are not opened.
    """
    marks: dict[Path, int] = {}

    def name(path: str, mark: int = 0) -> None:
        keys = dotted(path)
        for size in range(1, len(keys)):
            marks[keys[:size]] = marks.get(keys[:size], 0) | IS_OPENED
        # What stands below an opened object is opened, too.
        mark |= marks.get(keys[:1], 0) & IS_OPENED if len(keys) > 1 else 0
        marks[keys] = marks.get(keys, 0) | mark

    for mark, form in MARKS:
        for path in (*mark.has, *mark.gives, *mark.lacks, *(path for path, _ in mark.says)):
            name(path)
        if isinstance(form, Container):
            name(form.items, HOLDS_RECORDS)
            for path in form.inherited:
                name(path)
            continue
        for path in form.columns:
            name(path, IS_OPENED)
        if form.event.hint:
            name(form.event.hint)
        for path in (*form.event.by, form.id, *form.user_id, *form.anonymous_id, *form.consumed):
            name(path)
        for each in form.email:
            name(each.path if isinstance(each, Address) else each)
        for path in (*form.lifted, *form.lifted.values()):
            name(path)
        for path in form.times.values():
            name(path, MAY_BE_TIME)
        for path, other in form.spellings.items():
            name(other, MAY_BE_TIME if path in form.times.values() else 0)
    for form in EVENT_FORMS.values():
        for path, columns in form.columns.items():
            if columns.group == PROPERTIES:
                for inner in whole:
                    name(f"{path}.{inner}")
                    marks[dotted(f"{path}.{inner}")] &= ~IS_OPENED
    return marks


def recognize(tokens: Tokens, paths: Paths, records: int) -> Longs:
    """The number of each record's form: that of the first mark it has."""
    form = np.full(records, UNKNOWN)
    is_open = np.ones(records, bool)
    for mark, found in MARKS:
        has_mark = is_open.copy()
        for path in mark.has:
            has_mark &= tokens.cells[paths.number[dotted(path)]] > 0
        for path in mark.gives:
            cells = tokens.cells[paths.number[dotted(path)]]
            has_mark &= ~IS_NOTHING.take(tokens.kinds(cells))
        for path in mark.lacks:
            has_mark &= tokens.cells[paths.number[dotted(path)]] == 0
        for path, said in mark.says:
            if has_mark.any():
                has_mark &= says(tokens, tokens.cells[paths.number[dotted(path)]], said)
        if has_mark.any():
            form[has_mark] = FORMS.index(found)
            is_open &= ~has_mark
            if not is_open.any():
                break
    return form


def says(tokens: Tokens, cells: Longs, said: str) -> Longs:
    """Whether this text stands in each cell."""
    texts, number = tokens.distinct(np.where(tokens.kinds(cells) == STRING, cells, 0))
    return np.array([text == said for text in texts], bool)[number]
