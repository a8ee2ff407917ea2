"""No harm that a file came to ends the job."""

import tracemalloc
from pathlib import Path

from sources.mutations import EVENTS, digest, mutated, originals

from loader.normalize.names import property_column
from loader.sources.records import read_blocks

CASES = 300
# A harmed file of some 40 kB takes milliseconds; this only finds what does not end.
SECONDS = 10.0


def test_files_without_harm_are_read_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    for data in originals():
        path.write_bytes(data)
        outcome = digest(path)
        assert outcome.whole
        assert outcome.records >= EVENTS


def test_no_harmed_file_ends_the_job(tmp_path: Path) -> None:
    path = tmp_path / "harmed"
    outcomes = []
    for seed in range(CASES):
        path.write_bytes(mutated(seed))
        try:
            outcomes.append(digest(path))
        except Exception as error:
            raise AssertionError(f"case {seed}") from error
        assert outcomes[-1].seconds < SECONDS, f"case {seed}"
    # The harm is not so great that nothing is left to test.
    assert sum(outcome.rows for outcome in outcomes) > CASES * EVENTS / 3
    assert sum(outcome.rejects for outcome in outcomes) > CASES / 3
    assert 0 < sum(not outcome.whole for outcome in outcomes) < CASES / 2


def test_lines_of_lone_braces_are_one_reject_each() -> None:
    """They took quadratic time: each was searched for its end through all the others."""
    blocks = read_blocks([b"{\n" * 4_000])
    assert sum(len(block.starts) + len(block.bad) for block in blocks) == 4_000


def test_long_keys_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(30):
            property_column("k" * (1 << 20) + str(number))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10 << 20
