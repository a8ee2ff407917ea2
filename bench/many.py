"""Loads of very many files and objects, which are all loaded already or small.

`python -m bench.many` prints a line for each measurement. The store is a fake one, in a process
beside it, so the figures hold for what the loader does; a real one takes longer to answer.
"""

import gzip
import io
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg2

from bench.measure import SCRATCH, load
from bench.server import Server, running
from bench.stores import Keys, by_day, in_one_folder, served
from samples import generate

_FILES = 1_000_000
_OBJECTS, _RECORDS, _DELAY = 1_000, 1_000, 0.03
_ROUNDS = 3
# As the fake store has them.
_VERSION, _MODIFIED = "0123456789abcdef", "2025-11-25 00:00:00+00:00"


class Job:
    """The job on one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._settings: dict[str, str] = {}

    def configure(self, path: str, endpoint: str = "") -> None:
        """What a load reads."""
        storage = {"s3://events": {"endpoint": endpoint}} if endpoint else {}
        self._settings = {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "LOADER_SOURCE": json.dumps([{"name": "Customer.io", "inputs": [path]}]),
            "LOADER_STORAGE": json.dumps(storage),
        }

    def load(self) -> tuple[float, str]:
        """Seconds of a whole run, and what it did."""
        done = load(None, self.server.url, self._settings)
        files = f"{done.facts['files']:,} files read, {done.facts['files_skipped']:,} looked up"
        shown = f"{done.seconds:.2f} s, {done.peak_mb:.0f} MB; {files}"
        return done.seconds, f"{shown}, {done.facts['rows_loaded']:,} rows"

    def remember(self, make: Keys, size: int = 1, version: str = _VERSION) -> None:
        """Have the ledger know objects or files as loaded."""
        # In a process of its own: what this one holds would count as memory of the job.
        process = multiprocessing.Process(
            target=_remember, args=(self.server.url, make, size, version)
        )
        process.start()
        process.join()
        self.server.execute("VACUUM ANALYZE customerio._files")


def _remember(url: str, make: Keys, size: int, version: str) -> None:
    rows = f"\t{size}\t{_MODIFIED}\t{version}\t1\tt\t1\n"
    columns = "(uri, size, modified_at, version, records_done, finished, load_id)"
    data = io.StringIO("".join(f"{uri}{rows}" for uri in make()))
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE customerio._files, customerio._listings")
        cursor.copy_expert(f"COPY customerio._files {columns} FROM STDIN", data)


def _uris(make: Keys) -> list[str]:
    return [f"s3://events/{key}" for key in make()]


def _names(folder: str) -> list[str]:
    return [f"{folder}/events-{number:07}.json.gz" for number in range(_FILES)]


def finished_objects(job: Job) -> None:
    """Nothing new among a million objects; the first load lists all of them."""
    for name, make, folder in (
        ("400 days", by_day, "logs"),
        ("one folder", in_one_folder, "flat"),
    ):
        with served(make) as endpoint:
            job.configure(f"s3://events/{folder}/", endpoint)
            job.remember(partial(_uris, make))
            for number in range(1 + _ROUNDS):
                print(f"{name}, load {number + 1}: {job.load()[1]}", flush=True)


def finished_files(job: Job, folder: Path) -> None:
    """Nothing new among a million files in one folder."""
    modified = datetime.fromisoformat(_MODIFIED).timestamp()
    for name in _names(str(folder)):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        os.utime(name, (modified, modified))
    job.configure(str(folder))
    job.remember(partial(_names, str(folder)), size=0, version="\\N")
    for number in range(_ROUNDS):
        print(f"files, load {number + 1}: {job.load()[1]}", flush=True)


def small_objects(job: Job, folder: Path) -> None:
    """Small objects behind a slow network, in turn with the same files on this disk."""
    lines = generate(_OBJECTS * _RECORDS, shape="segment")
    for number in range(_OBJECTS):
        data = gzip.compress(b"".join(islice(lines, _RECORDS)), 1)
        (folder / f"{number:06d}.gz").write_bytes(data)
    with _served_folder(folder) as endpoint:
        for _ in range(_ROUNDS):
            took = {}
            for path in (str(folder), "s3://events/read/"):
                job.server.drop("customerio")
                job.configure(path, endpoint)
                took[path], shown = job.load()
                print(f"{path.partition('/read')[0]}: {shown}", flush=True)
            local, far = took.values()
            print(f"speed from the store, of that from disk: {local / far:.2f}", flush=True)


def _serve_folder(folder: str, pipe: Connection) -> None:
    from sources.fake_s3 import FakeS3

    objects = {f"read/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}
    with FakeS3(objects, delay=_DELAY) as fake:
        pipe.send(fake.url)
        pipe.recv()


@contextmanager
def _served_folder(folder: Path) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_serve_folder, args=(str(folder), there), daemon=True)
    process.start()
    yield here.recv()
    process.kill()


def main() -> None:
    """Measure, and print."""
    multiprocessing.set_start_method("spawn")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, running(SCRATCH.parent / "many") as server:
        folder = Path(made).resolve()
        job = Job(server)
        (folder / "first.json").write_text('{"type": "track", "event": "Email Opened"}\n')
        job.configure(str(folder / "first.json"))
        job.load()
        finished_objects(job)
        for measure in (finished_files, small_objects):
            inputs = folder / measure.__name__
            inputs.mkdir()
            measure(job, inputs)


if __name__ == "__main__":
    main()
