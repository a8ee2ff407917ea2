"""Event: its identity where the sender gives none, and values kept beside its columns."""

from decimal import Decimal
from typing import Any

import pytest

from loader.normalize.event import MAX_ID_BYTES, content_id, put_extra, usable_id

RECORD = {
    "type": "track",
    "event": "Email Opened",
    "userId": "u_31",
    "timestamp": "2026-09-15T08:23:32.000Z",
    "properties": {"delivery_id": "dgOvBwUBcQ==", "price": Decimal("1.10")},
}


def test_the_same_content_gives_the_same_id() -> None:
    assert content_id(RECORD) == content_id(dict(RECORD))


def test_the_id_does_not_depend_on_the_order_of_keys() -> None:
    backwards = dict(reversed(RECORD.items()))
    backwards["properties"] = dict(reversed(RECORD["properties"].items()))  # type: ignore[attr-defined]
    assert content_id(RECORD) == content_id(backwards)


def test_the_id_is_a_promise_over_releases() -> None:
    assert content_id(RECORD) == "701f763a42d802644a720692397d8a59"


@pytest.mark.parametrize(
    "change",
    [
        {"userId": "u_32"},
        {"event": "email opened"},
        {"timestamp": "2026-09-15T08:23:33.000Z"},
        {"properties": {}},
        {"properties": {"delivery_id": "dgovbwubcq==", "price": Decimal("1.10")}},
        {"more": True},
        {"more": 1},
        {"more": "1"},
    ],
    ids=repr,
)
def test_other_content_gives_another_id(change: dict[str, Any]) -> None:
    assert content_id(RECORD) != content_id(RECORD | change)


@pytest.mark.parametrize(
    "stamps",
    [
        {"sentAt": "2026-09-15T08:23:40.000Z"},
        {"receivedAt": "2026-09-15T08:23:41.000Z"},
        {"received_at": "2026-09-15T08:23:41.000Z"},
        {"sent_at": 1789460620},
    ],
    ids=repr,
)
def test_sending_a_record_again_does_not_change_its_id(stamps: dict[str, Any]) -> None:
    assert content_id(RECORD) == content_id(RECORD | stamps)


def test_stamps_count_where_the_record_has_no_other_time() -> None:
    timeless = {key: value for key, value in RECORD.items() if key != "timestamp"}
    stamped = timeless | {"sentAt": "2026-09-15T08:23:40.000Z"}
    assert content_id(timeless) != content_id(stamped)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": "\0"},
        {"a": 2**100},
        {"a": Decimal("1E+400")},
        {"a": [None, {"b": []}]},
    ],
    ids=ascii,
)
def test_any_record_has_an_id(record: dict[str, Any]) -> None:
    assert len(content_id(record)) == 32
    assert content_id(record) == content_id(dict(record))


def test_the_order_of_nested_keys_does_not_matter_with_odd_text_either() -> None:
    assert content_id({"p": {"a": "\ud800", "b": 1}}) == content_id({"p": {"b": 1, "a": "\ud800"}})


@pytest.mark.parametrize(
    "value",
    ["x", "x" * MAX_ID_BYTES, "é" * (MAX_ID_BYTES // 2), "🙂" * (MAX_ID_BYTES // 4)],
    ids=lambda value: f"{len(value)} of {value[0]}",
)
def test_an_id_that_fits_into_an_index_is_used_as_it_is(value: str) -> None:
    assert usable_id(value) is value


@pytest.mark.parametrize(
    "value",
    ["x" * (MAX_ID_BYTES + 1), "é" * (MAX_ID_BYTES // 2 + 1), "🙂" * 257, "\ud800" * 1025],
    ids=lambda value: ascii(f"{len(value)} of {value[0]}"),
)
def test_a_longer_id_is_hashed(value: str) -> None:
    assert len(usable_id(value)) == 32
    assert usable_id(value) == usable_id(value[:-1] + value[-1])
    assert usable_id(value) != usable_id(value + "x")


def test_an_extra_value_never_overwrites_another() -> None:
    extra: dict[str, Any] = {}
    for value in (1, 2, 3):
        put_extra(extra, "k", value)
    put_extra(extra, "k#2", 4)
    assert extra == {"k": 1, "k#2": 2, "k#3": 3, "k#2#2": 4}
