"""Roles with few rights, TLS, and passwords that nobody else may see."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from acceptance.faults import (
    LATE_MIDDLE,
    SMALL,
    OwnServer,
    Start,
    check_settled,
    copy_of,
    mixed,
    other_servers,
    own_server,
    roles,
    sentence,
    trigger,
    wait_until,
)
from acceptance.harness import SCHEMA, Database, Result, Run, Server, Write, ndjson, track

from loader.normalize.collections import MARTS

GIVEN = mixed(300)


def name_of(db: Database) -> str:
    return db.url.rpartition("/")[2].partition("?")[0]


def alembic(*arguments: str, url: str, **env: str) -> Result:
    """Run Alembic in the repository's root, as the owner of the database would."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        env=os.environ | {"LOADER_WAREHOUSE_URL": url} | env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


# rights


OWNER = "CREATE SCHEMA customerio AUTHORIZATION {role}"
OTHER_RIGHTS = {
    "create on the database": "GRANT CREATE ON DATABASE {database} TO {role}",
    "create in the schema": "CREATE SCHEMA customerio; "
    "GRANT USAGE, CREATE ON SCHEMA customerio TO {role}",
}


@pytest.mark.parametrize("grant", OTHER_RIGHTS.values(), ids=OTHER_RIGHTS)
def test_other_least_rights_are_enough_to_load(
    run: Run, server: Server, empty_db: Database, path: Path, grant: str
) -> None:
    role = f"least_{os.getpid()}"
    with roles(empty_db, role):
        empty_db.execute("REVOKE ALL ON SCHEMA public FROM public")
        empty_db.execute(grant.format(role=role, database=name_of(empty_db)))
        result = run("load", path, url=server.database(name_of(empty_db), username=role).url)
        assert result.code == 0, result.err
        check_settled(empty_db, GIVEN)


@pytest.mark.parametrize(
    "grant",
    [
        pytest.param(OWNER, id="owner of the schema"),
        *(
            pytest.param(grant, id=name, marks=pytest.mark.soak)
            for name, grant in OTHER_RIGHTS.items()
        ),
    ],
)
def test_a_role_with_the_least_rights_runs_all_commands(
    run: Run, server: Server, empty_db: Database, path: Path, tmp_path: Path, grant: str
) -> None:
    role, reader = f"least_{os.getpid()}", f"reads_{os.getpid()}"
    with roles(empty_db, role, reader):
        # As on a server whose owner was careful.
        empty_db.execute(
            f"REVOKE ALL ON DATABASE {name_of(empty_db)} FROM public;"
            f"GRANT CONNECT ON DATABASE {name_of(empty_db)} TO {role}, {reader};"
            "REVOKE ALL ON SCHEMA public FROM public"
        )
        url = server.database(name_of(empty_db), username=role).url
        missing = run("check", path, url=url)
        assert (missing.code, "GRANT CREATE ON DATABASE" in missing.out) == (1, True)
        refused = run("load", path, url=url)
        sentence(refused.code, refused.err, 1, repr(role), "customerio-loader check")
        empty_db.execute(grant.format(role=role, database=name_of(empty_db)))
        more = GIVEN.write(tmp_path / "more.ndjson")
        for command in (
            ["check", path],
            ["plan", path],
            ["migrate"],
            ["load", path],
            ["load", more],
            ["status"],
            ["rejects", "list"],
            ["rejects", "replay"],
            ["columns", "list"],
            ["columns", "widen", "email_opened", "amount", "text"],
            ["check", path],
        ):
            result = run(*command, url=url, env={"LOADER_MAX_REJECT_RATIO": "1"})
            # All that is rejected here is rejected again.
            expected = 3 if command == ["rejects", "replay"] else 0
            assert result.code == expected, (command, result)
        for arguments in (["check"], ["current"], ["-x", "drop=yes", "downgrade", "base"]):
            done = alembic(*arguments, url=url)
            assert done.code == 0, done.err
        assert alembic("upgrade", "head", url=url).code == 0


