"""A thread for each destination, which sends the finished files of its sources."""

import shlex
import sqlite3
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from loader.config import Destination, Settings
from loader.errors import LoaderError, UsageError
from loader.forward.by_hand import tell_removed
from loader.forward.calls import CallReader, Refused, read_lines
from loader.forward.delivery import Delivery, Paused, Stopped
from loader.forward.state import Key, State, only_one
from loader.spool import SpoolFile, finished, spool_folder

_POLL_SECONDS = 1.0
_PAUSE_SECONDS = 300.0  # after which it is tried whether somebody has done something
_TRIES_UNTOLD = 5  # about ten seconds: faults that pass are nobody's business
_SETTLED_SECONDS = 2.0  # a folder may change twice in one tick of its clock
_SECONDS_TO_LEAVE = 8.0  # of the ten that a service mostly has
_MOST_REASONS = 3  # that are said of the dead letters of a batch
_Listed = dict[str, list[SpoolFile] | None]  # by schema; None: it has no folder
Say = Callable[[str, str], None]  # (name of a destination, what is wrong, or goes on)


class Forwarder:
    """Sends what is finished in the spool to every destination."""

    def __init__(
        self, settings: Settings, *, since: datetime | None, once: bool, say: Say, note: Say
    ) -> None:
        self.stop = Event()
        self._once, self._has_begun = once, False
        self._spool_dir = settings.spool_dir
        self._broken: list[BaseException] = []
        self._senders = [
            Sender(one, settings, stop=self.stop, since=since, once=once, say=say, note=note)
            for one in settings.destination
        ]

    def run(self) -> bool:
        """Send until `stop` is set, or until nothing is left; whether all was sent.

        Raises LockHeld where another process does so.
        """
        _make_folder(self._spool_dir)
        with only_one(self._spool_dir):
            State(self._spool_dir).close()  # made once, before all threads want to
            self._has_begun = True
            threads = [
                threading.Thread(target=self._guard, args=(sender,), name=sender.name, daemon=True)
                for sender in self._senders
            ]
            for thread in threads:
                thread.start()
            _join(threads, self.stop)
        if self._broken:
            raise self._broken[0]
        return all(sender.is_done for sender in self._senders)

    def summary(self) -> Iterator[tuple[str, str]]:
        """What was done for each destination, by name; of a service where it is anything."""
        for sender in self._senders:
            if (self._once and self._has_begun) or sender.sent or sender.dead:
                yield sender.name, f"{sender.sent:,} sent, {_letters(sender.dead)}"

    def _guard(self, sender: "Sender") -> None:
        """The end of a thread ends all: unseen, it would send nothing, and say nothing."""
        try:
            sender.run()
        except BaseException as error:
            self._broken.append(error)
            self.stop.set()


def _join(threads: Sequence[threading.Thread], stop: Event) -> None:
    """Wait until all have ended; but not long for an answer that somebody does not give."""
    left = _SECONDS_TO_LEAVE
    while left > 0 and (alive := [thread for thread in threads if thread.is_alive()]):
        alive[0].join(0.2)  # signals are heard in between
        left -= 0.2 if stop.is_set() else 0


