"""The other commands: plan, status, check, migrate, help, logs, several sources."""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from acceptance.harness import Database, Run, Server, Write, ndjson, track, webhook

from loader import __version__
from loader.warehouse.migrate import head_revision

HEAD = head_revision()
COUNTS = (
    "records_read",
    "rows_loaded",
    "duplicates",
    "rejects",
    "extra_values",
    "rows_per_table",
    "schema_changes",
    "first_timestamp",
    "last_timestamp",
)
ANY = {"LOADER_MAX_REJECT_RATIO": "1"}


def counts(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in COUNTS}


def mixed() -> list[dict[str, Any] | str]:
    """Records of each kind: known, new, repeated, misfits, rejects."""
    repeated = track("Email Opened", delivery_id="d")
    return [
        repeated,
        repeated,
        track("Email Opened", campaign_id="none", utm={"source": "x"}),
        track("Cart Seen", total=9.5),
        webhook("email", "bounced", failure_message="550"),
        "{broken",
    ]


# plan


def test_plan_of_an_empty_database_shows_all_sql_and_writes_nothing(
    run: Run, empty_db: Database, write: Write
) -> None:
    path = write("a.ndjson", *mixed())
    before = empty_db.dump()
    planned = run("plan", path, "--json", url=empty_db.url)
    assert planned.code == 0, planned.err
    assert empty_db.dump() == before
    sql = planned.json["pending_sql"]
    for words in (
        "CREATE SCHEMA",
        "CREATE TABLE alembic_version",
        "CREATE TABLE email_opened",
        "CREATE TABLE customerio.cart_seen",
        "ALTER TABLE customerio.email_opened ADD COLUMN utm_source TEXT",
        "ALTER TABLE customerio.cart_seen ADD COLUMN total NUMERIC",
        "COMMENT ON COLUMN customerio.cart_seen.total IS 'Property \"total\".'",
    ):
        assert words in sql
    loaded = run("load", path, "--json", url=empty_db.url, env=ANY)
    assert counts(planned.json) == counts(loaded.json)
    shown = run("plan", path, "--force", url=empty_db.url)
    assert shown.out.startswith("Nothing was written.")


def test_plan_of_a_used_schema_counts_as_the_load_and_writes_nothing(
    run: Run, db: Database, write: Write
) -> None:
    first = mixed()
    assert run("load", write("a.ndjson", *first), env=ANY).code == 0
    path = write("b.ndjson", *first[:3], *mixed(), track("Email Opened", another=True))
    before = db.dump()
    planned = run("plan", path, "--json")
    assert planned.code == 0, planned.err
    assert db.dump() == before
    assert planned.json["pending_sql"].strip() == (
        "ALTER TABLE customerio.email_opened ADD COLUMN another BOOLEAN;\n\n"
        "COMMENT ON COLUMN customerio.email_opened.another IS 'Property \"another\".';"
    )
    loaded = run("load", path, "--json", env=ANY).json
    assert counts(planned.json) == counts(loaded)
    assert run("plan", path).out.endswith("\nNo schema change.\n")


def test_plan_counts_as_the_load_where_known_and_new_records_mix_in_large_blocks(
    run: Run, db: Database, write: Write
) -> None:
    """Ids that are asked for twice, as those of a block that was not plain, are no duplicates."""

    def plain(*numbers: int) -> list[dict[str, Any]]:
        return [track("Email Opened", messageId=f"{n:05}", subject="x" * 200) for n in numbers]

    known = plain(*range(2_000))
    fraction = track("Email Opened", messageId="fraction", price=1.5)
    mixed = [*known[:1_000], *known[500:1_000], *plain(*range(2_000, 2_500))]
    odd = [*known[:500], *plain(*range(2_500, 2_999)), fraction]
    env = {"LOADER_BATCH_RECORDS": "1000"}
    assert run("load", write("known.ndjson", *known), env=env).code == 0
    path = write("mixed.ndjson", *mixed, *odd, *plain(*range(2_400, 3_400)))
    plan = counts(run("plan", "--json", path, env=env).json)
    load = counts(run("load", "--json", path, env=env).json)
    assert plan["rows_loaded"] == load["rows_loaded"] == 1_401
    assert plan["duplicates"] == load["duplicates"] == 2_599
    assert plan["rows_per_table"] == load["rows_per_table"]


