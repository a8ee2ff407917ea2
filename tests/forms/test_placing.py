"""The values of an event in columns; those that get none are kept beside them."""

from typing import Any

import pytest
from forms.reading import Event, dotted, parse, parse_all
from forms.test_segment import call

from loader.forms.placing import MAX_CONTEXT_VALUES, MAX_PROPERTY_VALUES
from loader.normalize.names import context_column, property_column

MAX_DEPTH = 64


def placed(properties: dict[str, Any]) -> Event:
    event = parse(call(properties=properties))
    assert isinstance(event, Event)
    return event


def values(event: Event) -> dict[str, Any]:
    return {property_column(key): value for key, value in event.properties.items()}


ONE_RECORD = [
    pytest.param({}, {}, {}, id="nothing"),
    pytest.param({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, {}, id="flat"),
    pytest.param({"a": {"b": {"c": 1}}}, {"a_b_c": 1}, {}, id="nested"),
    pytest.param({"a": {}, "b": {"c": {}}}, {}, {}, id="empty objects"),
    pytest.param({"a": None, "b": {"c": None}}, {}, {}, id="nulls"),
    pytest.param({"a": ""}, {"a": ""}, {}, id="an empty text is not null"),
    pytest.param(
        {"a": [], "b": [{"c": 1}, None]}, {"a": [], "b": [{"c": 1}, None]}, {}, id="arrays"
    ),
    pytest.param({"a": False, "b": 0}, {"a": False, "b": 0}, {}, id="false and zero"),
    pytest.param(
        {"Link ID": 1, "link_id": 2},
        {"link_id": 2},
        {"Link ID": 1},
        id="the canonical key wins behind",
    ),
    pytest.param(
        {"link_id": 2, "Link ID": 1},
        {"link_id": 2},
        {"Link ID": 1},
        id="the canonical key wins in front",
    ),
    pytest.param(
        {"linkId": 1, "Link ID": 2},
        {"link_id": 1},
        {"Link ID": 2},
        id="else the first wins",
    ),
    pytest.param(
        {"linkId": None, "Link ID": 2}, {"link_id": 2}, {}, id="a null takes no part in it"
    ),
    pytest.param(
        {"linkId": 1, "LinkId": 2, "link_id": 3, "LINK ID": 4},
        {"link_id": 3},
        {"linkId": 1, "LinkId": 2, "LINK ID": 4},
        id="four keys",
    ),
    pytest.param(
        {"a": {"b": 1}, "a_b": 2}, {"a_b": 2}, {"a.b": 1}, id="nested against flat, flat behind"
    ),
    pytest.param(
        {"a_b": 2, "a": {"b": 1}}, {"a_b": 2}, {"a.b": 1}, id="nested against flat, flat in front"
    ),
    pytest.param(
        {"aB": 2, "a": {"b": 1}}, {"a_b": 2}, {"a.b": 1}, id="nested against flat, none canonical"
    ),
    pytest.param(
        {"a": {"b": 1}, "a.b": 2},
        {"a_b": 1},
        {"a.b": 2},
        id="nested against a key with a dot",
    ),
    pytest.param(
        {"a": {"b": 1}, "a.b": 2, "a_b": 3},
        {"a_b": 3},
        {"a.b": 1, "a.b#2": 2},
        id="two losers of one key",
    ),
    pytest.param({"id": 1, "_id": 2}, {"_id": 2}, {"id": 1}, id="a moved name and its target"),
    pytest.param({"A": 1, "a": {"x": 1}}, {"a": 1, "a_x": 1}, {}, id="a value and an object"),
    pytest.param({"a": {"日本": 1, "語": 2}}, {"a": 1}, {"a.語": 2}, id="names that vanish"),
]


@pytest.mark.parametrize(("record", "expected", "lost"), ONE_RECORD)
def test_one_record_becomes_values_and_losers(
    record: dict[str, Any], expected: dict[str, Any], lost: dict[str, Any]
) -> None:
    event = placed(record)
    assert (values(event), event.lost) == (expected, lost)


@pytest.mark.parametrize(("record", "expected", "lost"), ONE_RECORD)
def test_a_block_treats_a_record_as_it_treats_it_alone(
    record: dict[str, Any], expected: dict[str, Any], lost: dict[str, Any]
) -> None:
    """Its neighbours use the same keys in another order, another nesting, or not at all."""
    backwards = dict(reversed(record.items()))
    neighbours = [{}, backwards, record, {"a": 1, "a_b": 1, "link_id": 1}]
    event = parse_all(*[call(properties=each) for each in neighbours])[2]
    assert isinstance(event, Event)
    assert (values(event), event.lost) == (expected, lost)


def test_a_collision_of_one_record_leaves_its_neighbours_alone() -> None:
    records = [{"a b": 1}, {"a b": 2, "a_b": 3}, {"a_b": 4}]
    events = parse_all(*[call(properties=each) for each in records])
    assert [values(one)["a_b"] for one in events if isinstance(one, Event)] == [1, 3, 4]
    assert [one.lost for one in events if isinstance(one, Event)] == [{}, {"a b": 2}, {}]


def test_an_object_nested_too_deep_is_a_value() -> None:
    record: Any = {"x": 1}
    for _ in range(MAX_DEPTH):
        record = {"x": record}
    assert list(placed(record).properties.values()) == [{"x": 1}]


def test_a_misfit_of_a_name_does_not_hide_another() -> None:
    event = placed({"Campaign Id": "a", "campaign.id": "b", "campaign": {"id": "c"}})
    assert values(event) == {"campaign_id": "a"}
    assert event.lost == {"campaign.id": "b", "campaign.id#2": "c"}


def test_the_canonical_key_of_a_context_column_wins() -> None:
    event = parse(call(context={"userAgent": "first", "user_agent": "canonical"}))
    assert isinstance(event, Event)
    assert {context_column(k): v for k, v in event.context.items()} == {
        "context_user_agent": "canonical"
    }
    assert (event.extra, event.lost) == ({"userAgent": "first"}, {})


# more values than a row has room for


def test_a_record_with_more_values_than_a_row_can_hold_keeps_them_all() -> None:
    """Declared columns come first; the neighbours are not touched."""
    many: dict[str, Any] = {f"p{n}": n for n in range(MAX_PROPERTY_VALUES + 20)}
    many |= {"campaign_id": 5}
    event, neighbour = parse_all(call(properties=many), call(properties={"p249": "x"}))
    assert isinstance(event, Event)
    assert isinstance(neighbour, Event)
    assert event.properties["campaign_id"] == 5
    assert len(event.properties) == MAX_PROPERTY_VALUES
    assert many == event.properties | event.lost
    assert (neighbour.properties, neighbour.lost) == ({"p249": "x"}, {})


def test_a_context_with_more_values_than_a_row_can_hold_keeps_them_all() -> None:
    many: dict[str, Any] = {f"c{n}": n for n in range(MAX_CONTEXT_VALUES + 5)}
    event, neighbour = parse_all(
        call(context=many | {"ip": "192.0.2.7"}), call(context={"c44": "x"})
    )
    assert isinstance(event, Event)
    assert isinstance(neighbour, Event)
    assert event.context["ip"] == "192.0.2.7"
    assert len(event.context) == MAX_CONTEXT_VALUES
    kept = {context_column(key): value for key, value in event.context.items() if key != "ip"}
    assert {context_column(key): value for key, value in many.items()} == kept | event.extra
    assert (neighbour.context, neighbour.extra) == ({"c44": "x"}, {})


@pytest.mark.parametrize("beyond", [0, 1])
def test_values_that_get_no_column_begin_behind_the_limit(beyond: int) -> None:
    """Nulls do not count, and nested keys count one by one."""
    event = parse(
        call(
            context={"a": {f"c{n}": n for n in range(40 + beyond)}, "n": None},
            properties={"a": {f"p{n}": n for n in range(230 + beyond)}, "n": None},
        )
    )
    assert isinstance(event, Event)
    assert (len(event.properties), len(event.context)) == (230, 40)
    assert event.lost == ({"a_p230": 230} if beyond else {})
    assert event.extra == ({"context_a_c40": 40} if beyond else {})


def test_a_value_beyond_the_limit_and_a_loser_of_its_name_are_both_kept() -> None:
    many: dict[str, Any] = {f"p{n}": n for n in range(MAX_PROPERTY_VALUES)}
    event = placed(many | {"last_one": "a", "Last One": "b"})
    assert event.lost == {"Last One": "b", "last_one": "a"}


def test_the_limit_holds_for_each_event_and_not_for_the_block() -> None:
    halves = [{f"{half}{n}": n for n in range(200)} for half in "pq"]
    for event, half in zip(parse_all(*[call(properties=h) for h in halves]), halves, strict=True):
        assert isinstance(event, Event)
        assert (event.properties, event.lost) == (half, {})


@pytest.mark.parametrize("paths", [1_000, 70_000])
def test_records_of_more_paths_than_there_is_room_for_keep_their_values(paths: int) -> None:
    wide = {f"k{n}": n for n in range(paths)}
    for event in parse_all(call(properties=wide), call(properties={"a": 1}), call(properties=wide)):
        assert isinstance(event, Event)
        kept = event.properties | event.lost | event.extra
        assert kept in ({"a": 1}, wide)
        assert dotted(kept) == kept
