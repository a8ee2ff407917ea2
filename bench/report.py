"""The report: one JSON file per part; RESULTS.md and a chart from all of them.

`python -m bench.report [FOLDER]` writes the two again without measuring anything.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.shapes import PER_BYTE, SHAPES

if TYPE_CHECKING:
    from bench.run import Part

Json = dict[str, Any]

# The chart of this folder is shown by docs/speed.md, and pages can show only what is beside them.
OWN_FOLDER = Path("bench")
CHART = Path("docs/speed.svg")

TITLES = {
    "load": "One large load",
    "small": "Small loads",
    "shapes": "Shapes of records",
    "peers": "Other tools",
    "growth": "Growing tables",
    "messages": "With email_messages",
}
SIDES = {
    "baseline": "psql \\copy of ready-made CSV (baseline)",
    "job": "customerio-loader load",
    "rising": "the same with ids that rise with time (ULIDs)",
    "mixed": "the mixed sample (python -m samples)",
    "reload": "the same events under another name",
    "messy": "messy events",
    "program": "the shortest fast program (pyarrow, ADBC; no rules)",
    "small": "load of a small file",
    "nothing new": "load of a file that was loaded before",
    "help": "--help",
    "start": "a load of an empty file",
    "clean": "track calls of Segment's archive, one a line",
    "webhooks": "reporting webhooks",
    "stamped": "reporting webhooks that a receiver has stamped",
    "legacy": "legacy webhooks",
    "array": "calls in one JSON array",
    "envelopes": "calls in batch envelopes of twenty",
    "no type": "calls without `type`",
    "no receivedAt": "calls without `receivedAt`",
    "no timestamp": "calls without `timestamp` and `originalTimestamp`",
    "snake case": "calls with snake-case envelopes",
    "more keys": "calls with two more keys in their envelope",
    "seconds": "times without a fraction",
    "microseconds": "times with microseconds",
    "offsets": "times with an offset",
    "no id": "calls without an id",
    "repeated key": "calls with a key twice",
    "NUL": "calls with a NUL",
    "3,000 paths": "twenty of 3,000 keys in each call",
    "new column": "a property that no table has yet",
    "alone": "first events, without email_messages",
    "folded": "the same with email_messages",
    "few alone": "1,000 events more, without email_messages",
    "few folded": "the same with email_messages",
    "dlt append": "dlt, append, CSV and COPY",
    "dlt merge": "dlt, merge, CSV and COPY",
    "target-postgres": "Meltano target-postgres, COPY",
    "target-postgres unchecked": "the same, records not validated",
}
# What the job itself does; a side may be missing in figures of an earlier version.
OWN = ("job", "rising", "mixed", "reload", "messy")
PEERS = ("dlt append", "dlt merge", "target-postgres", "target-postgres unchecked")
PEER_TARGETS = {"dlt append": 12, "dlt merge": 15, "target-postgres": 30}


class Check(NamedTuple):
    """A measured figure beside its target."""

    what: str
    value: float
    unit: str  # "x", "s" or "MB"
    target: float | None = None
    at_least: bool = False  # the target is a lower bound


# saving


def save(folder: Path, name: str, part: "Part") -> None:
    """Keep the figures of one part, with where and when they were measured."""
    from loader import __version__

    # The version's first word; packagers append their own.
    postgres = str(part.server.scalar("SHOW server_version")).split()[0]
    versions = {"PostgreSQL": postgres, "Python": platform.python_version()}
    found = {
        "part": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "versions": versions | {"customerio-loader": __version__} | part.peers,
        "events": part.events,
        "runs": {
            side: [
                {key: round(value, 3) for key, value in asdict(run).items() if key != "facts"}
                for run in runs
            ]
            for side, runs in part.runs.items()
        },
    }
    path = folder / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")


def _machine() -> Json:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.check_output(command, text=True).strip()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


# judging


def _checks(part: Json) -> list[Check]:
    return _CHECKS[part["part"]](part)


def _load(part: Json) -> list[Check]:
    job = _seconds(part, "job")
    runs = (run for side in _sides(part, OWN) for run in part["runs"][side])
    return [
        Check("Job / baseline", job / _seconds(part, "baseline"), "x", 1.0),
        Check("Every event a duplicate / first load", _seconds(part, "reload") / job, "x", 0.5),
        # Rows, because duplicates and rejects of the messy input are not written.
        Check(
            "Per row: messy events / clean ones",
            _rate(part, "job") / _rate(part, "messy"),
            "x",
            1.5,
        ),
        *_beside(part, "mixed", "Per row: the mixed sample / clean events"),
        *_beside(part, "rising", "Per row: ids that rise with time / random ones"),
        Check("Peak memory of the job", max(run["peak_mb"] for run in runs), "MB", 300),
    ]


def _beside(part: Json, side: str, what: str) -> Iterable[Check]:
    """Seconds for a row, beside those of the job's usual load."""
    if side in part["runs"]:
        yield Check(what, _rate(part, "job") / _rate(part, side), "x")


