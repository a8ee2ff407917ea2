"""The pages of the documentation: their blocks of code, and which of them run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from acceptance.harness import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

# `<!-- not run: why -->`, `<!-- in an empty database -->` and `<!-- kept for what follows -->` (of
# settings) stand above the block they are about.
_MARKER = re.compile(r"\s*<!-- (not run: .+|in an empty database|kept for what follows) -->")
_FENCE = re.compile(r"(\s*)```(\w*)\s*")


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int  # of the page, where it begins
    language: str  # blank: what the block before it prints
    code: str
    marker: str  # blank if there is none


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def read_blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, without their indentation."""
    marker = ""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if found := _MARKER.fullmatch(line):
            marker = found[1]
        elif found := _FENCE.fullmatch(line):
            indentation, language = found[1], found[2]
            code = []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                code.append(inner.removeprefix(indentation))
            yield Block(number, language, "\n".join(code), marker)
            marker = ""
        elif line.strip():
            assert not marker, f"{name_of(page)}:{number}: a marker without a block"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = re.sub(
        r"^\s*```.*?^\s*```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The links of a page to other files, each with its anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not re.match(r"https?:", target):
            path, _, anchor = target.partition("#")
            yield ((page.parent / path) if path else page).resolve(), anchor


def matches(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; `...` stands for anything, a line of it for lines."""
    pattern = ""
    for line in shown.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += r".*".join(map(re.escape, line.rstrip().split("..."))) + r"\n"
    lines = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch(pattern, lines) is not None
