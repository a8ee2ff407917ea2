"""What faults are made with: steps that hold a job, a server that dies, a proxy that cuts."""

import ctypes
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
from acceptance.harness import ROOT, SCHEMA, Database, Server, enterable_folder, ndjson, track

from loader.normalize.collections import MARTS
from loader.warehouse import programs

Start = Callable[..., "subprocess.Popen[bytes]"]

SESSIONS = (
    "FROM pg_stat_activity "
    "WHERE application_name = 'customerio-loader' AND datname = current_database()"
)
NO_SESSION = f"SELECT count(*) = 0 {SESSIONS}"
LOADS = "SELECT status, error FROM _loads ORDER BY id"
SMALL = {"LOADER_BATCH_RECORDS": "1000"}


# input, and what must become of it


@dataclass
class Given:
    """Records, and what a load makes of them."""

    lines: list[dict[str, Any] | str] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=dict)  # by table
    rejects: int = 0
    ignored: int = 0

    @property
    def data(self) -> bytes:
        return ndjson(*self.lines)

    def event(self, name: str, table: str, key: str, **properties: Any) -> None:
        self.lines.append(track(name, messageId=key, **properties))
        self.ids.setdefault(table, set()).add(key)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.data)
        return path


EVENTS = {
    "Email Delivered": "email_delivered",
    "Email Opened": "email_opened",
    "Email Link Clicked": "email_link_clicked",
    "Email Unsubscribed": "email_unsubscribed",
    "Email Bounced": "email_bounced",
    "Email Marked as Spam": "email_marked_as_spam",
    "Cart Seen": "cart_seen",
}


def mixed(records: int, prefix: str = "k") -> Given:
    """All collections, a table of its own, new columns, duplicates, rejects and ignored calls."""
    given = Given()
    names = list(EVENTS)
    for i in range(records):
        if i % 80 == 7:  # so few that blocks stay plain, see `loader.plain`
            given.lines.append({"type": "merge", "userId": f"{prefix}{i}"})
            given.rejects += 1
        elif i % 80 == 47:
            given.lines.append({"type": "identify", "userId": f"{prefix}{i}"})
            given.ignored += 1
        elif i % 20 == 13:
            given.lines.append(given.lines[i - 10])
        else:
            name = names[i % len(names)]
            late = {f"late_{i // 1000}": i} if i % 5 == 0 else {}
            given.event(
                name, EVENTS[name], f"{prefix}{i:06}", subject=f"subject {i}" * 8, amount=i, **late
            )
    return given


def check_settled(db: Database, *givens: Given) -> None:
    """Every record is exactly one of a row, a counted duplicate, a reject, or counted as ignored;
    the ledger agrees.
    """
    expected: dict[str, set[str]] = {}
    for given in givens:
        for table, ids in given.ids.items():
            expected.setdefault(table, set()).update(ids)
    found: dict[str, set[str]] = {}
    for event, key in db.rows("SELECT event, id FROM tracks"):
        found.setdefault(event, set()).add(key)
    for table in {*found, *expected}:
        there, wanted = found.get(table, set()), expected.get(table, set())
        lost, more = sorted(wanted - there), sorted(there - wanted)
        assert there == wanted, f"tracks, {table}: lost {lost[:5]}, too many {more[:5]}"
    for table, ids in expected.items():
        keys = [key for (key,) in db.rows(f'SELECT id FROM "{table}"')]
        assert (len(keys), set(keys)) == (len(ids), ids), table
    rejects = sum(given.rejects for given in givens)
    stored = db.value("SELECT count(*) FROM _rejects")
    assert stored == rejects, f"{stored} rejects, not {rejects}"
    loads = db.dicts("SELECT * FROM _loads ORDER BY id")
    for load in loads:
        parts = load["rows_loaded"] + load["duplicates"] + load["rejects"] + load["ignored"]
        assert (load["records_read"], load["status"] != "running") == (parts, True), load
    sums = {name: sum(load[name] for load in loads) for name in ("rows_loaded", "rejects")}
    wanted_sums = {"rows_loaded": sum(map(len, expected.values())), "rejects": rejects}
    assert sums == wanted_sums, f"{sums}, not {wanted_sums}"
    # What is ignored leaves nothing by which it would be known when it is read again.
    assert sum(load["ignored"] for load in loads) >= sum(given.ignored for given in givens)
    assert loads[-1]["status"] == "success"


