"""A standby that takes over from a server, with all that the server has committed or without."""

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acceptance.faults import (
    OwnServer,
    Proxy,
    Report,
    Start,
    check_settled,
    copy_of,
    job,
    mixed,
    own_server,
    said,
    wait_until,
)
from acceptance.harness import Database

# Settings of a server that answers a COMMIT long before it writes it to its disk.
CARELESS = {
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "wal_buffers": "64MB",
}


class Standby(OwnServer):
    """A copy of a server that follows it, asynchronously."""

    def __init__(self, primary: OwnServer) -> None:
        self._primary = primary
        super().__init__(primary.bin_path)

    def _make(self) -> None:
        source = ("-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "postgres")
        self._call("pg_basebackup", *source, "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def follow(self, db: Database) -> Database:
        """Wait until it has what a database of the server has committed; the same one here."""
        # What is flushed may end in the middle of a record, behind which no standby comes. Behind
        # what is inserted stands another commit, so that all of it is flushed.
        lsn = db.value("SELECT pg_current_wal_insert_lsn()::text")
        db.execute("SELECT txid_current()")
        own = self.database(db.name)
        wait_until(own, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")
        return own

    def lag(self, db: Database) -> Database:
        """Follow a server up to now, and no further; a database here."""
        own = self.follow(db)
        with_no_server = "ALTER SYSTEM SET primary_conninfo = ''"
        self.database("postgres").execute(with_no_server)
        self.reload()
        wait_until(own, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
        return own

    def promote(self) -> None:
        """Be a server of its own from now on."""
        assert self.database("postgres").value("SELECT pg_promote()")


@contextmanager
def standby_of(primary: OwnServer) -> Iterator[Standby]:
    """A standby that runs as long as the context."""
    found = Standby(primary)
    found.start()
    try:
        yield found
    finally:
        if found.is_running():
            found.stop()
        shutil.rmtree(found.parent, ignore_errors=True)


def failovers(start: Start, folder: Path, *, seed: int, count: int) -> Report:
    """Promote standbys at random moments of a load, half of them behind the server.

    The load ends well, or says what is missing; then a plain load completes it.
    """
    moments = random.Random(seed)
    report = Report()
    given = mixed(6_000)
    path = given.write(folder / "given.ndjson")
    env = {"LOADER_BATCH_RECORDS": "250"}
    with own_server() as server:
        usual = _usual(server, path, env)
        while report.faults < count:
            with copy_of(server, "migrated") as db, standby_of(server) as standby:
                with Proxy(server.port) as proxy:
                    url = server.url(db.name, port=proxy.port)
                    process = start("load", path, url=url, env=env)
                    if moments.random() < 0.5:
                        time.sleep(moments.uniform(0.1, usual))
                    else:
                        done = f"coalesce(max(batches), 0) >= {moments.randint(0, 8)}"
                        wait_until(db, f"SELECT {done} FROM _loads")
                        standby.lag(db)
                        time.sleep(moments.uniform(0, usual / 2))
                    if process.poll() is not None:
                        report.missed += 1
                        continue
                    proxy.switch(standby.port)
                    standby.promote()
                    own = standby.database(db.name)
                    _, err = process.communicate(timeout=90)
                report.faults += 1
                words = said(err)
                report.at["went on" if not words else words.partition(" load ")[0]] += 1
                # It may begin anew by itself, and warns that it did; or it fails and says so.
                told = "load again" if process.returncode else "begun anew" if words else ""
                assert process.returncode in (0, 1), (seed, report.faults, words)
                assert told in words, (seed, report.faults, words)
                again = job("load", path, url=own.url, **env)
                assert again.returncode == 0, (seed, report.faults, again.stderr)
                check_settled(own, given)
    return report


def crashes(start: Start, folder: Path, *, seed: int, count: int) -> Report:
    """Let a server crash at random moments that answers a COMMIT before it writes it."""
    moments = random.Random(seed)
    report = Report()
    given = mixed(6_000)
    path = given.write(folder / "given.ndjson")
    env = {"LOADER_BATCH_RECORDS": "250"}
    with own_server(**CARELESS) as server:
        usual = _usual(server, path, env)
        while report.faults < count:
            with copy_of(server, "migrated") as db:
                process = start("load", path, url=db.url, env=env)
                time.sleep(moments.uniform(0.1, usual))
                if process.poll() is not None:
                    report.missed += 1
                    continue
                server.stop("immediate")
                server.start()
                _, err = process.communicate(timeout=90)
                report.faults += 1
                assert (process.returncode, said(err)) == (0, ""), (seed, report.faults, err)
                check_settled(db, given)
    return report


def _usual(server: OwnServer, path: Path, env: dict[str, str]) -> float:
    """How long a load of a file takes."""
    with copy_of(server, "migrated") as db:
        began = time.monotonic()
        assert job("load", path, url=db.url, **env).returncode == 0
        return time.monotonic() - began
