"""A standby that takes over from a server, with all that the server has committed or without."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from acceptance.faults import OwnServer, wait_until
from acceptance.harness import Database


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
        lsn = db.value("SELECT pg_current_wal_flush_lsn()::text")
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
