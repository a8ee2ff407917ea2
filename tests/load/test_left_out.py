"""What is left out on purpose: it is counted, however it comes, and leaves nothing behind."""

from typing import Any

import pytest
from forms import model
from forms.generated import anything, call, lines, senders
from forms.test_ignoring import EVERY, any_rules, ignore_of, mixed
from forms.test_model import generated
from hypothesis import given
from hypothesis import strategies as st
from load.loading import Loaded, load, load_records, split

from loader.config import Source, load_settings
from loader.load.context import LoadContext
from loader.normalize.ignoring import Ignore
from loader.warehouse.evolve import AddColumn

PAGES = Ignore(types=frozenset({"page", "identify"}))


def facts(found: Loaded) -> tuple[Any, ...]:
    """What has to be the same however a file is read; it adds up."""
    rows, rejects = len(found.rows.get("tracks", {})), len(found.rejects)
    assert found.records == rows + found.duplicates + rejects + sum(found.ignored.values())
    return found.records, rows, rejects, found.duplicates, found.ignored, found.ids


@generated
@given(
    mixed() | senders | anything,
    any_rules,
    st.sampled_from([1, 7, 5_000]),
    st.lists(st.integers(0, 1 << 20), max_size=9),
    st.integers(1, 9),
)
def test_any_mix_adds_up_and_any_pieces_give_the_same_counts(
    sent: list[bytes], rules: model.Rules, most_records: int, cuts: list[int], batch_records: int
) -> None:
    data, ignore = b"".join(line + b"\n" for line in sent), ignore_of(rules)
    whole = load(data, ignore=ignore)
    pieces = load(
        *split(data, cuts),
        most_records=most_records,
        batch_records=batch_records,
        ignore=ignore,
        tables=whole.tables,
    )
    assert facts(pieces) == facts(whole)


@generated
@given(mixed(), any_rules)
def test_the_calls_of_an_envelope_or_array_count_as_lines_do(
    sent: list[bytes], rules: model.Rules
) -> None:
    whole = [line for line in sent if type(model.read(line)) is not str]
    whole += lines(*(call(n, type="page") for n in range(3)))
    expected = facts(load(b"\n".join(whole), ignore=ignore_of(rules)))
    for form in (b"[%b]", b'{"batch":[%b]}', b'[{"batch":[%b]}]'):
        found = load(form % b",".join(whole), ignore=ignore_of(rules))
        assert facts(found)[0] == expected[0]
        assert found.ignored == expected[4]


@pytest.mark.parametrize("batch_records", [1, 2, 100])
def test_what_is_ignored_makes_no_table_no_column_and_is_no_duplicate(batch_records: int) -> None:
    odd = {"properties": {"odd": 1}, "context": {"odd": 1}}
    found = load_records(
        call(1, type="page", **odd),
        call(2, event="Email Opened", **odd),
        call(3, event="New One", timestamp="2026-06-01T00:00:00Z"),
        call(1, event="Other", properties={"size": 1}),
        call(1, type="page", **odd),
        batch_records=batch_records,
        ignore=ignore_of(EVERY),
    )
    assert set(found.rows) == {"tracks", "other"}
    assert [one.column for one in found.changes if isinstance(one, AddColumn)] == ["size"]
    assert found.ignored == {"ignored_type": 2, "ignored_event": 1, "out_of_range": 1}
    assert (found.ids, found.duplicates, found.rejects) == (["m1"], 0, [])


def test_a_batch_of_nothing_but_ignored_calls_is_counted() -> None:
    found = load_records(*(call(n, type="page") for n in range(7)), batch_records=3, ignore=PAGES)
    assert (found.records, found.ignored, found.rows) == (7, {"ignored_type": 7}, {})


def test_the_rules_of_a_load_are_those_of_its_source() -> None:
    source = Source.model_validate(
        {
            "ignore_types": ["page"],
            "ignore_events": ["Cart Seen", "cart-seen"],
            "after": "2000-01-01",
            "before": "2000-01-01T02:00:00+01:00",
        }
    )
    context = LoadContext.of(
        source, load_settings(), started_at="2000-01-01T00:00:01+00:00", tables={}
    )
    assert context.ignore == Ignore(
        types=frozenset({"page"}),
        tables=frozenset({"cart_seen"}),
        after=0,
        before=3_600_000_000,
        started=1_000_000,
    )