def statuses(db: Database) -> list[str]:
    """How the loads ended, from the first to the last."""
    return [status for status, _ in db.rows(LOADS)]


def wait_until(db: Database, statement: str, expected: Any = True, seconds: float = 20) -> None:
    """Wait until a SELECT has a value; while the server is away, it has none."""
    end = time.monotonic() + seconds
    found: Any = None
    while True:
        with suppress(psycopg2.OperationalError):
            found = db.value(statement)
            if found == expected:
                return
        assert time.monotonic() < end, f"{statement}: {found!r}, not {expected!r}"
        time.sleep(0.03)


def sentence(code: int, err: bytes | str, expected: int, *words: str) -> None:
    """Check that a job ended with one line of advice."""
    text = err.decode() if isinstance(err, bytes) else err
    assert code == expected, (code, text)
    [line] = [line for line in text.splitlines() if line.strip()]
    assert line.startswith("customerio-loader: ")
    for word in words:
        assert word in line


def finishes(
    process: "subprocess.Popen[bytes]", code: int = 0, *words: str, seconds: float = 60
) -> None:
    """The job ends with a code, and with one sentence if that is not 0."""
    _, err = process.communicate(timeout=seconds)
    if code:
        sentence(process.returncode, err, code, *words)
    else:
        assert (process.returncode, err.decode()) == (0, ""), (process.returncode, err.decode())


# databases


_numbers = count(1)


@contextmanager
def copy_of(server: "Server | OwnServer", template: str) -> Iterator[Database]:
    """A database made from a template, dropped at the end."""
    name = f"fault_{os.getpid()}_{next(_numbers)}"
    admin = server.database("postgres")
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.database(name)
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def job(*arguments: str | Path, url: str, **env: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command to its end, away from the fixtures."""
    return subprocess.run(
        [sys.executable, "-m", "loader", *map(str, arguments)],
        env=os.environ | {"LOADER_WAREHOUSE_URL": url} | env,
        cwd="/",
        capture_output=True,
        check=False,
        timeout=120,
    )


def alembic(*arguments: str, url: str) -> "subprocess.CompletedProcess[str]":
    """Run Alembic in the repository's root, as the owner of the database would."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        env=os.environ | {"LOADER_WAREHOUSE_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def roles(db: Database, *names: str) -> Iterator[None]:
    """Roles that may log in, as long as the context; what they own goes with them."""
    for name in names:
        db.execute(f"CREATE ROLE {name} LOGIN")
    try:
        yield
    finally:
        for name in names:
            db.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}")
            db.execute(f"DROP ROLE {name}")


# steps that hold a job


# Ids of `mixed` records in the second batch of a thousand, so that the first one is committed.
LATE_MIDDLE = "NEW.id >= 'k002' AND NEW.id < 'k003'"
GATE = 4242
AT_GATE = (
    "SELECT count(*) > 0 FROM pg_locks JOIN pg_database d ON d.oid = database "
    f"WHERE datname = current_database() AND locktype = 'advisory' AND objid = {GATE} "
    "AND NOT granted"
)


@contextmanager
def gate(db: Database) -> Iterator[None]:
    """Triggers that call `wait_at_gate` wait as long as the context."""
    db.execute(
        "CREATE OR REPLACE FUNCTION public.wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$"
    )
    db.execute(
        "CREATE OR REPLACE FUNCTION public.ddl_at_gate() RETURNS event_trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); END $$"
    )
    with holding(db, f"SELECT pg_advisory_lock({GATE})"):
        yield