def _small(part: Json) -> list[Check]:
    events = part["events"]
    return [
        Check(f"{events} events into a migrated schema", _seconds(part, "small"), "s", 0.7),
        Check("Nothing new", _seconds(part, "nothing new"), "s", 0.5),
        Check("--help", _seconds(part, "help"), "s", 0.25),
    ]


def _shapes(part: Json) -> list[Check]:
    clean = _cost(part, "clean")
    return [
        Check(SIDES[side], _cost(part, side) / clean * _bytes(part, "clean", side), "x", target)
        for side, (_, target) in SHAPES.items()
        if side != "clean" and side in part["runs"]
    ]


def _cost(part: Json, side: str) -> float:
    """Processor seconds of a load, without its start."""
    start, load = (median(r["processor"] for r in part["runs"][s]) for s in ("start", side))
    return float(load - start)


def _bytes(part: Json, one: str, other: str) -> float:
    """The bytes of one side as a share of the other's, where it is bytes that count."""
    if other not in PER_BYTE:
        return 1
    return float(part["runs"][one][0]["size"] / part["runs"][other][0]["size"])


def _peers(part: Json) -> list[Check]:
    return [
        Check(
            f"Events per second: job / {side}",
            _rate(part, "job") / _rate(part, side),
            "x",
            target,
            at_least=True,
        )
        for side, target in PEER_TARGETS.items()
    ]


def _growth(part: Json) -> list[Check]:
    into = f"tables of {_held(part):,} events / empty ones"
    return [
        Check(f"Job: {into}", _growth_of(part, "job"), "x", 1.25),
        Check(f"Baseline: {into}", _growth_of(part, "baseline"), "x"),
    ]


def _messages(part: Json) -> list[Check]:
    more = {
        side: _seconds(part, f"{side}folded") - _seconds(part, f"{side}alone")
        for side in ("", "few ")
    }
    return [
        Check("More for a million first events", more[""] / part["events"] * 1e6, "s", 6),
        Check("More for 1,000 events", more["few "], "s", 0.15),
    ]


_CHECKS = {
    "load": _load,
    "small": _small,
    "shapes": _shapes,
    "peers": _peers,
    "growth": _growth,
    "messages": _messages,
}


def _growth_of(part: Json, side: str) -> float:
    first, *_, last = part["runs"][side]
    return float(last["seconds"] / first["seconds"])


def _held(part: Json) -> int:
    """Events that the tables hold before the last load."""
    return sum(run["events"] for run in part["runs"]["job"][:-1])


def _sides(part: Json, wanted: Iterable[str]) -> list[str]:
    """Those of some sides that were measured."""
    return [side for side in wanted if side in part["runs"]]


def _seconds(part: Json, side: str) -> float:
    return float(median(run["seconds"] for run in part["runs"][side]))


def _events(part: Json, side: str) -> float:
    return float(median(run["events"] for run in part["runs"][side]))


def _rate(part: Json, side: str) -> float:
    """Events per second."""
    return _events(part, side) / _seconds(part, side)


# writing


def write(folder: Path) -> None:
    """Write RESULTS.md and the chart from all parts there are, and show the first."""
    parts = {name: _read(folder, name) for name in TITLES}
    found = [part for part in parts.values() if part is not None]
    text = "\n".join(_markdown(found)) + "\n"
    (folder / "RESULTS.md").write_text(text)
    print(f"\n{text}")
    try:
        _plot(parts, CHART if folder == OWN_FOLDER else folder / "speed.svg")
    except ModuleNotFoundError:
        print("bench: no plot was made, it needs matplotlib: pip install -e '.[bench]'")


def _read(folder: Path, name: str) -> Json | None:
    path = folder / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _markdown(parts: Iterable[Json]) -> Iterable[str]:
    yield "# Results"
    yield ""
    yield "Written by `make bench`; every figure is measured. Seconds are medians of whole runs,"
    yield "from start to exit; the range is in brackets. Events are written twice: to `tracks` and"
    yield "to the table of their name."
    for part in parts:
        yield ""
        yield f"## {TITLES[part['part']]}"
        yield ""
        yield _where(part)
        yield ""
        yield from _table(("measure", "result", "target", ""), map(_check_row, _checks(part)))
        yield ""
        if part["part"] == "shapes":
            clean, loads = _cost(part, "clean") / part["events"] * 1e6, len(part["runs"]["clean"])
            yield "Processor time of the job for a record, start-up subtracted, beside that of a"
            yield f"clean line ({clean:.1f} microseconds); medians of {loads} loads."
            continue
        yield from _table(
            ("what ran", "seconds", "events/s", "peak MB"),
            _growth_rows(part)
            if part["part"] == "growth"
            else [_side_row(part, side) for side in part["runs"] if side in SIDES],
        )


