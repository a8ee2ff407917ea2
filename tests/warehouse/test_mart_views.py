"""The views as such: on nothing, on the sample, on hostile values, and what they may not hinder."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from acceptance.harness import SCHEMA, Database, Server, track
from alembic.script import ScriptDirectory
from warehouse.folded import Place

import loader
import samples
from loader.normalize import collections as catalogue
from loader.warehouse import migrate
from loader.warehouse.engine import make_engine
from loader.warehouse.grants import grant_reader
from loader.warehouse.marts import definition, metrics, views
from loader.warehouse.marts.messages import DAY_OF_INDEX
from loader.warehouse.marts.renewal import READ, functions_of
from loader.warehouse.marts.texts import digest_of
from loader.warehouse.tables import select_tables


@pytest.fixture
def place(db: Database, tmp_path: Path) -> Place:
    return Place(db, tmp_path)


@pytest.fixture(scope="module", params=[5_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def sample(
    request: pytest.FixtureRequest,
    server: Server,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Database:
    """A database with the sample of `make load`, or with a million of such events."""
    name = f"with_{request.param}_events"
    server.database("postgres").execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    path = tmp_path_factory.mktemp("sample") / "month.ndjson"
    with path.open("wb") as file:
        file.writelines(samples.generate(request.param))
    db = server.database(name)
    assert loader.load([path], warehouse_url=db.url).status == "success"
    return db


# what there is


def test_the_data_names_the_views_that_no_event_may_take() -> None:
    assert tuple(view.name for view in views.VIEWS) == catalogue.VIEWS


def test_a_view_has_the_columns_types_and_comments_that_are_said_of_it(db: Database) -> None:
    names = {"timestamptz": "timestamp with time zone"}
    for view in views.VIEWS:
        said = {column.name: names.get(column.type, column.type) for column in view.columns}
        assert db.types(view.name) == said
        assert list(db.types(view.name)) == list(said)
        assert view.columns[0].type in ("date", "timestamptz"), "tools plot by the first time"
        comments = db.rows(
            "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0",
            view.name,
        )
        assert dict(comments) == {column.name: column.comment for column in view.columns}
        assert db.value("SELECT obj_description(%s::regclass)", view.name) == view.comment


@pytest.mark.parametrize("view", views.VIEWS, ids=lambda view: view.name)
def test_of_nothing_a_view_says_nothing(db: Database, view: Any) -> None:
    assert db.rows(f"SELECT * FROM {view.name}") == []


def test_the_views_change_in_no_revision_that_is_out() -> None:
    """Where they must differ: read `loader/warehouse/marts/views.py`, and write a new revision."""
    scripts = ScriptDirectory(str(migrate.FOLDER))
    revision = scripts.get_revision("0009").module
    assert views.digest_of_all() == revision.MADE
    assert revision.VIEWS == catalogue.VIEWS
    assert definition.digest_of_all() == scripts.get_revision("0008").module.MADE


def test_the_reader_may_call_our_functions_and_nobody_elses(db: Database) -> None:
    ours = db.rows(
        "SELECT proname || '(' || oidvectortypes(proargtypes) || ')' FROM pg_proc "
        "WHERE pronamespace = %s::regnamespace ORDER BY 1",
        SCHEMA,
    )
    assert [name for (name,) in ours] == sorted(views.FUNCTIONS)
    role = f"reader_of_{db.name}"
    theirs = "('_theirs()', '_url_text(integer)', '_proc()', '_agg(integer)')"
    db.execute(
        f"CREATE ROLE {role}; "
        "CREATE FUNCTION _theirs() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; "
        "CREATE FUNCTION _url_text(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; "
        "CREATE PROCEDURE _proc() LANGUAGE sql AS 'SELECT 1'; "
        "CREATE AGGREGATE _agg(int) (SFUNC = int4pl, STYPE = int); "
        f"REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA {SCHEMA} FROM PUBLIC"
    )
    try:
        for _ in range(2):
            with make_engine(db.url).begin() as connection:
                grant_reader(connection, SCHEMA, role)
        may = (
            "SELECT proname || '(' || oidvectortypes(proargtypes) || ')' IN {}, "
            "bool_or(has_function_privilege(%s, oid, 'EXECUTE')), "
            "bool_and(has_function_privilege(%s, oid, 'EXECUTE')) "
            "FROM pg_proc WHERE pronamespace = %s::regnamespace GROUP BY 1 ORDER BY 1"
        )
        found = db.rows(may.format(theirs), role, role, SCHEMA)
        assert found == [(False, True, True), (True, False, False)]
    finally:
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


# on the sample


@pytest.mark.parametrize("count", metrics.COUNTS, ids=lambda count: count.name)
def test_sums_of_campaign_performance_are_those_of_the_messages(
    sample: Database, count: metrics.Count
) -> None:
    of_messages = sample.value(f"SELECT {count.sql} FROM email_messages")
    assert sample.value(f"SELECT sum({count.name}) FROM campaign_performance") == of_messages
    assert of_messages > 0
    for view in ("deliverability", "people_engagement"):
        if count.name in sample.types(view):
            found = sample.value(f"SELECT sum({count.name}) FROM {view}")
            assert found == of_messages, view


def test_the_other_views_agree_with_the_messages(sample: Database) -> None:
    stages = sample.rows(
        "SELECT stage_number, sum(messages) FROM email_funnel GROUP BY 1 ORDER BY 1"
    )
    delivered, opened, clicked, converted = (messages for _, messages in stages)
    assert delivered > opened > clicked > 0
    assert delivered > converted > 0
    for column, messages in (
        ("is_delivered", delivered),
        ("is_delivered AND is_human_opened", opened),
        ("is_delivered AND is_clicked", clicked),
        ("is_delivered AND is_converted", converted),
    ):
        assert sample.value(f"SELECT count(*) FROM email_messages WHERE {column}") == messages
    # No stage of a day and a message has more than the one before it, but for conversions.
    more = sample.rows(
        "SELECT * FROM (SELECT stage_number, messages, lag(messages) OVER (PARTITION BY day, "
        "message_kind, message_source_id ORDER BY stage_number) AS before FROM email_funnel) AS f "
        "WHERE stage_number IN (2, 3) AND messages > before"
    )
    assert more == []
    assert sample.value("SELECT sum(clicks) FROM email_links") == sample.value(
        "SELECT sum(clicks) FROM email_messages"
    )
    assert sample.value("SELECT sum(messages) FROM messages") == sample.value(
        "SELECT count(*) FROM email_messages WHERE is_delivered OR is_bounced"
    )
    marketing = "is_delivered AND person IS NOT NULL AND message_kind <> 'transactional'"
    assert sample.value("SELECT sum(messages) FROM marketing_pressure") == sample.value(
        f"SELECT count(*) FROM email_messages WHERE {marketing}"
    )
    assert sample.value("SELECT sum(rejects) FROM rejects_by_reason") == sample.value(
        "SELECT count(*) FROM _rejects"
    )
    classes = sample.rows("SELECT bounce_class, sum(bounced) > 0 FROM deliverability GROUP BY 1")
    assert set(classes) == {("hard", True), ("unknown", True), (None, False)}
    emails = "SELECT count(DISTINCT email) FROM identities"
    assert sample.value(f"{emails} WHERE is_current") == sample.value(emails)
    assert sample.value("SELECT count(*) FROM identities WHERE is_current") == sample.value(emails)


def test_no_row_of_a_view_is_there_twice(sample: Database) -> None:
    for view, key in (
        (
            "campaign_performance",
            "day, message_kind, message_source_id, action_id, parent_action_id, content_id",
        ),
        ("email_funnel", "day, message_kind, message_source_id, stage"),
        ("deliverability", "day, email_domain, bounce_code"),
        ("people_engagement", "person"),
        ("marketing_pressure", "week, messages_per_person"),
        ("identities", "email, user_id"),
        ("messages", "message_kind, message_source_id"),
        ("load_health", "load_id"),
        ("rejects_by_reason", "day, reason"),
    ):
        twice = f"SELECT {key} FROM {view} GROUP BY {key} HAVING count(*) > 1"
        assert sample.rows(twice) == [], view
        assert sample.value(f"SELECT count(*) FROM {view}") > 0


def test_a_filter_by_day_can_use_the_index_of_days(sample: Database) -> None:
    """Its expression has to be that of the views, to the letter."""
    assert sample.value(
        f"SELECT bool_and({metrics.DAY} = {DAY_OF_INDEX}) FROM email_messages "
        "WHERE is_delivered OR is_bounced"
    )
    for view in ("campaign_performance", "email_funnel", "deliverability"):
        with closing(sample.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {SCHEMA}; SET enable_seqscan = off")
            cursor.execute(f"EXPLAIN SELECT * FROM {view} WHERE day >= '2026-09-20'")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "email_messages_day_idx" in plan, view


# hostile values

HREFS = {
    "https://x.org/a?utm_source=A%20b+c&utm_medium=%C3%A9&utm_campaign=%F0%9F%92%8C#f":
        ("https://x.org/a", "A b c", "é", "💌"),
    "x.org/without/scheme?utm_source=s": ("x.org/without/scheme", "s", None, None),
    "?": (None, None, None, None),
    "?utm_source=only": (None, "only", None, None),
    "#": (None, None, None, None),
    "": (None, None, None, None),
    "javascript:alert('%')//?utm_source=%": ("javascript:alert('%')//", "%", None, None),
    "https://x.org/?utm_source=%zz&utm_medium=%C3&utm_campaign=%00": (
        "https://x.org/", "%zz", "%C3", "%00"),
    "https://x.org/?utm_source=%ED%A0%80&utm_medium=%C0%AF&utm_campaign=%F4%90%80%80": (
        "https://x.org/", "%ED%A0%80", "%C0%AF", "%F4%90%80%80"),
    "https://x.org/?utm_source=&utm_medium&utm_campaign==&utm_source=second": (
        "https://x.org/", None, None, "="),
    "https://x.org/?utm_source=a?b&my_utm_medium=no&utm_campaign=%2B%25": (
        "https://x.org/", "a?b", None, "+%"),
    "https://x.org/#/page?utm_source=none": ("https://x.org/", None, None, None),
    "https://x.org/{{ link }}'; DROP TABLE tracks; --": (
        "https://x.org/{{ link }}'; DROP TABLE tracks; --", None, None, None),
    "https://x.org/" + "y" * 100_000 + "?utm_source=" + "%41" * 30_000: (
        "https://x.org/" + "y" * 100_000, "A" * 30_000, None, None),
}  # fmt: skip


@pytest.mark.parametrize("href", HREFS, ids=lambda href: ascii(href[:40]))
def test_no_address_of_a_link_breaks_the_view(place: Place, href: str) -> None:
    place.load(track("Email Link Clicked", delivery_id="d", href=href))
    found = place.db.rows("SELECT link, utm_source, utm_medium, utm_campaign FROM email_links")
    assert found == [HREFS[href]]


def test_a_value_of_an_address_is_decoded_as_python_does(db: Database) -> None:
    """Every pair of bytes, and every longer run that is near a border of UTF-8."""
    runs = [
        bytes((a, b)) for a in range(256) for b in (0, 0x41, 0x7F, 0x80, 0x9F, 0xA0, 0xBF, 0xC0)
    ]
    for lead in range(0xE0, 0xF8):
        for second in (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0):
            runs += [bytes((lead, second, 0x80)), bytes((lead, second, 0xBF, 0x80))]
            runs.append(bytes((lead, second, 0x80, 0x80, 0x80)))
    escaped = ["x" + "".join(f"%{byte:02X}" for byte in run) + "y+z" for run in runs]
    found = db.rows(
        "SELECT _url_text(value) FROM unnest(%s::text[]) WITH ORDINALITY AS given(value, n) "
        "ORDER BY n",
        escaped,
    )
    for run, given, (decoded,) in zip(runs, escaped, found, strict=True):
        try:
            text = f"x{run.decode()}y z"
        except UnicodeDecodeError:
            text = given
        assert decoded == (given if b"\0" in run else text), run


BOUNCES = {
    "550 5.1.1 <ada@example.com>: no such user": ("5.1.1", "hard"),
    "550-5.7.26 blocked": ("5.7.26", "hard"),
    "smtp; 452 4.2.2 mailbox full": ("4.2.2", "soft"),
    "host mx[10.5.1.1] said: 421 try later": ("421", "soft"),
    "(#5.1.10)": ("5.1.10", "hard"),
    "550": ("550", "hard"),
    "5.1.1@example.com is unknown": ("unknown", "unknown"),
    "<550@example.com>: gone": ("unknown", "unknown"),
    "user550 5.1.1.7 465 699": ("unknown", "unknown"),
    "no code at all: ada.sample@example.com": ("unknown", "unknown"),
    "2.1.5 delivered, 250 ok": ("unknown", "unknown"),
    "": ("unknown", "unknown"),
    "\u202e'; DROP TABLE tracks; -- 💌 550": ("550", "hard"),
    "5" * 100_000: ("unknown", "unknown"),
}


@pytest.mark.parametrize("text", BOUNCES, ids=lambda text: ascii(text[:40]))
def test_a_bounce_has_a_code_or_none_and_never_an_address(place: Place, text: str) -> None:
    place.load(track("Email Bounced", delivery_id="d", failure_message=text))
    assert place.db.rows("SELECT bounce_code, bounce_class FROM deliverability") == [BOUNCES[text]]


def test_names_may_hold_anything(place: Place) -> None:
    odd = '"O\'Brien" 💌 %s {schema} \\ $rows$ <script>'
    place.load(
        track("Email Delivered", delivery_id="a", campaign_id=1, campaign_name=odd, subject=odd),
        track("Email Delivered", delivery_id="b", newsletter_id=2, subject=odd),
        track("Email Delivered", delivery_id="c", userId=..., anonymousId=f"{odd}@{odd}"),
        track("Email Bounced", delivery_id="d", userId=odd, recipient=odd),
    )
    names = place.db.rows("SELECT message_name FROM messages ORDER BY message_source_id")
    assert names == [(odd,), (odd,), ("unknown",)]
    for view in views.VIEWS:
        place.db.rows(f"SELECT * FROM {view.name}")


def test_the_ledger_may_have_been_edited(place: Place) -> None:
    place.load(track("Email Opened", colour=1))
    for edited in ("'{}'", "'7'", "'null'", "NULL", """'[1, "x", null]'"""):
        place.db.execute(f"UPDATE _loads SET schema_changes = {edited}")
        place.db.rows("SELECT * FROM load_health")
        place.db.rows("SELECT * FROM schema_changes")


# what they may not hinder


def contents(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    without = ("load_health", "schema_changes")  # a widening is a load of its own
    return {
        view.name: sorted(db.rows(f"SELECT * FROM {view.name}"), key=repr)
        for view in views.VIEWS
        if view.name not in without
    }


def test_widened_columns_change_no_view(place: Place) -> None:
    place.load(
        track("Email Delivered", delivery_id="a", campaign_id=1, action_id=2),
        track(
            "Email Link Clicked",
            delivery_id="a",
            campaign_id=1,
            href="https://x.org/?utm_source=a",
            machine=False,
            context={"traits": {"email": "a@x.org"}},
        ),
        track("Email Link Clicked", delivery_id="a", campaign_id=1, machine=True),
    )
    before = contents(place.db)
    assert all(before[name] for name in ("email_links", "identities", "campaign_performance"))
    for column, type_ in (
        ("campaign_id", "text"),
        ("delivery_id", "jsonb"),
        ("machine", "text"),
        ("href", "jsonb"),
        ("context_traits_email", "jsonb"),
    ):
        place.run("columns", "widen", "email_link_clicked", column, type_)
        assert contents(place.db) == before, column
    place.load(
        track("Email Link Clicked", delivery_id="b", campaign_id="x-1", href="https://y.org")
    )
    ids = place.db.rows("SELECT message_source_id, clicks FROM email_links ORDER BY 1")
    assert ids == [("1", 1), ("x-1", 1)]
    place.check()


def test_a_table_that_is_gone_leaves_its_view_empty(place: Place) -> None:
    place.load(track("Email Link Clicked", delivery_id="a", href="https://x.org/"))
    place.db.execute("ALTER TABLE email_link_clicked RENAME TO kept")
    with make_engine(place.db.url).connect() as connection:
        tables = select_tables(connection, SCHEMA, READ)
    for statement in functions_of(SCHEMA, tables).values():
        place.db.execute(statement)
    assert place.db.rows("SELECT * FROM email_links") == []


def test_a_function_is_made_anew_where_the_tables_ask_for_it(place: Place) -> None:
    place.db.execute("ALTER TABLE email_link_clicked ALTER href TYPE jsonb USING to_jsonb(href)")
    place.load(track("Email Link Clicked", delivery_id="a", href="https://x.org/"))
    assert place.db.rows("SELECT link FROM email_links") == [("https://x.org/",)]
    with make_engine(place.db.url).connect() as connection:
        made = functions_of(SCHEMA, select_tables(connection, SCHEMA, READ))
    kept = dict(place.db.rows("SELECT name, definition FROM _marts"))
    assert kept == {name: digest_of(statement) for name, statement in made.items()}


def test_where_the_mart_is_off_the_views_of_events_are_right_too(place: Place) -> None:
    event = track("Email Link Clicked", delivery_id="a", href="https://x.org/")
    place.load(event, mart="off")
    for _ in range(2):
        place.db.execute(
            "ALTER TABLE email_link_clicked ALTER href TYPE jsonb USING to_jsonb(href), "
            "ALTER delivery_id TYPE jsonb USING to_jsonb(delivery_id)"
        )
        place.load(mart="off")
        assert place.db.rows("SELECT link FROM email_links") == [("https://x.org/",)]
        assert place.db.rows("SELECT message_key FROM email_messages_now") == [("a",)]
        place.db.execute(
            "ALTER TABLE email_link_clicked ALTER href TYPE text USING href #>> '{}', "
            "ALTER delivery_id TYPE text USING delivery_id #>> '{}'"
        )
        place.load(mart="off")
    assert place.db.rows("SELECT link FROM email_links") == [("https://x.org/",)]


def test_views_made_without_a_look_at_the_tables_are_made_anew(place: Place) -> None:
    """As the SQL of `migrate --sql` does: then a load without an event is enough."""
    place.db.execute("UPDATE _marts SET definition = NULL")
    place.load()
    assert place.db.rows("SELECT name FROM _marts WHERE definition IS NULL") == []


def test_views_are_made_anew_with_the_rights_that_roles_had(db: Database) -> None:
    db.execute(
        "CREATE ROLE some_analyst; GRANT SELECT ON messages TO some_analyst WITH GRANT OPTION; "
        "GRANT SELECT ON load_health TO PUBLIC"
    )
    try:
        before = db.dump()
        rights = "SELECT relname::text, relacl::text FROM pg_class WHERE relacl IS NOT NULL "
        rights += f"AND relnamespace = '{SCHEMA}'::regnamespace ORDER BY 1"
        had = db.rows(rights)
        with make_engine(db.url).begin() as connection, views.remade(connection, SCHEMA):
            connection.exec_driver_sql(
                f"ALTER TABLE {SCHEMA}.email_messages ALTER subject TYPE varchar"
            )
            connection.exec_driver_sql(
                f'ALTER TABLE {SCHEMA}.email_messages ALTER subject TYPE text COLLATE "C"'
            )
        assert db.rows(rights) == had
        assert len(had) == 2
        assert db.dump() == before
    finally:
        db.execute("DROP OWNED BY some_analyst; DROP ROLE some_analyst")


def test_a_schema_can_be_dropped(db: Database) -> None:
    db.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    assert db.tables() == []
    left = (
        "SELECT proname FROM pg_proc WHERE proname IN ('_email_links', '_identities', '_url_text')"
    )
    assert db.rows(left) == []
