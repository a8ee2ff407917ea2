"""Listing and reading a bucket of a million objects, on a fake store that runs beside it.

`python -m bench.stores` prints a line for each measurement. The figures hold for what the loader
does; a real store takes longer to answer.
"""

import gzip
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

from samples import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for the fake store
_FIRST = date(2025, 1, 1)
_DAYS, _PER_DAY = 400, 2_500
_OBJECTS, _RECORDS, _DELAY = 5_000, 1_000, 0.03
_AHEAD = 8

Keys = Callable[[], list[str]]


def by_day() -> list[str]:
    """A million keys in 400 folders of days."""
    return [
        f"logs/abc123/{_FIRST + timedelta(days=day)}/{number:08d}.abc.gz"
        for day in range(_DAYS)
        for number in range(_PER_DAY)
    ]


def in_one_folder() -> list[str]:
    """A million keys beside each other."""
    return [f"flat/2184.13699.{number:08d}.track.json" for number in range(1_000_000)]


def by_user() -> list[str]:
    """A million keys in 100,000 folders that are named after nothing."""
    return [f"users/{user:06d}/{one}.json" for user in range(100_000) for one in range(10)]


def to_read() -> list[str]:
    """What is read and not only listed."""
    return [f"read/{number:06d}.gz" for number in range(_OBJECTS)]


def _serve(make: Keys, content: bytes, delay: float, pipe: Connection) -> None:
    from sources.fake_s3 import FakeS3

    with FakeS3(delay=delay) as fake:
        fake.keys, fake.content = make(), content
        pipe.send(fake.url)
        pipe.recv()
        pipe.send(fake.listings)


@contextmanager
def served(make: Keys, content: bytes = b"x", delay: float = 0.0) -> Iterator[str]:
    """The address of a fake store in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(
        target=_serve, args=(make, content, delay, there), daemon=True
    )
    process.start()
    yield here.recv()
    here.send("end")
    print(f"    {here.recv():,} listings")
    process.join(5)
    process.kill()


def _list(endpoint: str, folder: str, since: date | None, pipe: Connection) -> None:
    from loader.sources.connect import StoreOptions
    from loader.sources.store import Bucket
    from loader.sources.urls import read_url

    before = _memory()
    began = time.perf_counter()
    url = f"s3://events/{folder}/"
    bucket = Bucket(read_url(url), StoreOptions(endpoint=endpoint))
    first, count, pages = 0.0, 0, 0
    for page in bucket.pages(url, since):
        first = first or time.perf_counter() - began
        count, pages = count + len(page.files), pages + 1
    took = time.perf_counter() - began
    pipe.send(
        f"{count:,} objects on {pages:,} pages in {took:.2f} s, the first page after "
        f"{first:.2f} s; memory {_memory()} MB ({before} before)"
    )


def _read(endpoint: str, pipe: Connection) -> None:
    from loader.sources.connect import StoreOptions
    from loader.sources.page import InputFile
    from loader.sources.store import Bucket
    from loader.sources.unpack import unpack
    from loader.sources.urls import read_url

    url = "s3://events/read/"
    bucket = Bucket(read_url(url), StoreOptions(endpoint=endpoint))
    began = time.perf_counter()

    def read(file: InputFile) -> int:
        with bucket.open(file) as stored:
            return sum(map(len, unpack(stored, b"\x1f\x8b")))  # type: ignore[arg-type]

    size = 0
    with ThreadPoolExecutor(_AHEAD) as pool:
        for page in bucket.pages(url):
            size += sum(pool.map(read, page.files))
    took = time.perf_counter() - began
    pipe.send(
        f"{_OBJECTS * _RECORDS / took:,.0f} records/s, {size / took / 1e6:.0f} MB/s unpacked, "
        f"{took:.1f} s with {_AHEAD} at once; memory {_memory()} MB"
    )


def _memory() -> int:
    """The most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _apart(call: Callable[..., None], *arguments: object) -> str:
    """What a call says that runs in a process of its own, so that its memory is its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=call, args=(*arguments, there))
    process.start()
    said = str(here.recv())
    process.join()
    return said


def main() -> None:
    """Measure, and print."""
    multiprocessing.set_start_method("spawn")
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    recent = _FIRST + timedelta(days=_DAYS - 4)
    for name, make, folder, since in (
        ("400 days, all", by_day, "logs", None),
        ("400 days, the last 4", by_day, "logs", recent),
        ("one folder", in_one_folder, "flat", None),
        ("100,000 folders", by_user, "users", None),
    ):
        with served(make) as endpoint:
            print(f"{name}: {_apart(_list, endpoint, folder, since)}")
    lines = b"".join(islice(generate(_RECORDS, shape="segment"), _RECORDS))
    with served(to_read, gzip.compress(lines), _DELAY) as endpoint:
        print(f"reading after {_DELAY * 1000:.0f} ms: {_apart(_read, endpoint)}")


if __name__ == "__main__":
    main()