@contextmanager
def trigger(db: Database, table: str, condition: str, when: str = "BEFORE INSERT") -> Iterator[str]:
    """The job waits at a row for which `condition` holds; yields the SELECT that sees it wait."""
    deferred = when.startswith("DEFERRED")
    with gate(db):
        db.execute(
            f"CREATE {'CONSTRAINT ' * deferred}TRIGGER at_gate "
            f"{when.replace('DEFERRED', 'AFTER')} ON {SCHEMA}.{table} "
            f"{'DEFERRABLE INITIALLY DEFERRED ' * deferred}"
            f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION public.wait_at_gate()"
        )
        yield AT_GATE
    # The server still works for the job that was killed.
    wait_until(db, NO_SESSION)
    db.execute(f"DROP TRIGGER at_gate ON {SCHEMA}.{table}")


@contextmanager
def ddl(db: Database, tag: str) -> Iterator[str]:
    """The job waits after it ran a kind of DDL."""
    with gate(db):
        db.execute(
            f"CREATE EVENT TRIGGER at_gate ON ddl_command_end WHEN TAG IN ('{tag}') "
            "EXECUTE FUNCTION public.ddl_at_gate()"
        )
        yield AT_GATE
    wait_until(db, NO_SESSION)
    db.execute("DROP EVENT TRIGGER at_gate")


@contextmanager
def locked(db: Database, table: str, mode: str, words: str = "") -> Iterator[str]:
    """The job waits for the lock of a table."""
    with holding(db, f"BEGIN; LOCK TABLE {SCHEMA}.{table} IN {mode} MODE"):
        yield waits_for_lock(words)


def waits_for_lock(words: str = "") -> str:
    """The SELECT that sees the job wait for a lock, in a statement with these words."""
    return f"SELECT count(*) > 0 {SESSIONS} AND wait_event_type = 'Lock' AND query ~* '{words}'"


