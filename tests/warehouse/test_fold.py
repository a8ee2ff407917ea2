"""`email_messages` is filled, and what the view says, whatever happens."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import SCHEMA, Database, Server, track
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from warehouse.folded import Place, messages

from loader.config import Source
from loader.errors import TransientFault
from loader.warehouse.engine import make_engine
from loader.warehouse.marts import fold

SOURCE = Source()  # type: ignore[call-arg]


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Place:
    return Place(db, tmp_path)


# filling it


def test_a_load_folds_each_batch_once(place: Place) -> None:
    opens = [track("Email Opened", delivery_id=f"d{at % 3}") for at in range(7)]
    place.load(*opens)
    assert messages(place.db, "opens") == {"d0": (3,), "d1": (2,), "d2": (2,)}
    place.load(*opens, track("Email Opened", delivery_id="d0"))
    assert messages(place.db, "opens")["d0"] == (4,)
    place.load()
    place.agree()


def test_what_a_load_left_is_folded_by_the_next(place: Place) -> None:
    place.load(*(track("Email Opened", delivery_id="d") for _ in range(5)), mart="off")
    assert (place.waiting(), messages(place.db)) == (3, {})
    place.load()
    assert messages(place.db, "opens") == {"d": (5,)}
    place.agree()


def test_a_table_that_is_not_filled_says_so(place: Place) -> None:
    def comment() -> str:
        said: str = place.db.value("SELECT obj_description('email_messages'::regclass)")
        return said

    first = comment()
    assert first.startswith("One row per e-mail")
    place.load(track("Email Opened", delivery_id="d"), mart="off")
    assert comment().startswith("Not filled, because the setting mart is off")
    place.check()
    assert place.db.value("SELECT opens FROM email_messages_now") == 1
    place.load()
    assert comment() == first
    place.check()
    place.agree()


def status(place: Place) -> tuple[int, int]:
    """All batches, and those whose events the table lacks, as `status` and the report say."""
    with make_engine(place.db.url).connect() as connection:
        named = connection.execution_options(schema_translate_map={None: SCHEMA})
        found = fold.select_status(named, SCHEMA)
        return found.batches, found.waiting_batches


def test_what_loads_before_it_have_loaded_is_found_by_its_rows(place: Place) -> None:
    """Versions before `_batches` have recorded none."""
    place.load(*(track("Email Opened", delivery_id="d") for _ in range(5)))
    place.load(track("Email Delivered", delivery_id="d"), track("Cart Seen"))
    place.migrate("0004")
    assert messages(place.db) == {}
    assert status(place) == (5, 5)  # one of them without an e-mail
    place.load(track("Email Opened", delivery_id="new"))
    assert messages(place.db, "opens") == {"d": (5,), "new": (1,)}
    assert status(place) == (5, 0)
    assert place.db.value("SELECT count(*) FROM _batches WHERE load_id = 0") == 4
    place.agree()


def test_an_older_schema_is_filled_in_slices_behind_what_a_load_brings(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "_BATCHES_AT_ONCE", 2)
    monkeypatch.setattr(fold, "_SECONDS_FOR_OTHERS", 0)
    place.load(*(track("Email Opened", delivery_id=f"d{n}") for n in range(10)), mart="off")
    left = place.waiting()
    assert left > 4
    result = place.load(*(track("Email Opened", delivery_id=f"new{n}") for n in range(5)))
    while (left := left - 2) > 0:
        assert result.mart_behind.startswith(f"{left} batches of earlier loads wait")
        assert place.waiting() == left
        assert {f"new{n}" for n in range(5)} < messages(place.db).keys()
        result = place.load()
    assert result.mart_behind == ""
    place.agree()


def test_a_widening_makes_the_messages_anew_that_it_touches(place: Place) -> None:
    """By the key that an event had before, and by the one that it has then."""
    odd = ["a"]
    place.load(
        track("Email Opened", messageId="1", delivery_id=odd, email_id="e"),
        track("Email Opened", messageId="2", email_id="e"),
        track("Email Delivered", delivery_id="other", campaign_id=7),
        track("Email Delivered", delivery_id="other", campaign_id="seven"),
    )
    assert messages(place.db, "opens", "campaign_id") == {"e:e": (2, None), "other": (0, "7")}
    place.run("columns", "widen", "email_opened", "delivery_id", "jsonb")
    place.run("columns", "widen", "email_delivered", "campaign_id", "text")
    assert messages(place.db, "opens", "campaign_id") == {
        "e:e": (1, None),
        '["a"]': (1, None),
        "other": (0, "seven"),
    }
    place.agree()
    place.check()


def test_a_column_that_a_load_adds_later_makes_messages_anew(place: Place) -> None:
    """Values that waited in _extra for a column of email_converted change what is its message."""
    event = track("Email Converted", messageId="1", delivery_id="d")
    place.load({**event, "messageId": "0", "properties": {}})
    with closing(place.db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE customerio.email_converted IN ACCESS SHARE MODE")
        place.load(event, lock_timeout=0.01, retry_timeout=0)
    assert messages(place.db, "conversions") == {"i:0": (1,), "i:1": (1,)}
    place.load(track("Email Converted", messageId="2", delivery_id="d"))
    assert messages(place.db, "conversions") == {"i:0": (1,), "d": (2,)}
    place.agree()


@pytest.fixture
def run_in(place: Place) -> Iterator[fold.Run]:
    engine = make_engine(place.db.url)
    with engine.connect() as connection:
        yield fold.transactions_on(
            connection.execution_options(schema_translate_map={None: SCHEMA})
        )


def test_what_a_limit_of_time_ends_is_folded_in_smaller_steps(
    place: Place, run_in: fold.Run
) -> None:
    place.load(*(track("Email Opened", delivery_id="d") for _ in range(9)), mart="off")
    waiting = [place.waiting()]

    def limited(work: Any) -> Any:
        if work.keywords["most"] > 1:
            raise TransientFault("canceling statement due to statement timeout")
        done = run_in(work)
        waiting.append(place.waiting())
        return done

    fold.fold_all(limited, SCHEMA, load_id=None, seconds=None)
    assert waiting == list(range(waiting[0], -1, -1))
    place.load()
    place.agree()


def test_a_fold_that_fails_leaves_no_trace(place: Place, run_in: fold.Run) -> None:
    place.load(*(track("Email Opened", delivery_id="d") for _ in range(3)), mart="off")
    before = place.waiting()

    class Stop(Exception):
        pass

    def fails(connection: Connection) -> None:
        fold.fold_some(connection, SCHEMA, load_id=None)
        raise Stop

    with pytest.raises(Stop):
        run_in(fails)
    assert (place.waiting(), messages(place.db)) == (before, {})
    place.load()
    place.agree()


def test_a_load_whose_messages_cannot_be_folded_succeeds_and_tells(place: Place) -> None:
    place.load(track("Email Opened", delivery_id="d"))
    place.db.execute("ALTER TABLE email_messages RENAME COLUMN opens TO theirs")
    result = place.load(track("Email Opened", delivery_id="d"))
    assert ("opens" in result.mart_behind, place.waiting()) == (True, 1)
    [(event, words)] = list(result.notices())
    assert (event, "email_messages lacks events" in words) == ("mart.behind", True)
    place.db.execute("ALTER TABLE email_messages RENAME COLUMN theirs TO opens")
    assert place.load().mart_behind == ""
    place.agree()


def test_messages_that_the_server_drops_are_not_folded(place: Place) -> None:
    """The batches counted as folded, and the table said that it was up to date."""
    place.db.execute(
        "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER dropping BEFORE INSERT ON email_messages "
        "FOR EACH ROW EXECUTE FUNCTION drop_row()"
    )
    result = place.load(track("Email Opened", delivery_id="d"))
    assert "look for a trigger" in result.mart_behind
    assert place.waiting() > 0
    place.db.execute("DROP FUNCTION drop_row CASCADE")
    assert place.load().mart_behind == ""
    place.agree()


@pytest.mark.parametrize("stamp", ["infinity", "20000-01-01", "0044-03-15 BC", "-infinity"])
def test_rows_that_came_by_hand_may_have_any_stamp(place: Place, stamp: str) -> None:
    """One that Python has no time for ended each load after it with a ValueError."""
    place.load(track("Email Opened", delivery_id="d"))
    place.db.execute(
        "INSERT INTO email_opened (id, delivery_id, uuid_ts) VALUES ('h', 'd', %s)", stamp
    )
    place.run("marts", "rebuild")
    assert place.load(track("Email Opened", delivery_id="d")).mart_behind == ""
    assert messages(place.db, "opens") == {"d": (3,)}
    place.agree()


def test_tables_that_come_go_and_change_hands_are_read_as_they_are(place: Place) -> None:
    place.load(track("Email Delivered", delivery_id="d"))
    place.load(track("Email Converted", delivery_id="d"))
    assert messages(place.db, "conversions") == {"d": (1,)}
    place.agree()
    place.db.execute("DROP TABLE email_converted; ALTER TABLE email_delivered DROP subject")
    place.run("marts", "rebuild")
    assert messages(place.db, "conversions") == {"d": (0,)}
    place.agree()


# whatever happens


PEOPLE = st.sampled_from(["u1", "u2", ""])
EVENTS = st.builds(
    lambda event, user, properties: track(
        event,
        userId=user or ...,
        anonymousId=... if user else "P@x.org",
        **{key: value for key, value in properties.items() if value is not None},
    ),
    st.sampled_from(
        [
            *("Email Delivered", "Email Opened", "Email Link Clicked", "Email Unsubscribed"),
            *("Email Bounced", "Email Marked As Spam", "Email Converted", "Email Sent"),
        ]
    ),
    PEOPLE,
    st.fixed_dictionaries(
        {},
        optional={
            "delivery_id": st.sampled_from(["d1", "d1", "d2", ["d"], ["d"], "", "e:1", 5]),
            "email_id": st.sampled_from(["1", "2", ["x"]]),
            "event_type": st.just("email_opened"),
            "campaign_id": st.sampled_from([9, 10, "6.0", "six", 1.5, [10]]),
            "newsletter_id": st.sampled_from([9, "nine"]),
            "machine": st.sampled_from([True, False, "true", "odd"]),
            "prefetched": st.sampled_from([True, False]),
            "subject": st.sampled_from(["a", "B", "é", "", ["b"]]),
            "recipient": st.sampled_from(["A@x.org", "b@y.org, c@z.org"]),
            "failure_message": st.sampled_from(["gone", "full"]),
        },
    ),
)
WIDENINGS = [
    ("email_opened", "campaign_id", "numeric"),
    ("email_opened", "campaign_id", "text"),
    ("email_delivered", "campaign_id", "jsonb"),
    ("email_opened", "delivery_id", "jsonb"),
    ("email_delivered", "delivery_id", "jsonb"),
    ("email_opened", "machine", "text"),
    ("email_link_clicked", "machine", "jsonb"),
    ("email_opened", "email_id", "jsonb"),
    ("email_delivered", "subject", "jsonb"),
]
Action = Callable[[Place], object]


def widen(place: Place, table: str, column: str, type_: str) -> None:
    """Widen a column, if it is not that wide yet."""
    order = ["boolean", "bigint", "numeric", "text", "jsonb"]
    if order.index(place.db.types(table)[column]) < order.index(type_):
        place.run("columns", "widen", table, column, type_)


def replay(place: Place, events: Sequence[dict[str, Any]]) -> None:
    """Events that were rejected, and are loaded later."""
    large = [{**event, "context": {"more": "x" * 2_000}} for event in events]
    place.load(*large, max_record_bytes=1_024)
    place.run("rejects", "replay")


def forget(place: Place) -> None:
    """As if an older version had loaded what is not folded."""
    place.db.execute(
        "WITH gone AS (DELETE FROM _batches WHERE NOT folded RETURNING load_id) "
        "UPDATE _marts SET loads_seen = (SELECT coalesce(min(load_id), 1) - 1 FROM gone)"
    )


LISTS = st.lists(EVENTS, min_size=8, max_size=12)
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    LISTS.map(lambda events: lambda place: place.load(*events)),
    LISTS.map(lambda events: lambda place: place.load(*events, mart="off")),
    LISTS.map(lambda events: lambda place: replay(place, events)),
    st.sampled_from(WIDENINGS).map(lambda facts: lambda place: widen(place, *facts)),
    st.just(forget),
    st.just(lambda place: place.run("marts", "rebuild")),
    st.sampled_from(["0006", "0004"]).map(lambda to: lambda place: place.migrate(to)),
)


def check(server: Server, template: str, folder: Path, actions: Sequence[Action]) -> None:
    name = f"messages_{os.getpid()}_{next(NUMBERS)}"
    admin = server.database("postgres")
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        place = Place(server.database(name), folder / name)
        (folder / name).mkdir()
        for action in actions:
            action(place)
            if not place.is_behind():
                place.agree()
        place.load()
        place.agree()
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


NUMBERS = count()


@settings(max_examples=10, phases=[Phase.generate])
@given(actions=st.lists(ACTIONS, min_size=4, max_size=6))
def test_whatever_happens_the_table_is_what_the_view_says(
    server: Server,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[Action],
) -> None:
    check(server, template, tmp_path_factory.mktemp("messages"), actions)


@pytest.mark.soak
@settings(max_examples=300, phases=[Phase.generate])
@given(actions=st.lists(ACTIONS, min_size=3, max_size=12))
def test_whatever_happens_for_long_the_table_is_what_the_view_says(
    server: Server,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[Action],
) -> None:
    check(server, template, tmp_path_factory.mktemp("messages"), actions)
