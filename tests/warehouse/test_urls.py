"""A password that is not percent-encoded: refused, and no piece of it is shown."""

import socket
from contextlib import closing
from urllib.parse import quote

import pytest
from acceptance.faults import alembic, sentence
from acceptance.harness import Run
from hypothesis import example, given
from hypothesis import strategies as st

from loader.errors import LoaderError, UsageError
from loader.warehouse.engine import connect, make_engine
from loader.warehouse.opening import parse_url

# Letters that no sentence of ours, host or database below has, so that a piece is a piece.
PASSWORDS = st.text(st.sampled_from("QZXÄ79 @@::/??#%&=+[]\\'\";$,"), min_size=3, max_size=16)


@pytest.fixture(scope="module")
def closed_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def said(url: str) -> str:
    """What the loader says of a server that does not answer."""
    with pytest.raises(LoaderError) as caught, connect(make_engine(url)):
        pass
    return str(caught.value)


@given(password=PASSWORDS)
@example(password="Q@QQ/Q")
@example(password="QZX@77/QQQ@79X?ZZZ=QQQ")
@example(password="QZX@99:79/ZZZ")
@example(password="QZX@[ZZZ]/QQQ")
@example(password="QZX?ZZZ=QQQ&ÄÄÄ")
@example(password="QZX#ZZZ%ÄÄÄ")
@example(password="QZX&ZZZ=QQQ")
def test_no_piece_of_a_password_is_shown_however_it_is_written(
    closed_port: int, password: str
) -> None:
    place = f"127.0.0.1:{closed_port}/events?connect_timeout=2"
    known = said(f"postgresql://me:{quote(password, safe='')}@{place}")
    assert "cannot reach events on 127.0.0.1" in known
    shown = known + said("postgresql://@@")
    for url in (
        f"postgresql://me:{password}@{place}",
        f"postgresql://me@{place}&password={password}",
        f"postgresql://{place}&password={password}&user=me",
    ):
        message = said(url)
        for at in range(len(password) - 2):
            piece = password[at : at + 3]
            assert piece in shown or piece not in message, message


@pytest.mark.parametrize(
    "password",
    ["p@qz/w", "p@qz", "p@q:z/w", "p@7/w", "p@qz?w", "p@qz?a=b", "p@[qz]/w", "p?qz", "@"],
)
def test_a_password_that_can_be_read_in_two_ways_is_refused(password: str) -> None:
    with pytest.raises(UsageError, match="percent-encoding") as caught:
        parse_url(f"postgresql://me:{password}@127.0.0.1/events")
    assert caught.value.__context__ is None  # the library's error shows what it could not read


def test_commands_tell_how_to_write_a_password(run: Run) -> None:
    url = "postgresql://me:p@qz/w@127.0.0.1/events"
    result = run("check", url=url)
    sentence(result.code, result.err, 2, "%40 for @", "%2F for /", "PGPASSWORD")
    shown = alembic("current", url=url)
    assert (shown.returncode == 0, "Traceback" in shown.stderr) == (False, False)
    assert "qz" not in result.err + shown.stderr


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://me:p%40ss%2Fw@h/d", "p@ss/w"),
        ("postgresql://me:p/w:x#y@h/d", "p/w:x#y"),
        ("postgresql://me@h/d?application_name=me%40home", None),
        ("postgresql:///d?application_name=me@home", None),
        ("postgresql://h/d?application_name=me@home&sslmode=require", None),
    ],
)
def test_what_can_be_read_in_one_way_only_is_read(url: str, password: str | None) -> None:
    assert parse_url(url).password == password
