"""Paths of a block, and what they are below of."""

from hypothesis import given
from hypothesis import strategies as st

from loader.columns.paths import IS_OPENED, Path, Paths

keys = st.sampled_from(["a", "b", "", "a.b", "é"])


@given(st.lists(st.lists(keys, min_size=1, max_size=4).map(tuple), max_size=12))
def test_each_path_knows_its_keys_and_what_it_is_below_of(made: list[Path]) -> None:
    paths = Paths({("a",): IS_OPENED, ("a", "b"): IS_OPENED})
    for path in made:
        assert paths[paths.make(path)] == path
    every = list(map(paths.__getitem__, range(len(paths))))
    assert len(set(every)) == len(every)
    assert every[:3] == [(), ("a",), ("a", "b")]
    for above in ((), ("a",), ("a", "b")):
        tops = paths.tops(paths.number[above])
        for path, top in zip(every, tops.tolist(), strict=True):
            is_below = len(path) > len(above) and path[: len(above)] == above
            assert every[top] == (path[: len(above) + 1] if is_below else ())