class Sender:
    """Sends to one destination, file by file in the order of their names."""

    def __init__(
        self,
        destination: Destination,
        settings: Settings,
        *,
        stop: Event,
        since: datetime | None,
        once: bool,
        say: Say,
        note: Say,
    ) -> None:
        self.name = destination.name
        self.is_done = False
        self.sent = self.dead = 0  # calls
        self._schemas = {one.schema_: destination.takes(one.name) for one in settings.sources()}
        self._reader = CallReader(destination, max_record_bytes=settings.max_record_bytes)
        self._delivery = Delivery(
            destination,
            own_keys=settings.write_keys(),
            stop=stop,
            tries_for=settings.retry_timeout if once else None,
            on_failure=self._failed,
        )
        self._spool_dir = settings.spool_dir
        self._listings = {
            schema: Listing(settings.spool_dir, schema) for schema in sorted(self._schemas)
        }
        self._seen: _Listed = {}  # last
        self._sending: Key | None = None
        self._known: _Listed = {}  # of which all is sent
        self._stop, self._since, self._once = stop, since, once
        self._say, self._note = say, note
        self._state: State | None = None
        self._is_failing = False
        self._told: str | None = None  # what of it was said last

    @property
    def state(self) -> State:
        """The state, of the thread that sends."""
        if self._state is None:
            self._state = State(self._spool_dir)
            known = self._state.standing(self.name)
            self._is_failing = known is not None and known.problem is not None
        return self._state

    def run(self) -> None:
        """Send until stopped; once: until nothing is left, or it does not go on."""
        while not self._stop.is_set():
            try:
                self._send_files()
                self._works()  # nothing is left that fails
                self.is_done = True
                wait = _POLL_SECONDS
            except Stopped as stop:
                if self._once and not self._stop.is_set():
                    self._say(self.name, f"{stop}; nothing is lost: run it again")
                return
            except Exception as error:  # a defect, too: the others go on
                self._pause(error)
                wait = _PAUSE_SECONDS
            if self._once:
                return
            self._stop.wait(wait)

    def _send_files(self) -> None:
        """Send what is there and is not sent yet."""
        listed = {schema: listing.files() for schema, listing in self._listings.items()}
        if listed == self._known:
            return  # nothing has changed
        self._known, self._sending = {}, None
        files, progress = self._know(listed)
        for key in sorted(files, key=lambda key: (key[1], key[0])):
            done = progress[key]
            # What waits of a source that is none of its sources now, waits until it is one again.
            if done is not None and self._schemas[key[0]]:
                self._send_file(key, files[key].path, done)
        if self._seen == listed:  # or there is more to do
            self._known = listed

    def _know(self, listed: _Listed) -> tuple[dict[Key, SpoolFile], dict[Key, int | None]]:
        """Keep which files there are, so that none goes uncounted; returns them, and what is done.

        What is known of files that are gone is dropped. Not where a source or its folder is gone:
        what comes back must not be sent once more.
        """
        self._seen = listed
        files = {(schema, one.name): one for schema, some in listed.items() for one in some or ()}
        since = self._since
        old = {
            key: file.size
            for key, file in files.items()
            if since is None or file.written_at < since
        }
        if self.state.begin(self.name, old):
            self._tell_beginning(sum(self._schemas[schema] for schema, _ in old))
        elif since is not None:
            self._say(
                self.name,
                "--from changes nothing: it has begun before; under a new name it begins anew",
            )
        self._since = None
        progress = self.state.progress(self.name)
        there = {*files, self._sending}  # what is open is sent, though it was removed
        gone = [key for key in progress if listed.get(key[0]) is not None and key not in there]
        if told := tell_removed(self.state, self.name, gone):
            self._say(self.name, told)
        for is_taken in (True, False):
            new = {
                key: file.size
                for key, file in files.items()
                if key not in progress and self._schemas[key[0]] is is_taken
            }
            self.state.add(self.name, new, done=not is_taken)
            progress |= dict.fromkeys(new, 0 if is_taken else None)
        return files, progress

    def _tell_beginning(self, old: int) -> None:
        """Say from when on a destination that is new gets what was received."""
        since = self._since and f"{self._since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        files = "1 older file is" if old == 1 else f"{old:,} older files are"
        left = f"; {files} not sent (under a new name `--from TIME` sends them)" if old else ""
        self._note(self.name, f"begins with what was received since {since or 'now'}{left}")

    def _send_file(self, key: Key, path: Path, at: int) -> None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return  # it was removed a moment ago, which the next look tells
        self._sending = key
        with file:
            while lines := read_lines(file, at):
                calls, unread = self._reader.read(lines)
                dead = unread + self._delivery.send(calls)
                at = lines[-1].at + len(lines[-1].text)
                sent = len(calls) - len(dead) + len(unread)
                self.state.advance(self.name, key, at, sent=sent, dead=dead)
                self._count(sent, dead)
                if calls:
                    self._works()
                if self._stop.is_set():
                    raise Stopped("stopped")
            if not self.state.end(self.name, key, at):
                self._say(self.name, f"{key[0]}/{key[1]} was cut before all of it was sent")

    def _works(self) -> None:
        if self._is_failing:
            self.state.works(self.name)
            if self._told is not None:
                self._note(self.name, "it goes on")
            self._is_failing, self._told = False, None

    def _count(self, sent: int, dead: Sequence[Refused]) -> None:
        self.sent += sent
        self.dead += len(dead)
        if dead:
            reasons = Counter(one.reason for one in dead).most_common()
            told = [f"{count:,}: {reason}" for reason, count in reasons[:_MOST_REASONS]]
            told += ["..."] if len(reasons) > _MOST_REASONS else []
            why = reasons[0][0] if len(reasons) == 1 else "; ".join(told)
            self._say(
                self.name,
                f"{_letters(len(dead))} ({why}): see `destinations dead {shlex.quote(self.name)}`",
            )

    def _failed(self, problem: str, tries: int) -> None:
        self.state.fails(self.name, problem, paused=False)
        self._is_failing = True
        # What comes while it is tried may be gone before that ends.
        self._know({schema: listing.files() for schema, listing in self._listings.items()})
        if tries == _TRIES_UNTOLD:
            self._told = f"{problem}; it is tried again and again"
            self._say(self.name, self._told)

    def _pause(self, error: Exception) -> None:
        """It is no use to go on; it is tried again after a long time."""
        problem = _words(error)
        is_paused = not isinstance(error, LoaderError | OSError | sqlite3.Error) or isinstance(
            error, Paused
        )
        if is_paused:
            problem += "; nothing is sent to it until then"
        try:
            self.state.fails(self.name, problem, paused=is_paused)
        except (LoaderError, sqlite3.Error):
            self._state = None  # told below; opened anew
        self._is_failing = True
        if problem != self._told:
            self._say(self.name, problem)
        self._told = problem


