"""What a plan remembers of the ids it has met."""

from hypothesis import given
from hypothesis import strategies as st

from loader.warehouse.ids import SeenIds

IDS = st.lists(st.text(max_size=3))


@given(st.lists(IDS), IDS)
def test_what_was_seen_is_known_and_nothing_else(
    batches: list[list[str]], asked: list[str]
) -> None:
    seen = SeenIds()
    known: set[str] = set()
    for ids in batches:
        seen.add(ids)
        known.update(ids)
        assert seen.among(ids) == set(ids)
    assert seen.among(asked) == known.intersection(asked)


def test_a_million_ids_take_eight_megabytes() -> None:
    seen = SeenIds()
    for first in range(0, 1_000_000, 10_000):
        seen.add([f"{n:032}" for n in range(first, first + 10_000)])
    assert sum(part.nbytes for part in seen._hashes) == 8_000_000
    assert len(seen._hashes) < 12
    assert len(seen.among([f"{n:032}" for n in range(999_000, 1_001_000)])) == 1_000