@contextmanager
def holding(db: Database, statement: str) -> Iterator[Any]:
    """A session that has run a statement, as long as the context."""
    with closing(db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        yield cursor


# watching


class Watcher:
    """A reader that looks, again and again, whether `tracks` and the collections agree."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.looks = 0
        self.wrong: list[Any] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.03):
            with suppress(psycopg2.Error):
                there = [t for t in self.db.tables() if t[0] != "_" and t not in NOT_EVENTS]
                counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in there)
                events = ", ".join(
                    f"(SELECT count(*) FROM tracks WHERE event = '{table}')" for table in there
                )
                [found] = self.db.rows(f"SELECT ARRAY[{counts}], ARRAY[{events}]")
                self.looks += 1
                if found[0] != found[1]:
                    self.wrong.append((there, *found))


NOT_EVENTS = ("tracks", "alembic_version", *MARTS)


# a server that dies


def said(err: bytes) -> str:
    """What a job said itself; the client library tells of a server that dies as it connects."""
    return "".join(line for line in err.decode().splitlines() if not line.startswith("WARNING:"))


def other_servers() -> dict[str, Path]:
    """Binaries of every PostgreSQL on this machine but the wheel's newest."""
    found = {
        f"wheel {version}": programs.server_bin_folder(version)
        for version in programs.VERSIONS
        if version != programs.NEWEST
    }
    for path in sorted(Path("/usr/lib/postgresql").glob("*/bin")):
        if (path / "initdb").exists() and int(path.parent.name) >= 14:
            found[f"Debian {path.parent.name}"] = path
    return found


def wheel_newest() -> Path:
    return programs.server_bin_folder()


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class OwnServer:
    """A PostgreSQL on a port of 127.0.0.1, to be killed and started again."""

    def __init__(self, bin_path: Path, **settings: str) -> None:
        self.bin_path = bin_path
        self.parent = enterable_folder()
        self.folder = self.parent / "data"
        self.port = free_port()
        self.parent.chmod(0o777)  # the server's user writes there
        self._make()
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.parent),
            "fsync": "off",
            "full_page_writes": "off",
            **settings,
        }
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _make(self) -> None:
        programs.initdb(self.bin_path, self.folder, "-A", "trust", "--no-sync")
        self.parent.chmod(0o777)  # which initdb narrows

    def _call(self, program: str, *arguments: str) -> None:
        with (self.parent / "output").open("a") as output:
            done = subprocess.run(
                [self.bin_path / program, "-D", self.folder, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.parent,
                check=False,
                **programs.as_server(),
            )
        assert done.returncode == 0, (self.parent / "output").read_text()[-2000:]

    def start(self) -> None:
        self._call("pg_ctl", "start", "-w", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        self._call("pg_ctl", "stop", "-w", "-m", mode)

    def reload(self) -> None:
        self._call("pg_ctl", "reload")

    def is_running(self) -> bool:
        pid = self.folder / "postmaster.pid"
        return pid.exists() and "ready" in pid.read_text()

    def url(self, database: str = "postgres", *, user: str = "postgres", port: int = 0) -> str:
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def database(self, name: str, *, user: str = "postgres") -> Database:
        return Database(self.url(name, user=user))


@contextmanager
def own_server(bin_path: Path | None = None, **settings: str) -> Iterator[OwnServer]:
    """A server of the test's own, with a database `migrated` at head."""
    import shutil

    found = OwnServer(bin_path or wheel_newest(), **settings)
    found.start()
    try:
        found.database("postgres").execute("CREATE DATABASE migrated")
        done = job("migrate", url=found.url("migrated"))
        assert done.returncode == 0, done.stderr
        yield found
    finally:
        if found.is_running():
            found.stop()
        shutil.rmtree(found.parent, ignore_errors=True)


# a proxy that cuts


_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF: return 0
_SO_ATTACH_FILTER = 26


class Proxy:
    """Stands between a job and its server."""

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.lose_commit = ""  # "before" or "after" the server gets it; happens once
        self.cut_at = b""  # cut when the client sends this; happens once
        self.mute = False  # new connections get no answer
        self.muted = threading.Event()  # there was one
        self.then_port = port  # of the server that is reached once `lost` is set
        self.lost = threading.Event()
        self._armed = False
        self._over = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        with suppress(OSError):  # `accept` does not see that its socket is closed
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _run(self, target: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def cut(self) -> None:
        """Break all connections."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._break(*pair)

    def silence(self) -> None:
        """Drop every packet of the client from now on, and say nothing: the cable is out."""
        self.mute = True
        for client, server in self._pairs:
            for one in (client, server):
                drop_packets(one)

    def switch(self, port: int) -> None:
        """Break all connections; new ones lead to another server."""
        self.server_port = port
        self.cut()

    def lose_next_commit(self) -> None:
        """Lose the answer to the COMMIT of the transaction that is under way."""
        self.lose_commit, self._armed = "after", True

    def _lose(self) -> None:
        self.server_port = self.then_port
        self.lost.set()

    def _break(self, *sockets: socket.socket) -> None:
        for one in sockets:
            # A thread may wait in `recv`: only `shutdown` wakes it.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._over:
                    return client.close()
                if self.mute:
                    drop_packets(client)
                    self._pairs.append((client, client))
                    self.muted.set()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self.server_port))
                except OSError:
                    client.close()
                    continue
                pair = (client, server)
                self._pairs.append(pair)
                swallow = threading.Event()
                self._run(self._up, *pair, swallow)
                self._run(self._down, *pair, swallow)

    def _up(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut_at and self.cut_at in data:
                    self.cut_at = b""
                    self._lose()
                    break
                if self.lose_commit and b'COPY "customerio"."tracks"' in data:
                    self._armed = True
                if self._armed and b"COMMIT\0" in data:
                    self._armed = False
                    before, self.lose_commit = self.lose_commit == "before", ""
                    self._lose()
                    if before:
                        break
                    swallow.set()
                server.sendall(data)
        if not swallow.is_set():
            self._break(client, server)

    def _down(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if swallow.is_set():
                    break
                client.sendall(data)
        self._break(client, server)


def drop_packets(one: socket.socket) -> None:
    """Let the kernel drop what comes for a socket, without a word to the sender."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    with suppress(OSError):
        filter_ = struct.pack("HL", 1, ctypes.addressof(program))
        one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


# random faults, short and long


@dataclass
class Report:
    """What a number of random faults hit."""

    faults: int = 0
    missed: int = 0  # the job was quicker
    looks: int = 0
    at: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        places = ", ".join(f"{place} {n}" for place, n in self.at.most_common())
        return (
            f"{self.faults} faults ({places}), {self.missed} loads ended before theirs, "
            f"{self.looks} looks of a reader"
        )


def doing(db: Database) -> str:
    """What the server does for the job at this moment."""
    statement = f"SELECT query {SESSIONS} AND state <> 'idle' ORDER BY state LIMIT 1"
    found = db.rows(statement)
    return str(found[0][0]).split(None, 1)[0] if found else "no statement"


def kill_at_random(
    server: Server, template: str, start: Start, folder: Path, *, seed: int, kills: int
) -> Report:
    """Kill loads at random moments; after some kills of one input, load it to its end."""
    moments = random.Random(seed)
    report = Report()
    given = mixed(6_000)
    path = given.write(folder / "given.ndjson")
    env = {"LOADER_BATCH_RECORDS": "500"}
    with copy_of(server, template) as db:
        began = time.monotonic()
        assert job("load", path, url=db.url, **env).returncode == 0
        usual = time.monotonic() - began
    while report.faults < kills:
        with copy_of(server, template) as db, Watcher(db) as watcher:
            for _ in range(3):
                if report.faults >= kills:
                    break
                process = start("load", path, url=db.url, env=env)
                time.sleep(moments.uniform(0.05, usual))
                at = doing(db)
                if process.poll() is not None:
                    report.missed += 1
                    break
                process.kill()
                if process.wait() == 0:  # it ended while it was looked at
                    report.missed += 1
                    break
                assert process.returncode == -signal.SIGKILL
                report.faults += 1
                report.at[at] += 1
                wait_until(db, NO_SESSION)
            done = job("load", path, url=db.url, **env)
            assert done.returncode == 0, (seed, report.faults, done.stderr)
            check_settled(db, given)
            assert db.rows("SELECT records_done, finished FROM _files") == [(6_000, True)]
        report.looks += watcher.looks
        assert watcher.wrong == []
    return report


def server_deaths(
    server: OwnServer, start: Start, folder: Path, *, seed: int, deaths: int
) -> Report:
    """Let the server die at random moments of a load and come back; the load itself goes on."""
    moments = random.Random(seed)
    report = Report()
    given = mixed(6_000)
    path = given.write(folder / "given.ndjson")
    env = {"LOADER_BATCH_RECORDS": "500"}
    with copy_of(server, "migrated") as db:
        began = time.monotonic()
        assert job("load", path, url=db.url, **env).returncode == 0
        usual = time.monotonic() - began
    while report.faults < deaths:
        with copy_of(server, "migrated") as db, Watcher(db) as watcher:
            process = start("load", path, url=db.url, env=env)
            time.sleep(moments.uniform(0.1, usual))
            at = doing(db)
            if process.poll() is not None:
                report.missed += 1
                continue
            server.stop("immediate")
            time.sleep(moments.uniform(0, 1.5))
            server.start()
            report.faults += 1
            report.at[at] += 1
            _, err = process.communicate(timeout=90)
            assert (process.returncode, said(err)) == (0, ""), (seed, report.faults, at, err)
            check_settled(db, given)
            again = job("load", path, url=db.url, **env)
            assert again.returncode == 0, again.stderr
            check_settled(db, given)
        report.looks += watcher.looks
        assert watcher.wrong == []
    return report


def all_at_once(start: Start, db: Database, path: Path, jobs: int, *options: str) -> list[int]:
    """Start several loads of one input together; their exit codes."""
    processes = [start("load", path, *options, url=db.url, env=SMALL) for _ in range(jobs)]
    codes = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        codes.append(process.returncode)
        if process.returncode:
            sentence(process.returncode, err, 75, "another load of 'Customer.io' is running")
    return codes
