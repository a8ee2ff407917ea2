"""Patterns match keys of objects as they match local paths."""

import os
from pathlib import Path

import pytest
from sources.listed import list_inputs

from loader.sources.keys import Pattern, why_unreadable

KEYS = [
    "a.gz",
    "b/.hidden/x.gz",
    "b/.x.gz",
    "b/2026-11-24/x.gz",
    "b/2026-11-25/deep/er/y.gz",
    "b/2026-11-25/x.gz",
    "b/c/x.json",
    "b/x.gz",
    "c[1]/x.gz",
]
PATTERNS = [
    "*",
    "*.gz",
    "**",
    "**/*.gz",
    "b/*",
    "b/**",
    "b/**/x*",
    "b/2026-11-2?",
    "b/2026-11-2?/*.gz",
    "b/2026-11-2[5-9]",
    "b/2026-11-*/**/*.gz",
    "b/[!2]*/x*",
    "b/.*",
    "*/.*/x.gz",
    "c[[]1]/*",
    "**/c/**",
    "b/**/**/y.gz",
    "b**/x.gz",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_it_matches_among_local_files(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    monkeypatch.chdir(tmp_path)
    local = {
        os.path.relpath(file.uri, os.path.realpath(tmp_path)) for file in list_inputs([pattern])
    }
    found = Pattern(pattern)
    assert {key for key in KEYS if found.matches(key)} == local
    folders = {os.path.dirname(key) for key in local}
    assert all(found.may_hold(folder) for folder in folders)


@pytest.mark.parametrize(
    ("pattern", "folder", "may"),
    [
        ("b/2026-11-2?/*.gz", "", True),
        ("b/2026-11-2?/*.gz", "b", True),
        ("b/2026-11-2?/*.gz", "b/2026-11-25", True),
        ("b/2026-11-2?/*.gz", "b/2026-12-01", False),
        ("b/2026-11-2?/*.gz", "c", False),
        ("b/2026-11-2?", "b/2026-11-25/deep/er", True),
        ("b/**/x.gz", "b/any/where", True),
        ("b/**/x.gz", "b/.hidden", False),
    ],
)
def test_a_folder_that_can_hold_nothing_that_matches_is_not_listed(
    pattern: str, folder: str, may: bool
) -> None:
    assert Pattern(pattern).may_hold(folder) is may


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a//b.gz", "empty segment"),
        ("/a.gz", "empty segment"),
        ("a/./b", "`.` or `..`"),
        ("../b", "`.` or `..`"),
        ("a\nb", "control character"),
    ],
)
def test_a_key_that_the_client_cannot_name_is_known(key: str, why: str) -> None:
    assert why in (why_unreadable(key) or "")


@pytest.mark.parametrize("key", ["", "a", "a/", "a b/c+d", "a%20b", "ü", "a?b#c", "...", "a..b"])
def test_odd_keys_are_good_ones(key: str) -> None:
    assert why_unreadable(key) is None
