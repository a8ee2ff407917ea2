"""The column of each path: that of its key, whichever way its path was met."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loader.columns.paths import Paths
from loader.forms.columns import Columns
from loader.forms.recognize import named_paths
from loader.normalize.names import context_column, property_column

keys = st.sampled_from(["a", "A", "a b", "b", "id", "1", "context_a", "key", "n" * 70, "é"])
paths_below = st.tuples(st.sampled_from(["context", "properties", "data"]), keys) | st.tuples(
    st.sampled_from(["context", "properties", "data"]), keys, keys
)


@given(st.lists(st.lists(paths_below, max_size=6), max_size=4))
def test_paths_have_the_columns_of_their_keys(rounds: list[list[tuple[str, ...]]]) -> None:
    """They are learned some at a time, as blocks bring them."""
    paths = Paths(named_paths())
    columns = Columns(paths)
    segment = np.zeros(1, np.int64)
    first: dict[str, str] = {}
    for some in rounds:
        for path in some:
            paths.make(path)
        groups = columns.groups(segment, np.zeros(len(paths), np.int64), np.arange(len(paths)))
        assert len(groups) == len(paths)
    columns.groups(segment, np.zeros(1, np.int64), np.zeros(1, np.int64))
    for number in range(len(paths)):
        root, *below = paths[number] or ("",)
        if root not in ("context", "properties", "data") or not below:
            continue
        key = ".".join(below)
        name = context_column(key) if root == "context" else property_column(key)
        (column,) = columns.column(np.array([number])).tolist()
        assert columns.names[column] == name
        assert columns.number[name] == column
        assert columns.is_context[column] == (root == "context")
        assert columns.first_key(column) == first.setdefault(name, key)
    alike: dict[int, list[int]] = {}
    for number in range(len(paths)):
        alike.setdefault(int(columns.column(np.array([number]))[0]), []).append(number)
    for column, numbers in alike.items():
        is_shared = columns.is_shared(np.array(numbers))
        assert is_shared.all() == is_shared.any() == (column > 0 and len(numbers) > 1)
    assert columns.has_many == any(n > 0 and len(some) > 1 for n, some in alike.items())
    assert len(columns.names) == len(columns.is_context) == len(columns.number)
