"""Measure the job against psql's own COPY, and against other tools: python -m bench.run --help.

Everything runs on one machine and one server, with the sides taking turns, so that what else
the machine does hits all of them alike. Figures are medians over the rounds.
"""

import argparse
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from bench import baseline, inputs, measure, program, report, server, shapes
from bench.measure import Run
from bench.server import SCHEMA, Server

# The last one comes to tables that hold ten times as many.
GROWTH_LOADS = 11
# The growing tables do not have these ids: each hexadecimal digit stands for another one.
OTHER_IDS = "translate(id, '0123456789abcdef', 'fedcba9876543210')"
PEER_EVENTS = 100_000
FEW_EVENTS = 1_000
FOLD = {"LOADER_MART": "on"}
SHAPE_EVENTS = 100_000
SMALL_EVENTS = 100
SMALL_ROUNDS = 5
MESS = ("--extra-properties=100", "--conflicts=0.01", "--duplicates=0.01", "--broken=0.001")


@dataclass
class Part:
    """One part of the benchmark while it runs."""

    server: Server
    events: int
    rounds: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)  # their versions

    def add(self, side: str, run: Run, *, events: int) -> None:
        """Note a run, and say so; `events` is what it must have written."""
        if run.events != events:
            raise SystemExit(f"bench: {side} wrote {run.events:,} events, expected {events:,}")
        self.runs.setdefault(side, []).append(run)
        print(f"  {side}: {run.seconds:.2f} s", flush=True)


# the parts


def measure_load(part: Part) -> None:
    """Baseline and job in turn; then the same events again, and other ones."""
    path = inputs.make_input("events", events=part.events)
    rising = inputs.with_rising_ids(path)
    mixed = inputs.make_input("mixed", events=part.events, shape="mixed")
    messy = inputs.make_input("messy", events=part.events, options=MESS)
    tables = measure.write_tables()
    part.server.drop(SCHEMA)
    measure.load(path, part.server.url)  # also warms everything up
    rows = baseline.prepare(part.server)
    program.prepare(part.server)
    for number in range(part.rounds):
        print(f"round {number + 1} of {part.rounds}", flush=True)
        part.server.drop(SCHEMA, baseline.BASELINE)
        copied = baseline.load(part.server)
        _check_same(part.server.count(baseline.BASELINE, baseline.TABLES), rows)
        part.add("baseline", _with_events(copied, rows["tracks"]), events=part.events)
        part.server.drop(SCHEMA, baseline.BASELINE)
        part.add("job", measure.load(path, part.server.url), events=part.events)
        _check_same(part.server.count(SCHEMA, baseline.TABLES), rows)
        _load_again(part, path)
        part.server.drop(SCHEMA)
        part.add("rising", measure.load(rising, part.server.url), events=part.events)
        _load_whatever_it_holds(part, "mixed", mixed)
        _load_whatever_it_holds(part, "messy", messy)
        part.server.drop(SCHEMA)
        part.add("program", program.load(part.server, path, tables), events=part.events)


def _load_whatever_it_holds(
    part: Part, side: str, path: Path, settings: Mapping[str, str] | None = None
) -> None:
    """Load a file in which some records are duplicates or rejects."""
    part.server.drop(SCHEMA)
    done = measure.load(path, part.server.url, settings)
    # A line may hold several records, as a JSON array does.
    if done.facts["records_read"] < part.events:
        raise SystemExit(f"bench: the job did not read the whole input {side!r}")
    part.add(side, done, events=done.facts["rows_loaded"])


def _load_again(part: Part, path: Path) -> None:
    """Load the same records under another name: every one is a duplicate."""
    copy = path.with_name(f"again-{path.name}")
    shutil.copyfile(path, copy)
    part.server.settle()
    again = measure.load(copy, part.server.url)
    if again.facts["duplicates"] != part.events:
        raise SystemExit("bench: the job did not find all duplicates")
    part.add("reload", again, events=0)


def measure_small(part: Part) -> None:
    """What every start costs: a few new events, nothing new, only the help."""
    part.server.drop(SCHEMA)
    measure.migrate(part.server.url)
    for number in range(part.rounds):
        path = inputs.make_input(f"small-{number}", events=part.events, seed=number + 1)
        part.add("small", measure.load(path, part.server.url), events=part.events)
        part.add("nothing new", measure.load(path, part.server.url), events=0)
        part.add("help", measure.run([*measure.COMMAND, "--help"]), events=0)


def measure_shapes(part: Part) -> None:
    """The job's processor time for each shape of the same events, and for an empty file."""
    calls = inputs.make_input("events", events=part.events)
    nothing, path = measure.SCRATCH / "nothing.ndjson", measure.SCRATCH / "shape.ndjson"
    nothing.write_text("")
    for number in range(part.rounds):
        print(f"round {number + 1} of {part.rounds}", flush=True)
        part.server.drop(SCHEMA)
        measure.migrate(part.server.url)
        part.add("start", measure.load(nothing, part.server.url), events=0)
        for shape in shapes.SHAPES:
            size = shapes.write(path, shape, calls)
            part.server.drop(SCHEMA)
            measure.migrate(part.server.url)
            done = measure.load(path, part.server.url)
            if done.facts["records_read"] != part.events or done.facts["rejects"]:
                raise SystemExit(f"bench: the job did not load all of the shape {shape!r}")
            # Not all are rows: without ids, two calls that are alike are one event.
            part.add(shape, replace(done, size=size), events=done.events)


