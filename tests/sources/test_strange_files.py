"""Names, links and changes of files that somebody made to confuse, or that just happen."""

import os
import re
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources.listed import list_inputs, open_input

from loader.errors import InputUnreadable
from loader.sources.files import spell


def listed(*paths: Path | str) -> list[str]:
    """The names, in their folder, of the files that would be read."""
    return [Path(file.uri).name for file in list_inputs(map(str, paths)) if not file.skipped]


# names


def read_again(uri: str) -> bytes:
    """The name that is spelled so."""
    return re.sub(
        rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), uri.encode()
    )


NAMES = st.binary(max_size=20) | st.lists(
    st.sampled_from([b"\\", b"x", b"f", b"\xff", b"\\xff", b"\\x5c", b"\xc3\xa9", b"\xed\xa0\x80"])
).map(b"".join)


@given(NAMES)
def test_each_name_has_a_spelling_of_its_own(name: bytes) -> None:
    uri = spell(os.fsdecode(name))
    uri.encode()  # no lone surrogates, which PostgreSQL could not store
    assert read_again(uri) == name


@pytest.mark.parametrize(
    "name", ["café.ndjson", r"C:\new", r"a\\b", "a\nb", "日本", r"\xFF", r"\x"]
)
def test_a_name_that_cannot_be_mistaken_stays_as_it_is(name: str) -> None:
    assert spell(name) == name


def test_a_byte_and_the_text_that_spells_it_are_two_files(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"\xff", rb"\xff"):
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(name)
    files = list_inputs([str(tmp_path)])
    assert [Path(file.uri).name for file in files] == [r"\x5cxff", r"\xff"]
    read = []
    for file in files:
        with open_input(file) as opened:
            read.append(b"".join(opened.blocks))
    assert read == [rb"\xff", b"\xff"]


def test_globs_that_overlap_give_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert listed("*", "**", "**/*", "./a", "sub//c", tmp_path / "**" / "c") == ["a", "b", "c"]


# pipes, sockets, devices


@pytest.fixture
def special(tmp_path: Path) -> Path:
    """A folder with a file, a pipe, a socket, and a link to a device."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize("pattern", [".", "*", "**", "**/*"])
def test_what_is_no_file_is_left_out_and_said(special: Path, pattern: str) -> None:
    files = list_inputs([os.path.join(special, pattern)])
    assert [Path(file.uri).name for file in files if not file.skipped] == ["file"]
    words = "\n".join(file.skipped for file in files)
    assert "zero': it is a device" in words
    assert "pipe': it is a pipe, which is read only where it is named" in words
    assert "socket': it is a socket" in words


def test_a_pipe_that_is_named_is_read_wherever_else_it_stands(special: Path) -> None:
    for paths in ([special, special / "pipe"], [special / "pipe", special]):
        assert sorted(listed(*paths)) == ["file", "pipe"]


@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_a_file_that_has_become_something_else_is_unreadable(tmp_path: Path, kind: str) -> None:
    """Opened as usual, a pipe would wait for a writer."""
    path = tmp_path / "a"
    path.touch()
    (file,) = list_inputs([str(path)])
    path.unlink()
    os.mkfifo(path) if kind == "a pipe" else path.mkdir()
    with pytest.raises(InputUnreadable, match=f"it has become {kind}"), open_input(file):
        pass


# links


@pytest.fixture
def knotted(tmp_path: Path) -> Path:
    """A folder with three links to itself, and one to another folder."""
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "sub").mkdir(parents=True)
    other.mkdir()
    for link in ("x", "y", "sub/up"):
        (root / link).symlink_to(root)
    (root / "away").symlink_to(other)
    for path in (root / "a", root / "sub" / "b", other / "c"):
        path.touch()
    return root


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a", "b"]),
        ("**", ["a", "c", "b"]),
        ("**/", ["a", "c", "b"]),
        ("**/*", ["a", "c", "b"]),
        ("**/**/**/*", ["a", "c", "b"]),
        ("**/b", ["b"]),
        ("**/sub/**/b", ["b"]),
        ("**/up/**/c", ["c"]),
        ("**/[bc]", ["c", "b"]),
    ],
)
def test_folders_that_link_to_each_other_are_walked_once(
    knotted: Path, pattern: str, expected: list[str]
) -> None:
    assert listed(os.path.join(knotted, pattern)) == expected


def test_a_pattern_without_a_folder_is_of_the_current_one(
    knotted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(knotted)
    for pattern in ("**", "**/*", "**/b", "s*/**"):
        assert "b" in listed(pattern)


def test_a_folder_deeper_than_python_calls_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    levels = ["/".join(["d"] * depth) for depth in range(1, 1_201)]
    for level in levels:
        os.mkdir(level)
    Path(levels[-1], "a").touch()
    assert listed(".") == listed("**/a") == ["a"]
    Path(levels[-1], "a").unlink()
    for level in reversed(levels):  # pytest could not
        os.rmdir(level)


SHM = Path("/dev/shm")


@pytest.mark.skipif(not SHM.is_dir(), reason="only a file system in memory keeps any time")
@pytest.mark.parametrize("seconds", [10**12, -(10**12), 10**18, 2**63 - 1])
def test_a_file_may_say_that_it_is_of_any_time(seconds: int) -> None:
    """One of a year behind 9999 ended the listing in an OverflowError."""
    with TemporaryDirectory(dir=SHM) as folder:
        path = Path(folder, "a.json")
        path.touch()
        os.utime(path, (0, seconds))
        (file,) = list_inputs([folder])
        (named,) = list_inputs([str(path)])
        assert file.modified_at == named.modified_at
        assert file.modified_at is not None
        assert file.modified_at.year in (1, 9999)


# files that change while they are read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of several blocks, last written a while ago."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * (7 << 20))
    os.utime(path, ns=(0, 1_789_460_612_000_000_000))
    return path


def write_at(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


HARM = {
    "cut": (lambda path: os.truncate(path, 3 << 20), "it had 7340032 bytes and then"),
    "cut and written anew": (
        lambda path: path.write_bytes(b"y" * (6 << 20)),
        "it had 7340032 bytes and then",
    ),
    "written over": (lambda path: write_at(path, 10, b"y"), "it was written to"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_file_that_is_harmed_while_it_is_read_is_unreadable(path: Path, harm: str) -> None:
    change, words = HARM[harm]
    (file,) = list_inputs([str(path)])
    with open_input(file) as opened:
        next(opened.blocks)
        change(path)
        with pytest.raises(InputUnreadable, match=f"has changed while it was read: {words}"):
            list(opened.blocks)


HARMLESS = {
    "goes on": lambda path: write_at(path, 7 << 20, b"more"),
    "is replaced by a rename": lambda path: path.with_name("b").rename(path),
    "is deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_file_that_only_goes_on_or_away_is_read_to_its_end(path: Path, change: str) -> None:
    path.with_name("b").write_bytes(b"other")
    (file,) = list_inputs([str(path)])
    with open_input(file) as opened:
        first = next(opened.blocks)
        HARMLESS[change](path)
        assert (first + b"".join(opened.blocks)).startswith(b"x" * (7 << 20))
    # It is known by what it was when it was opened, so what came later is read the next time.
    assert (opened.file.size, opened.file.modified_at) == (file.size, file.modified_at)


def test_a_file_is_known_by_what_it_was_when_it_was_opened(path: Path) -> None:
    """A load may have waited for another one since it was listed."""
    (file,) = list_inputs([str(path)])
    path.write_bytes(b"another")
    with open_input(file) as opened:
        assert opened.file.size == 7
        assert opened.file.modified_at != file.modified_at
