"""`attribution`: which clicked message a conversion is credited to, on cases worked out by hand."""

import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from acceptance.harness import Database, Server

NOON = datetime(2026, 9, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MADE = """
CREATE SCHEMA prod;
CREATE TABLE prod.order_completed (
    id text, user_id text, anonymous_id text, "timestamp" timestamptz, email text, revenue numeric);
CREATE TABLE prod.identifies (
    id text, user_id text, anonymous_id text, "timestamp" timestamptz, email text);
"""


@pytest.fixture
def shop(db: Database) -> Database:
    db.execute(MADE)
    return db


def click(
    db: Database,
    key: str,
    when: datetime | None,
    user: str | None = "u1",
    email: str | None = None,
) -> None:
    db.execute(
        "INSERT INTO email_messages (message_key, user_id, email, campaign_id, delivered_at, "
        "first_clicked_at) VALUES (%s, %s, %s, '7', %s, %s)",
        *(key, user, email, NOON - 9 * DAY, when),
    )


def order(
    db: Database,
    name: str,
    when: datetime | None,
    user: str | None = "u1",
    browser: str | None = None,
    email: str | None = None,
    revenue: Any = 30,
) -> None:
    db.execute(
        'INSERT INTO prod.order_completed (id, "timestamp", user_id, anonymous_id, email, revenue) '
        "VALUES (%s, %s, %s, %s, %s, %s)",
        *(name, when, user, browser, email, revenue),
    )


def identify(
    db: Database,
    browser: str,
    when: datetime | None,
    user: str | None,
    email: str | None = None,
) -> None:
    db.execute(
        'INSERT INTO prod.identifies (anonymous_id, "timestamp", user_id, email) '
        "VALUES (%s, %s, %s, %s)",
        *(browser, when, user, email),
    )


def credits(
    db: Database, model: str = "last_click", days: int = 7, with_identifies: bool = True
) -> list[tuple[Any, ...]]:
    """Conversion, person, message and credit, in that order."""
    identifies = "prod.identifies" if with_identifies else None
    return db.rows(
        "SELECT conversion_id, user_id, message_key, credit FROM attribution("
        "'prod.order_completed', %s::regclass, %s, %s) ORDER BY 1, clicked_at, 3",
        *(identifies, model, days),
    )


def test_the_last_click_before_an_order_has_it_and_the_first_one_in_its_model(
    shop: Database,
) -> None:
    click(shop, "early", NOON - 3 * DAY)
    click(shop, "late", NOON - DAY)
    click(shop, "after", NOON + timedelta(seconds=1))
    click(shop, "of another", NOON - timedelta(hours=1), user="u2")
    click(shop, "not clicked", None)
    order(shop, "o", NOON)
    assert credits(shop) == [("o", "u1", "late", 1)]
    assert credits(shop, "first_click") == [("o", "u1", "early", 1)]
    assert shop.rows("SELECT * FROM attribution('prod.order_completed')") == [
        (NOON, "o", "u1", 30, "late", "campaign", "7", NOON - DAY, 1)
    ]


def test_a_click_counts_until_the_window_has_passed(shop: Database) -> None:
    click(shop, "m", NOON)
    instant = timedelta(microseconds=1)
    for name, when in [
        ("1 before", NOON - instant),
        ("2 at once", NOON),
        ("3 within", NOON + 2 * DAY - instant),
        ("4 past", NOON + 2 * DAY),
    ]:
        order(shop, name, when)
    assert [(row[0], row[2], row[3]) for row in credits(shop, days=2)] == [
        ("1 before", None, 0),
        ("2 at once", "m", 1),
        ("3 within", "m", 1),
        ("4 past", None, 0),
    ]
    # A day has 24 hours, also where a clock is put back.
    shop.execute("UPDATE email_messages SET first_clicked_at = '2026-10-24 12:00+02'")
    shop.execute("DELETE FROM prod.order_completed")
    order(shop, "o", datetime(2026, 10, 25, 11, 30, tzinfo=UTC))
    statement = "SET TIME ZONE 'Europe/Berlin'; SELECT message_key FROM customerio.attribution"
    assert shop.value(f"{statement}('prod.order_completed', days => 1)") is None
    assert shop.value(f"{statement}('prod.order_completed', days => 2)") == "m"


def test_an_order_without_a_click_stays_with_its_amount_and_no_credit(shop: Database) -> None:
    click(shop, "m", NOON - 8 * DAY)
    order(shop, "late", NOON)
    order(shop, "nobody", NOON, user=None, browser="unknown")
    order(shop, "never", None)
    assert shop.rows("SELECT * FROM attribution('prod.order_completed') ORDER BY 2") == [
        (NOON, "late", "u1", 30, None, None, None, None, 0),
        (None, "never", "u1", 30, None, None, None, None, 0),
        (NOON, "nobody", None, 30, None, None, None, None, 0),
    ]


@pytest.mark.parametrize("clicks", [1, 2, 3, 6, 7, 49])
def test_linear_shares_add_up_to_exactly_one(shop: Database, clicks: int) -> None:
    for number in range(clicks):
        click(shop, f"m{number:02}", NOON - timedelta(hours=number + 1))
    order(shop, "o", NOON, revenue=Decimal("19.99"))
    rows = shop.rows(
        "SELECT credit, amount FROM attribution('prod.order_completed', model => 'linear')"
    )
    assert len(rows) == clicks
    assert sum(credit for credit, _ in rows) == 1
    assert sum(amount for _, amount in rows) == Decimal("19.99")
    assert all(abs(credit - Decimal(1) / clicks) < Decimal("1e-8") for credit, _ in rows)


def test_sums_are_right_over_everything_in_each_model(shop: Database) -> None:
    for number in range(3):
        click(shop, f"m{number}", NOON - timedelta(hours=number + 1))
    order(shop, "1", NOON, revenue=10)
    order(shop, "1", NOON, revenue=20)  # an id that comes twice
    order(shop, "3", NOON, user="u9", revenue=5)
    order(shop, "4", NOON, revenue=None)
    for model in ("last_click", "first_click", "linear"):
        found = shop.rows(
            "SELECT sum(credit), sum(amount), sum(amount) FILTER (WHERE message_key IS NOT NULL) "
            "FROM attribution('prod.order_completed', model => %s)",
            model,
        )
        assert found == [(3, 35, 30)]


def test_clicks_at_one_instant_have_an_order(shop: Database) -> None:
    for key in ("b", "a", "c"):
        click(shop, key, NOON - DAY)
    order(shop, "o", NOON)
    for _ in range(3):
        assert credits(shop) == [("o", "u1", "c", 1)]
        assert credits(shop, "first_click") == [("o", "u1", "a", 1)]


def test_an_order_before_the_login_is_found_by_the_browser(shop: Database) -> None:
    click(shop, "m", NOON - DAY)
    order(shop, "o", NOON, user=None, browser="b1")
    assert credits(shop) == [("o", None, None, 0)]
    identify(shop, "b1", NOON + DAY, "u1")
    assert credits(shop) == [("o", "u1", "m", 1)]
    assert credits(shop, with_identifies=False) == [("o", None, None, 0)]


def test_two_users_of_a_browser_get_their_own(shop: Database) -> None:
    click(shop, "m1", NOON - DAY, user="u1")
    click(shop, "m2", NOON - DAY, user="u2")
    identify(shop, "b", NOON - 3 * DAY, "u1")
    identify(shop, "b", NOON + DAY, "u2")
    identify(shop, "b", NOON + 3 * DAY, "u3")
    identify(shop, "b", NOON, None)
    identify(shop, "b", None, "u4")
    order(shop, "1 before u2 came", NOON, user=None, browser="b")
    order(shop, "2 when u2 was there", NOON + 2 * DAY, user=None, browser="b")
    order(shop, "3 before anybody", NOON - 4 * DAY, user=None, browser="b")
    order(shop, "4 said itself", NOON, user="u2", browser="b")
    assert [row[:3] for row in credits(shop)] == [
        ("1 before u2 came", "u1", "m1"),
        ("2 when u2 was there", "u2", "m2"),
        ("3 before anybody", "u1", None),
        ("4 said itself", "u2", "m2"),
    ]


def test_the_address_counts_where_there_is_no_user_id(shop: Database) -> None:
    click(shop, "no id", NOON - 2 * DAY, user=None, email="ann@example.com")
    click(shop, "other id", NOON - DAY, user="cio-1", email="ann@example.com")
    # An id that Customer.io has not is no reason to lose the order.
    order(shop, "1 address", NOON, user=None, email=" Ann@Example.com ")
    order(shop, "2 own id", NOON, user="shop-1", email="ann@example.com")
    order(shop, "3 identified", NOON, user="shop-1")
    order(shop, "4 browser", NOON, user=None, browser="b")
    identify(shop, "x", NOON - DAY, "shop-1", email="ANN@example.com")
    identify(shop, "b", NOON - DAY, None, email="ann@example.com")
    assert [row[:3] for row in credits(shop)] == [
        ("1 address", None, "other id"),
        ("2 own id", "shop-1", "no id"),
        ("3 identified", "shop-1", "no id"),
        ("4 browser", None, "other id"),
    ]
    shop.execute("DELETE FROM email_messages WHERE message_key = 'no id'")
    assert credits(shop)[1] == ("2 own id", "shop-1", "other id", 1)


def test_ones_own_messages_come_before_those_of_another_id_at_the_address(shop: Database) -> None:
    click(shop, "mine", NOON - 2 * DAY, user="u1", email="ours@example.com")
    click(shop, "my partner's", NOON - DAY, user="u2", email="ours@example.com")
    order(shop, "o", NOON, user="u1", email="ours@example.com")
    for model in ("last_click", "linear"):
        assert credits(shop, model) == [("o", "u1", "mine", 1)]


def test_the_address_of_a_browser_is_that_of_who_used_it(shop: Database) -> None:
    click(shop, "m1", NOON - DAY, user="cio-1", email="one@example.com")
    click(shop, "m2", NOON - DAY, user="cio-2", email="two@example.com")
    identify(shop, "b", NOON - 2 * DAY, "s1", email="one@example.com")
    identify(shop, "b", NOON + DAY, "s2", email="two@example.com")
    order(shop, "o", NOON, user=None, browser="b")
    assert credits(shop) == [("o", "s1", "m1", 1)]


def test_blank_ids_are_nobody(shop: Database) -> None:
    click(shop, "m", NOON - DAY, user=None)
    order(shop, "o", NOON, user="", browser="", email=" ")
    identify(shop, "", NOON, "u1")
    assert credits(shop) == [("o", None, None, 0)]


# the tables


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ('order_id text, user_id text, "timestamp" timestamptz', "has no column id"),
        ("id text, user_id text, at timestamptz", 'has no column "?timestamp'),
        ("user_id text", 'has no column id, "?timestamp'),
        ('id text, "timestamp" timestamptz', "none of the columns user_id, anonymous_id, email"),
        ('id text, user_id text, "timestamp" text', "timestamp of .* is no time but text"),
    ],
)
def test_a_table_of_other_columns_is_told_what_it_lacks(
    shop: Database, columns: str, said: str
) -> None:
    shop.execute(f'CREATE TABLE prod."Or""ders" ({columns})')
    with pytest.raises(psycopg2.Error, match=said) as caught:
        shop.rows("""SELECT * FROM attribution('prod."Or""ders"')""")
    assert 'prod."Or""ders"' in str(caught.value)


