"""Which files below an input the patterns of its source take."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources.steps import Work

from loader.sources.selection import Selection, base_of, regex_of

PATHS = [
    "a.gz",
    "A.GZ",
    ".a.gz",
    "2026/a.gz",
    "2026/03/a.gz",
    "2026/03/a.txt",
    "tmp/a.gz",
    "2026/tmp/a.gz",
    "2026/tmp/03/b.gz",
    "tmp",
]

TAKEN: list[tuple[str, list[str]]] = [
    # a name
    ("a.gz", ["a.gz", "2026/a.gz", "2026/03/a.gz", "tmp/a.gz", "2026/tmp/a.gz"]),
    ("*.txt", ["2026/03/a.txt"]),
    ("?.txt", ["2026/03/a.txt"]),
    ("?a.gz", [".a.gz"]),
    ("[A-Z]*", ["A.GZ"]),
    ("[!a]*", ["A.GZ", ".a.gz", "2026/tmp/03/b.gz", "tmp"]),
    ("tmp", ["tmp"]),
    ("*", PATHS),
    ("2026", []),
    # a path
    ("/*.gz", ["a.gz", ".a.gz"]),
    ("2026/*", ["2026/a.gz"]),
    ("2026/*/*.gz", ["2026/03/a.gz", "2026/tmp/a.gz"]),
    ("2026/[0-9][0-9]/*", ["2026/03/a.gz", "2026/03/a.txt"]),
    ("20?6/03/a.*", ["2026/03/a.gz", "2026/03/a.txt"]),
    ("2026?03/a.gz", []),
    ("2026[!a]03/a.gz", []),
    ("2026[+-9]03/a.gz", []),
    # any folders
    ("**", PATHS),
    ("**/b.gz", ["2026/tmp/03/b.gz"]),
    ("2026/**/a.gz", ["2026/a.gz", "2026/03/a.gz", "2026/tmp/a.gz"]),
    ("2026/**/**/a.gz", ["2026/a.gz", "2026/03/a.gz", "2026/tmp/a.gz"]),
    ("**/03/*", ["2026/03/a.gz", "2026/03/a.txt", "2026/tmp/03/b.gz"]),
    ("**/tmp/**/b.gz", ["2026/tmp/03/b.gz"]),
    ("2026/tmp/**", ["2026/tmp/a.gz", "2026/tmp/03/b.gz"]),
    # all that is below a folder
    ("tmp/", ["tmp/a.gz", "2026/tmp/a.gz", "2026/tmp/03/b.gz"]),
    ("/tmp/", ["tmp/a.gz"]),
    ("2026/tmp/", ["2026/tmp/a.gz", "2026/tmp/03/b.gz"]),
    ("t*/", ["tmp/a.gz", "2026/tmp/a.gz", "2026/tmp/03/b.gz"]),
]


@pytest.mark.parametrize(("pattern", "taken"), TAKEN, ids=lambda each: str(each)[:20])
def test_a_pattern_takes_these_paths(pattern: str, taken: list[str]) -> None:
    included, excluded = Selection(include=(pattern,)), Selection(exclude=(pattern,))
    assert taken == [path for path in PATHS if included.takes(path)]
    assert taken == [path for path in PATHS if not excluded.takes(path)]


def test_without_patterns_all_is_taken() -> None:
    assert all(map(Selection().takes, PATHS))


def test_one_of_several_patterns_is_enough_and_exclude_wins() -> None:
    selection = Selection(include=("*.txt", "tmp/", "/*.gz"), exclude=("03/", ".*"))
    assert [path for path in PATHS if selection.takes(path)] == [
        "a.gz",
        "tmp/a.gz",
        "2026/tmp/a.gz",
    ]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("[*]", "*"),
        ("[[]", "["),
        ("[]]", "]"),
        ("[]a-]b", "-b"),
        ("[^]]", "a"),
        ("[a^]", "^"),
        ("[&&]", "&"),
        ("{a}", "{a}"),
        ("a\\*", "a\\b"),
        ("*\n", "a\n"),
        ("a//b", "a//b"),
        ("\ud800*", "\ud800"),
    ],
)
def test_a_character_may_be_meant_itself(pattern: str, name: str) -> None:
    assert Selection(include=(pattern,)).takes(name)


REFUSED = [
    ("", "it is empty"),
    (" ", "it is empty"),
    ("/", "it is empty"),
    ("[", "is not closed"),
    ("a[bc", "is not closed"),
    ("[]", "is not closed"),
    ("[!]", "is not closed"),
    ("a[b/c]", "is not closed in its part"),
    ("[z-a]", "the range 'z-a' goes backwards"),
    ("[[:alpha:]]", "another meaning in a shell"),
    ("a**b", "a part of its own"),
    ("***", "a part of its own"),
    ("*.{gz,zst}", "a pattern each"),
    ("{a}{b,c}", "a pattern each"),
    ("!a", "include"),
    ("s3://bucket/a", "a URL"),
    ("./a", "no path below an input"),
    ("a/../b", "no path below an input"),
]


@pytest.mark.parametrize(("pattern", "words"), REFUSED)
def test_a_pattern_that_means_nothing_here_is_refused(pattern: str, words: str) -> None:
    for patterns in ({"include": ("*", pattern)}, {"exclude": ("*", pattern)}):
        with pytest.raises(ValueError, match=re.escape(words)) as raised:
            Selection(**patterns)
        assert str(raised.value).startswith(f"the pattern {pattern!r} cannot be used: ")


def test_the_key_is_of_what_is_selected() -> None:
    key = Selection(include=("a", "b"), exclude=("c",)).key()
    assert key == '{"exclude": ["c"], "include": ["a", "b"]}'
    assert key == Selection(include=("b", "a", "b"), exclude=("c",)).key()
    others = [Selection(include=("a", "b")), Selection(include=("c",), exclude=("a", "b"))]
    assert key not in [other.key() for other in others]
    assert Selection().key() == ""


@pytest.mark.parametrize(
    ("glob", "base"),
    [
        ("/data/**/*.gz", "/data/"),
        ("/data/2026-*/a.gz", "/data/"),
        ("/data/[ab]/c", "/data/"),
        ("s3://bucket/a/b*", "s3://bucket/a/"),
        ("*.gz", ""),
        ("/data/a.gz", "/data/"),
    ],
)
def test_what_stands_before_the_wildcards_of_a_glob(glob: str, base: str) -> None:
    assert base == base_of(glob)


# compared with a model


def matches(parts: list[str], path: list[str]) -> bool:
    """Whether parts of a pattern match those of a path: every way is tried."""
    if not parts:
        return not path
    if parts[0] == "**":
        if len(parts) == 1:
            return bool(path)
        return any(matches(parts[1:], path[n:]) for n in range(len(path)))
    return bool(path) and part_matches(parts[0], path[0]) and matches(parts[1:], path[1:])


def part_matches(part: str, name: str) -> bool:
    if part[:1] == "*":
        return any(part_matches(part[1:], name[n:]) for n in range(len(name) + 1))
    if not part or not name:
        return part == name
    return part[0] in ("?", name[0]) and part_matches(part[1:], name[1:])


PARTS = st.text("ab*?", min_size=1, max_size=5).filter(lambda part: "**" not in part) | st.just(
    "**"
)
NAMES = st.text("ab", min_size=1, max_size=5)


@given(st.lists(PARTS, min_size=1, max_size=5), st.lists(NAMES, min_size=1, max_size=6))
def test_patterns_mean_what_the_model_says(parts: list[str], names: list[str]) -> None:
    selection = Selection(include=("/" + "/".join(parts),))
    assert matches(parts, names) == selection.takes("/".join(names))


# how much work it is


HOSTILE = {
    "stars": lambda n: ("*a" * n + "b", "a" * n * 2),
    "stars in a path": lambda n: ("/".join(["*a*a*a*b"] * n), "/".join(["aaaaaaaa"] * n)),
    "any folders": lambda n: ("**/a/" * n + "b", "a/" * n * 2 + "a"),
    "any folders, long": lambda n: ("**/a*/" + "a*/" * n + "**/b", "a/" * n * 2 + "a"),
    "any folders at last": lambda n: ("**/" + "*a/" * n + "b", "aa/" * n * 2 + "b"),
    "questions": lambda n: ("*" + "?" * n + "b", "a" * n * 2),
    "sets": lambda n: ("*[!b]" * n + "*b", "a" * n * 2),
    "a long piece": lambda n: ("*" + "a" * n + "b", "a" * n * 2),
    "many folders": lambda n: ("**/*a*/**/*b", "a/" * n * 4),
    "slashes": lambda n: ("**/a", "/" * n * 4),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pattern_is_more_work_than_its_length_times_that_of_the_path(name: str) -> None:
    for n in (4, 16, 40):
        pattern, path = HOSTILE[name](n)
        work = Work(regex_of(pattern), path)
        assert work.is_match == Selection(include=(pattern,)).takes(path)
        assert work.steps <= 20 * (len(pattern) + 1) * (len(path) + 1), n


def test_the_count_tells_where_the_work_grows() -> None:
    """As patterns are commonly translated, every star tries every place anew."""
    assert Work("[^/]*a" * 6 + "b", "a" * 24).steps > 20 * 13 * 25


@given(st.lists(PARTS, min_size=1, max_size=5), st.lists(NAMES, min_size=1, max_size=6))
def test_the_work_is_counted_of_what_is_matched(parts: list[str], names: list[str]) -> None:
    pattern, path = "/".join(parts), "/".join(names)
    work = Work(regex_of(pattern), path)
    assert work.is_match == Selection(include=(pattern,)).takes(path)
    assert work.steps <= 20 * (len(pattern) + 1) * (len(path) + 1)
