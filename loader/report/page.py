"""The page: one HTML text with all that it needs, and no script."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING

from loader.report.charts import draw_days
from loader.report.numbers import LABELS, LESS_IS_BETTER, Domain, KeyFigure, Message, Report
from loader.warehouse.marts.metrics import RATES

if TYPE_CHECKING:
    from jinja2 import Environment

# Of the chart by day, as wide as the page, and as a telephone.
_WIDE, _NARROW = 960, 344
_LINES = ("human_open_rate", "click_rate", "open_rate")
_DIGITS = {rate.name: rate.digits for rate in RATES}
_LONGEST_NAME = 100  # characters of a name, or of an address
_SAFE_ADDRESS = re.compile(r"https?://[^\s/…@]+(?:/[^\s…@]*)?", re.IGNORECASE)
_KINDS = {
    "campaign": "campaign",
    "newsletter": "newsletter",
    "broadcast": "broadcast",
    "transactional": "transactional message",
}


def render_page(report: Report) -> str:
    """The page of a report."""
    days = report.mails.days if report.mails else ()
    made = (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            mails=report.mails,
            charts={
                name: draw_days(days, _LINES, count="delivered", width=width)
                for name, width in (("wide", _WIDE), ("narrow", _NARROW))
            },
            rates=RATES,
            labels=LABELS,
        )
    )
    # Right in whatever encoding a mail, a terminal or a web server takes it for.
    return made.encode("ascii", "xmlcharrefreplace").decode()


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("loader.report"),
        autoescape=True,  # of everything, whatever a template is called
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number_text,
        "rate": rate_text,
        "change": change_text,
        "better": is_better,
        "day": day_text,
        "time": time_text,
        "short": shorten,
        "share": share_of,
        "highest": highest,
    }
    made.tests["address"] = is_safe_address
    made.globals |= {"name_of": name_of, "rates_of": rates_of}
    return made


def number_text(count: float) -> str:
    """A number with its thousands."""
    return f"{count:,.0f}"


def rate_text(rate: float | None, name: str = "") -> str:
    """A rate as people read it."""
    if rate is None:
        return "–"
    return f"{rate * 100:,.{_DIGITS.get(name, 1)}f}%"


def change_text(figure: KeyFigure) -> str:
    """How much a number has changed, without its direction; blank where that is nothing."""
    change = figure.change
    if change is None:
        return ""
    shown = f"{abs(change) * 100:,.{_DIGITS.get(figure.name, 1)}f}"
    if not float(shown.replace(",", "")):
        return ""
    return f"{shown} points" if figure.name in _DIGITS else f"{shown}%"


def is_better(figure: KeyFigure) -> bool:
    """Whether a change is one for the better."""
    return ((figure.change or 0) > 0) != (figure.name in LESS_IS_BETTER)


def day_text(day: date, *, year: bool = False) -> str:
    """A day as people write it."""
    return f"{day.day} {day:%B}" + (f" {day.year}" if year else "")


def time_text(time: datetime) -> str:
    """A moment, to the minute."""
    return f"{time.day} {time:%b} {time.year} {time:%H:%M}"


def shorten(text: str, length: int = _LONGEST_NAME) -> str:
    """A text of somebody else's on one line, and not too long."""
    text = "".join(_shown(one) for one in text[: length + 1])
    return text if len(text) <= length else text[: length - 1] + "…"


def _shown(character: str) -> str:
    if character.isspace():
        return " "
    return "\ufffd" if unicodedata.category(character) == "Cc" else character


def name_of(message: Message) -> tuple[str, str]:
    """What a message is called, and what is said besides."""
    kind = _KINDS.get(message.kind or "")
    if kind is None or message.id is None:
        return message.name or "Not known which message", ""
    ids = f"{kind} {message.id}"
    return (message.name, ids) if message.name else (ids[0].upper() + ids[1:], "")


def is_safe_address(address: str | None) -> bool:
    """Whether a link may be followed."""
    return (
        address is not None
        and address.isprintable()
        and _SAFE_ADDRESS.fullmatch(address) is not None
    )


def share_of(value: float | None, most: float | None) -> float:
    """How long a bar is, in hundredths of the longest."""
    return round(100 * value / most, 1) if value and most else 0.0


def rates_of(rows: Sequence[Message | Domain], rate: str) -> list[float | None]:
    """A rate of several rows."""
    return [row.figures.value(rate) for row in rows]


def highest(values: Iterable[float | None]) -> float:
    """The largest number that is known."""
    return max((value for value in values if value is not None), default=0.0)
