"""The port of the embedded server: who gets in through it, what they can do, what becomes of it."""

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from acceptance.harness import Database, Result, Run, Write, enterable_folder, track

Warehouse = Callable[..., Result]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def folder() -> Iterator[Path]:
    parent = enterable_folder()
    yield parent / "wh"
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def own(run: Run, folder: Path) -> Iterator[Warehouse]:
    """Run the command line on an embedded server of the test's own, stopped at the end."""

    def run_it(*arguments: str | Path, **options: Any) -> Result:
        env = {"LOADER_WAREHOUSE_DIR": str(folder)}
        return run(*arguments, url=None, env=env, **options)

    yield run_it
    run_it("warehouse", "stop")


def shown(result: Result) -> dict[str, str]:
    """What `warehouse start` says of the port."""
    assert result.code == 0, result.err
    lines = [line.split(None, 1) for line in result.out.splitlines()[1:]]
    return {line[0]: line[1] for line in lines}


def tcp(port: int, password: str, user: str = "analyst", **more: str) -> Database:
    url = f"postgresql://{user}:{password}@127.0.0.1:{port}/postgres"
    return Database(url + "".join(f"?{name}={value}" for name, value in more.items()))


def refusal(database: Database, statement: str = "SELECT 1") -> str:
    with pytest.raises(psycopg2.Error) as caught:
        database.rows(statement)
    return str(caught.value)


def postmaster(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().split()[0])


def test_an_analyst_gets_in_with_the_password_reads_and_changes_nothing(
    own: Warehouse, write: Write, folder: Path
) -> None:
    assert own("load", write("a.ndjson", track("Email Opened", messageId="1"), "{")).code == 3
    port = free_port()
    started = own("warehouse", "start", "--port", str(port))
    block = shown(started)
    password = block["password"]
    assert started.err == ""
    assert len(password) >= 32
    assert {**block, "password": "", "The": ""} == {
        "host": "127.0.0.1",
        "port": str(port),
        "database": "postgres",
        "user": "analyst",
        "password": "",
        "JDBC": f"jdbc:postgresql://127.0.0.1:{port}/postgres",
        "The": "",
    }
    analyst = tcp(port, password)
    assert analyst.value("SELECT id FROM customerio.email_opened") == "1"
    assert analyst.value("SELECT count(*) FROM customerio.email_messages") == 1
    assert analyst.value("SELECT count(*) FROM customerio.email_messages_now") == 1
    assert analyst.value("SELECT rejects FROM customerio._loads") == 1

    # Raw records are nobody's business who makes charts.
    assert "permission denied for table _rejects" in refusal(
        analyst, "SELECT raw FROM customerio._rejects"
    )
    made = "CREATE TABLE public.mine (a int)"
    assert "read-only" in refusal(analyst, made)
    for statement in (
        made,
        "CREATE TABLE customerio.mine (a int)",
        "DELETE FROM customerio.email_opened",
        "INSERT INTO customerio.dim (a) VALUES (1)",
        "COPY customerio.email_opened TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
        "SET ROLE postgres",
        "ALTER ROLE analyst SUPERUSER",
        "CREATE ROLE other LOGIN",
    ):
        said = refusal(analyst, f"SET default_transaction_read_only = off; COMMIT; {statement}")
        assert re.search(r"permission denied|must be|does not exist", said), (statement, said)

    # Neither the password nor what a password could be found by is written anywhere.
    logged = (folder / "log").read_text()
    assert password not in logged
    assert "SCRAM" not in logged
    assert not [p for p in folder.rglob("*") if p.is_file() and password.encode() in p.read_bytes()]