def test_identifies_of_other_columns_is_told_what_it_lacks(shop: Database) -> None:
    with pytest.raises(psycopg2.Error, match=r"public\.users has no column anonymous_id, user_id"):
        shop.execute(
            'CREATE TABLE public.users (id text, "timestamp" timestamptz);'
            "SELECT * FROM attribution('prod.order_completed', 'public.users')"
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "'prod.order_completed', model => 'last'",
            "last_click, first_click or linear, not 'last'",
        ),
        ("'prod.order_completed', model => NULL", "not NULL"),
        ("'prod.order_completed', days => 0", "days must be from 1 to 3650, not '0'"),
        ("'prod.order_completed', days => NULL", "days must be from 1 to 3650"),
        ("NULL", "conversions must be a table or view"),
        ("'prod.nowhere'", 'relation "prod.nowhere" does not exist'),
        ("0::oid::regclass", "has no column id"),
    ],
)
def test_a_wrong_argument_is_told(shop: Database, arguments: str, said: str) -> None:
    with pytest.raises(psycopg2.Error, match=said):
        shop.rows(f"SELECT * FROM attribution({arguments})")


@pytest.mark.parametrize(
    "name",
    ['x"; DROP TABLE prod.identifies; --', "select", "$query$ @ : % '", "Ünï 🦊", "Pg_class"],
)
def test_any_name_of_a_table_is_only_a_name(shop: Database, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    click(shop, "m", NOON - DAY)
    order(shop, "o", NOON)
    shop.execute(f"ALTER TABLE prod.order_completed RENAME TO {quoted}")
    shop.execute(f"ALTER SCHEMA prod RENAME TO {quoted}")
    found = shop.rows(
        "SELECT message_key FROM attribution(%s::regclass, %s::regclass)",
        *(f"{quoted}.{quoted}", f"{quoted}.identifies"),
    )
    assert found == [("m",)]


def test_hostile_objects_of_the_callers_search_path_are_not_used(shop: Database) -> None:
    click(shop, "m", NOON - DAY)
    order(shop, "o", NOON)
    shop.execute(
        "CREATE SCHEMA hostile; CREATE TABLE hostile.email_messages (user_id text);"
        "CREATE FUNCTION hostile.trunc(numeric, integer) RETURNS numeric LANGUAGE sql AS 'SELECT 9'"
    )
    found = shop.rows(
        "SET search_path = hostile, pg_catalog; "
        "SELECT message_key, credit FROM customerio.attribution('prod.order_completed')"
    )
    assert found == [("m", 1)]


def test_ids_that_are_numbers_times_without_a_zone_and_any_name_of_an_amount_do(
    shop: Database,
) -> None:
    click(shop, "m", NOON - timedelta(minutes=1), user="17")
    for column, type_ in [("amount", "money"), ("total", "integer"), ("value", "text")]:
        shop.execute(
            f'CREATE TABLE prod.{column} (id bigint, user_id bigint, "timestamp" timestamp, '
            f"{column} {type_}); INSERT INTO prod.{column} VALUES (1, 17, '2026-09-10 12:00', '5')"
        )
        assert shop.rows(
            f"SET TIME ZONE 'Asia/Tokyo'; SELECT conversion_id, message_key, amount "
            f"FROM customerio.attribution('prod.{column}')"
        ) == [("1", "m", 5)]
    shop.execute(
        "CREATE VIEW prod.cheap AS SELECT id, user_id, date '2026-09-11' AS \"timestamp\" "
        "FROM prod.total"
    )
    assert shop.value("SELECT message_key FROM attribution('prod.cheap')") == "m"


def test_a_temporary_table_of_another_collation_does(shop: Database) -> None:
    click(shop, "m", NOON - DAY)
    found = shop.rows(
        'CREATE TEMP TABLE orders (id text, user_id text COLLATE "POSIX", "timestamp" timestamptz);'
        "INSERT INTO orders VALUES ('o', 'u1', '2026-09-10 12:00+00');"
        "SELECT message_key FROM attribution('orders')"
    )
    assert found == [("m",)]


def test_it_reads_with_the_rights_of_who_calls_it(shop: Database, server: Server) -> None:
    click(shop, "m", NOON - DAY)
    order(shop, "o", NOON)
    role = f"reader_of_{shop.name}"
    shop.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA customerio, prod TO {role}")
    reader = server.database(shop.name, username=role)
    asked = "SELECT message_key FROM attribution('prod.order_completed')"
    for table in ("prod.order_completed", "customerio.email_messages"):
        with pytest.raises(psycopg2.Error, match="permission denied"):
            reader.rows(asked)
        shop.execute(f"GRANT SELECT ON {table} TO {role}")
    assert reader.rows(asked) == [("m",)]
    shop.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_clicks_of_a_person_are_found_by_an_index(shop: Database) -> None:
    """Else each conversion would read all messages."""
    shop.execute(
        "INSERT INTO email_messages (message_key, user_id, email, first_clicked_at) "
        "SELECT n::text, 'u' || n % 5000, 'p' || n % 5000 || '@example.com', "
        "CASE WHEN n % 10 = 0 THEN timestamptz '2026-09-01' + n * interval '1 second' END "
        "FROM generate_series(1, 50000) AS n; ANALYZE email_messages"
    )
    for column in ("user_id", "email"):
        plan = shop.rows(
            f"EXPLAIN SELECT * FROM (VALUES ('a'), ('b')) AS p (x) JOIN email_messages AS m "
            f"ON m.{column} = p.x AND m.first_clicked_at <= now()"
        )
        assert f"email_messages_{column}_idx" in str(plan)


def test_an_id_or_address_may_be_longer_than_a_key_of_a_b_tree(shop: Database) -> None:
    """The fold of one failed for ever, and the revision that makes the indexes, too."""
    user, box = secrets.token_hex(5_000), secrets.token_hex(5_000)
    shop.execute(
        "INSERT INTO email_messages (message_key, user_id, email, first_clicked_at) "
        "VALUES ('long', %s, %s || '@example.com', now())",
        user,
        box,
    )
    assert shop.value("SELECT count(*) FROM email_messages WHERE user_id = %s", user) == 1
