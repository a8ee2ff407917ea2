"""Inputs: which files a path names, and their bytes, whatever they are packed with."""

import bz2
import gzip
import lzma
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from sources.listed import list_inputs, open_input

from loader.errors import InputUnreadable
from loader.sources.ahead import read_ahead
from loader.sources.inputs import Inputs
from loader.sources.page import PAGE_FILES
from loader.sources.selection import Selection
from loader.sources.unpack import BLOCK_BYTES

# More than one block, and nothing that compresses away.
DATA = b"".join(b'{"n":%d,"x":"%d"}\n' % (n, n * 7919**5 % 10**18) for n in range(60_000))


def names(paths: list[str] | str, root: Path) -> list[str]:
    listed = list_inputs([paths] if isinstance(paths, str) else paths)
    return [os.path.relpath(file.uri, root) for file in listed]


def until_unreadable(blocks: Iterator[bytes]) -> list[bytes]:
    """The blocks before the one that cannot be read; there has to be such a one."""
    read = []
    try:
        for block in blocks:
            read.append(block)
    except InputUnreadable:
        return read
    pytest.fail("the blocks came to a good end")


def content(path: Path) -> bytes:
    (file,) = list_inputs([str(path)])
    with open_input(file) as opened:
        return b"".join(opened.blocks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files, two folders; one file and one folder are hidden."""
    for name in ("b.json", "a.json", "sub/d.gz", "sub/deep/c.json", ".hidden", ".git/e.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    return tmp_path


# which files


def test_a_folder_is_every_file_below_it_in_a_fixed_order(folder: Path) -> None:
    assert names(str(folder), folder) == ["a.json", "b.json", "sub/d.gz", "sub/deep/c.json"]


def test_a_glob_is_sorted(folder: Path) -> None:
    assert names(f"{folder}/*.json", folder) == ["a.json", "b.json"]


def test_a_glob_goes_into_folders(folder: Path) -> None:
    assert names(f"{folder}/**/*.json", folder) == ["a.json", "b.json", "sub/deep/c.json"]
    assert names(f"{folder}/s*", folder) == ["sub/d.gz", "sub/deep/c.json"]


def test_paths_are_read_in_the_order_they_were_given(folder: Path) -> None:
    paths = [f"{folder}/b.json", f"{folder}/a.json"]
    assert names(paths, folder) == ["b.json", "a.json"]


def test_one_file_by_several_names_is_one_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "link.json").symlink_to("a.json")
    paths = ["a.json", f"{folder}/a.json", "./sub/../a.json", "link.json", "*.json", "."]
    assert names(paths, folder) == ["a.json", "b.json", "sub/d.gz", "sub/deep/c.json"]


def test_a_link_to_a_file_beside_it_is_that_file(folder: Path) -> None:
    (folder / "0.json").symlink_to("a.json")
    (folder / "z.json").symlink_to("a.json")
    assert names(str(folder), folder) == ["a.json", "b.json", "sub/d.gz", "sub/deep/c.json"]


def test_a_name_with_the_signs_of_a_glob_is_a_name(folder: Path) -> None:
    (folder / "[a].json").write_text("{}")
    assert names(f"{folder}/[a].json", folder) == ["[a].json"]


@pytest.mark.parametrize("path", ["missing.json", "missing/", "*.parquet", "sub/missing/*"])
def test_a_path_that_names_nothing_is_an_error(folder: Path, path: str) -> None:
    with pytest.raises(InputUnreadable, match=r"missing|parquet"):
        list_inputs([f"{folder}/{path}"])


@pytest.mark.parametrize(
    ("path", "files", "excluded"),
    [
        ("", ["a.json", "x[1]/a.json"], 3),
        ("/*", ["a.json", "x[1]/a.json"], 3),
        ("/**", ["a.json", "x[1]/a.json"], 3),
        ("/*.json", ["a.json"], 1),
        ("/**/*.json", ["a.json", "x[1]/a.json"], 1),
        ("/x[[]1]", ["x[1]/a.json"], 1),
        ("/x[1]", ["x[1]/a.json"], 1),
        ("/x[1]/a.csv", ["x[1]/a.csv"], 0),
    ],
)
def test_patterns_begin_at_the_folder_or_before_the_wildcards_of_a_glob(
    tmp_path: Path, path: str, files: list[str], excluded: int
) -> None:
    """As for buckets; what is left out is counted once, however it is found."""
    (tmp_path / "x[1]").mkdir()
    for name in ("a.json", "old.json", "a.csv", "x[1]/a.json", "x[1]/a.csv"):
        (tmp_path / name).write_bytes(b"{}")
    selection = Selection(exclude=("*.csv", "/old.*", "/nothing/"))
    pages = [one.page for one in Inputs([f"{tmp_path}{path}"], selection=selection).list()]
    found = [Path(file.uri).relative_to(tmp_path) for page in pages for file in page.files]
    assert sorted(map(Path, files)) == sorted(found)
    assert excluded == sum(page.excluded for page in pages)


def test_a_folder_that_a_glob_matches_is_below_the_beginning_of_the_glob(tmp_path: Path) -> None:
    for name in ("2024/a", "2024/01/b", "2026/c", "2026/2024/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = Inputs([f"{tmp_path}/*"], selection=Selection(exclude=("/2024/**",))).list()
    found = [Path(file.uri).name for one in listing for file in one.page.files]
    assert found == ["c", "d"]


def test_an_empty_folder_is_no_files(tmp_path: Path) -> None:
    assert list_inputs([str(tmp_path)]) == []


@pytest.mark.parametrize("target", ["nowhere", "link"], ids=["nowhere", "to itself"])
def test_a_link_that_leads_to_no_file_is_unreadable(tmp_path: Path, target: str) -> None:
    """It is an error of this one input, and said when it is opened."""
    (tmp_path / "link").symlink_to(target)
    (file,) = list_inputs([str(tmp_path)])
    with pytest.raises(InputUnreadable, match="link"), open_input(file):
        pass


def test_a_folder_that_links_to_itself_ends(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    assert names(str(folder), folder) == ["a.json", "b.json", "sub/d.gz", "sub/deep/c.json"]


def test_a_file_is_listed_with_its_size_and_time_to_the_microsecond(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    os.utime(path, ns=(0, 1789460612_123456789))
    (file,) = list_inputs([str(path)])
    assert file.size == 5
    assert datetime(2026, 9, 15, 8, 23, 32, 123456, UTC) == file.modified_at


def test_files_of_a_folder_are_listed_as_those_that_are_named(tmp_path: Path) -> None:
    """The status of files in folders is read many at a time, in the compiled part."""
    times = [0, 999, -1, -1_500_000_001, 4_102_444_800_000_000_001]  # ns; the last one is in 2100
    names = [b"caf\xe9", "λ".encode(), b"with blank", b"new\nline", b"x" * 255]
    paths = [os.path.join(os.fsencode(tmp_path), name) for name in names]
    for size, (path, at) in enumerate(zip(paths, times, strict=True)):
        Path(os.fsdecode(path)).write_bytes(b"1" * size)
        os.utime(path, ns=(0, at))
    (tmp_path / "link").symlink_to(os.fsdecode(paths[0]))
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    named = {file.uri: file for path in paths for file in list_inputs([os.fsdecode(path)])}
    found = {file.uri: file for file in list_inputs([str(tmp_path)])}
    assert found.pop(str(tmp_path / "pipe")).skipped
    assert found.pop(str(tmp_path / "gone")).size is None
    assert found == {
        uri: msgspec.structs.replace(file, is_named=False) for uri, file in named.items()
    }
    assert sorted(file.size for file in found.values()) == [0, 1, 2, 3, 4]


def test_a_folder_of_several_pages_is_listed_whole(tmp_path: Path) -> None:
    count = PAGE_FILES + 7
    for number in range(count):
        os.close(os.open(tmp_path / f"{number:06}", os.O_CREAT | os.O_WRONLY))
    names = [os.path.basename(file.path) for file in list_inputs([str(tmp_path)])]
    assert names == [f"{number:06}" for number in range(count)]


def test_stdin_is_one_input_without_size_or_time() -> None:
    (file,) = list_inputs(["-", "-"])
    assert (file.uri, file.size, file.modified_at) == ("-", None, None)


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.json")
    Path(os.fsdecode(path)).write_bytes(b"{}\n")
    (file,) = list_inputs([str(tmp_path)])
    with open_input(file) as opened:
        assert b"".join(opened.blocks) == b"{}\n"


# their bytes


PACK: dict[str, Any] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    # As pzstd writes it: a frame that is skipped, with the size of the next one.
    "pzstd": lambda data: b"\x50\x2a\x4d\x18\4\0\0\0\1\0\0\0" + zstandard.compress(data),
    "bz2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
}
WRONG_NAME = {
    "gzip": "a.json",
    "zstd": "a.gz",
    "pzstd": "a",
    "bz2": "a.xz",
    "xz": "a",
    "plain": "a.json.gz",
}


@pytest.mark.parametrize("form", [*PACK, "plain"])
def test_a_file_is_unpacked_by_its_content_and_not_by_its_name(form: str, tmp_path: Path) -> None:
    path = tmp_path / WRONG_NAME[form]
    path.write_bytes(PACK.get(form, bytes)(DATA))
    assert content(path) == DATA


@pytest.mark.parametrize("form", PACK)
def test_files_packed_one_by_one_and_put_together_are_read_to_the_end(
    form: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(PACK[form](DATA[:300_000]) + PACK[form](b"") + PACK[form](DATA[300_000:]))
    assert content(path) == DATA


@pytest.mark.parametrize("form", PACK)
def test_nothing_packed_is_nothing(form: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PACK[form](b""))
    assert content(tmp_path / "a") == b""


@pytest.mark.parametrize("data", [b"", b"\x1f", b"B", b"BZ", b"\xfd7z", b"{", b"\n"], ids=repr)
def test_a_short_plain_file_is_taken_as_it_is(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    assert data == content(tmp_path / "a")


def test_zeros_behind_a_gzip_member_are_padding(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(DATA) + bytes(512))
    assert content(tmp_path / "a") == DATA


CUT = {
    "in the middle": lambda packed: packed[: len(packed) // 2],
    "one byte early": lambda packed: packed[:-1],
    "in a second member": lambda packed: packed + packed[: len(packed) // 3],
    "behind its first bytes": lambda packed: packed[:12],
}


@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("form", ["gzip", "bz2", "xz", "zstd"])
def test_a_cut_file_is_unreadable_behind_its_whole_blocks(
    form: str, cut: str, tmp_path: Path
) -> None:
    """Taken for read to its end, it would never be read again when it is whole."""
    path = tmp_path / "a"
    path.write_bytes(CUT[cut](PACK[form](DATA)))
    (file,) = list_inputs([str(path)])
    with open_input(file) as opened:
        read = b"".join(until_unreadable(opened.blocks))
    assert (DATA + DATA).startswith(read)
    if cut == "in a second member":
        assert len(read) >= BLOCK_BYTES


@pytest.mark.parametrize("form", ["gzip", "bz2", "xz"])
def test_a_damaged_file_is_unreadable(form: str, tmp_path: Path) -> None:
    packed = bytearray(PACK[form](DATA))
    middle = len(packed) // 2
    packed[middle : middle + 8] = bytes(byte ^ 0xFF for byte in packed[middle : middle + 8])
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(InputUnreadable, match="cannot read"):
        content(tmp_path / "a")


def test_a_zstd_file_with_a_wrong_checksum_is_unreadable(tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(DATA)
    (tmp_path / "a").write_bytes(packed[:-1] + bytes([packed[-1] ^ 0xFF]))
    with pytest.raises(InputUnreadable, match="cannot read"):
        content(tmp_path / "a")


def test_a_file_that_is_gone_since_it_was_listed_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"{}")
    (file,) = list_inputs([str(path)])
    path.unlink()
    with pytest.raises(InputUnreadable, match="No such file"), open_input(file):
        pass


def test_progress_is_told_in_bytes_as_stored(tmp_path: Path) -> None:
    packed = gzip.compress(DATA)
    (tmp_path / "a").write_bytes(packed)
    (file,) = list_inputs([str(tmp_path / "a")])
    with open_input(file) as opened:
        before = opened.tell()
        for _ in opened.blocks:
            pass
        assert before == 0
        assert len(packed) == opened.tell()


# pipes


def write_later(path: Path, parts: list[bytes], then: threading.Event | None = None) -> None:
    def write() -> None:
        with open(path, "wb", buffering=0) as pipe:
            for part in parts:
                pipe.write(part)
                time.sleep(0.05)
            if then is not None:
                then.wait(5)

    threading.Thread(target=write, daemon=True).start()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_named_pipe_is_read_to_its_end(fifo: Path) -> None:
    write_later(fifo, [b'{"a":1}\n', b'{"b":', b"2}\n"])
    assert content(fifo) == b'{"a":1}\n{"b":2}\n'


def test_a_named_pipe_is_unpacked(fifo: Path) -> None:
    write_later(fifo, [gzip.compress(b'{"a":1}\n')])
    assert content(fifo) == b'{"a":1}\n'


def test_a_named_pipe_has_no_size_or_time(fifo: Path) -> None:
    (file,) = list_inputs([str(fifo)])
    assert (file.size, file.modified_at) == (None, None)


@pytest.mark.parametrize(("form", "first"), [("gzip", 1), ("zstd", 3), ("xz", 5)])
def test_a_pipe_that_begins_slowly_is_unpacked(fifo: Path, form: str, first: int) -> None:
    """The first write may be shorter than the bytes that tell the form."""
    packed = PACK[form](b'{"a":1}\n')
    write_later(fifo, [packed[:first], packed[first:]])
    assert content(fifo) == b'{"a":1}\n'


def test_a_pipe_that_says_nothing_more_does_not_hold_up_the_end(fifo: Path) -> None:
    """Closing it must not wait for the reader, which waits for the pipe's writer."""
    done = threading.Event()
    write_later(fifo, [b'{"a":1}\n'], then=done)
    (file,) = list_inputs([str(fifo)])

    def read() -> None:
        with open_input(file) as opened, read_ahead(opened.blocks):
            time.sleep(0.2)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(2)
    hangs = reader.is_alive()
    done.set()
    reader.join(5)
    assert not hangs


# reading ahead


@pytest.mark.parametrize("count", [0, 1, 4, 5, 100])
def test_reading_ahead_gives_every_block_in_order(count: int) -> None:
    expected = [b"%d" % n for n in range(count)]
    with read_ahead(iter(expected)) as ahead:
        assert expected == list(ahead)


def test_reading_ahead_passes_an_error_on_behind_the_blocks_before_it() -> None:
    def failing() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise InputUnreadable("cut")

    with read_ahead(failing()) as ahead:
        assert until_unreadable(ahead) == [b"1", b"2"]


def test_reading_ahead_stays_only_a_few_blocks_ahead() -> None:
    read = []

    def blocks() -> Iterator[bytes]:
        for n in range(100):
            read.append(n)
            yield b"x"

    with read_ahead(blocks(), depth=2) as ahead:
        next(ahead)
        time.sleep(0.2)
        assert len(read) <= 5


def test_reading_ahead_can_stop_early() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    start = time.monotonic()
    before = threading.active_count()
    with read_ahead(endless()) as ahead:
        next(ahead)
    assert time.monotonic() - start < 1
    assert before == threading.active_count()


def test_an_error_of_the_user_of_the_blocks_goes_out_and_stops_the_reader() -> None:
    def use() -> None:
        with read_ahead(iter([b"x"] * 50)) as ahead:
            next(ahead)
            raise KeyError

    before = threading.active_count()
    with pytest.raises(KeyError):
        use()
    assert before == threading.active_count()
