"""The short way for plain lines gives the rows of the long one, whoever sends them."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from normalize.ways import (
    ANY_VALUES,
    call,
    hook,
    lines,
    long_way,
    rest,
    rows,
    short_way,
)
from warehouse.test_generated import (
    EXAMPLES,
    KEYS,
    NUMBERS,
    TEXTS,
    Raw,
    calls,
    junk,
    objects,
)

from loader.plain import NotPlain

pytestmark = pytest.mark.usefixtures("few_lines_are_enough")


KINDS: list[st.SearchStrategy[Any]] = [
    st.sampled_from(TEXTS),
    st.text(max_size=4),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.lists(st.sampled_from(TEXTS) | st.integers(0, 9), max_size=2),
    st.just("2026-03-04T05:06:07Z") | st.just("2026-03-04"),
    st.sampled_from(NUMBERS).map(Raw),
    st.fixed_dictionaries({}, optional={"a": st.text(max_size=2), "b c": st.integers()}),
]
some = st.none()
# What the rules for webhooks look at.
rare = st.fixed_dictionaries(
    {},
    optional={
        key: st.sampled_from([*ANY_VALUES, "a@b", {"id": "u"}, {"email": 7}, {"cio_id": "c"}])
        for key in (
            *("identifiers", "customer_id", "recipient", "delivery_id", "email_address"),
            *("cio_id", "metric", "object_type", "timestamp"),
        )
    },
)


def sender(kinds: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[bytes]]:
    """Lines of someone who sends a value of one kind under each key, and some lines of others."""
    values = st.fixed_dictionaries({}, optional={key: kind | some for key, kind in kinds.items()})
    plain_call = st.builds(
        lambda number, changes: call(number) | changes,
        st.integers(0, 40),
        st.fixed_dictionaries(
            {"properties": values},
            optional={
                "event": st.sampled_from(["Email Opened", "Cart Seen", "cart seen", "New One"]),
                "context": values,
                "userId": st.sampled_from(["u", "\u00e9", None]),
                "anonymousId": st.sampled_from(["a", None]),
            },
        ),
    )
    plain_hook = st.builds(
        lambda number, data, rare, changes: hook(number, data=data | rare, **changes),
        st.integers(0, 40),
        values,
        rare,
        st.fixed_dictionaries(
            {},
            optional={
                "object_type": st.sampled_from(["email", "sms", "Cart"]),
                "metric": st.sampled_from(["delivered", "seen", "unsubscribed"]),
                "event_id": st.integers(0, 12).map("m{}".format),
                "batch": st.none(),
                "event_type": st.none(),
                "more": st.sampled_from(ANY_VALUES),
            },
        ),
    )
    other = st.one_of(calls(objects, objects), junk)
    forms = [[plain_call], [plain_hook], [plain_call, plain_hook]]
    return (
        st.sampled_from(forms)
        .flatmap(lambda form: st.lists(st.one_of(*(9 * form), other)))
        .map(lambda found: lines(*found))
    )


senders = st.dictionaries(
    st.sampled_from(KEYS) | st.text(max_size=3), st.sampled_from(KINDS), max_size=4
).flatmap(sender)
generated = settings(
    max_examples=15 * EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_whoever_sends_the_short_way_gives_the_rows_of_the_long_one() -> None:
    went: Counter[str] = Counter()

    @generated
    @given(senders, st.sets(st.sampled_from([f"m{n}" for n in range(12)]), max_size=4))
    def go_both_ways(found: list[bytes], there: set[str]) -> None:
        try:
            short = short_way(found, there)
        except NotPlain:
            went["the long way"] += 1
            return
        went["the short way"] += 1
        long = long_way(found, there)
        assert rows(short) == rows(long)
        assert rest(short) == rest(long)

    go_both_ways()
    assert went["the short way"] > went["the long way"] / 4, went


SIGNS = [bytes([sign]) for sign in b'"\\{}[]:, \t0-.et\x00\x1f\x80\xc3\xff']
harms = st.tuples(st.integers(0, 2_000), st.sampled_from([0, 1, 2]), st.sampled_from([b"", *SIGNS]))


def test_a_harmed_line_gives_what_the_long_way_makes_of_it() -> None:
    """Signs are put in, taken out or replaced, so that what is nearly JSON must be told from it."""
    went: Counter[str] = Counter()
    whole = lines(
        call(1, properties={"a": {"b": [1, "x]"]}, "c": {}, "n": -1.5, "t": 'q"\\'}),
        call(2, event="Cart Seen", context={"page": {"n": None}}, properties={"a": 7, "b": "y"}),
        call(3, properties=None),
        hook(4, data={"identifiers": {"id": None, "email": "é"}, "variables": {"a": [1]}}),
    )

    @settings(generated, max_examples=80 * EXAMPLES)
    @given(st.integers(0, 3), st.lists(harms, min_size=1, max_size=3))
    def harm(which: int, found: list[tuple[int, int, bytes]]) -> None:
        line = whole[which]
        for place, taken, put in found:
            at = place % (len(line) + 1)
            line = line[:at] + put + line[at + taken :]
        changed = [*whole[:which], line, *whole[which + 1 :]]
        try:
            short = short_way(changed)
        except NotPlain:
            went["the long way"] += 1
            return
        went["the short way"] += 1
        long = long_way(changed)
        assert rows(short) == rows(long)
        assert rest(short) == rest(long)

    harm()
    assert went["the short way"] > went["the long way"], went
