"""Selection: which files below an input are read, by patterns of their paths.

A pattern is compared with the path below the folder or prefix that is the input, and of a glob
below its `base_of`. Parts of paths are separated by `/`.

- `*` is any characters of one part, `?` is one, `[a-z]` and `[!a-z]` one of some; `[*]` is the
  character itself. Names that begin with `.` are names like others.
- `**`, as a part of its own, is any folders or none; as the last part it is everything below.
- A pattern without `/` is that of a file's name, in whatever folder: `*.gz`.
- One with `/` begins at the input: `2026/*.gz`; `/*.gz` is only what is directly in it.
- One that ends in `/` is everything below a folder: `tmp/` wherever it is, `/tmp/` in the input.

Upper and lower case differ. That is how gitignore reads patterns, except that only a `/` at the
end means a folder, so that `2026/*` does not take what is in folders below `2026`. What gitignore,
rsync or a shell read otherwise (`a**b`, `{a,b}`, `!a`) is refused rather than read in silence.

A file that is named itself, and standard input, are not asked about: whoever names it wants it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The patterns of a source; one of `exclude` wins over one of `include`.

    Raises ValueError where a pattern cannot be used.
    """

    include: tuple[str, ...] = ()  # none is everything
    exclude: tuple[str, ...] = ()
    _included: "re.Pattern[str] | None" = field(init=False, repr=False, compare=False)
    _excluded: "re.Pattern[str] | None" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _compile(self.include))
        object.__setattr__(self, "_excluded", _compile(self.exclude))

    def takes(self, path_below: str) -> bool:
        """Whether a file is read; its path does not begin with `/`."""
        if self._excluded is not None and self._excluded.fullmatch(path_below):
            return False
        return self._included is None or self._included.fullmatch(path_below) is not None

    def take(self, folder: str, names: list[str]) -> list[str]:
        """Those of the files in a folder that are read."""
        if self._excluded is None and self._included is None:
            return names
        return [name for name in names if self.takes(folder + name)]

    def key(self) -> str:
        """A text that is the same for the same patterns, in whatever order; "" without any."""
        if not self.include and not self.exclude:
            return ""
        patterns = {"exclude": self.exclude, "include": self.include}
        return json.dumps({name: sorted(set(some)) for name, some in patterns.items()})


def base_of(glob: str) -> str:
    """What a glob of an input says before its first part with a wildcard, with its last `/`."""
    wildcard = _WILDCARD.search(glob)
    return glob[: glob.rfind("/", 0, wildcard.start() if wildcard else None) + 1]


# patterns -> regular expressions


def _compile(patterns: Iterable[str]) -> re.Pattern[str] | None:
    regex = "|".join(map(regex_of, sorted(set(patterns))))
    return re.compile(regex, re.DOTALL) if regex else None


# Tells of what cannot be meant, and what to do instead.
_REFUSED = (
    (re.compile(r"\A[\s/]*\Z"), "it is empty"),
    (re.compile(r"\A!"), "it begins with '!': what is to be read stands in include"),
    (re.compile(r"\A\w+://"), "it is a URL: patterns are of the paths below an input"),
    (re.compile(r"(?:\A|/)\.\.?(?:/|\Z)"), "no path below an input has a part '.' or '..'"),
    (re.compile(r"\{[^{},]*+,[^{}]*+\}"), "give a pattern each instead of '{a,b}'"),
)


def regex_of(pattern: str) -> str:
    """The regular expression that matches all of a path as `pattern` does.

    What a wildcard has taken is not tried anew (the groups are atomic), so that the work is at most
    the length of the path times that of the pattern. Taking the first place where what follows
    stands is enough: it leaves the most to what comes behind.
    Raises ValueError where the pattern cannot be used.
    """
    for tell, why in _REFUSED:
        if tell.search(pattern):
            raise _unusable(pattern, why)
    parts = pattern.removeprefix("/").split("/")
    if not parts[-1]:
        parts[-1] = "**"
    if "/" not in pattern[:-1]:
        parts.insert(0, "**")
    runs: list[list[str]] = [[]]  # the parts between `**`
    for part in parts:
        if part == "**":
            runs.append([])
        elif "**" in part:
            raise _unusable(pattern, "'**' stands for folders only as a part of its own, as '**/*'")
        else:
            runs[-1].append("".join(_part_regex(pattern, part)))
    first, *middle = runs
    if not middle:
        return "/".join(first)
    last = middle.pop()
    regex = "/".join([*first, ""])
    regex += "".join(f"(?>(?:[^/]*+/)*?{'/'.join(run)}/)" for run in middle if run)
    if not last:
        return regex + ".*+"
    # Mostly it is a name, whose place is found at once.
    return regex + ("(?:.*/)?+" if len(last) == 1 else "(?:[^/]*+/)*?") + "/".join(last)


def _part_regex(pattern: str, part: str) -> Iterator[str]:
    """The regular expression of one part: pieces of fixed length, and what is between them."""
    first, *others = _pieces(pattern, part)
    yield first
    for number, piece in enumerate(others, 1):
        if number < len(others):
            yield f"(?>[^/]*?{piece})" if piece else ""
        else:
            yield f"(?>[^/]*?{piece}(?=/|\\Z))" if piece else "[^/]*+"


# Of one character: what may stand in the brackets is everything but `/`, and `]` only as the first.
_ONE = re.compile(
    r"\[(?P<negated>[!^]?+)(?P<some>\]?+[^\]]*+)\]|(?P<unclosed>\[)|(?P<other>.)", re.DOTALL
)
_RANGE = re.compile(r"(.)-(.)|(.)", re.DOTALL)


def _pieces(pattern: str, part: str) -> list[str]:
    """The regular expressions of what is between the `*` of a part."""
    pieces = [""]
    for found in _ONE.finditer(part):
        if found["unclosed"]:
            raise _unusable(pattern, "a '[' is not closed in its part; the character is '[[]'")
        if found["other"] is None:
            pieces[-1] += _class_regex(pattern, found["some"], is_negated=bool(found["negated"]))
        elif found["other"] == "*":
            pieces.append("")
        else:
            pieces[-1] += "[^/]" if found["other"] == "?" else re.escape(found["other"])
    return pieces


def _class_regex(pattern: str, some: str, *, is_negated: bool) -> str:
    if some.startswith("[") and some[1:2] in (":", ".", "="):
        raise _unusable(pattern, f"'[{some}' has another meaning in a shell: use ranges")
    items = []
    for first, last, single in _RANGE.findall(some):
        if first > last:
            raise _unusable(pattern, f"the range '{first}-{last}' goes backwards")
        items.append(re.escape(single) or f"{re.escape(first)}-{re.escape(last)}")
    return f"(?!/)[{'^' if is_negated else ''}{''.join(items)}]"


def _unusable(pattern: str, why: str) -> ValueError:
    return ValueError(f"the pattern {pattern!r} cannot be used: {why}")


EVERYTHING = Selection()