def _words(error: Exception) -> str:
    """What an error says. One that is a defect may say values."""
    if isinstance(error, LoaderError | OSError | sqlite3.Error):
        return str(error) or type(error).__name__
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"a defect of customerio-loader, please report it: {type(error).__name__} in "
        f"{Path(place.filename).name}:{place.lineno}"
    )


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


class Listing:
    """The finished files of a source, listed again where its folder has changed."""

    def __init__(self, spool_dir: Path, schema: str) -> None:
        self._spool_dir, self._schema = spool_dir, schema
        self._folder = spool_folder(spool_dir, schema)
        self._changed_at = -1.0
        self._files: list[SpoolFile] = []

    def files(self) -> list[SpoolFile] | None:
        """The files by name; None where the source has no folder."""
        try:
            changed_at = self._folder.stat().st_mtime
        except FileNotFoundError:
            return None
        if changed_at != self._changed_at:
            self._files = finished(self._spool_dir, self._schema)
            is_settled = datetime.now(UTC).timestamp() - changed_at > _SETTLED_SECONDS
            self._changed_at = changed_at if is_settled else -1.0
        return self._files


def _make_folder(spool_dir: Path) -> None:
    """The spool, as the receiver makes it. Raises UsageError."""
    if not spool_dir.is_dir():
        try:
            spool_dir.mkdir(parents=True, exist_ok=True)
            spool_dir.chmod(0o2770)
        except OSError as error:
            raise UsageError(
                f"the spool {str(spool_dir)!r} cannot be made: {error.strerror}; see to `spool_dir`"
            ) from None
