"""Changes of tables, step by step, on a real server; and values that move out of `_extra`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from acceptance.harness import SCHEMA, Database
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from loader.errors import SchemaDrift
from loader.normalize.collections import Type
from loader.normalize.types import INFERRED, TYPES, cover, infer
from loader.warehouse import changes, ledger
from loader.warehouse.batch import Waiting
from loader.warehouse.blockers import select_blockers
from loader.warehouse.engine import connect, make_engine
from loader.warehouse.evolve import AddColumn, Change, CreateTable
from loader.warehouse.extra import move_back
from loader.warehouse.tables import select_tables


def column(table: str, name: str, type_: Type = "bigint") -> AddColumn:
    return AddColumn(table=table, column=name, type=type_, comment=f'Property "{name}".')


@pytest.fixture
def connection(db: Database) -> Iterator[Connection]:
    with connect(make_engine(db.url)) as opened:
        yield opened.execution_options(schema_translate_map={None: SCHEMA})


def apply(connection: Connection, *step: Change) -> list[Change]:
    with connection.begin():
        return changes.apply_step(connection, SCHEMA, step, lock_timeout=0.1)


# a step


def test_a_step_makes_what_is_not_there_yet(connection: Connection, db: Database) -> None:
    table = CreateTable(table="cart_seen", comment="Carts.")
    first = [table, column("cart_seen", "total")]
    assert apply(connection, *first) == first
    more = column("cart_seen", "more", "text")
    # A step that was committed without an answer is made once more.
    assert apply(connection, *first, more) == [more]
    assert apply(connection, *first, more) == []
    assert db.types("cart_seen")["total"] == "bigint"


@pytest.mark.parametrize(
    ("statement", "there"),
    [
        ("ALTER TABLE cart_seen ADD total text", {"total": "text"}),
        ("ALTER TABLE cart_seen ADD total money", {"total": "other"}),
        ("DROP TABLE cart_seen", {}),
    ],
)
def test_a_step_tells_what_is_there_instead(
    connection: Connection, db: Database, statement: str, there: dict[str, str]
) -> None:
    apply(connection, CreateTable(table="cart_seen", comment="Carts."))
    db.execute(statement)
    before = db.dump()
    with pytest.raises(changes.TablesDiffer) as caught:
        apply(connection, column("cart_seen", "more"), column("cart_seen", "total"))
    assert not caught.value.is_of_submitted
    assert {k: v for k, v in caught.value.there["cart_seen"].items() if k == "total"} == there
    assert bool(caught.value.there["cart_seen"]) == bool(there)
    assert db.dump() == before


def test_a_table_of_somebody_else_is_not_changed(connection: Connection, db: Database) -> None:
    db.execute("CREATE TABLE cart_seen (id text PRIMARY KEY, note text)")
    with pytest.raises(SchemaDrift, match=r"'cart_seen'.*somebody else's"):
        apply(connection, CreateTable(table="cart_seen", comment=""), column("cart_seen", "total"))
    assert list(db.types("cart_seen")) == ["id", "note"]


def test_a_step_gives_up_a_held_table_after_its_try(connection: Connection, db: Database) -> None:
    held = holder(db, "LOCK TABLE customerio.tracks IN ACCESS SHARE MODE")
    with held, pytest.raises(changes._Locked):
        apply(connection, column("tracks", "context_a"))
    assert apply(connection, column("tracks", "context_a")) != []


def test_steps_begin_with_tracks_and_make_many_new_tables_at_once() -> None:
    made = [CreateTable(table=f"t{i:03}", comment="") for i in range(120)]
    columns = [column(f"t{i:03}", "a") for i in range(120)]
    old = [column("email_opened", "a"), column("tracks", "context_a"), column("email_opened", "b")]
    steps = list(changes._steps([*made, *old, *columns]))
    assert [sorted({change.table for change in step})[0] for step in steps] == [
        "tracks",
        "t000",
        "t050",
        "t100",
        "email_opened",
    ]
    assert sum(map(len, steps)) == 243
    assert all(isinstance(step[0], CreateTable) for step in steps[1:4])


# what a batch was encoded for


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE email_opened ALTER subject TYPE jsonb USING to_jsonb(subject)",
        "ALTER TABLE email_opened DROP subject",
        "DROP TABLE email_opened",
    ],
)
def test_tables_that_are_others_than_a_batch_was_encoded_for_are_told(
    connection: Connection, db: Database, statement: str
) -> None:
    types = {
        "tracks": {"id": "text"},
        "email_opened": {"id": "text", "subject": "text", "_extra": "jsonb"},
    }
    with connection.begin():
        changes.require_types(connection, SCHEMA, types)  # type: ignore[arg-type]
        changes.require_types(connection, SCHEMA, {})
    db.execute("ALTER TABLE email_opened ADD more text")  # which harms nobody
    with connection.begin():
        changes.require_types(connection, SCHEMA, types)  # type: ignore[arg-type]
    db.execute(statement)
    with pytest.raises(changes.TablesDiffer) as caught, connection.begin():
        changes.require_types(connection, SCHEMA, types)  # type: ignore[arg-type]
    assert caught.value.is_of_submitted
    assert list(caught.value.there) == ["email_opened"]
    with connection.begin():
        there = select_tables(connection, SCHEMA)
    assert caught.value.there["email_opened"] == there.get("email_opened", {})


def test_types_stay_until_the_transaction_ends(connection: Connection, db: Database) -> None:
    with connection.begin():
        changes.require_types(connection, SCHEMA, {"tracks": {"id": "text"}})
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            db.execute(
                "SET lock_timeout = 50; ALTER TABLE tracks ALTER user_id TYPE bigint USING 1"
            )


# who holds a table


@contextmanager
def holder(db: Database, statement: str, **options: str) -> Iterator[int]:
    """A session that has run a statement in a transaction; yields its number."""
    with closing(db.connect(**options)) as opened, opened.cursor() as cursor:
        cursor.execute(f"BEGIN; {statement}")
        yield opened.info.backend_pid


def test_who_holds_a_table_is_named_without_what_they_ask(
    connection: Connection, db: Database
) -> None:
    read = "SELECT 'somebody@example.com', count(*) FROM customerio.tracks"
    with holder(db, read, application_name="re\x1bport") as pid, connection.begin():
        found = select_blockers(connection, SCHEMA, ["tracks", "email_opened"])
        assert found.words == f"session {pid} (postgres, re\\x1bport)"
        assert not found.are_autovacuum
        assert select_blockers(connection, SCHEMA, ["email_opened"]).words == (
            "somebody who has gone since"
        )
        assert found.next_wait(connection, 0.1, longest=0.1) == 0.1
        waits = found._replace(are_autovacuum=True)
        # What the server needs to notice: deadlock_timeout, 1 s, and a little more; once.
        assert waits.next_wait(connection, 0.1, longest=0.1) == 1.2
        assert waits.next_wait(connection, 0.1, longest=1.2) == 0.1
        assert waits.next_wait(connection, 5.0, longest=5.0) == 5.0


def test_of_many_who_hold_a_table_some_are_named(connection: Connection, db: Database) -> None:
    read = "SELECT FROM customerio.tracks"
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(holder(db, read))
        stack.enter_context(connection.begin())
        words = select_blockers(connection, SCHEMA, ["tracks"]).words
    assert words.count("session") == 3
    assert words.endswith(", 2 more")


# columns that wait


def test_a_column_that_waits_is_recorded_once_with_what_is_known_last(
    connection: Connection, db: Database
) -> None:
    with connection.begin():
        ledger.record_waiting(connection, 1, [])
        ledger.record_waiting(connection, 1, [Waiting(column("tracks", "a"), "x")])
        ledger.record_waiting(connection, 2, [Waiting(column("tracks", "a", "text"), "y")])
        [row] = ledger.select_waiting(connection)
    assert row[:5] == ("tracks", "a", "text", 'Property "a".', "y")
    assert db.value("SELECT load_id FROM _waiting_columns") == 2
    with connection.begin():
        found = changes.find_waiting(
            connection, SCHEMA, {"tracks": {"id": "text"}}, lock_timeout=0.1
        )
        assert found == [Waiting(column("tracks", "a", "text"), "y")]
        # Its table is gone, and its values with it.
        assert changes.find_waiting(connection, SCHEMA, {}, lock_timeout=0.1) == []
        assert ledger.select_waiting(connection) == []
        assert not ledger.forget_waiting(connection, "tracks", "a")


# types

# Without a number that is a negative zero: jsonb has none.
SCALARS = (
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.integers(-(2**63) - 2, 2**63 + 1)
    | st.decimals(-1000, 1000, places=2)
    | st.sampled_from([0, -1, 2**63 - 1, 2**63, Decimal("33.0"), Decimal("1E+5")])
    | st.sampled_from(["true", "false", "t", "", "0", "-0", "-0.0", "7", "07", "7.0", "1e5", " 7"])
    | st.sampled_from(["9" * 19, "9" * 351, "0." + "9" * 351, "9" * 350, "٣", "7\n"])
    | st.text(max_size=5).filter(lambda s: "\0" not in s and s.isprintable())
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.just("k"), SCALARS)


@given(one=st.lists(VALUES, min_size=1), other=st.lists(VALUES, min_size=1))
def test_the_type_for_two_batches_is_the_type_for_their_values(
    one: list[Any], other: list[Any]
) -> None:
    assert cover(infer(one), infer(other)) == infer(one + other)


@pytest.mark.parametrize("one", INFERRED)
@pytest.mark.parametrize("other", INFERRED)
def test_a_type_for_two_holds_both(one: Type, other: Type) -> None:
    found = cover(one, other)
    assert found == cover(other, one)
    assert all(found == type_ or found in TYPES[type_].wider for type_ in (one, other))


def as_json(value: Any) -> str:
    """JSON with every digit."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, list):
        return f"[{', '.join(map(as_json, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)}: {as_json(v)}' for k, v in value.items())}}}"
    return json.dumps(value)


