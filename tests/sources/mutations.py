"""Files that were harmed: bytes flipped, cut out, repeated, or put in from another file."""

import bz2
import gzip
import json
import lzma
import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import zstandard
from load.loading import load
from sources.listed import list_inputs, open_input

from loader.errors import InputUnreadable
from loader.normalize.event import Reject
from loader.sources.opening import OpenInput
from loader.warehouse.batch import reject_row
from samples import generate

STARTED = "2026-10-01T00:00:00.000Z"
EVENTS = 40
# Bytes that mean something to the reader are put in more often than chance would.
TELLING = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b"\n",
    b"\r\n",
    b",",
    b":",
    b"\0",
    b"\xff",
    b"\\u0000",
)
TELLING += (
    b"\\ud800",
    b'{"batch":[',
    b"1e999",
    b"-",
    b"NaN",
    b"null",
    b"\xef\xbb\xbf",
    b"\x1f\x8b",
)


@cache
def originals() -> tuple[bytes, ...]:
    """Real files, in the forms and the containers in which they come."""
    mixed = b"".join(generate(EVENTS, seed=3))
    bulk = b"".join(generate(EVENTS, seed=4, shape="segment"))
    odd = b"".join(
        generate(EVENTS, seed=5, extra_properties=30, conflicts=0.2, duplicates=0.2, broken=0.2)
    )
    values = [json.loads(line) for line in mixed.splitlines() if _is_json(line)]
    batch = {"batch": values, "sentAt": STARTED}
    plain = [
        mixed,
        bulk,
        odd,
        json.dumps(values).encode(),
        json.dumps(values, indent=1).encode(),
        json.dumps(batch).encode(),
        b"\xef\xbb\xbf" + mixed.replace(b"\n", b"\r\n"),
        b"\n".join(json.dumps(value, indent=2).encode() for value in values),
        mixed.replace(b"\n", b""),
    ]
    packed = [
        gzip.compress(mixed, mtime=0),
        gzip.compress(mixed, mtime=0) + gzip.compress(bulk, mtime=0),
        zstandard.compress(bulk),
        bz2.compress(odd),
        lzma.compress(mixed),
    ]
    return (*plain, *plain, *packed)  # most of the harm is to what is read, not to its packing


def _is_json(line: bytes) -> bool:
    try:
        return type(json.loads(line)) is dict
    except ValueError:
        return False


def mutated(seed: int) -> bytes:
    """The harmed file of a number; the same number, the same file."""
    rng = random.Random(seed)
    files = originals()
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        _harm(data, rng, files)
    return bytes(data)


def _harm(data: bytearray, rng: random.Random, files: tuple[bytes, ...]) -> None:
    at = rng.randrange(len(data) + 1)
    length = rng.choice((1, 2, 5, 20, 100, 1_000, 10_000))
    kind = rng.randrange(6)
    if kind == 0 and at < len(data):  # one bit
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:  # a piece is missing
        del data[at : at + length]
    elif kind == 2:  # a piece is there many times
        piece = data[at : at + min(length, 1_000)]
        data[at:at] = piece * rng.choice((1, 2, 30))
    elif kind == 3:  # a piece of another file
        other = rng.choice(files)
        begin = rng.randrange(len(other))
        data[at : at + rng.choice((0, length))] = other[begin : begin + length]
    elif kind == 4:
        data[at : at + rng.choice((0, 1))] = rng.choice(TELLING) * rng.choice((1, 1, 1, 50))
    else:  # the end is missing
        del data[rng.choice((at, max(0, len(data) - length))) :]


class Outcome(NamedTuple):
    """What became of a harmed file."""

    records: int
    rows: int
    duplicates: int
    rejects: int
    whole: bool  # it was read to its end
    seconds: float


def digest(path: Path) -> Outcome:
    """Take a file through everything but the database, and check what must hold for any file."""
    began = time.monotonic()
    whole = True

    def bytes_of(opened: OpenInput) -> Iterator[bytes]:
        nonlocal whole
        try:
            yield from opened.blocks
        except InputUnreadable:
            whole = False

    [file] = list_inputs([str(path)])
    with open_input(file) as opened:
        found = load(*bytes_of(opened))
    rejects = {
        reject_row(file.uri, p, Reject(reason=r, detail=""), raw).id for p, r, raw in found.rejects
    }
    rows = Counter({table: len(rows) for table, rows in found.rows.items()})
    for copy in found.batches[0].copies:
        assert all(len(row) == len(copy.columns) for row in copy.rows.fields())
    in_tracks = rows.pop("tracks", 0)
    assert in_tracks == rows.total()
    assert found.records == len(found.ids) + len(found.rejects)
    assert len(found.ids) == in_tracks + found.duplicates
    seconds = time.monotonic() - began
    return Outcome(found.records, in_tracks, found.duplicates, len(rejects), whole, seconds)
