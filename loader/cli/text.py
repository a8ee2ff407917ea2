"""Text for a terminal: colours where there is one, and no control characters of anybody else's."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TypedDict, Unpack

import typer


class Style(TypedDict, total=False):
    """How a line looks, in words of `typer.style`."""

    fg: str | None
    bold: bool
    dim: bool


def printable(text: str) -> str:
    """A text that moves no cursor and changes no colour; such characters are escaped.

    Names of files and values of records may hold any.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode()
        for one in text
    )


def out(text: str = "", **style: Unpack[Style]) -> None:
    """One line on stdout, in a style (of `typer.style`) where that is a terminal with colours."""
    line = printable(text)
    print(typer.style(line, **style) if style and has_colours() else line)


def out_exactly(text: str) -> None:
    """SQL and records, for other programs byte by byte; a terminal is spared the rest."""
    if sys.stdout.isatty():
        text = "\n".join(printable(line.replace("\t", "    ")) for line in text.split("\n"))
    print(text)


def out_json(value: object) -> None:
    """One JSON text on a line of stdout."""
    print(json.dumps(value, default=str))


def out_json_array(values: Iterable[object]) -> None:
    """As `out_json` of a list, of which only one value is in memory at a time."""
    separator = "["
    for value in values:
        print(separator, json.dumps(value, default=str), sep="", end="")
        separator = ", "
    print("[]" if separator == "[" else "]")


def has_colours() -> bool:
    """Whether stdout shows colours, and nobody asked for none (https://no-color.org)."""
    dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return sys.stdout.isatty() and not dumb


def number(count: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def out_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], styles: Sequence[Style] = ()
) -> None:
    """Columns padded to their widest entry, numbers to the right; a style for each row."""
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    columns = list(zip(head, *texts, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(cell.replace(",", "").isdigit() for cell in column[1:]) for column in columns]
    looks: list[Style] = [{"bold": True}, *(styles or [{}] * len(texts))]
    for row, style in zip([list(head), *texts], looks, strict=True):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        out("  " + "  ".join(cells).rstrip(), **style)
