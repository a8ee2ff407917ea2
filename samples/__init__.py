"""Sample events: an invented month of Customer.io e-mail, for trying things out and for measuring.

`mixed` tells the story of a small workspace in every form in which events arrive, with the
troubles of real inputs; `segment` is plain bulk for benchmarks. The same arguments give the same
bytes everywhere. `python -m samples --help` has the command.
"""

import random
from collections.abc import Iterator
from typing import Literal

from samples.bulk import segment
from samples.month import mixed
from samples.payloads import Extras

__all__ = ["Shape", "generate"]

Shape = Literal["mixed", "segment"]

RECENT = 1_000  # lines that a duplicate is taken from
DEFAULT_DUPLICATES = {"mixed": 0.01, "segment": 0.0}
DEFAULT_BROKEN = {"mixed": 1 / 400, "segment": 0.0}


def generate(
    events: int,
    *,
    seed: int = 1,
    shape: Shape = "mixed",
    extra_properties: int = 0,
    conflicts: float = 0.0,
    duplicates: float | None = None,
    broken: float | None = None,
) -> Iterator[bytes]:
    """Yield `events` lines of NDJSON, in memory that does not depend on how many.

    `conflicts`, `duplicates` and `broken` are shares of the lines from 0 to 1; None means the
    shape's own default. In `mixed` a line now and then is a batch envelope of three calls.
    """
    duplicates = DEFAULT_DUPLICATES[shape] if duplicates is None else duplicates
    broken = DEFAULT_BROKEN[shape] if broken is None else broken
    extras = Extras(extra_properties, conflicts)
    make = mixed if shape == "mixed" else segment
    lines = make(events, random.Random(seed), extras)
    if not duplicates and not broken:
        return lines
    return _with_trouble(lines, events, random.Random(f"trouble {seed}"), duplicates, broken)


def _with_trouble(
    lines: Iterator[bytes], events: int, rng: random.Random, duplicates: float, broken: float
) -> Iterator[bytes]:
    """Put copies of earlier lines and lines that cannot be loaded between the good ones."""
    recent: list[bytes] = []
    good = kind = 0
    for _ in range(events):
        roll = rng.random()
        if roll < broken:
            yield _broken_line(kind, recent[-1] if recent else b'{"type":"track","event":"Email')
            kind += 1  # in turn, so that even a small sample has each kind
            continue
        if roll < broken + duplicates and recent:
            yield recent[int(rng.random() * len(recent))]
            continue
        line = next(lines)
        if len(recent) < RECENT:
            recent.append(line)
        else:
            recent[good % RECENT] = line
        good += 1
        yield line


def _broken_line(kind: int, good: bytes) -> bytes:
    """Return a line of the next kind: cut, not an object, not a track call, not UTF-8."""
    what = kind % 6
    if what == 0:
        return good.rstrip(b"\n")[: len(good) // 2] + b"\n"
    if what == 1:
        return b"[1, 2, 3]\n"
    if what == 2:
        return b'"Email Opened"\n'
    call = f'"messageId":"broken-{kind}","userId":"u_1000","timestamp":"2026-09-15T08:00:00.000Z"'
    if what == 3:
        return f'{{"type":"identify",{call},"traits":{{"plan":"basic"}}}}\n'.encode()
    if what == 4:
        return f'{{"type":"track",{call},"properties":{{"campaign_id":6}}}}\n'.encode()
    text = f'{{"type":"track","event":"Email Opened",{call},"properties":{{"subject":"Grüße"}}}}\n'
    return text.encode("latin-1")  # from a tool that does not know of UTF-8