@pytest.fixture(scope="module")
def moving(server: Any, template: str) -> Iterator[Connection]:
    """One connection for all examples; each is rolled back."""
    name = "moving"
    admin = server.database("postgres")
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        with connect(make_engine(server.database(name).url)) as opened:
            yield opened
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("type_", INFERRED)
@settings(max_examples=40)
@given(values=st.lists(VALUES, min_size=1, max_size=30))
def test_out_of_extra_moves_what_a_load_would_have_taken(
    moving: Connection, type_: Type, values: list[Any]
) -> None:
    rows = [
        {"id": str(at), "extra": f'{{"c": {as_json(value)}, "d": 1}}'}
        for at, value in enumerate(values)
    ]
    transaction = moving.begin()
    try:
        moving.execute(text(f"ALTER TABLE {SCHEMA}.tracks ADD c {type_}"))
        insert = f"INSERT INTO {SCHEMA}.tracks (id, _extra) VALUES (:id, CAST(:extra AS jsonb))"
        moving.execute(text(insert), rows)
        moved = move_back(moving, SCHEMA, "tracks", "c", type_)
        read = f"SELECT c::text, _extra ? 'c', _extra ->> 'd' FROM {SCHEMA}.tracks ORDER BY id::int"
        found = moving.execute(text(read)).all()
    finally:
        transaction.rollback()
    taken = [type_ == "jsonb" or TYPES[type_].coerce(value) is not None for value in values]
    assert [(text_ is not None, not left) for text_, left, _ in found] == [(t, t) for t in taken]
    assert moved == sum(taken)
    assert {kept for *_, kept in found} == {"1"}
    if type_ != "jsonb":
        assert [text_ for text_, *_ in found] == [TYPES[type_].coerce(value) for value in values]


def test_nothing_moves_into_a_type_of_somebody_else(connection: Connection, db: Database) -> None:
    db.execute("INSERT INTO tracks (id, _extra) VALUES ('a', '{\"c\": 1}')")
    db.execute("ALTER TABLE tracks ADD c money")
    with connection.begin():
        assert move_back(connection, SCHEMA, "tracks", "c", "other") == 0
