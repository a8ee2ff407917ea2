"""A defect of the loader that one record brings to light makes it a reject, and is told."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Write, track

import loader
from loader.columns.tokens import Text
from loader.forms import interpret, read
from loader.forms.placing import Given
from loader.load import batch, plan
from loader.load.context import LoadContext
from loader.load.plan import Part

SECRET = "secret-4711"


def fails_if(rule: Callable[..., Any], has_secret: Callable[..., bool]) -> Callable[..., Any]:
    """`rule` with a defect: it cannot stand one value."""

    def with_defect(*arguments: Any, **more: Any) -> Any:
        if has_secret(*arguments):
            raise ValueError(f"a message with a value: {SECRET}")
        return rule(*arguments, **more)

    return with_defect


def in_spans(text: Text, starts: Any, ends: Any, *_: Any) -> bool:
    spans = zip(starts, ends, strict=True)
    return any(SECRET.encode() in text.cut(start, end) for start, end in spans)


def in_records(given: Given, _: Any) -> bool:
    records = given.records
    return in_spans(records.text, records.start, records.end)


def in_parts(parts: Sequence[Part], _: LoadContext) -> bool:
    return any(in_part(part) for part in parts)


def in_part(part: Part, *_: Any) -> bool:
    return SECRET in part.events.ids


# Where the defect is: the module, the function, and whether it was given the value.
BROKEN: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "reading": (read, "read_records", in_spans),
    "placing": (interpret, "place", in_records),
    "planning": (plan, "plan_changes", in_parts),
    "encoding": (batch, "encode", in_part),
}


def break_one(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, has_secret = BROKEN[where]
    monkeypatch.setattr(module, name, fails_if(getattr(module, name), has_secret))


@pytest.mark.parametrize("where", BROKEN)
@pytest.mark.parametrize("count", [20, 12_000], ids=["one block", "blocks"])
def test_a_record_that_brings_a_defect_to_light_is_a_reject(
    where: str,
    count: int,
    db: Database,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """All others of its batch are loaded, in all of their tables."""
    calls = [track("Cart Seen", note=f"n{n}", messageId=f"m{n:05}") for n in range(count)]
    calls[7] = track("Cart Seen", note=SECRET, messageId=SECRET, extra=["not", "plain"])
    path = write("a.ndjson", *calls)
    monkeypatch.chdir(tmp_path)
    break_one(where, monkeypatch)
    result = loader.load(str(path), warehouse_url=db.url)
    assert (result.counts.rows_loaded, result.counts.rejects) == (count - 1, 1)
    assert db.value("SELECT count(*) FROM cart_seen") == count - 1
    [(reason, position, detail, raw)] = db.rows(
        "SELECT reason, position, detail, raw FROM _rejects"
    )
    assert (reason, position) == ("defect", "line 8")
    assert detail.startswith("a defect of the loader: ValueError in ")
    assert SECRET not in detail
    assert SECRET in raw
    assert result.defects == {detail: 1}
    told = [message for event, message in result.notices() if event == "record.defect"]
    assert len(told) == 1
    assert SECRET not in told[0]
    monkeypatch.undo()
    again = loader.load(str(path), warehouse_url=db.url, force=True)
    assert (again.counts.rows_loaded, again.counts.duplicates) == (1, count - 1)


@pytest.mark.parametrize("where", ["reading", "placing"])
def test_a_defect_rejects_the_container_of_its_record(
    where: str,
    db: Database,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    calls: list[Any] = [track("Cart Seen", n=1), {"batch": [track("Cart Seen", n=SECRET)]}]
    path = write("a.ndjson", *calls, track("Cart Seen", n=2))
    monkeypatch.chdir(tmp_path)
    break_one(where, monkeypatch)
    result = loader.load(str(path), warehouse_url=db.url)
    assert (result.counts.rows_loaded, result.counts.rejects) == (2, 1)
    assert db.rows("SELECT reason, position FROM _rejects") == [("defect", "line 2")]
