"""The inputs of the benchmark, invented and the same for the same arguments."""

import gzip
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.measure import ROOT, SCRATCH

_ID = re.compile(rb'(?<="messageId":")[^"]*')
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FIRST_MILLISECOND = 1_788_220_800_000  # of the sample's month


def make_input(
    name: str, *, events: int, seed: int = 1, shape: str = "segment", options: Sequence[str] = ()
) -> Path:
    """Write a file of sample events: lines of track calls, or everything that there is."""
    path = SCRATCH / f"{name}.ndjson.gz"
    command = [sys.executable, "-m", "samples", "--shape", shape, "--gzip"]
    command += ["--events", str(events), "--seed", str(seed), *options, "-o", str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    return path


def with_rising_ids(path: Path) -> Path:
    """The same lines with ids that rise with time (ULIDs), as Customer.io's do."""
    rising = path.with_name(f"rising-{path.name}")
    draw = random.Random(1).getrandbits
    with gzip.open(path, "rb") as lines, gzip.open(rising, "wb", compresslevel=1) as out:
        for number, line in enumerate(lines):
            out.write(_ID.sub(_ulid(_FIRST_MILLISECOND + number, draw(80)), line, count=1))
    return rising


def _ulid(millisecond: int, rest: int) -> bytes:
    value = millisecond << 80 | rest
    return "".join(_BASE32[value >> 5 * index & 31] for index in reversed(range(26))).encode()
