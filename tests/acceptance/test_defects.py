"""A defect of the loader that one record brings to light makes it a reject, and is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import Database, Write, track

import loader
from loader import chunk, plain
from loader.normalize import batch as normalize_batch
from loader.sources import records, segment
from loader.warehouse import batch as warehouse_batch

SECRET = "secret-4711"


def fails(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`rule` with a defect: it cannot stand one value."""

    def with_defect(*arguments: Any, **more: Any) -> Any:
        if SECRET in repr(arguments):
            raise ValueError(f"a message with a value: {arguments}")
        return rule(*arguments, **more)

    return with_defect


def break_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "usable_id", fails(segment.usable_id))
    monkeypatch.setattr(segment, "parse_plain", fails(segment.parse_plain))
    monkeypatch.setattr(plain, "parse_chunk", fails_for_blocks)


def break_normalizing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalize_batch, "flatten", fails(normalize_batch.flatten))


def break_late_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse_batch, "coerce", fails(warehouse_batch.coerce))


def break_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "encode", fails(chunk.encode))


def fails_for_blocks(*_: Any) -> Any:
    raise RuntimeError("a defect of blocks")


BREAK = {
    "parsing": break_parsing,
    "normalizing": break_normalizing,
    "encoding": break_encoding,
    "late values": break_late_values,
}


@pytest.mark.parametrize("count", [20, 1_200], ids=["by record", "by block"])
@pytest.mark.parametrize("way", BREAK)
def test_a_record_that_brings_a_defect_to_light_is_a_reject(
    way: str,
    count: int,
    db: Database,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """All others of its chunk are loaded, in all of their tables."""
    calls = [track("Cart Seen", note=f"n{n}", messageId=f"m{n:05}") for n in range(count)]
    calls[7] = track("Cart Seen", note=SECRET, messageId=SECRET, extra=["not", "plain"])
    path = write("a.ndjson", *calls)
    if way != "late values":  # blocks have no such rules of their own
        monkeypatch.setattr(plain.Plain, "is_worth_trying", lambda _: False)
    monkeypatch.chdir(tmp_path)
    BREAK[way](monkeypatch)
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


def test_a_defect_of_blocks_is_told_and_costs_only_time(
    db: Database, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write("a.ndjson", *[track("Cart Seen", n=n) for n in range(1_200)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plain, "Block", fails_for_blocks)
    result = loader.load(str(path), warehouse_url=db.url)
    assert (result.counts.rows_loaded, result.counts.rejects) == (1_200, 0)
    [what] = result.defects
    assert what.startswith("a defect of the loader: RuntimeError in plain/")


def test_a_defect_of_the_reader_rejects_one_line(
    db: Database, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[Any] = [track("Cart Seen", n=1), {"batch": [track("Cart Seen", n=SECRET)]}]
    path = write("a.ndjson", *calls, track("Cart Seen", n=2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "_with_envelope", fails(records._with_envelope))
    result = loader.load(str(path), warehouse_url=db.url)
    assert (result.counts.rows_loaded, result.counts.rejects) == (2, 1)
    assert db.rows("SELECT reason, position FROM _rejects") == [("defect", "line 2")]