def test_plan_counts_a_reject_that_is_there_as_a_duplicate(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", "{bad", track("E", messageId="1"))
    run("load", path, env=ANY)
    planned = run("plan", path, "--force", "--json")
    assert planned.code == 0, planned.err
    assert counts(planned.json) == counts(run("load", path, "--force", "--json", env=ANY).json)


def test_the_sql_of_a_plan_makes_the_schema_that_the_load_makes(
    run: Run, empty_db: Database, db: Database, write: Write
) -> None:
    path = write("a.ndjson", *mixed(), track('It\'s "odd": C:\\temp', **{"it's :x\\": 1}))
    sql = run("plan", path, "--json", url=empty_db.url).json["pending_sql"]
    empty_db.execute(sql)
    assert run("load", path, env=ANY).code == 0

    def schema(database: Database) -> list[tuple[Any, ...]]:
        return [row for row in database.dump() if len(row) > 3]

    assert schema(empty_db) == schema(db)


def test_the_sql_of_a_plan_keeps_a_percent_sign_of_a_comment(
    run: Run, empty_db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("100% Off"))
    empty_db.execute(run("plan", path, "--json", url=empty_db.url).json["pending_sql"])
    assert empty_db.value("SELECT obj_description('customerio._100_off'::regclass)") == (
        'One row per event "100% Off".'
    )


def test_plan_is_exit_1_if_an_input_of_any_source_is_broken(
    run: Run, db: Database, write: Write
) -> None:
    broken, whole = write("a.gz", b"\x1f\x8b\x08 cut"), write("b.json", track("E"))
    write(
        "loader.toml",
        f'[[source]]\nname = "One"\ninputs = ["{broken}"]',
        f'[[source]]\nname = "Two"\ninputs = ["{whole}"]',
    )
    assert run("migrate").code == 0
    assert run("plan").code == 1


# status and check


def test_status_shows_loads_tables_freshness_rejects_and_extra(
    run: Run, db: Database, write: Write
) -> None:
    assert run("load", write("a.ndjson", *mixed()), env=ANY).code == 0
    assert run("load", write("b.ndjson", track("Cart Seen"))).code == 0
    found = run("status", "--json").json
    assert (found["source"], found["schema"]) == ("Customer.io", "customerio")
    assert [(one["id"], one["status"], one["records_read"]) for one in found["loads"]] == [
        (2, "success", 1),
        (1, "success", 6),
    ]
    tables = {one["table"]: one for one in found["tables"]}
    assert next(iter(tables)) == "tracks"
    assert (tables["tracks"]["rows"], tables["tracks"]["rows_with_extra"]) == (5, 0)
    assert (tables["email_opened"]["rows"], tables["email_opened"]["rows_with_extra"]) == (2, 1)
    last = datetime.fromisoformat(tables["cart_seen"]["last_timestamp"])
    assert last == datetime.fromisoformat("2026-03-04T05:06:07Z")
    assert found["rejects"] == {"invalid_json": 1}
    text = run("status", "--loads", "1").out
    for words in ("schema customerio", "cart_seen", "invalid_json", "2026-03-04 05:06:07"):
        assert words in text
    loads = text.split("\n\n")[1].splitlines()
    assert len(loads) == 2  # the head and one load


def test_status_before_the_first_load_says_what_to_run(run: Run, empty_db: Database) -> None:
    result = run("status", url=empty_db.url)
    assert (result.code, result.out) == (2, "")
    assert "customerio-loader load" in result.err


def test_status_shows_the_other_sources_of_one_that_was_never_loaded(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("E"))
    write(
        "loader.toml",
        '[[source]]\nname = "Never"',
        f'[[source]]\nname = "Customer.io"\ninputs = ["{path}"]',
    )
    assert run("load", "--source", "Customer.io").code == 0
    assert "Customer.io -> schema customerio" in run("status").out


@pytest.fixture
def role(db: Database, server: Server) -> Iterator[Database]:
    """The test's database as a role that has no rights yet."""
    name = db.value("SELECT current_database()::text")
    db.execute(f"CREATE ROLE {name} LOGIN")
    yield server.database(name, username=name)
    db.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def advice(run: Run, role: Database) -> list[str]:
    """The GRANTs that check asks for."""
    found = run("check", "--json", url=role.url)
    assert found.code == 1, found
    return [one["advice"] for one in found.json if not one["ok"]]


def test_check_of_a_working_configuration_is_all_ok(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", track("E"))
    before = db.dump()
    result = run("check", path)
    assert result.code == 0
    assert [line[:4] for line in result.out.splitlines()] == ["ok  "] * 8
    assert f"input {path}: 1 file" in result.out
    assert all(one["ok"] for one in run("check", "--json").json)
    assert db.dump() == before
    missing = run("check", path, path.with_name("missing"))
    assert (missing.code, "NOT   Customer.io: input" in missing.out) == (1, True)


def test_check_names_the_grant_that_a_first_load_needs(
    run: Run, db: Database, role: Database, write: Write
) -> None:
    db.execute("DROP SCHEMA customerio CASCADE")
    name = db.value("SELECT current_database()::text")
    assert advice(run, role) == [f"GRANT CREATE ON DATABASE {name} TO {name};"]
    refused = run("load", write("a.ndjson", track("E")), url=role.url)
    assert (refused.code, "lacks a right" in refused.err) == (1, True)
    db.execute(advice(run, role)[0])
    assert run("check", url=role.url).code == 0
    assert run("load", write("a.ndjson", track("E")), url=role.url).code == 0
    assert run("check", url=role.url).code == 0


def test_check_names_the_grant_on_a_schema_of_another_role(
    run: Run, db: Database, role: Database
) -> None:
    name = db.value("SELECT current_database()::text")
    assert advice(run, role)[0] == f"GRANT USAGE, CREATE ON SCHEMA customerio TO {name};"


def test_check_names_the_tables_that_belong_to_another_role(
    run: Run, db: Database, role: Database, write: Write
) -> None:
    name = db.value("SELECT current_database()::text")
    db.execute(f"GRANT USAGE, CREATE ON SCHEMA customerio TO {name}")
    wanted = advice(run, role)
    assert len(wanted) == 18
    assert wanted[0] == (
        f"ALTER TABLE customerio._batches OWNER TO {name}; or GRANT postgres TO {name};"
    )
    for one in wanted:
        db.execute(one.partition(" or ")[0])
    assert run("check", url=role.url).code == 0
    assert run("load", write("a.ndjson", track("Email Opened", new=1)), url=role.url).code == 0


def test_check_sees_a_database_that_cannot_hold_every_text(run: Run, server: Server) -> None:
    name = f"latin_{os.getpid()}"
    admin = server.database("postgres")
    admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    try:
        assert run("check", url=server.database(name).url).code == 1
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


# migrate


def test_migrate_brings_the_schema_to_head_and_says_so(run: Run, empty_db: Database) -> None:
    first = run("migrate", url=empty_db.url)
    assert (first.code, first.out) == (0, f"customerio: from nothing to revision {HEAD}\n")
    again = run("migrate", url=empty_db.url)
    assert (again.code, again.out) == (0, f"customerio: at head, revision {HEAD}\n")


def test_migrate_sql_prints_what_migrate_runs_and_runs_nothing(
    run: Run, empty_db: Database, db: Database
) -> None:
    printed = run("migrate", "--sql", url=empty_db.url)
    assert printed.code == 0
    assert empty_db.tables() == []
    empty_db.execute(printed.out)
    names = {"schemas": 1, "rest": 2}
    assert empty_db.dump()[names["schemas"] :] == db.dump()[names["schemas"] :]


# words and logs


def test_version_and_help_are_enough_to_go_on(run: Run) -> None:
    assert run("--version").out == f"customerio-loader {__version__}\n"
    helped = run("--help")
    assert helped.code == 0
    for word in ("load", "plan", "migrate", "check", "status", "warehouse", "75", "Exit codes"):
        assert word in helped.out
    load = run("load", "--help").out
    for word in ("PATH", "--source", "--warehouse-url", "--wait", "--force", "--json", "stdin",
                 "LOADER_WAREHOUSE_URL"):  # fmt: skip
        assert word in load


def test_json_logs_are_one_object_a_line_without_values_of_people(
    run: Run, db: Database, write: Write
) -> None:
    secret = "person@private.example"
    path = write(
        "a.ndjson",
        track("Email Opened", userId=secret, recipient=secret, campaign_id=secret),
        f'{{"broken": "{secret}"',
    )
    result = run("load", path, "--log-format", "json", env=ANY)
    assert result.code == 0
    lines = [json.loads(line) for line in result.err.splitlines()]
    [finished] = [line for line in lines if line["event"] == "load.finished"]
    assert (finished["level"], finished["records_read"], finished["rejects"]) == ("info", 2, 1)
    assert secret not in result.err + result.out
    text = run("load", path, "--force", env=ANY)
    assert secret not in text.err


def test_json_logs_stay_json_when_a_load_fails(run: Run, empty_db: Database, write: Write) -> None:
    empty_db.execute("CREATE SCHEMA customerio; CREATE TABLE customerio.x (y int)")
    path = write("a.ndjson", track("E"))
    result = run("load", path, "--log-format", "json", url=empty_db.url)
    assert result.code == 1
    assert [json.loads(line)["event"] for line in result.err.splitlines()] == ["load.failed"]


def test_the_summary_names_tables_duplicates_rejects_and_time(
    run: Run, db: Database, write: Write
) -> None:
    out = run("load", write("a.ndjson", *mixed()), env=ANY).out.splitlines()
    assert out[0] == "Customer.io -> schema customerio"
    assert [line.split() for line in out[1:6]] == [
        ["table", "rows"],
        ["tracks", "4"],
        ["cart_seen", "1"],
        ["email_bounced", "1"],
        ["email_opened", "2"],
    ]
    assert out[6] == (
        "records 6 = rows 4 + duplicates 1 + rejects 1 + ignored 0; values in _extra 1"
    )
    assert out[7].startswith("1 file, 0.0 MB, ")
    assert "schema_changes" in out[8]


# sources


def test_several_sources_of_loader_toml_load_into_schemas_of_their_own(
    run: Run, db: Database, write: Write
) -> None:
    one = write("one/a.json", track("Email Opened", messageId="1"))
    write("one/b.json", track("Email Opened", messageId="2"))
    write("two/a.json", track("Cart Seen", messageId="1"))
    write(
        "loader.toml",
        "batch_records = 1000",
        f'[[source]]\nname = "Customer.io"\ninputs = ["{one.parent}/*.json"]',
        '[[source]]\nname = "Shop (EU)"\nschema = "shop"\ninputs = ["two"]',
    )
    result = run("load", "--json")
    assert result.code == 0
    loaded = [json.loads(line) for line in result.out.splitlines()]
    assert [(one["source"], one["schema"], one["rows_loaded"]) for one in loaded] == [
        ("Customer.io", "customerio", 2),
        ("Shop (EU)", "shop", 1),
    ]
    assert db.rows("SELECT id FROM customerio.tracks ORDER BY id") == [("1",), ("2",)]
    assert db.rows("SELECT id, event FROM shop.tracks") == [("1", "cart_seen")]
    assert run("load", "--source", "Shop (EU)").out == (
        "Shop (EU) -> schema shop: nothing new (1 file loaded before).\n"
    )
    assert run("migrate").out.splitlines() == [
        f"customerio: at head, revision {HEAD}",
        f"shop: at head, revision {HEAD}",
    ]
    given = run("load", "-", "--source", "Shop (EU)", stdin=ndjson(track("Cart Seen")))
    assert given.code == 0
    assert db.value("SELECT count(*) FROM shop.cart_seen") == 2


def test_a_flag_comes_before_the_environment_and_that_before_loader_toml(
    run: Run, db: Database, empty_db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("E", messageId="1"))
    wrong = "postgresql://nobody@127.0.0.1:1/nowhere"
    write("loader.toml", f'warehouse_url = "{wrong}"')
    assert run("load", path).code == 0  # the environment names `db`
    assert run("load", path, "--warehouse-url", empty_db.url, url=wrong).code == 0
    assert empty_db.rows("SELECT id FROM tracks") == [("1",)]
    write("loader.toml", "")
    assert run("status", url=None, env={"DATABASE_URL": db.url}).code == 0


def test_postgres_as_a_scheme_of_the_url_is_understood(run: Run, db: Database) -> None:
    assert run("check", url=db.url.replace("postgresql://", "postgres://")).code == 0
    assert os.environ.get("LOADER_WAREHOUSE_URL") is None