def _where(part: Json) -> str:
    machine = part["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in part["versions"].items())
    return (
        f"{part['events']:,} events a load; {part['date']}; {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; {versions}."
    )


def _check_row(check: Check) -> tuple[str, ...]:
    found = check.what, _figure(check.value, check.unit)
    if check.target is None:
        return *found, "", ""
    is_met = check.value >= check.target if check.at_least else check.value <= check.target
    target = f"{'>=' if check.at_least else '<='} {check.target:g} {check.unit}"
    return *found, target, "met" if is_met else "MISSED"


def _figure(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if unit == "MB" else f"{value:.2f} {unit}"


def _side_row(part: Json, side: str) -> tuple[str, ...]:
    runs = part["runs"][side]
    seconds = [run["seconds"] for run in runs]
    spread = f" ({min(seconds):.2f}-{max(seconds):.2f})" if len(runs) > 1 else ""
    # The baseline's process is psql, whose memory says nothing.
    peak = "" if side == "baseline" else f"{max(run['peak_mb'] for run in runs):.0f}"
    # Events that were read, where none were written.
    events = part["events"] if side == "reload" else _events(part, side)
    rate = f"{events / _seconds(part, side):,.0f}" if events else ""
    return SIDES[side], f"{_seconds(part, side):.2f}{spread}", rate, peak


def _growth_rows(part: Json) -> Iterable[tuple[str, ...]]:
    for number, run in enumerate(part["runs"]["job"], 1):
        yield f"load {number}", *_figures(run), f"{run['peak_mb']:.0f}"
    for run, into in zip(part["runs"]["baseline"], ("empty tables", "grown ones"), strict=True):
        yield f"{SIDES['baseline']}, {into}", *_figures(run), ""


def _figures(run: Json) -> tuple[str, str]:
    return f"{run['seconds']:.2f}", f"{run['events'] / run['seconds']:,.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Markdown that reads well on a terminal too: padded, figures to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for line in lines:
        first, *others = (
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"| {' | '.join([first, *others])} |"


# plotting

_OWN, _OTHER = "#2a6f97", "#b0b7bd"


def _plot(parts: dict[str, Json | None], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # The same figures give the same file.
    plt.rcParams |= {"svg.hashsalt": "bench", "font.size": 9, "axes.titlesize": 10}
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}
    panels = [
        (part, draw)
        for name, draw in {"load": _draw_load, "peers": _draw_peers, "growth": _draw_growth}.items()
        if (part := parts[name]) is not None
    ]
    if not panels:
        return
    heights = [max(2.4, 0.3 * len(part["runs"]) + 0.8) for part, _ in panels]
    figure, rows = plt.subplots(
        len(panels),
        1,
        figsize=(8, sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for (part, draw), axes in zip(panels, rows[:, 0], strict=True):
        draw(axes, part)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw_load(axes: Any, part: Json) -> None:
    sides = _sides(part, ["baseline", *OWN, "program"])
    _bars(axes, sides, [_seconds(part, side) for side in sides], "{:.2f} s")
    axes.set_title(f"Seconds for {part['events']:,} events", loc="left")
    axes.set_xlim(left=0)


def _draw_peers(axes: Any, part: Json) -> None:
    sides = _sides(part, ["job", "mixed", "program", *PEERS])
    _bars(axes, sides, [_rate(part, side) for side in sides], "{:,.0f}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(f"Events a second, each side {part['events']:,} events", loc="left")


def _bars(axes: Any, sides: Sequence[str], values: Sequence[float], form: str) -> None:
    colors = [_OWN if side in OWN else _OTHER for side in sides]
    bars = axes.barh([SIDES[side] for side in sides], values, color=colors, height=0.65)
    axes.bar_label(bars, [form.format(value) for value in values], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.15)


def _draw_growth(axes: Any, part: Json) -> None:
    runs = part["runs"]["job"]
    loaded, total = [], 0
    for run in runs:
        total += run["events"]
        loaded.append(total / 1e6)
    per_million = [run["seconds"] / run["events"] * 1e6 for run in runs]
    axes.plot(loaded, per_million, marker="o", color=_OWN, label=SIDES["job"])
    copied = [run["seconds"] / run["events"] * 1e6 for run in part["runs"]["baseline"]]
    axes.plot(
        [loaded[0], loaded[-1] + loaded[0]], copied, "x", color="#555", label=SIDES["baseline"]
    )
    axes.axhline(per_million[0] * 1.25, color=_OTHER, linestyle="--", label="1.25 x the first load")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("million events in the tables after the load")
    axes.set_title("Seconds per million events, load after load", loc="left")
    axes.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else OWN_FOLDER)
