"""Many, large and swollen files, and what a load of them must do; short and long."""

import bz2
import lzma
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import psutil
import zstandard
from acceptance.harness import Database, Result, ndjson, track

# What a load may hold, whatever the size of its input.
MOST_MEMORY = 300 << 20


class Measured(Protocol):
    """Runs the command line; returns its result, its seconds and its peak memory in bytes."""

    def __call__(
        self, *arguments: str | Path, blocks: Iterable[bytes] = ..., **options: Any
    ) -> tuple[Result, float, int]: ...


def peak_memory(process: "subprocess.Popen[bytes]", peak: list[int]) -> None:
    """Note the most memory that a process has had, until it ends."""
    try:
        one = psutil.Process(process.pid)
        while process.poll() is None:
            peak[0] = max(peak[0], one.memory_info().rss)
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        pass


def events(count: int, first: int = 0, **values: Any) -> list[dict[str, Any]]:
    return [
        track("Email Opened", messageId=f"e{n}", n=n, **values) for n in range(first, first + count)
    ]


def rows(db: Database) -> int:
    """How many rows `tracks` has; its collection has as many, each id once."""
    found: int = db.value("SELECT count(*) FROM tracks")
    assert db.value("SELECT count(DISTINCT id) FROM tracks") == found
    if "email_opened" in db.tables():
        assert db.value("SELECT count(*) FROM email_opened") == found
    return found


def numbers(result: Result) -> tuple[int, int, int]:
    """Rows, duplicates, rejects; they add up to the records read."""
    one = result.json
    assert one["records_read"] == one["rows_loaded"] + one["duplicates"] + one["rejects"]
    return one["rows_loaded"], one["duplicates"], one["rejects"]


def said(seconds: float, peak: int) -> str:
    return f"{seconds:.1f} s, at most {peak / (1 << 20):.0f} MB of memory"


def load_many_small_files(measured: Measured, db: Database, folder: Path, count: int) -> str:
    """Load a folder of small files, and again."""
    many = folder / "many"
    many.mkdir()
    for number in range(count):
        (many / f"{number:06}.ndjson").write_bytes(ndjson(*events(2, 2 * number)))
    result, seconds, peak = measured("load", many, "--json")
    assert result.code == 0, result.err
    assert numbers(result) == (2 * count, 0, 0)
    assert rows(db) == 2 * count
    assert db.value("SELECT count(*) FROM _files WHERE finished") == count
    assert seconds < 15 + count / 100
    assert peak < MOST_MEMORY
    again, later, _ = measured("load", many, "--json")
    assert (again.code, again.json["files_skipped"]) == (0, count)
    assert later < 15
    return f"{count:,} small files: {said(seconds, peak)}; again, all skipped: {later:.1f} s"


def load_a_huge_line(measured: Measured, db: Database, folder: Path, gigabytes: int) -> str:
    """Load a file with a hole between good records: it takes no room on the disk."""
    path = folder / "sparse"
    with path.open("wb") as file:
        file.write(ndjson(*events(10)))
        file.seek(gigabytes << 30)
        file.write(b"\n" + ndjson(*events(10, 10)))
    result, seconds, peak = measured("load", path, "--json")
    assert result.json["bytes_read"] == path.stat().st_size
    check_one_huge_line(db, result, peak)
    return f"a file of {gigabytes} GB with a line of nearly all of it: {said(seconds, peak)}"


def check_one_huge_line(db: Database, result: Result, peak: int) -> None:
    """Ten good records, a line too long to hold, ten good records."""
    assert result.code == 0, result.err
    assert numbers(result) == (20, 0, 1)
    assert rows(db) == 20
    [(reason, position, detail, size)] = db.rows(
        "SELECT reason, position, detail, length(raw) FROM _rejects"
    )
    assert (reason, position, size) == ("record_too_large", "line 11", 1 << 20)
    assert "only its first 1048576 bytes are kept" in detail
    assert peak < MOST_MEMORY


class _Gzip:
    def __init__(self) -> None:
        self._packer = zlib.compressobj(9, wbits=31)
        self.compress, self.flush = self._packer.compress, self._packer.flush


BOMBS: dict[str, Callable[[], Any]] = {
    "gzip": _Gzip,
    "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    "bz2": bz2.BZ2Compressor,
    "xz": lambda: lzma.LZMACompressor(preset=0),
}


def bomb(path: Path, form: str, block: bytes, count: int) -> None:
    """Pack `count` times a block between good records."""
    packer = BOMBS[form]()
    with path.open("wb") as file:
        file.write(packer.compress(ndjson(*events(10))))
        for _ in range(count):
            file.write(packer.compress(block))
        file.write(packer.compress(b"\n" + ndjson(*events(10, 10))))
        file.write(packer.flush())


def load_a_bomb(measured: Measured, db: Database, folder: Path, form: str, megabytes: int) -> str:
    """Load a small file that unpacks to a line of zeros."""
    path = folder / "bomb"
    bomb(path, form, bytes(1 << 20), megabytes)
    size = path.stat().st_size
    assert size < megabytes << 11
    result, seconds, peak = measured("load", path, "--json")
    assert result.json["bytes_read"] > megabytes << 20
    check_one_huge_line(db, result, peak)
    return f"{form}, {size:,} bytes that unpack to {megabytes:,} MB: {said(seconds, peak)}"


def load_a_stream(measured: Measured, db: Database, gigabytes: int) -> str:
    """Load a stream of good records, nearly all of which are duplicates."""
    block = ndjson(*events(500, noise="x" * 2_000))
    count = (gigabytes << 30) // len(block)
    result, seconds, peak = measured("load", "-", "--json", blocks=(block for _ in range(count)))
    assert result.code == 0, result.err
    assert numbers(result) == (500, 500 * count - 500, 0)
    assert rows(db) == 500
    assert peak < MOST_MEMORY
    return f"a stream of {gigabytes} GB, {500 * count:,} records: {said(seconds, peak)}"
