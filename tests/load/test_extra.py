"""Values for `_extra`: each has its name, and one of its own where its event has the name twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loader.columns.paths import Paths
from loader.forms.columns import Columns
from loader.forms.recognize import named_paths
from loader.load.extra import Names, Pairs
from loader.normalize.event import put_extra

names = st.sampled_from(["", "a", "a#2", "b", "total", "id"])
values = st.lists(st.tuples(st.integers(0, 4), names), max_size=12)


def columns_with(*keys: str) -> Columns:
    paths = Paths(named_paths())
    for key in keys:
        paths.make(("properties", key))
    columns = Columns(paths)
    columns.groups(*np.zeros((3, 1), np.int64))
    return columns


@given(values, values, st.sets(st.integers(0, 4)))
def test_values_of_an_event_have_the_names_that_one_event_alone_would_give_them(
    shared: list[tuple[int, str]], own: list[tuple[int, str]], wanted: set[int]
) -> None:
    numbers = Names(columns_with("total", "b"))
    pairs = Pairs(numbers), Pairs(numbers)
    for some, values_ in zip(pairs, (shared, own), strict=True):
        events = np.array([event for event, _ in values_], np.int64)
        tokens = np.arange(len(values_)) + (100 if some is pairs[1] else 0)
        some.add(events, tokens, numbers.numbers([name for _, name in values_]))
    which = np.isin(np.arange(5), list(wanted))
    event, token, name = pairs[1].join(pairs[0], which)
    found: dict[int, dict[str, int]] = {}
    for at, one, text in zip(event.tolist(), token.tolist(), numbers.texts(name), strict=True):
        found.setdefault(at, {})[text] = one
    expected: dict[int, dict[str, int]] = {}
    for first, values_ in ((0, shared), (100, own)):
        for number, (at, text) in enumerate(values_, first):
            if at in wanted:
                put_extra(expected.setdefault(at, {}), text, number)
    assert found == expected
    assert event.tolist() == sorted(event.tolist())
