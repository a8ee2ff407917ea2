"""Each source goes into each of its warehouses, as a load of its own: one holds up no other."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from acceptance.faults import (
    LATE_MIDDLE,
    SMALL,
    OwnServer,
    Start,
    check_settled,
    mixed,
    roles,
    statuses,
    trigger,
    wait_until,
)
from acceptance.harness import Database, Result, Run, Server, Write, ndjson, track

from loader.config import Warehouse
from loader.errors import WarehouseUnavailable
from loader.load.pairs import Away
from loader.warehouse.engine import lock_key

SECRET = "hush-hush-7"
GIVEN = mixed(3_000)
NOBODY = f"postgresql://me:{SECRET}@127.0.0.1:1/events"
AT_ONCE = {"LOADER_RETRY_TIMEOUT": "0.01"}
Several = Callable[..., Result]


def tables(urls: dict[str, str], inputs: str | Path = "", sources: str = "") -> str:
    """A loader.toml with warehouses of these names."""
    one = f'[[source]]\nname = "Customer.io"\ninputs = ["{inputs}"]\n' if inputs else ""
    return one + "".join(
        f'[[warehouse]]\nname = "{name}"\nurl = "{url}"\n{sources}' for name, url in urls.items()
    )


@pytest.fixture
def several(run: Run, write: Write, db: Database, empty_db: Database) -> Several:
    """Run a command with the warehouses `main` and `eu`, or with those that are given."""

    def run_it(
        *arguments: str | Path, urls: dict[str, str] | None = None, **options: Any
    ) -> Result:
        urls = {"main": db.url, "eu": empty_db.url} if urls is None else urls
        write("loader.toml", tables(urls, options.pop("inputs", "")))
        result = run(*arguments, url=None, **options)
        assert SECRET not in result.out + result.err
        assert "Traceback" not in result.err
        return result

    return run_it


def of_each(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    """The results of a load by source and warehouse."""
    found = [json.loads(line) for line in result.out.splitlines()]
    return {(one["source"], one["warehouse"]): one for one in found}


def ids(db: Database) -> list[str]:
    return [key for (key,) in db.rows("SELECT id FROM tracks ORDER BY 1")]


# what goes where


def test_each_source_is_loaded_into_each_of_its_warehouses(
    run: Run, write: Write, db: Database, empty_db: Database
) -> None:
    write("shop.json", track("Cart Seen", messageId="1"))
    write("eu.json", track("Email Opened", messageId="2"), track("Email Opened", messageId="2"))
    write(
        "loader.toml",
        '[[source]]\nname = "Shop"\ninputs = ["shop.json"]',
        '[[source]]\nname = "EU"\ninputs = ["eu.json"]',
        f'[[warehouse]]\nname = "main"\nurl = "{db.url}"',
        '[[warehouse]]\nname = "eu"\nurl = "env:EU_URL"\nsources = ["EU"]',
    )
    env = {"EU_URL": empty_db.url, "DATABASE_URL": NOBODY}
    first = run("load", "--json", url=None, env=env)
    assert (first.code, first.err) == (0, "")
    rows = {pair: one["rows_loaded"] for pair, one in of_each(first).items()}
    assert rows == {("Shop", "main"): 1, ("EU", "main"): 1, ("EU", "eu"): 1}
    assert db.rows("SELECT id FROM shop.tracks") == [("1",)]
    assert db.rows("SELECT id FROM eu.tracks") == empty_db.rows("SELECT id FROM eu.tracks")
    assert (empty_db.tables("shop"), "_files" in empty_db.tables("eu")) == ([], True)
    again = run("load", url=None, env=env)
    assert again.out.splitlines() == [
        "Shop -> main, schema shop: nothing new (1 file loaded before).",
        "EU -> main, schema eu: nothing new (1 file loaded before).",
        "EU -> eu, schema eu: nothing new (1 file loaded before).",
    ]
    chosen = run("load", "--force", "--json", "--warehouse", "eu", url=None, env=env)
    assert [(pair, one["duplicates"]) for pair, one in of_each(chosen).items()] == [
        (("EU", "eu"), 2)
    ]
    assert db.value("SELECT count(*) FROM eu._loads") == 2


def test_the_json_of_one_warehouse_has_its_keys_and_a_name_that_is_null(
    run: Run, several: Several, write: Write
) -> None:
    path = write("a.json", track("E"))
    alone = run("load", path, "--json").json
    one, two = of_each(several("load", path, "--json")).values()
    assert (alone["warehouse"], one["warehouse"], two["warehouse"]) == (None, "main", "eu")
    assert set(alone) == set(one) == set(two)


# one that fails


def test_a_warehouse_that_is_down_catches_up_when_it_is_back(
    several: Several, mortal: OwnServer, mortal_db: Database, db: Database, path: Path
) -> None:
    urls = {"away": mortal_db.url, "main": db.url}
    mortal.stop("immediate")
    first = several("load", "--json", urls=urls, inputs=path, env=AT_ONCE)
    assert (first.code, list(of_each(first))) == (1, [("Customer.io", "main")])
    [line] = first.err.splitlines()
    assert line.startswith("customerio-loader: warehouse 'away': cannot reach ")
    check_settled(db, GIVEN)
    mortal.start()
    second = several("load", "--json", urls=urls, inputs=path)
    read = {pair[1]: one["records_read"] for pair, one in of_each(second).items()}
    assert (second.code, read) == (0, {"away": len(GIVEN.lines), "main": 0})
    check_settled(mortal_db, GIVEN)
    assert ids(mortal_db) == ids(db)


def test_a_warehouse_that_stops_in_the_middle_goes_on_behind_its_last_batch(
    start: Start,
    several: Several,
    write: Write,
    mortal: OwnServer,
    mortal_db: Database,
    db: Database,
    path: Path,
) -> None:
    urls = {"mortal": mortal_db.url, "main": db.url}
    write("loader.toml", tables(urls, path))
    with trigger(mortal_db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", url=None, env=SMALL | {"LOADER_RETRY_TIMEOUT": "1"})
        wait_until(mortal_db, waits)
        mortal.stop("immediate")
        _, err = process.communicate(timeout=60)
        mortal.start()
    assert process.returncode == 1
    assert err.startswith(b"customerio-loader: warehouse 'mortal': cannot reach ")
    check_settled(db, GIVEN)
    committed = mortal_db.value("SELECT max(records_done) FROM _files")
    assert 0 < committed < len(GIVEN.lines)
    again = of_each(several("load", "--json", urls=urls, inputs=path, env=SMALL))
    assert again["Customer.io", "mortal"]["records_read"] == len(GIVEN.lines) - committed
    assert again["Customer.io", "main"]["records_read"] == 0
    check_settled(mortal_db, GIVEN)
    assert statuses(mortal_db) == ["interrupted", "success"]


def test_a_warehouse_where_a_right_is_missing_stops_no_other(
    several: Several, server: Server, empty_db: Database, db: Database, write: Write
) -> None:
    path = write("a.json", track("Email Opened", messageId="1"))
    role = f"no_rights_{os.getpid()}"
    with roles(empty_db, role):
        poor = server.database(empty_db.name, username=role)
        urls = {"poor": poor.url, "main": db.url}
        result = several("load", path, urls=urls)
        assert (result.code, ids(db)) == (1, ["1"])
        assert "warehouse 'poor': " in result.err
        check = several("check", urls=urls)
        assert check.code == 1
        assert "NOT   Customer.io: warehouse 'poor': " in check.out
        assert "NOT   Customer.io: warehouse 'main': " not in check.out
        empty_db.execute(f"GRANT CREATE ON DATABASE {empty_db.name} TO {role}")
        assert several("load", path, urls=urls).code == 0
        assert ids(empty_db) == ["1"]


def test_the_lock_of_one_warehouse_is_not_that_of_another(
    several: Several, db: Database, empty_db: Database, write: Write
) -> None:
    path = write("a.json", track("E", messageId="1"))
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (lock_key("customerio"),))
        result = several("load", path)
        assert (result.code, ids(empty_db)) == (75, ["1"])
        assert result.err.startswith("customerio-loader: warehouse 'main': another load of ")
    assert several("load", path).code == 0
    assert ids(db) == ["1"]


def test_the_exit_code_is_that_of_the_worst(
    several: Several, db: Database, empty_db: Database, write: Write
) -> None:
    path = write("a.json", track("E", messageId="1"), "{bad")
    urls = {"behind": empty_db.url, "unset": "env:NOT_SET", "main": db.url}
    env = {"LOADER_AUTO_MIGRATE": "false"}
    worst = several("load", path, urls=urls, env=env)
    assert worst.code == 4  # before 2 and 3
    words = ("'behind': the schema", "'unset': the environment", "'main': 1 of 2 records")
    for line, word in zip(worst.err.splitlines(), words, strict=True):
        assert line.startswith(f"customerio-loader: warehouse {word}")
    assert "rejects list --load 1 --warehouse main`" in worst.err
    assert ids(db) == ["1"]
    del urls["behind"]
    assert several("load", path, urls=urls, env=env).code == 2
    assert several("load", path, "--force", urls={"main": db.url}).code == 0  # rejects are known
    urls["down"] = NOBODY
    assert several("load", path, urls=urls, env=AT_ONCE).code == 1


def test_a_server_that_does_not_answer_is_waited_for_once(db: Database) -> None:
    away, tried = Away(), []
    down, up = (Warehouse(name, Path(), "") for name in ("down", "up"))

    def load(warehouse: Warehouse, url: str, *, waits_in_vain: bool = False) -> None:
        with away.noticed(warehouse, url):
            tried.append(warehouse.name)
            if waits_in_vain:
                raise WarehouseUnavailable("waited in vain")

    with pytest.raises(WarehouseUnavailable, match="waited in vain"):
        load(down, NOBODY, waits_in_vain=True)
    with pytest.raises(WarehouseUnavailable, match="cannot reach"):
        load(down, NOBODY)
    assert tried == ["down"]
    load(up, NOBODY)
    load(down, db.url)  # it is back
    load(down, NOBODY)
    assert tried == ["down", "up", "down", "down"]


def test_a_server_that_is_silent_is_not_asked_for_each_source() -> None:
    """Each of the sources waited for it until the end of its `connect_timeout`."""
    away, silent = Away(), Warehouse("silent", Path(), "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://127.0.0.1:{server.getsockname()[1]}/x?connect_timeout=2"
        for _ in range(4):
            with pytest.raises(WarehouseUnavailable), away.noticed(silent, url):
                raise WarehouseUnavailable("waited in vain")
        server.setblocking(False)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()


# signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_loads_into_all_warehouses(
    start: Start,
    several: Several,
    write: Write,
    db: Database,
    empty_db: Database,
    path: Path,
    number: signal.Signals,
) -> None:
    urls = {"main": db.url, "eu": empty_db.url}
    write("loader.toml", tables(urls, path))
    with trigger(db, "email_opened", LATE_MIDDLE) as waits:
        process = start("load", url=None, env=SMALL)
        wait_until(db, waits)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, b"")
    assert b"the load of 'Customer.io' into 'main' was stopped by " in err
    assert (empty_db.tables(), statuses(db)) == ([], ["interrupted"])
    assert several("load", inputs=path).code == 0
    check_settled(db, GIVEN)
    check_settled(empty_db, GIVEN)


# what can be read but once


def test_a_stream_goes_into_one_warehouse(
    several: Several, start: Start, db: Database, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for stream in ("-", "/dev/stdin", pipe):
        for command in ("load", "plan", "inputs"):
            result = several(command, stream)
            assert (result.code, result.out) == (2, "")
            assert "can be read only once" in result.err
            assert "(main, eu): say --warehouse NAME" in result.err
    assert several("load", inputs="-").code == 2
    data = ndjson(track("E", messageId="1"))
    assert several("load", "-", "--warehouse", "main", stdin=data).code == 0
    assert several("load", "-", stdin=data, urls={"main": db.url}).code == 0
    assert db.value("SELECT sum(duplicates) FROM _loads") == 1


# the other commands


def test_commands_that_look_go_through_all_warehouses(
    several: Several, db: Database, empty_db: Database, write: Write
) -> None:
    path = write("a.json", track("Email Opened", messageId="1"))
    assert several("load", path, "--warehouse", "main").code == 0

    status = several("status")
    assert status.code == 0
    assert "Customer.io -> main, schema customerio\n" in status.out
    assert "Customer.io -> eu, schema customerio: nothing was loaded yet" in status.out
    [one] = of_each(several("status", "--json")).values()
    assert (one["warehouse"], len(one["loads"])) == ("main", 1)
    assert several("status", "--warehouse", "eu").code == 2

    plan = of_each(several("plan", path, "--json"))
    assert [one["rows_loaded"] for one in plan.values()] == [0, 1]
    assert several("plan", path).out.count("Nothing was written.") == 2
    assert empty_db.tables() == []

    inputs = several("inputs", path)
    assert [line for line in inputs.out.splitlines() if "->" in line] == [
        "Customer.io -> main",
        "Customer.io -> eu",
    ]
    shown = [json.loads(line)[0] for line in several("inputs", path, "--json").out.splitlines()]
    assert [(s["warehouse"], s["new_files"]) for s in shown] == [("main", 0), ("eu", 1)]

    check = several("check", path, "--json")
    assert check.code == 0
    found = [(one["warehouse"], one["what"].partition(" ")[0]) for one in check.json]
    assert [where for where, what in found if what == "PostgreSQL"] == ["main", "eu"]
    assert [where for where, what in found if what == "input"] == [None]

    migrate = several("migrate")
    assert migrate.code == 0
    first, second = migrate.out.splitlines()
    assert first.startswith("warehouse 'main': customerio: at head, revision ")
    assert second.startswith("warehouse 'eu': customerio: from nothing to revision ")


def test_one_that_is_away_does_not_keep_the_others_from_being_looked_at(
    several: Several, db: Database, write: Write
) -> None:
    path = write("a.json", track("Email Opened", messageId="1"))
    urls = {"down": NOBODY, "main": db.url}
    assert several("load", path, urls={"main": db.url}).code == 0
    commands = (["plan", path], ["inputs", path], ["status"], ["check", path], ["migrate"])
    for command in commands:
        result = several(*command, urls=urls)
        assert (result.code, "main" in result.out) == (1, True), command
        [line] = result.err.splitlines()
        assert line.startswith("customerio-loader: warehouse 'down': cannot reach ")


def test_what_is_for_one_warehouse_asks_which(
    several: Several, db: Database, empty_db: Database, write: Write
) -> None:
    path = write("a.json", track("Email Opened", messageId="1", campaign_id="none"), "{bad")
    assert several("load", path, env={"LOADER_MAX_REJECT_RATIO": "1"}).code == 0
    widen = ["columns", "widen", "email_opened", "campaign_id", "text"]
    commands = (
        ["rejects", "list"],
        ["rejects", "replay"],
        ["columns", "list"],
        widen,
        ["migrate", "--sql"],
        ["plan", "--sql", path],
    )
    before = [db.dump(), empty_db.dump()]
    for command in commands:
        result = several(*command)
        assert (result.code, result.out) == (2, ""), command
        assert "main" in result.err
        assert "say --warehouse NAME" in result.err
    assert [db.dump(), empty_db.dump()] == before
    wrong = several("columns", "list", "--warehouse", "maim")
    assert (wrong.code, "did you mean 'main'?" in wrong.err) == (2, True)

    assert several("rejects", "list", "--json", "--warehouse", "eu").json[0]["raw"] == "{bad"
    replay = several("rejects", "replay", "--json", "--warehouse", "eu")
    assert (replay.code, replay.json["warehouse"]) == (3, "eu")
    assert "see `customerio-loader rejects list --warehouse eu`" in replay.err
    replayed = "SELECT count(replayed_at) FROM _rejects"
    assert (db.value(replayed), empty_db.value(replayed)) == (0, 1)

    assert several(*widen, "--warehouse", "eu").code == 0
    assert db.types("email_opened")["campaign_id"] == "bigint"
    assert empty_db.types("email_opened")["campaign_id"] == "text"
    listed = several("columns", "list", "email_opened", "--json", "--warehouse", "eu").json
    assert {one["column"]: one["type"] for one in listed}["campaign_id"] == "text"

    assert several("migrate", "--sql", "--warehouse", "eu").out.startswith("-- warehouse 'eu': ")
    assert several("plan", "--sql", path, "--warehouse", "eu").code == 0
    # With one warehouse nobody is asked.
    assert several("rejects", "list", urls={"main": db.url}).code == 0


def test_a_server_that_is_not_used_is_not_started(several: Several, tmp_path: Path) -> None:
    env = {"LOADER_WAREHOUSE_DIR": str(tmp_path / "pg")}
    for command in ("start", "url", "psql"):
        result = several("warehouse", command, env=env)
        assert (result.code, "the embedded server is not used" in result.err) == (2, True)
    assert not (tmp_path / "pg").exists()


# settings


def test_a_url_beside_the_tables_is_wrong_use(several: Several, db: Database, write: Write) -> None:
    path = write("a.json", track("E"))
    flag = several("load", path, "--warehouse-url", NOBODY)
    assert (flag.code, "--warehouse-url" in flag.err) == (2, True)
    variable = several("load", path, env={"LOADER_WAREHOUSE_URL": NOBODY})
    assert (variable.code, "LOADER_WAREHOUSE_URL" in variable.err) == (2, True)
    assert db.rows("SELECT * FROM _loads") == []


def test_one_database_under_two_names_is_refused(
    several: Several, db: Database, write: Write
) -> None:
    path = write("a.json", track("E"))
    for command in (["load", path], ["config", "check"], ["rejects", "list"]):
        result = several(*command, urls={"one": db.url, "two": db.url})
        assert (result.code, "'one' and 'two' have the URL of one database" in result.err) == (
            2,
            True,
        )
    assert db.rows("SELECT * FROM _loads") == []


def test_config_shows_and_checks_warehouses_without_passwords(
    several: Several, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(f"postgresql://loader:{SECRET}@eu/events?sslpassword={SECRET}\n")
    urls = {
        "main": f"postgresql://loader:{SECRET}@main/events",
        "eu": f"file:{file}",
        "new": "env:URL_OF_NEW",
        "bad": f"mysql://loader:{SECRET}@bad/events",
    }
    shown = several("config", "show", "--json", urls=urls)
    assert {one["name"]: one["url"] for one in shown.json["warehouses"]} == {
        "main": "postgresql://loader:***@main/events",
        "eu": f"file:{file} (postgresql://loader:***@eu/events)",
        "new": "env:URL_OF_NEW (the environment variable URL_OF_NEW is not set: set it, or name "
        "another)",
        "bad": "set, but not shown: it cannot be read, or is not percent-encoded",
    }
    text = several("config", "show", urls=urls)
    assert (text.code, "postgresql://loader:***@main/events" in text.out) == (0, True)
    wrong = several("config", "check", urls=urls)
    assert (wrong.code, wrong.out) == (2, "")
    new, bad = wrong.err.splitlines()
    assert new.startswith("customerio-loader: warehouse 'new': the environment variable URL_OF_NEW")
    assert bad.startswith("customerio-loader: warehouse 'bad': the warehouse URL does not begin")
    del urls["bad"], urls["new"]
    assert several("config", "check", urls=urls).out == "ok: 1 source, 2 warehouses\n"


def test_a_user_without_a_home_needs_none_for_warehouses(several: Several, write: Write) -> None:
    from acceptance.test_wrong_use import WITHOUT_HOME

    assert several("load", write("a.json", track("E")), program=WITHOUT_HOME).code == 0


def test_the_log_for_machines_names_the_warehouse(
    several: Several, db: Database, write: Write
) -> None:
    path = write("a.json", track("E"))
    urls = {"main": db.url, "down": NOBODY}
    result = several("load", path, "-q", "--log-format", "json", urls=urls, env=AT_ONCE)
    lines = [json.loads(line) for line in result.err.splitlines()]
    assert [(one["event"], one["source"], one["warehouse"]) for one in lines] == [
        ("load.finished", "Customer.io", "main"),
        ("load.failed", "Customer.io", "down"),
    ]


def test_a_source_that_is_loaded_nowhere_is_told(run: Run, write: Write, db: Database) -> None:
    write("a.json", track("E"))
    write(
        "loader.toml",
        *(f'[[source]]\nname = "{name}"\ninputs = ["a.json"]' for name in ("One", "Two")),
        f'[[warehouse]]\nname = "main"\nurl = "{db.url}"\nsources = ["One"]',
    )
    all_ = run("load", "-q", url=None)
    assert (all_.code, len(all_.err.splitlines())) == (0, 1)
    assert "the source 'Two' is loaded nowhere" in all_.err
    alone = run("load", "--source", "Two", url=None)
    assert (alone.code, "'Two' is not loaded into any warehouse" in alone.err) == (2, True)


def test_the_shell_completes_the_names_of_warehouses(start: Start, several: Several) -> None:
    assert several("config", "check").code == 0
    env = {
        "_CUSTOMERIO_LOADER_COMPLETE": "complete_bash",
        "COMP_WORDS": "customerio-loader load --warehouse m",
        "COMP_CWORD": "3",
    }
    program = (str(Path(sys.executable).parent / "customerio-loader"),)
    process: subprocess.Popen[bytes] = start(url=None, env=env, program=program)
    out, _ = process.communicate(timeout=60)
    assert out.split() == [b"main"]
