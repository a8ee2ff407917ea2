"""What goes wrong around a load: one sentence on stderr, the right exit code, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from acceptance.harness import Database, Result, Run, Server, Write, track

SECRET = "hush-hush-7"
AT_ONCE = {"LOADER_RETRY_TIMEOUT": "0.01"}


def sentence(result: Result, code: int, *words: str) -> None:
    """Check the form of an error: one line, that of the command or that of its log."""
    assert result.code == code, result
    [line] = [line for line in result.err.splitlines() if line.strip()]
    assert line.startswith("customerio-loader: ") or "event=load.failed" in line
    for word in words:
        assert word in line.replace('\\"', '"')
    assert SECRET not in result.out + result.err


@pytest.fixture
def events(write: Write) -> Path:
    return write("events.ndjson", track("Email Opened"))


def test_a_missing_file_or_an_empty_glob_is_named(
    run: Run, db: Database, events: Path, tmp_path: Path
) -> None:
    sentence(run("load", events, tmp_path / "nope.json"), 1, "nope.json")
    sentence(run("load", str(tmp_path / "*.parquet")), 1, "*.parquet")
    sentence(run("plan", tmp_path / "nope.json"), 1, "nope.json")
    assert db.rows("SELECT * FROM _loads") == []


# A system user that is only a number, as in a container, and an environment without HOME.
WITHOUT_HOME = (
    *("env", "-u", "HOME", "-u", "XDG_DATA_HOME", sys.executable, "-c"),
    "import pwd, sys; pwd.getpwuid = {}.__getitem__; from loader.cli import main; sys.exit(main())",
)


@pytest.mark.parametrize("command", ["load x", "status", "config show", "warehouse start"])
def test_a_user_without_a_home_is_told_what_to_set(run: Run, command: str) -> None:
    result = run(*command.split(), url=None, program=WITHOUT_HOME)
    sentence(result, 2, "no home folder", "LOADER_WAREHOUSE_DIR or HOME, or LOADER_WAREHOUSE_URL")


def test_a_user_without_a_home_needs_none_where_a_server_is_named(run: Run, events: Path) -> None:
    assert run("load", events, program=WITHOUT_HOME).code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="an unreadable folder is made by dropping rights")
def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    script = (
        "import os; from loader.sources.inputs import Inputs; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        f"print(*(one.page.failure for one in Inputs([{str(tmp_path / 'closed')!r}]).list()))"
    )
    for folder in [tmp_path, *tmp_path.parents[:3]]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o711)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd="/", check=True
    )
    assert "closed'" in done.stdout
    assert "read access" in done.stdout


@pytest.fixture
def guarded(server: Server, db: Database) -> str:
    """The name of a role that must give a password."""
    name = f"guarded_{os.getpid()}"
    rules = server.folder / "pg_hba.conf"
    text = rules.read_text()
    if name not in text:
        db.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'the right one'")
        rules.write_text(f"local all {name} scram-sha-256\n{text}")
        db.rows("SELECT pg_reload_conf(), pg_sleep(0.5)")
    return name


def test_a_wrong_password_is_told_without_it(
    run: Run, server: Server, guarded: str, events: Path
) -> None:
    wrong = server.database("postgres", username=guarded, password=SECRET).url
    for command in (["load", events], ["status"], ["check"], ["migrate"]):
        sentence(run(*command, url=wrong), 1, "password")
    none = server.database("postgres", username=guarded).url
    sentence(run("load", events, url=none, env={"PGPASSWORD": SECRET}), 1, "password")


def test_an_unreachable_server_is_named_without_the_password(run: Run, events: Path) -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/events"
    result = run("load", events, url=url, env=AT_ONCE)
    sentence(result, 1, "cannot reach", "events on 127.0.0.1")


def test_the_reason_why_a_server_is_unreachable_is_told(run: Run, events: Path) -> None:
    result = run("load", events, url="postgresql://me@127.0.0.1:1/events", env=AT_ONCE)
    sentence(result, 1, "Connection refused")


def test_an_unescaped_password_is_not_shown_as_a_host(run: Run, events: Path) -> None:
    url = f"postgresql://me:pa@{SECRET}@127.0.0.1:1/events"
    result = run("load", events, url=url, env=AT_ONCE)
    assert SECRET not in result.err


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{SECRET}@localhost/db",
        f"me:{SECRET}@localhost/db",
        f"postgresql://me:{SECRET}@localhost:port/db",
        f"postgresql:/me:{SECRET}@localhost/db",
    ],
)
def test_a_url_that_cannot_be_read_is_a_wrong_setting(run: Run, events: Path, url: str) -> None:
    sentence(run("load", events, url=url), 2, "postgresql://USER@HOST:5432/DATABASE")


def test_an_unknown_database_is_named(run: Run, server: Server, events: Path) -> None:
    sentence(run("load", events, url=server.database("nowhere").url), 1, '"nowhere"', "check")


def test_a_schema_that_is_not_ours_is_refused_with_the_way_out(
    run: Run, empty_db: Database, events: Path
) -> None:
    empty_db.execute("CREATE SCHEMA customerio; CREATE TABLE customerio.tracks (id text)")
    before = empty_db.dump()
    for command in (["load", events], ["plan", events], ["migrate"]):
        sentence(run(*command, url=empty_db.url), 1, "customerio_events")
    check = run("check", url=empty_db.url)
    assert (check.code, "NOT   Customer.io: schema customerio: foreign" in check.out) == (1, True)
    assert empty_db.dump() == before


def test_a_schema_of_another_source_is_refused(run: Run, db: Database, events: Path) -> None:
    assert run("load", events).code == 0
    sentence(run("load", events, "--source", "customer.io"), 1, "'Customer.io'", "schema")
    assert db.value("SELECT count(*) FROM _loads") == 1


def test_check_sees_a_schema_of_another_source(run: Run, events: Path) -> None:
    assert run("load", events).code == 0
    assert run("check", "--source", "customer.io").code == 1


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[[source]]\nname = "???"', ("empty schema name",)),
        ('[[source]]\nname = "Customer.io"\ninput = ["x"]', ("input",)),
        ('warehouse_ulr = "postgresql://localhost/db"', ("warehouse_ulr", "loader.toml")),
        ("batch_records = 0", ("batch_records",)),
        ("max_reject_ratio = 'a lot'", ("max_reject_ratio",)),
        ("this is = = not toml", ("loader.toml",)),
        ('[[source]]\nname = "A B"\n[[source]]\nname = "a-b"', ("'A B'", "'a-b'", "'a_b'")),
        ('[[source]]\nname = "A"\nschema = "pg_mine"', ("pg_mine",)),
        (f'[[source]]\nname = "A"\nschema = "{"s" * 64}"', ("63 bytes",)),
    ],
)
def test_a_wrong_setting_in_loader_toml_is_named(
    run: Run, write: Write, events: Path, toml: str, words: tuple[str, ...]
) -> None:
    write("loader.toml", toml)
    sentence(run("load", events), 2, *words)


def test_a_wrong_setting_in_the_environment_is_named(run: Run, events: Path) -> None:
    sentence(run("load", events, env={"LOADER_WAREHOUSE_ULR": "x"}), 2, "LOADER_WAREHOUSE_ULR")
    sentence(run("status", env={"LOADER_LOG_FORMAT": "xml"}), 2, "log_format")
    sentence(run("load", events, "--source", "..."), 2, "empty schema name")


def test_an_unknown_setting_in_the_env_file_is_named(run: Run, write: Write, events: Path) -> None:
    write(".env", "LOADER_BATCH_RECORD=5", "OTHER_TOOL=1")
    sentence(run("load", events), 2, "LOADER_BATCH_RECORD")


def test_sources_and_paths_must_be_said_where_they_are_not_clear(
    run: Run, write: Write, events: Path
) -> None:
    sentence(run("load"), 2, "no PATH")
    write("loader.toml", '[[source]]\nname = "One"\n[[source]]\nname = "Two"')
    sentence(run("load", events), 2, "One, Two", "--source")
    sentence(run("load", events, "--source", "ONE"), 2, "'One'", "'ONE'")


def test_an_unknown_command_or_option_is_wrong_use(run: Run) -> None:
    for arguments in (["lode"], ["load", "--fast"], ["warehouse", "restart"]):
        result = run(*arguments)
        assert result.code == 2
        assert result.out == ""
        assert "Traceback" not in result.err
        assert arguments[-1] in result.err


@pytest.mark.parametrize(
    "schema",
    [
        "Customer IO",
        'my"schema',
        "été",
        "a:b",
    ],
)
def test_any_schema_name_can_be_set_by_hand(
    run: Run, db: Database, write: Write, schema: str
) -> None:
    quoted = schema.replace('"', '\\"')
    write("loader.toml", f'[[source]]\nname = "Customer.io"\nschema = "{quoted}"')
    path = write("a.ndjson", track("Email Opened", messageId="1"), track("New", x=1))
    assert run("load", path).code == 0
    assert run("load", path, "--force").code == 0
    assert run("status").code == 0
    assert run("check").code == 0
    named = '"' + schema.replace('"', '""').replace("%", "%%") + '"'
    assert db.rows(f"SELECT count(*) FROM {named}.tracks", None)[0] == (2,)


@pytest.mark.parametrize("schema", ["50%", "a[b]"])
def test_a_schema_name_that_sql_tools_would_read_otherwise_is_refused(
    run: Run, write: Write, schema: str
) -> None:
    path = write("a.ndjson", track("E"))
    write("loader.toml", f'[[source]]\nname = "Customer.io"\nschema = "{schema}"')
    result = run("load", path)
    assert result.code == 2
    assert "is not supported: set another" in result.err
