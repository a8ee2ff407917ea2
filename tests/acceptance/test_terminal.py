"""What a person sees: a bar while it goes on, and colours; in a real terminal."""

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from acceptance.harness import Database, Write, track

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|38;[0-9;]*)m")
ANY = {"LOADER_MAX_REJECT_RATIO": "1"}


def in_terminal(
    *arguments: str | Path, db: Database, cwd: Path, stdin: str = "", **env: str
) -> tuple[int, str]:
    """Run the command line with a terminal of 100 columns; its exit code and all that it shows."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "loader", *map(str, arguments)],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=cwd,
        env=inherited | {"LOADER_WAREHOUSE_URL": db.url, "TERM": "xterm-256color"} | env,
    )
    os.close(its)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:  # the last one who had it open is gone
                raise
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(60), shown.decode()


@pytest.fixture
def two(write: Write) -> Path:
    """A folder with two files, of 3,000 records and two rejects."""
    records = [track("Email Opened", subject="x" * 100) for _ in range(3_000)]
    write("in/1.ndjson", *records[:2_000], "{bad")
    return write("in/2.ndjson", *records[2_000:], "{worse").parent


def test_a_load_shows_where_it_is_and_leaves_only_its_result(
    db: Database, two: Path, tmp_path: Path
) -> None:
    code, shown = in_terminal("load", two, db=db, cwd=tmp_path)
    assert code == 0
    bar, _, result = shown.rpartition("\x1b[2K")  # the line of the bar is wiped
    for words in ("Customer.io ", "file 2 of 2", "records/s", "2 rejects", "MB", "0:00:00"):
        assert words in re.sub(r"\x1b\[[0-9;]*m", "", bar)
    assert "Customer.io -> schema customerio" in result
    assert "file 2 of 2" not in result
    assert COLOUR.search(result)
    again = in_terminal("load", two, db=db, cwd=tmp_path)[1]
    assert "nothing new (2 files loaded before)." in again


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colours_gets_none(
    db: Database, two: Path, tmp_path: Path, variable: dict[str, str]
) -> None:
    code, shown = in_terminal("load", two, db=db, cwd=tmp_path, **variable)
    assert (code, COLOUR.search(shown)) == (0, None)
    assert "records 3,002 = rows 3,000 + duplicates 0 + rejects 2 + ignored 0" in shown
    assert COLOUR.search(in_terminal("status", db=db, cwd=tmp_path, **variable)[1]) is None


def test_a_quiet_load_shows_nothing(db: Database, two: Path, tmp_path: Path) -> None:
    assert in_terminal("load", "--quiet", two, db=db, cwd=tmp_path) == (0, "")


def test_json_on_a_terminal_is_json(db: Database, two: Path, tmp_path: Path) -> None:
    _, shown = in_terminal("load", "--json", two, db=db, cwd=tmp_path)
    assert shown.splitlines()[-1].startswith('{"source": "Customer.io"') or (
        '{"source": "Customer.io"' in shown.splitlines()[-1]
    )


def test_check_and_status_are_coloured_by_what_they_mean(
    db: Database, two: Path, tmp_path: Path
) -> None:
    _, shown = in_terminal("check", two, tmp_path / "gone", db=db, cwd=tmp_path)
    [wrong] = [line for line in shown.splitlines() if "gone" in line and "NOT" in line]
    assert wrong.startswith("\x1b[31m")
    in_terminal("load", two, db=db, cwd=tmp_path, **ANY)
    assert "\x1b[32m" in in_terminal("status", db=db, cwd=tmp_path)[1]


def test_what_files_are_called_does_not_move_the_cursor(
    db: Database, write: Write, tmp_path: Path
) -> None:
    write("loader.toml", '[[source]]\nname = "Shop\\u001b[2J\\u001b]0;owned\\u0007"\nschema = "s"')
    path = write("evil\x1b]0;owned\x07.ndjson", "{bad\x1b]0;owned\x07", track("E\x1b]0;owned\x07"))
    for command in (["plan", "--sql", path], ["load", path], ["check", path], ["status"]):
        assert "\x1b]0;" not in in_terminal(*command, db=db, cwd=tmp_path, **ANY)[1]
    for command in (["list"], ["list", "--raw"]):
        assert "\x1b]0;" not in in_terminal("rejects", *command, db=db, cwd=tmp_path)[1]
