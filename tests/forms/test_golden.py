"""Ids of records without one, and of rejects, are those that are stored already."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from load.loading import Loaded, load

from loader.normalize.event import Reject
from loader.warehouse.batch import reject_row

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "ids.json").read_text("utf-8")
)

# What is not as it was, and why.
CHANGED = {
    "envelope with a key twice": "the first value of a key counts, as everywhere",
    "invalid_json 6": "a line that closes more than it has opened is one reject",
    "invalid_json 6, CRLF": "a line that closes more than it has opened is one reject",
    "too_deep 0": "what is refused is the container too many, not what is in it",
    "too_deep 0, CRLF": "what is refused is the container too many, not what is in it",
}


class Pairs(list[tuple[str, Any]]):
    """An object as it stands in its text."""


def repeats_a_key(value: Any) -> bool:
    """Whether an object has a key twice, outside of lists: there both values stay in it."""
    if type(value) is not Pairs:
        return False
    if len(dict(value)) < len(value):
        return True
    inner = [*(one for key, one in value if key != "batch"), *dict(value).get("batch", [])]
    return any(map(repeats_a_key, inner))


def records_of(data: str) -> Iterator[Any]:
    with suppress(ValueError):
        value = json.loads(data, object_pairs_hook=Pairs)
        yield from value if type(value) is list else [value]
        return
    for line in data.splitlines():
        with suppress(ValueError):
            yield json.loads(line, object_pairs_hook=Pairs)


def is_changed(name: str) -> str | None:
    case = GOLDEN[name]
    is_hashed = any(re.fullmatch("[0-9a-f]{32}", key) for key in case["ids"])
    if is_hashed and any(map(repeats_a_key, records_of(case["data"]))):
        return "records that differ only in the second value of a key were one event"
    return CHANGED.get(name)


def cases() -> Iterator[Any]:
    for name in GOLDEN:
        why = is_changed(name)
        marks = [pytest.mark.xfail(reason=why, strict=True)] if why else []
        yield pytest.param(name, marks=marks)


def rejects(found: Loaded) -> list[list[str]]:
    rows = [
        (position, reason, reject_row("golden", position, Reject(reason=reason, detail=""), raw).id)
        for position, reason, raw in found.rejects
    ]
    return sorted(map(list, rows))


@pytest.mark.parametrize("name", list(cases()))
def test_what_is_stored_stays(name: str) -> None:
    case = GOLDEN[name]
    limit = 100_000 if "too_deep" in name else 2_500  # as in `make.py`
    found = load(case["data"].encode("latin-1"), limit=limit)
    assert found.ids == case["ids"]
    assert rejects(found) == case["rejects"]