def test_nobody_else_gets_in_through_the_port(own: Warehouse) -> None:
    port = free_port()
    block = shown(own("warehouse", "start", "--port", str(port)))
    password = block["password"]
    assert "password authentication failed" in refusal(tcp(port, "guessed"))
    assert "no password supplied" in refusal(tcp(port, ""))
    for user in ("postgres", "nobody", "root"):
        assert "no pg_hba.conf entry" in refusal(tcp(port, password, user))
    other = Database(f"postgresql://analyst:{password}@127.0.0.1:{port}/template1")
    assert "no pg_hba.conf entry" in refusal(other)
    encrypted = tcp(port, password, require_auth="scram-sha-256")
    assert encrypted.value("SELECT current_user::text") == "analyst"
    rows = encrypted.rows("SELECT DISTINCT inet_server_addr()::text FROM pg_stat_activity")
    assert rows == [("127.0.0.1/32",)]
    process = psutil.Process(
        postmaster(Path(own("warehouse", "url").out.split("host=")[1].strip()))
    )
    listening = {c.laddr.ip for c in process.net_connections("tcp") if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


def test_what_is_loaded_later_is_read_too(own: Warehouse, write: Write) -> None:
    """New tables, and the schemas of new sources."""
    port = free_port()
    password = shown(own("warehouse", "start", "--port", str(port)))["password"]
    analyst = tcp(port, password)
    assert own("load", write("a.ndjson", track("Email Opened"), track("Plan Changed"))).code == 0
    assert analyst.value("SELECT count(*) FROM customerio.plan_changed") == 1
    assert own("load", write("b.ndjson", track("Trial Ended"))).code == 0
    assert analyst.value("SELECT count(*) FROM customerio.trial_ended") == 1
    assert own("load", write("c.ndjson", track("Order Paid")), "--source", "Shop").code == 0
    assert analyst.value("SELECT count(*) FROM shop.order_paid") == 1
    assert "permission denied" in refusal(analyst, "SELECT * FROM shop._rejects")


def test_the_port_and_the_password_stay_until_they_are_ended(
    own: Warehouse, write: Write, folder: Path
) -> None:
    port = free_port()
    first = own("warehouse", "start", "--port", str(port))
    url, password = first.out.splitlines()[0], shown(first)["password"]
    assert own("warehouse", "url").out == f"{url}\n"
    assert Database(url).value("SELECT 1") == 1

    again = shown(own("warehouse", "start"))
    assert (again["port"], again["password"]) == (
        str(port),
        "as before; --new-password makes another",
    )
    # A crash: the next who uses the server has it back, with its port.
    server = psutil.Process(postmaster(folder))
    server.kill()
    assert own("load", write("a.ndjson", track("Email Opened"))).code == 0
    analyst = tcp(port, password)
    assert analyst.value("SELECT count(*) FROM customerio.email_opened") == 1

    # Who stops the server has ended the port, for loads as well.
    assert own("warehouse", "stop").out == "stopped\n"
    assert "refused" in refusal(analyst)
    seen = own("warehouse", "psql", "--", "-Atc", "SHOW listen_addresses")
    assert (seen.code, seen.out) == (0, "\n")
    assert own("warehouse", "start").out.splitlines()[0] == url
    assert analyst.value("SELECT 1") == 1

    newer = shown(own("warehouse", "start", "--new-password"))["password"]
    assert "authentication failed" in refusal(analyst)
    other = free_port()
    assert shown(own("warehouse", "start", "--port", str(other)))["password"].startswith(
        "as before"
    )
    assert "refused" in refusal(tcp(port, newer))
    assert tcp(other, newer).value("SELECT 1") == 1

    ended = own("warehouse", "start", "--no-port")
    assert (ended.code, ended.out) == (0, f"{url}\n")
    assert "refused" in refusal(tcp(other, newer))
    assert own("warehouse", "start").out == f"{url}\n"
    assert Database(url).value("SELECT 1") == 1
    names = {path.name for path in folder.glob(".s.PGSQL.*")}
    assert names == {".s.PGSQL.5432", ".s.PGSQL.5432.lock"}


def test_a_port_of_another_program_is_told_and_changes_nothing(
    own: Warehouse, write: Write, folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = own("warehouse", "start", "--port", str(port))
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert (
            f"the port {port} of 127.0.0.1 cannot be used (Address already in use)" in refused.err
        )
        assert not (folder / "postmaster.pid").exists()

        free = free_port()
        password = shown(own("warehouse", "start", "--port", str(free)))["password"]
        pid = postmaster(folder)
        assert own("warehouse", "start", "--port", str(port)).code == 2
        assert postmaster(folder) == pid
        assert tcp(free, password).value("SELECT 1") == 1

    # Taken while the server was away: loads do without, and say so; who asks for it is refused.
    assert own("warehouse", "stop").code == 0
    with socket.create_server(("127.0.0.1", free)):
        assert own("warehouse", "start").code == 2
        (folder / "started-by-hand").touch()  # as a reboot leaves it
        loaded = own("load", write("a.ndjson", track("Email Opened")))
        assert loaded.code == 0
        assert "runs without a port" in loaded.err
        assert f"the port {free} of 127.0.0.1 cannot be used" in loaded.err
    assert own("warehouse", "start").code == 0
    assert tcp(free, password).value("SELECT count(*) FROM customerio.email_opened") == 1


def test_a_server_in_use_is_not_started_anew(own: Warehouse, start: Any, folder: Path) -> None:
    """A load would lose its connection, and another command its work."""
    url = own("warehouse", "start").out.strip()
    load = start("load", "-", url=None, env={"LOADER_WAREHOUSE_DIR": str(folder)})
    database = Database(url)
    while not database.rows(
        "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'customer%'"
    ):
        assert load.poll() is None
    port = free_port()
    refused = own("warehouse", "start", "--port", str(port))
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "try again when that has ended" in refused.err
    _, err = load.communicate(b'{"type":"track","event":"A","messageId":"1"}\n', timeout=60)
    assert load.returncode == 0, err
    assert own("warehouse", "start").out == f"{url}\n"
    password = shown(own("warehouse", "start", "--port", str(port)))["password"]
    assert tcp(port, password).value("SELECT count(*) FROM customerio.tracks") == 1


def test_a_connection_of_a_tool_outlives_a_load(own: Warehouse, write: Write) -> None:
    port = free_port()
    password = shown(own("warehouse", "start", "--port", str(port)))["password"]
    with closing(tcp(port, password).connect()) as tool, tool.cursor() as cursor:
        assert own("load", write("a.ndjson", track("Email Opened"))).code == 0
        cursor.execute("SELECT count(*) FROM customerio.tracks")
        assert cursor.fetchall() == [(1,)]


def test_a_path_that_is_too_long_for_a_socket_has_a_port_too(run: Run) -> None:
    parent = enterable_folder()
    env = {"LOADER_WAREHOUSE_DIR": str(parent / ("long" * 40))}
    port = free_port()
    started = run("warehouse", "start", "--port", str(port), url=None, env=env)
    assert tcp(port, shown(started)["password"]).value("SELECT 1") == 1
    sockets = Path(started.out.splitlines()[0].split("host=")[1])
    assert Database(started.out.splitlines()[0]).value("SELECT 1") == 1
    assert run("warehouse", "stop", url=None, env=env).out == "stopped\n"
    assert not sockets.exists()
    shutil.rmtree(parent)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "80"], "1024"),
        (["--port", "70000"], "65535"),
        (["--port", "15432", "--no-port"], "--no-port goes with neither"),
        (["--new-password"], "say --port"),
    ],
)
def test_what_makes_no_sense_is_refused(
    own: Warehouse, folder: Path, arguments: list[str], said: str
) -> None:
    refused = own("warehouse", "start", *arguments)
    assert refused.code == 2
    assert said in refused.err
    assert not os.path.exists(folder)


def test_a_role_of_that_name_that_is_somebodys_own_is_left_alone(own: Warehouse) -> None:
    url = own("warehouse", "start").out.strip()
    Database(url).execute("CREATE ROLE analyst SUPERUSER LOGIN PASSWORD 'mine'")
    port = free_port()
    refused = own("warehouse", "start", "--port", str(port))
    assert refused.code == 2
    assert "rename it" in refused.err
    assert "refused" in refusal(tcp(port, "mine"))
    assert Database(url).value("SELECT rolsuper FROM pg_roles WHERE rolname = 'analyst'") is True