def test_a_reader_sees_new_tables_at_once_and_never_the_rejects(
    run: Run, start: Start, server: Server, empty_db: Database, write: Write, path: Path
) -> None:
    loader, reader = f"writes_{os.getpid()}", f"bi_{os.getpid()}"
    with roles(empty_db, loader, reader):
        empty_db.execute(
            f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {loader}; "
            # As hardened databases have it; the view email_messages_now calls a function.
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {loader} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"
        )
        url = server.database(name_of(empty_db), username=loader).url
        bi = server.database(name_of(empty_db), username=reader)
        env = {"LOADER_READER_ROLE": reader}
        assert run("load", path, url=url, env=env).code == 0
        for table in (*GIVEN.ids, "tracks", "_loads", "_files"):
            assert bi.value(f"SELECT count(*) > 0 FROM {table}"), table
        for mart in MARTS:
            bi.rows(f"SELECT * FROM {mart}")
        with pytest.raises(Exception, match="permission denied for table _rejects"):
            bi.rows("SELECT * FROM _rejects")
        report = run("report", "-o", "-", url=bi.url)
        assert report.code == 0, report.err
        new = write("new.ndjson", track("Sofa Seen", messageId="1", color="red"))
        assert run("load", new, url=url, env=env).code == 0
        assert bi.rows("SELECT id, color FROM sofa_seen") == [("1", "red")]
        with pytest.raises(Exception, match="permission denied"):
            bi.execute("DELETE FROM sofa_seen")
        # A role named later gets what is there.
        assert run("columns", "widen", "sofa_seen", "color", "jsonb", url=url).code == 0
        assert bi.rows("SELECT id, color FROM sofa_seen") == [("1", "red")]
    unknown = run("load", path, url=empty_db.url, env={"LOADER_READER_ROLE": "nobody_such"})
    sentence(unknown.code, unknown.err, 2, "'nobody_such'")


def test_a_reader_that_could_see_the_schema_before_still_gets_new_tables(
    run: Run, server: Server, empty_db: Database, write: Write
) -> None:
    """One table is granted by hand, and with it the schema; the next ones by the setting."""
    reader = f"half_{os.getpid()}"
    with roles(empty_db, reader):
        path = write("a.ndjson", track("Email Opened", messageId="1"))
        assert run("load", path, url=empty_db.url).code == 0
        empty_db.execute(
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO {reader}; GRANT SELECT ON tracks TO {reader}"
        )
        new = write("b.ndjson", track("Sofa Seen", messageId="2"))
        env = {"LOADER_READER_ROLE": reader}
        assert run("load", new, url=empty_db.url, env=env).code == 0
        bi = server.database(name_of(empty_db), username=reader)
        assert bi.rows("SELECT id FROM sofa_seen") == [("2",)]
        assert bi.rows("SELECT id FROM email_opened") == [("1",)]


# passwords

PASSWORD = "p@s s:w/o?r#d%20&=\"'\\é{$}+;"


@pytest.fixture(scope="module")
def strict() -> Iterator[OwnServer]:
    """A server that asks the role `guarded` for a password."""
    with own_server() as found:
        admin = found.database("postgres")
        admin.execute("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD %s", PASSWORD)
        rules = found.folder / "pg_hba.conf"
        text = rules.read_text()
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{text}")
        found.reload()
        time.sleep(0.3)
        yield found


