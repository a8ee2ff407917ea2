"""What a run says on stderr, and with which exit code it ends."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from acceptance.faults import Start, wait_until
from acceptance.harness import ROOT, Database, Run, Write, track

ANY = {"LOADER_MAX_REJECT_RATIO": "1"}
GARBAGE = ["{bad"] * 3


def lines(text: str) -> list[str]:
    return text.splitlines()


# too many rejects


@pytest.mark.parametrize("quiet", [[], ["--quiet"], ["--json"]], ids=str)
def test_too_many_rejects_are_told_with_where_to_look(
    run: Run, db: Database, write: Write, quiet: list[str]
) -> None:
    path = write("a.ndjson", *[track("E") for _ in range(9)], *GARBAGE)
    done = run("load", path, *quiet)
    assert (done.code, lines(done.err)) == (
        3,
        [
            "customerio-loader: 3 of 12 records were rejected (0.25), above max_reject_ratio "
            "(0.05); see `customerio-loader rejects list --load 1`"
        ],
    )
    assert len(lines(run("rejects", "list", "--load", "1").out)) == 4


def test_too_many_rejects_are_a_line_of_the_json_log(run: Run, write: Write) -> None:
    done = run("load", write("a.ndjson", *GARBAGE), "--log-format", "json", "-q")
    finished, told = [json.loads(line) for line in lines(done.err)]
    assert (done.code, finished["event"], finished["rejects"]) == (3, "load.finished", 3)
    assert (told["event"], told["source"]) == ("load.too_many_rejects", "Customer.io")


def test_a_replay_of_which_all_is_rejected_again_is_exit_3(
    run: Run, db: Database, write: Write
) -> None:
    run("load", write("a.ndjson", *GARBAGE), env=ANY)
    done = run("rejects", "replay", env=ANY)
    assert (done.code, lines(done.err)) == (
        3,
        [
            "customerio-loader: all 3 records were rejected again; "
            "see `customerio-loader rejects list`"
        ],
    )
    db.execute("UPDATE _rejects SET raw = '{\"event\": \"E\"}' WHERE position = 'line 2'")
    done = run("rejects", "replay", env=ANY)
    assert (done.code, done.err) == (0, "")


# several sources


@pytest.fixture
def three(db: Database, write: Write) -> Path:
    """A foreign schema, rejects, and a good source; in that order."""
    db.execute("CREATE SCHEMA foreign_one; CREATE TABLE foreign_one.t (x int)")
    good = write("good.ndjson", track("Email Opened", messageId="1"))
    bad = write("bad.ndjson", *GARBAGE)
    return write(
        "loader.toml",
        f'[[source]]\nname = "Bad"\ninputs = ["{bad}"]',
        f'[[source]]\nname = "Foreign"\nschema = "foreign_one"\ninputs = ["{good}"]',
        f'[[source]]\nname = "Good"\ninputs = ["{good}"]',
    )


def test_of_several_sources_each_is_loaded_and_the_worst_exit_code_wins(
    run: Run, db: Database, three: Path
) -> None:
    done = run("load")
    assert done.code == 1  # not 3, which came first
    assert "3 of 3 records were rejected" in done.err
    assert "the schema 'foreign_one' has tables that customerio-loader did not make" in done.err
    assert db.rows("SELECT id FROM good.tracks") == [("1",)]
    assert run("load", "--force", env=ANY).code == 1


@pytest.mark.parametrize("command", ["plan", "migrate", "check", "status"])
def test_an_error_of_one_source_does_not_end_the_others(
    run: Run, db: Database, three: Path, command: str
) -> None:
    if command == "status":
        run("load", env=ANY)
        db.execute("DROP TABLE bad._rejects CASCADE")
    done = run(command)
    assert done.code == 1, done
    assert "Traceback" not in done.err
    shown = done.out + done.err
    assert "foreign_one" in shown
    assert "good" in done.out.splitlines()[-1] or "Good -> schema good" in done.out


# sources


def test_a_typing_error_in_the_name_of_a_source_makes_no_schema(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("E"))
    write("loader.toml", '[[source]]\nname = "Customer.io EU"')
    for command in (["load", path], ["plan", path], ["migrate"]):
        done = run(*command, "--source", "Customer.io UE")
        assert done.code == 2
        assert "is not configured: did you mean 'Customer.io EU'?" in done.err
    assert run("load", path, "--source", "Shop").code == 2
    replay = run("rejects", "replay", "--source", "Shop")
    assert (replay.code, "nothing was loaded into 'shop' yet" in replay.err) == (2, True)
    assert db.value("SELECT to_regnamespace('shop')") is None
    assert run("load", path, "--source", "Shop", "--new-source").code == 0
    assert db.value("SELECT count(*) FROM shop.tracks") == 1
    assert run("status", "--source", "Shop").code == 0


def test_a_collection_that_is_almost_another_is_told(run: Run, db: Database, write: Write) -> None:
    path = write("a.ndjson", track("Email Opened"))
    write("loader.toml", '[[source]]\ncollections = ["Email Openned"]')
    expected = (
        "customerio-loader: `collections` of the source 'Customer.io' has 'Email Openned', of "
        "which there are no events so far: did you mean 'Email Opened'?\n"
    )
    done = run("load", path)
    assert (done.code, done.err) == (0, expected)
    assert run("plan", path, "--force").err == expected
    assert run("config", "check").err == expected
    check = run("check", path)
    assert (check.code, "did you mean 'Email Opened'?" in check.out) == (1, True)


# settings


def test_a_removed_setting_warns_in_all_four_places_and_the_load_goes_on(
    run: Run, db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("E"))
    write(".env", "LOADER_WORKERS=2")
    write("loader.toml", "workers = 2")
    done = run("load", path, "--workers", "2", env={"LOADER_WORKERS": "2"})
    assert done.code == 0
    assert [line.partition(" is ignored, ")[0] for line in lines(done.err)] == [
        "customerio-loader: 'workers' in loader.toml",
        "customerio-loader: LOADER_WORKERS in .env",
        "customerio-loader: LOADER_WORKERS",
        "customerio-loader: --workers",
    ]
    assert db.value("SELECT count(*) FROM tracks") == 1
    machine = run("load", path, "--log-format", "json", "-q")
    assert [json.loads(line)["event"] for line in lines(machine.err)] == [
        "warning",
        "warning",
        "load.finished",
    ]


def test_config_show_says_how_buckets_are_reached(run: Run) -> None:
    env = {"LOADER_STORAGE": json.dumps({"s3://b": {"endpoint": "http://x:9", "anonymous": True}})}
    shown = run("config", "show", env=env).out
    assert "s3://b/ (endpoint http://x:9, anonymous true) " in shown
    settings = run("config", "show", "--json", env=env).json["settings"]
    [storage] = [one["value"] for one in settings if one["setting"] == "storage"]
    assert storage == {"s3://b/": {"endpoint": "http://x:9", "anonymous": True}}


def test_config_show_says_what_is_set_and_by_whom(run: Run, write: Write) -> None:
    write("loader.toml", "max_columns = 99", '[[source]]\nname = "EU"\ninputs = ["/x", "/y"]')
    write(".env", "LOADER_RETRY_TIMEOUT=5")
    url = "postgresql://me:s3cr3t@db:5433/events?sslmode=require&sslpassword=s3cr3t"
    shown = run("config", "show", url=url, env={"LOADER_AUTO_MIGRATE": "false"})
    assert (shown.code, shown.err) == (0, "")
    found = {line.split()[0]: line.split()[1:] for line in lines(shown.out) if line.strip()}
    assert found["warehouse_url"] == [
        "postgresql://me:***@db:5433/events?sslmode=require",
        "LOADER_WAREHOUSE_URL",
    ]
    assert found["max_columns"] == ["99", "loader.toml"]
    assert found["auto_migrate"] == ["false", "LOADER_AUTO_MIGRATE"]
    assert found["retry_timeout"] == ["5.0", "LOADER_RETRY_TIMEOUT", "in", ".env"]
    assert found["batch_records"] == ["50000", "default"]
    ignored = ["identify,", "page,", "screen,", "group,", "alias"]
    assert found["EU"] == ["eu", "/x,", "/y", "all", *ignored, "loader.toml"]
    assert "s3cr3t" not in shown.out
    machine = run("config", "show", "--json", "--warehouse-url", "postgresql://other/db", url=url)
    [first] = [one for one in machine.json["settings"] if one["setting"] == "warehouse_url"]
    assert (first["value"], first["from"]) == ("postgresql://other/db", "--warehouse-url")


@pytest.mark.parametrize("url", ["postgresql://me:p@s3cr3t/w@db/x", "mysql://me:s3cr3t@db/x"])
def test_config_show_shows_no_piece_of_a_url_that_it_cannot_read(run: Run, url: str) -> None:
    shown = run("config", "show", url=url)
    assert (shown.code, "s3cr3t" in shown.out) == (0, False)
    assert "set, but not shown" in shown.out


def test_config_check_is_exit_2_with_the_sentence(run: Run, write: Write) -> None:
    assert run("config", "check").out == "ok: 1 source\n"
    assert run("config", "check", url="nonsense").code == 2
    write("loader.toml", "batch_records = 0")
    done = run("config", "check")
    assert (done.code, done.err) == (
        2,
        "customerio-loader: batch_records (loader.toml) must be at least 1, not 0\n",
    )


# looking


def test_rejects_are_listed_by_load_file_and_position_with_how_they_begin(
    run: Run, db: Database, write: Write
) -> None:
    path = write("b.ndjson", *[f"{{{number}" for number in range(12)])
    write("a.ndjson", json.dumps([1, track("E"), "x" * 200]))
    run("load", path, env=ANY)
    run("load", path.with_name("a.ndjson"), env=ANY)
    head, *rows = lines(run("rejects", "list").out)
    assert head.split() == [
        "load",
        "file",
        "position",
        "reason",
        "detail",
        "place",
        "outcome",
        "record",
    ]
    assert [row.split()[3].rstrip(",") for row in rows] == [*map(str, range(1, 13)), "1", "1"]
    assert [row.split()[0] for row in rows] == ["1"] * 12 + ["2"] * 2
    assert rows[3].endswith("  {3")
    assert rows[-1].endswith("x" * 59)
    *some, more = lines(run("rejects", "list", "--limit", "5").out)[1:]
    assert [row.split() for row in some] == [row.split() for row in rows[:5]]
    assert more == "and 9 more: --limit 14"
    assert len(run("rejects", "list", "--json").json) == 14


def test_an_unknown_reason_code_is_told_with_those_that_there_are(run: Run, write: Write) -> None:
    run("load", write("a.ndjson", *GARBAGE, "7", track("E")), env=ANY)
    for command in ("list", "replay"):
        done = run("rejects", command, "--reason", "invalid_jsn")
        assert (done.code, done.out, done.err) == (
            2,
            "",
            "customerio-loader: 'invalid_jsn' is no reason code: did you mean 'invalid_json'? "
            "(There are invalid_json 3, not_an_object 1.)\n",
        )
    none = run("rejects", "list", "--reason", "too_deep")
    assert (none.code, none.out) == (0, "no rejects\n")


def test_control_characters_of_a_file_name_never_reach_the_terminal(
    run: Run, db: Database, write: Write
) -> None:
    path = write("evil\x1b]0;owned\x07\x9b.ndjson", "{bad\x1b[2J", track("E"))
    missing = path.with_name("gone\x1b[2J")
    shown = [
        run("load", path),
        run("rejects", "list"),
        run("check", path, missing),
        run("load", missing),
        run("load", path, missing),
        run("status"),
    ]
    for done in shown:
        assert not {"\x1b", "\x07", "\x9b"} & set(done.out + done.err), done
    assert "evil\\x1b]0;owned\\x07\\x9b.ndjson" in shown[1].out


def test_migrate_sql_at_head_says_so_as_a_comment(run: Run, db: Database) -> None:
    done = run("migrate", "--sql")
    revision = db.value("SELECT version_num FROM alembic_version")
    assert (done.code, done.out) == (0, f"-- customerio: at head, revision {revision}\n")


def test_a_plan_is_short_unless_its_sql_is_asked_for(
    run: Run, empty_db: Database, write: Write
) -> None:
    path = write("a.ndjson", track("Cart Seen", total=1.5, sku="x"), track("Email Opened", new=1))
    short = run("plan", path, url=empty_db.url)
    assert short.code == 0
    assert len(lines(short.out)) < 20
    assert "  cart_seen           2  total numeric, sku text" in short.out
    assert "1 new table: cart_seen" in short.out
    assert "CREATE" not in short.out
    pending = run("plan", path, "--json", url=empty_db.url).json["pending_sql"].strip()
    sql = run("plan", "--sql", path, url=empty_db.url).out
    assert sql.endswith(f"\n{pending}\n")
    empty_db.execute(sql)  # the summary is a comment
    assert empty_db.types("cart_seen")["total"] == "numeric"
    assert run("plan", path, url=empty_db.url).out.endswith("\nNo schema change.\n")


# signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_is_told_with_what_was_committed(
    start: Start, db: Database, write: Write, number: signal.Signals
) -> None:
    path = write("many.ndjson", *[track("Email Opened") for _ in range(40_000)])
    process = start("load", path, "-q", url=db.url, env={"LOADER_BATCH_RECORDS": "1000"})
    wait_until(db, "SELECT count(*) > 0 FROM tracks")
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    [(records, batches)] = db.rows("SELECT records_read, batches FROM _loads")
    assert err.decode() == (
        f"customerio-loader: the load of 'Customer.io' was stopped by {number.name}; "
        f"committed: {records:,} records in {batches:,} batch{'es' * (batches > 1)}. "
        "Run it again: it goes on behind them\n"
    )


# help

COMMANDS = [
    *([], ["load"], ["plan"], ["check"], ["status"], ["migrate"], ["config"], ["config", "show"]),
    *(["config", "check"], ["rejects"], ["rejects", "list"], ["rejects", "replay"], ["columns"]),
    *(["columns", "list"], ["columns", "widen"], ["warehouse"], ["warehouse", "psql"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_also_short(run: Run, command: list[str]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert (short.code, short.out) == (0, long.out)
    if command not in (["config"], ["rejects"], ["columns"], ["warehouse"]):
        assert "  Examples:\n    customerio-loader " in short.out or command[:1] == ["rejects"]


def test_the_shell_completes_commands_and_sources(run: Run, write: Write) -> None:
    program = Path(sys.executable).with_name("customerio-loader")
    write("loader.toml", '[[source]]\nname = "Shop"\n[[source]]\nname = "Ship"')

    def complete(*words: str) -> list[str]:
        done = run(
            program=[str(program)],
            env={
                "_CUSTOMERIO_LOADER_COMPLETE": "complete_bash",
                "COMP_WORDS": " ".join(["customerio-loader", *words]),
                "COMP_CWORD": str(len(words)),
            },
        )
        return lines(done.out)

    assert complete("rej") == ["rejects"]
    assert complete("load", "--source", "Sh") == ["Shop", "Ship"]
    assert complete("columns", "widen", "t", "c", "js") == ["jsonb"]


# make


def test_the_first_make_load_says_what_it_makes(tmp_path: Path) -> None:
    """It was silent for most of a minute."""
    options = ["-n", f"VENV={tmp_path / 'venv'}", f"SAMPLE={tmp_path / 'month.ndjson.gz'}", "load"]
    done = subprocess.run(["make", *options], cwd=ROOT, capture_output=True, text=True, check=True)
    for words in ("making /.*/venv: ", "making /.*/month.ndjson.gz: ", "loading /.*/month"):
        assert re.search(f"echo ['\"]{words}.*>&2", done.stdout)