def measure_peers(part: Part) -> None:
    """The job and each peer in turn, on the same events; and the job on the mixed sample."""
    from bench.peers import compare

    part.peers = compare.install_all()
    tables = measure.write_tables()
    path = inputs.make_input("peers", events=part.events)
    mixed = inputs.make_input("mixed", events=part.events, shape="mixed")
    part.server.drop(SCHEMA)
    measure.load(path, part.server.url)  # also warms everything up
    program.prepare(part.server)
    for number in range(part.rounds):
        print(f"round {number + 1} of {part.rounds}", flush=True)
        part.server.drop(SCHEMA)
        part.add("job", measure.load(path, part.server.url), events=part.events)
        _load_whatever_it_holds(part, "mixed", mixed)
        part.server.drop(SCHEMA)
        part.add("program", program.load(part.server, path, tables), events=part.events)
        for name, load in compare.PEERS.items():
            part.add(name, load(part.server, path, tables), events=part.events)


def measure_growth(part: Part) -> None:
    """Load after load into the same tables, which become larger.

    The baseline comes once to empty tables, and in the end to the job's own.
    """
    part.server.drop(SCHEMA)
    measure.migrate(part.server.url)  # or the first load would do more than the others
    rows: dict[str, int] = {}
    for number in range(part.rounds):
        path = inputs.make_input("growth", events=part.events, seed=number + 1)
        path = path.rename(path.with_name(f"growth-{number + 1}.ndjson.gz"))
        part.server.settle()
        part.add("job", measure.load(path, part.server.url), events=part.events)
        path.unlink()
        if not rows:
            rows = baseline.prepare(part.server, key=OTHER_IDS)
            copied = baseline.load(part.server)
            part.add("baseline", _with_events(copied, rows["tracks"]), events=part.events)
            part.server.drop(baseline.BASELINE)
    copied = baseline.load_into(part.server, SCHEMA)
    part.add("baseline", _with_events(copied, rows["tracks"]), events=part.events)


def measure_messages(part: Part) -> None:
    """The job with and without `email_messages`: many first events, and then a few more.

    On the mixed sample, where opens and clicks follow deliveries: among the events of the other
    parts nearly each is a message of its own, which nobody's are.
    """
    path = inputs.make_input("mixed", events=part.events, shape="mixed")
    part.server.drop(SCHEMA)
    measure.load(path, part.server.url)  # warms everything up
    for number in range(part.rounds):
        print(f"round {number + 1} of {part.rounds}", flush=True)
        _load_whatever_it_holds(part, "alone", path)
        _load_whatever_it_holds(part, "folded", path, FOLD)
    nothing = measure.SCRATCH / "nothing.ndjson"
    nothing.write_text("")
    for number in range(SMALL_ROUNDS):
        for side, settings in (("few alone", {}), ("few folded", FOLD)):
            seed = 2 + 2 * number + (side == "few alone")
            few = inputs.make_input("few", events=FEW_EVENTS, seed=seed)
            few = few.rename(few.with_name(f"few-{seed}.ndjson.gz"))
            part.add(side, measure.load(few, part.server.url, settings), events=FEW_EVENTS)
            measure.load(nothing, part.server.url, FOLD)  # folds what waits


def _check_same(found: dict[str, int], expected: dict[str, int]) -> None:
    if found != expected:
        raise SystemExit(f"bench: the tables have {found}, expected {expected}")


def _with_events(run: Run, events: int) -> Run:
    return replace(run, events=events)


# the recipe

PARTS: dict[str, Callable[[Part], None]] = {
    "load": measure_load,
    "small": measure_small,
    "shapes": measure_shapes,
    "peers": measure_peers,
    "growth": measure_growth,
    "messages": measure_messages,
}


def main() -> None:
    """Measure the parts asked for, and write the report of all that were ever measured."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _stop)
    with _scratch() as folder, server.running(folder / f"server-{os.getpid()}") as running:
        for name in arguments.parts or ["load", "small"]:
            print(f"measuring: {name}", flush=True)
            part = Part(running, *_size(name, arguments.events, arguments.rounds))
            PARTS[name](part)
            report.save(arguments.output, name, part)
    report.write(arguments.output)


def _size(name: str, events: int, rounds: int) -> tuple[int, int]:
    """Events and rounds of a part."""
    if name == "small":
        return SMALL_EVENTS, SMALL_ROUNDS
    if name == "growth":
        return events, GROWTH_LOADS
    most = {"peers": PEER_EVENTS, "shapes": SHAPE_EVENTS}.get(name, events)
    return min(events, most), rounds


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder of this run's own; what a killed run left in it is removed first."""
    folder = measure.SCRATCH
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("bench: another benchmark runs here; wait for its end") from None
        _remove(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    for data in folder.glob("server-*"):
        server.stop(data)
    shutil.rmtree(folder, ignore_errors=True)


def _stop(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: load small")
    add("--events", type=int, default=1_000_000, help="events per load (default 1000000)")
    add("--rounds", type=int, default=3, help="turns that each side gets (default 3)")
    add(
        "--output",
        type=Path,
        default=report.OWN_FOLDER,
        help="folder of the report (default bench)",
    )
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"no part {name!r}: {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