def ways(strict: OwnServer, database: str, folder: Path, password: str) -> dict[str, Result]:
    """For each way to give a password: URL, environment."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    passfile = folder / "pgpass"
    passfile.write_text(f"127.0.0.1:{strict.port}:*:guarded:{escaped}\n")
    passfile.chmod(0o600)
    services = folder / "services.conf"
    services.write_text(
        f"[warehouse]\nhost=127.0.0.1\nport={strict.port}\nuser=guarded\n"
        f"dbname={database}\npassword={password}\n"
    )
    plain = strict.url(database, user="guarded")
    encoded = quote(password, safe="")
    return {
        "URL": (plain.replace("guarded@", f"guarded:{encoded}@"), {}),
        "PGPASSWORD": (plain, {"PGPASSWORD": password}),
        "PGPASSFILE": (plain, {"PGPASSFILE": str(passfile)}),
        "PGSERVICE": ("postgresql://", {"PGSERVICE": "warehouse", "PGSERVICEFILE": str(services)}),
        "service": ("postgresql:///?service=warehouse", {"PGSERVICEFILE": str(services)}),
        "query": (f"{plain}?password={encoded}", {}),
    }


WAYS = ("URL", "PGPASSWORD")
OTHER_WAYS = ("PGPASSFILE", "PGSERVICE", "service", "query")


def secretless(texts: "str | list[str]", password: str) -> None:
    for text in [texts] if isinstance(texts, str) else texts:
        for shown in (password, quote(password, safe=""), quote(password), password[:6]):
            assert shown not in text, text


def test_other_ways_to_give_a_password_with_odd_characters_work(
    run: Run, strict: OwnServer, tmp_path: Path
) -> None:
    given = ways(strict, "migrated", tmp_path, PASSWORD)
    for way in OTHER_WAYS:
        url, env = given[way]
        result = run("check", url=url, env=env)
        assert result.code == 0, (way, result.err)
        secretless([result.out, result.err], PASSWORD)


@pytest.mark.parametrize(
    "way", [*WAYS, *(pytest.param(way, marks=pytest.mark.soak) for way in OTHER_WAYS)]
)
def test_a_password_with_odd_characters_works_and_is_shown_nowhere(
    run: Run, start: Start, strict: OwnServer, path: Path, tmp_path: Path, way: str
) -> None:
    with copy_of(strict, "migrated") as db:
        url, env = ways(strict, name_of(db), tmp_path, PASSWORD)[way]
        env |= {"LOADER_LOG_FORMAT": "json"} | SMALL
        with trigger(db, "email_opened", "NEW.id > 'k000100'") as waits:
            process = start("load", path, url=url, env=env)
            wait_until(db, waits)
            secretless(Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(), PASSWORD)
            secretless(db.value("SELECT string_agg(s::text, '') FROM pg_stat_activity s"), PASSWORD)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        secretless([out.decode(), err.decode()], PASSWORD)
        for command in (["check"], ["plan", path]):
            result = run(*command, url=url, env=env)
            assert result.code == 0, result.err
            secretless([result.out, result.err], PASSWORD)
        # Now something fails: tables are gone, then the server is.
        with_error = []
        db.execute("ALTER TABLE email_opened RENAME TO gone; ALTER TABLE _files RENAME TO gone2")
        with_error.append(run("load", path, "--force", url=url, env=env))
        nowhere = url.replace(str(strict.port), "1").replace("service=warehouse", "service=none")
        env |= {"LOADER_RETRY_TIMEOUT": "0.1"}
        if way in ("PGSERVICE", "service"):
            env["PGSERVICE"] = "none"
        with_error.append(run("load", path, url=nowhere, env=env))
        with_error.append(alembic("current", url=nowhere, **env))
        assert [bool(result.code) for result in with_error] == [True, True, True]
        for result in with_error:
            assert "Traceback" not in result.err, result.err
            secretless([result.out, result.err], PASSWORD)
        secretless(str(db.rows("SELECT * FROM _loads")), PASSWORD)


@pytest.mark.parametrize("way", [*WAYS, *OTHER_WAYS])
def test_a_wrong_password_is_told_at_once_and_not_shown(
    run: Run, strict: OwnServer, path: Path, tmp_path: Path, way: str
) -> None:
    wrong = f"wrong-{PASSWORD}"
    url, env = ways(strict, "migrated", tmp_path, wrong)[way]
    began = time.monotonic()
    for command in (["load", path], ["check"]):
        result = run(*command, url=url, env=env)
        sentence(result.code, result.err, 1, "password authentication failed", "PGPASSWORD")
        secretless([result.out, result.err], wrong)
    done = alembic("current", url=url, **env)
    assert (done.code != 0, "Traceback" in done.err) == (True, False)
    secretless([done.out, done.err], wrong)
    assert time.monotonic() - began < 15


# TLS


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnServer, Path]]:
    """A server with a certificate for `localhost`, and the file of its authority."""
    builds = [path for name, path in other_servers().items() if name.startswith("Debian")]
    if not builds:
        pytest.skip("the wheel's server is built without TLS, and Debian's is not there")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "extensions").write_text("subjectAltName=DNS:localhost\n")
    steps = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
        "-extfile extensions -out server.crt",
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout o.key -out other.crt",
    )
    try:
        for step in steps:
            subprocess.run(["openssl", *step.split()], cwd=folder, check=True, capture_output=True)
    except OSError:
        pytest.skip("openssl, which makes the certificate, is not there")
    with own_server(builds[-1]) as found:
        for name in ("server.crt", "server.key"):
            target = found.folder / name
            target.write_bytes((folder / name).read_bytes())
            target.chmod(0o600)
            status = found.folder.stat()
            os.chown(target, status.st_uid, status.st_gid)
        with (found.folder / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        rules = found.folder / "pg_hba.conf"
        rules.write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
        found.stop("fast")
        found.start()
        yield found, folder


def tls_url(server: OwnServer, database: str, authority: Path, host: str = "localhost") -> str:
    return (
        f"postgresql://postgres@{host}:{server.port}/{database}?hostaddr=127.0.0.1"
        f"&sslmode=verify-full&sslrootcert={authority}"
    )


def test_a_server_with_a_certificate_is_verified_in_full(
    run: Run, certified: tuple[OwnServer, Path], path: Path
) -> None:
    server, folder = certified
    with copy_of(server, "migrated") as db:
        good = tls_url(server, name_of(db), folder / "ca.crt")
        assert run("load", path, url=good).code == 0
        check_settled(db, GIVEN)
        assert alembic("check", url=good).code == 0
        for url, words in (
            (tls_url(server, name_of(db), folder / "other.crt"), "certificate verify failed"),
            (tls_url(server, name_of(db), folder / "ca.crt", "127.0.0.1"), "does not match"),
            (tls_url(server, name_of(db), folder / "none.crt"), "none.crt"),
            (f"{server.url(name_of(db))}?sslmode=disable", "no encryption"),
        ):
            began = time.monotonic()
            result = run("load", path, url=url)
            sentence(result.code, result.err, 1, words)
            assert time.monotonic() - began < 8  # no use in trying again


def test_a_load_over_tls_goes_on_when_the_server_comes_back(
    run: Run, start: Start, certified: tuple[OwnServer, Path], tmp_path: Path
) -> None:
    server, folder = certified
    given = mixed(3_000)
    path = given.write(tmp_path / "given.ndjson")
    with copy_of(server, "migrated") as db:
        url = tls_url(server, name_of(db), folder / "ca.crt")
        with trigger(db, "email_opened", LATE_MIDDLE) as waits:
            process = start("load", path, url=url, env=SMALL)
            wait_until(db, waits)
            server.stop("immediate")
            server.start()
            _, err = process.communicate(timeout=60)
            assert (process.returncode, err.decode()) == (0, "")
        check_settled(db, given)


def test_records_are_not_in_the_errors_of_a_load(run: Run, db: Database, write: Write) -> None:
    secret = "jane.doe@example.com"
    db.execute("ALTER TABLE email_opened ADD CONSTRAINT theirs CHECK (length(recipient) < 5)")
    path = write("a.ndjson", track("Email Opened", recipient=secret))
    result = run("load", path)
    sentence(result.code, result.err, 1, "theirs")
    assert secret not in result.out + result.err
    assert secret not in str(db.rows("SELECT * FROM _loads"))
    assert ndjson() == b""
