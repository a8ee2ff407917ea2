"""How far each destination is: one row for a destination and a spool file, in SQLite.

A name of a file would not do as a mark of how far it got: of two receivers on one spool, one may
finish a file with an older name than those that were sent.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from loader.errors import LoaderError, LockHeld, UsageError
from loader.forward.calls import Refused

_FILE, _LOCK = ".forward.db", ".forward.lock"
_VERSION = 1
_TABLES = """
CREATE TABLE destinations (
    name TEXT PRIMARY KEY,
    began_at TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,     -- calls that were accepted
    retries INTEGER NOT NULL DEFAULT 0,  -- requests that were sent again
    missed INTEGER NOT NULL DEFAULT 0,   -- files removed or cut before all of them was sent
    sent_at TEXT,                        -- when something was last accepted
    problem TEXT,                        -- why it does not go on
    paused INTEGER NOT NULL DEFAULT 0,   -- somebody has to do something about that
    failing_since TEXT,
    tried_at TEXT                        -- when it last failed
) STRICT;
CREATE TABLE files (
    destination TEXT NOT NULL,
    schema TEXT NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,  -- from the beginning, all lines of which are accepted or dead letters
    done INTEGER NOT NULL,   -- that is all of the file
    size INTEGER NOT NULL,   -- that it had when it was first seen
    PRIMARY KEY (destination, schema, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    schema TEXT NOT NULL,
    file TEXT NOT NULL,
    at INTEGER NOT NULL,      -- where its line begins
    number INTEGER NOT NULL,  -- among the calls of the line, or below 0
    message_id TEXT,
    reason TEXT NOT NULL,
    died_at TEXT NOT NULL,
    line BLOB NOT NULL,       -- as the file had it, which may be gone
    UNIQUE (destination, schema, file, at, number)
) STRICT;
"""


class Standing(NamedTuple):
    """How a destination is."""

    sent: int = 0
    retries: int = 0
    missed: int = 0
    sent_at: str | None = None
    problem: str | None = None
    paused: int = 0
    failing_since: str | None = None
    tried_at: str | None = None
    dead: int = 0

    def holds_files(self, keep: timedelta) -> bool:
        """Whether files must stay for it that it does not have.

        All but one that has failed for so long, and was tried meanwhile: of a destination that
        nobody tries nothing is known. A day counts as meanwhile however short that is, so that
        `forward --once` may run once a day.
        """
        if self.failing_since is None or self.tried_at is None:
            return True
        now = datetime.now(UTC)
        failing_since, tried_at = map(datetime.fromisoformat, (self.failing_since, self.tried_at))
        return failing_since > now - keep or tried_at < now - max(keep, timedelta(days=1))


class DeadLetter(NamedTuple):
    """A line, or a call of it, that a destination refused."""

    id: int
    schema: str
    file: str
    at: int
    number: int
    message_id: str | None
    reason: str
    died_at: str
    line: bytes


Key = tuple[str, str]  # schema and name of a spool file


class State:
    """A connection to the state in a spool folder. Each thread needs its own."""

    def __init__(self, spool_dir: Path) -> None:
        path = spool_dir / _FILE
        try:
            self._make(path)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._prepare(path)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(spool_dir, error) from None

    @staticmethod
    def is_there(spool_dir: Path) -> bool:
        """Whether anything was forwarded of a spool."""
        return (spool_dir / _FILE).exists()

    @staticmethod
    def _make(path: Path) -> None:
        """The file, for the group of the spool; SQLite gives those beside it the same mode."""
        try:
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o660)
        except FileExistsError:
            return
        os.fchmod(made, 0o660)
        os.close(made)

    def _prepare(self, path: Path) -> None:
        with self._transaction():
            ((version,),) = self._db.execute("PRAGMA user_version")
            if version > _VERSION:
                raise LoaderError(
                    f"{path} was written by a newer version of customerio-loader: upgrade this one"
                )
            if version == 0:
                for statement in _TABLES.split(";")[:-1]:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def begin(self, destination: str, passed_over: Mapping[Key, int]) -> bool:
        """Have a destination that is new; some files are not for it. False where it is known."""
        with self._transaction():
            added = self._db.execute(
                "INSERT INTO destinations (name, began_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (destination, _now()),
            ).rowcount
            if added:
                self._add(destination, passed_over, done=True)
        return bool(added)

    def add(self, destination: str, files: Mapping[Key, int], *, done: bool) -> None:
        """Have files that are new, by their sizes: to be sent, or `done`, if not for it."""
        if files:
            with self._transaction():
                self._add(destination, files, done=done)

    def _add(self, destination: str, files: Mapping[Key, int], *, done: bool) -> None:
        self._db.executemany(
            "INSERT INTO files VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT DO NOTHING",
            [(destination, *key, done, size) for key, size in files.items()],
        )

    def progress(self, destination: str) -> dict[Key, int | None]:
        """The bytes of each file that are done; None where that is all."""
        rows = self._db.execute(
            "SELECT schema, name, iif(done, NULL, bytes) FROM files WHERE destination = ?",
            (destination,),
        )
        return {(schema, name): done for schema, name, done in rows}

    def sent_files(self, destination: str, schema: str) -> set[str]:
        """The names of the files of a source that a destination has, or that are not for it."""
        rows = self._db.execute(
            "SELECT name FROM files WHERE destination = ? AND schema = ? AND done",
            (destination, schema),
        )
        return {name for (name,) in rows}

    def advance(
        self, destination: str, key: Key, done: int, *, sent: int, dead: Sequence[Refused]
    ) -> None:
        """Keep that the first bytes of a file are done; with what died on the way.

        One that was forgotten meanwhile is counted as missed, and stays so.
        """
        with self._transaction():
            self._db.execute(
                "UPDATE files SET bytes = max(bytes, ?) "
                "WHERE destination = ? AND schema = ? AND name = ?",
                (done, destination, *key),
            )
            self._db.executemany(
                "INSERT INTO dead_letters "
                "(destination, schema, file, at, number, message_id, reason, died_at, line) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (destination, *key, *(line.at, number, id, reason, _now(), line.text))
                    for line, number, id, reason in dead
                ],
            )
            if sent:
                self._sent(destination, sent)

    def _sent(self, destination: str, calls: int) -> None:
        self._db.execute(
            "UPDATE destinations SET sent = sent + ?, sent_at = ? WHERE name = ?",
            (calls, _now(), destination),
        )

    def end(self, destination: str, key: Key, at: int) -> bool:
        """Keep that a file which ends at `at` is done; False where it was longer, and is missed.

        No file of a spool is empty.
        """
        with self._transaction():
            ((is_cut,),) = self._db.execute(
                "UPDATE files SET done = 1 WHERE destination = ? AND schema = ? AND name = ? "
                "RETURNING max(size, 1) > ?",
                (destination, *key, at),
            ).fetchall() or [(False,)]
            self._miss(destination, int(is_cut))
        return not is_cut

    def forget(self, destination: str, gone: Iterable[Key]) -> int:
        """Drop the rows of files that were removed; count those that were not done as missed."""
        missed = 0
        with self._transaction():
            for key in gone:
                rows = self._db.execute(
                    "DELETE FROM files WHERE destination = ? AND schema = ? AND name = ? "
                    "RETURNING NOT done",
                    (destination, *key),
                ).fetchall()
                missed += sum(is_missed for (is_missed,) in rows)
            self._miss(destination, missed)
        return missed

    def _miss(self, destination: str, files: int) -> None:
        if files:
            self._db.execute(
                "UPDATE destinations SET missed = missed + ? WHERE name = ?", (files, destination)
            )

    def fails(self, destination: str, problem: str, *, paused: bool) -> None:
        """Keep why a destination does not go on.

        It fails anew where nobody tried it for a day: what was in between, nobody knows.
        """
        now, day_ago = _now(), _now(-timedelta(days=1))
        with self._transaction():
            self._db.execute(
                "UPDATE destinations SET problem = ?, paused = ?, retries = retries + 1, "
                "failing_since = iif(failing_since IS NULL OR tried_at < ?, ?, failing_since), "
                "tried_at = ? WHERE name = ?",
                (problem, paused, day_ago, now, now, destination),
            )

    def works(self, destination: str) -> None:
        """Keep that it goes on."""
        with self._transaction():
            self._db.execute(
                "UPDATE destinations SET problem = NULL, paused = 0, failing_since = NULL "
                "WHERE name = ?",
                (destination,),
            )

    def standing(self, destination: str) -> Standing | None:
        """How a destination is; None where nothing was done for it yet."""
        row = self._db.execute(
            "SELECT sent, retries, missed, sent_at, problem, paused, failing_since, tried_at, "
            "(SELECT count(*) FROM dead_letters WHERE destination = d.name) "
            "FROM destinations AS d WHERE name = ?",
            (destination,),
        ).fetchone()
        return Standing(*row) if row else None

    def dead_letters(self, destination: str) -> Iterator[DeadLetter]:
        """What a destination refused, in the order of the files.

        One at a time is in memory. Those that are dropped meanwhile are left out.
        """
        ids = self._db.execute(
            "SELECT id FROM dead_letters WHERE destination = ? ORDER BY file, schema, at, number",
            (destination,),
        ).fetchall()
        for id in ids:
            row = self._db.execute(
                "SELECT id, schema, file, at, number, message_id, reason, died_at, line "
                "FROM dead_letters WHERE id = ?",
                id,
            ).fetchone()
            if row:
                yield DeadLetter(*row)

    def revive(self, destination: str, id: int) -> None:
        """Drop a dead letter that was accepted after all."""
        with self._transaction():
            self._db.execute("DELETE FROM dead_letters WHERE id = ?", (id,))
            self._sent(destination, 1)

    def discard(self, destination: str) -> int:
        """Drop all dead letters of a destination, which nobody needs; how many these were."""
        with self._transaction():
            return self._db.execute(
                "DELETE FROM dead_letters WHERE destination = ?", (destination,)
            ).rowcount

    def names(self) -> list[str]:
        """All destinations that are known, with those that are configured no longer."""
        return [name for (name,) in self._db.execute("SELECT name FROM destinations ORDER BY name")]


@contextmanager
def opened(spool_dir: Path) -> Iterator[State]:
    """The state in a spool folder, for a command; what fails in it becomes a LoaderError."""
    state = State(spool_dir)
    try:
        yield state
    except sqlite3.Error as error:
        raise _unusable(spool_dir, error) from None
    finally:
        state.close()


def _unusable(spool_dir: Path, error: Exception) -> LoaderError:
    path = spool_dir / _FILE
    if isinstance(error, sqlite3.OperationalError):  # it is locked, or its disk is full
        return LoaderError(f"the state of forwarding, {path}, cannot be used: {error}")
    return LoaderError(
        f"the state of forwarding, {path}, cannot be used: {error}; restore it, or remove it and "
        "say `forward --from TIME`, with which all of that time is sent again"
    )


@contextmanager
def only_one(spool_dir: Path) -> Iterator[None]:
    """Be the only forwarder of a spool."""
    path = spool_dir / _LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise UsageError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LockHeld(f"another process forwards the events in {spool_dir}") from None
    finally:
        os.close(lock)


def _now(offset: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + offset).isoformat(timespec="seconds")
