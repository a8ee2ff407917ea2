"""Keys of objects: what a name with `*`, `?`, `[...]` and `**` matches, as for local paths."""

import fnmatch
import glob
import re
from functools import cache

_ANY_FOLDERS = "**"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def has_magic(key: str) -> bool:
    """Whether a name may stand for several."""
    return glob.has_magic(key)


def is_hidden(key: str, behind: int = 0) -> bool:
    """Whether a file or folder begins with a dot, in the part of a key from `behind` on."""
    return "/." in key[behind:] or key.startswith(".", behind)


def why_unreadable(key: str) -> str | None:
    """Why no client of ours can name an object of this key, if it cannot."""
    # One slash at the end belongs to a folder.
    segments = key.removesuffix("/").split("/") if key else []
    if "" in segments:
        return "it has an empty segment (`//`)"
    if {".", ".."} & set(segments):
        return "a segment of it is `.` or `..`"
    return "it has a control character" if _CONTROL.search(key) else None


class Pattern:
    """What a key has to match. What matches may be a folder: then every file below it does.

    As for local paths, `*` and `?` match no name that begins with a dot, and `**` any folders.
    """

    def __init__(self, pattern: str) -> None:
        self._segments = tuple(segment for segment in pattern.split("/") if segment)

    def matches(self, key: str) -> bool:
        """Whether a file is matched, or lies in a folder that is."""
        return self._matches(tuple(key.split("/")), 0, 0, is_folder=False)

    def may_hold(self, folder: str) -> bool:
        """Whether a folder may hold files that match; the folder `` is the bucket."""
        return self._matches(tuple(folder.split("/")) if folder else (), 0, 0, is_folder=True)

    def _matches(self, names: tuple[str, ...], at: int, part: int, *, is_folder: bool) -> bool:
        """The names from `at` on against the segments from `part` on."""
        if part == len(self._segments):  # the rest lies below a folder that is matched
            return not any(name.startswith(".") for name in names[at:])
        if at == len(names):
            return is_folder
        segment = self._segments[part]
        if segment == _ANY_FOLDERS:
            if part + 1 == len(self._segments):
                return not any(name.startswith(".") for name in names[at:])
            if self._matches(names, at, part + 1, is_folder=is_folder):
                return True
            return not names[at].startswith(".") and self._matches(
                names, at + 1, part, is_folder=is_folder
            )
        return _one_matches(segment, names[at]) and self._matches(
            names, at + 1, part + 1, is_folder=is_folder
        )


def _one_matches(segment: str, name: str) -> bool:
    if name.startswith(".") and not segment.startswith("."):
        return False
    return _compiled(segment).match(name) is not None


@cache
def _compiled(segment: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(segment))
