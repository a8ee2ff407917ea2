"""Charts as geometry; the templates draw it as SVG.

A chart is made for a width in pixels, so that its text is as large as that of the page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from loader.report.numbers import Day

# Around what is drawn; pixels.
_LEFT, _RIGHT, _TOP = 44.0, 22.0, 10.0
_LINES, _GAP, _BARS, _BELOW = 170.0, 26.0, 56.0, 24.0
# Between two labels of days, and of the lines across.
_DAY_LABEL, _MOST_STEPS = 76.0, 5
_RATE_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A label and where it stands."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """The values of a rate; days without a value are gaps."""

    name: str  # of the rate
    path: str
    dots: tuple[tuple[float, float], ...]  # values without neighbours


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A day's messages."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class DaysChart:
    """Rates by day as lines, and below them the messages of each day as bars."""

    width: float
    height: float
    left: float
    right: float
    rates: tuple[Mark, ...]  # lines across
    dates: tuple[Mark, ...]
    base: float  # of the bars
    most: Mark  # messages of the day that has most
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...]


def draw_days(days: Sequence[Day], rates: Sequence[str], *, count: str, width: int) -> DaysChart:
    """The chart of some rates and a count by day."""
    right = width - _RIGHT
    step = (right - _LEFT) / max(len(days), 1)
    middles = [_LEFT + step * (number + 0.5) for number in range(len(days))]
    values = {name: [day.figures.value(name) for day in days] for name in rates}
    highest = max((v for some in values.values() for v in some if v is not None), default=0.0)
    marks = rate_marks(highest)
    bottom, top = _TOP + _LINES, marks[-1]
    base = bottom + _GAP + _BARS
    counts = [day.figures.counts[count] for day in days]
    most = max(counts, default=0)

    def height_of(rate: float) -> float:
        return bottom - _LINES * rate / top

    return DaysChart(
        width=width,
        height=base + _BELOW,
        left=_LEFT,
        right=right,
        rates=tuple(Mark(at=height_of(one), label=percent_label(one)) for one in marks),
        dates=_date_marks([day.day for day in days], middles, right - _LEFT),
        base=base,
        most=Mark(at=base - _BARS, label=f"{most:,}"),
        lines=tuple(_line(name, middles, some, height_of) for name, some in values.items()),
        bars=tuple(
            Bar(
                x=middle - step * 0.36,
                y=base - _BARS * one / most,
                width=step * 0.72,
                height=_BARS * one / most,
            )
            for middle, one in zip(middles, counts, strict=True)
            if one
        ),
    )


def rate_marks(highest: float) -> list[float]:
    """Round rates from nothing to the first that is not below the highest."""
    step = next((s for s in _RATE_STEPS if highest <= s * _MOST_STEPS), highest / _MOST_STEPS)
    marks = [0.0, step]
    while marks[-1] < highest - 1e-9:
        marks.append(round(marks[-1] + step, 6))
    return marks


def percent_label(rate: float) -> str:
    """A rate with as many digits as it has."""
    return f"{rate * 100:.4g}%"


def _date_marks(dates: Sequence[date], middles: Sequence[float], room: float) -> tuple[Mark, ...]:
    """As many days as there is room for; the last one among them."""
    every = max(1, -(-len(dates) // max(1, int(room // _DAY_LABEL))))
    chosen = range(len(dates) - 1, -1, -every)
    return tuple(
        Mark(at=middles[number], label=f"{dates[number].day} {dates[number]:%b}")
        for number in reversed(chosen)
    )


def _line(
    name: str,
    middles: Sequence[float],
    values: Sequence[float | None],
    height_of: Callable[[float], float],
) -> Line:
    parts: list[list[tuple[float, float]]] = [[]]
    for x, value in zip(middles, values, strict=True):
        if value is None:
            parts.append([])
        else:
            parts[-1].append((x, height_of(value)))
    path = " ".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in part) for part in parts if len(part) > 1
    )
    return Line(name=name, path=path, dots=tuple(part[0] for part in parts if len(part) == 1))
