"""What can be set for a destination, and what is said where it is wrong."""

import json
from pathlib import Path

import pytest

from loader.config import Settings, load_settings
from loader.errors import UsageError

GOOD = """
[[source]]
name = "EU"

[[destination]]
name = "Segment"
kind = "segment"
url = "https://api.example.com"
key = "env:KEY"
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str) -> Settings:
    Path("loader.toml").write_text(text)
    return load_settings()


def test_an_address_without_a_path_gets_that_of_the_tracking_api() -> None:
    assert read(GOOD).destination[0].address == "https://api.example.com/v1/batch"
    other = read(GOOD.replace(".com", ".com:8080/x?y=z")).destination[0]
    assert (other.address, other.host) == (
        "https://api.example.com:8080/x?y=z",
        "api.example.com:8080",
    )
    hook = read(GOOD.replace('"segment"', '"webhook"')).destination[0]
    assert hook.address == "https://api.example.com"


def test_destinations_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"name": "a", "kind": "webhook", "url": "http://localhost:1", "key": "file:/x"}
    monkeypatch.setenv("LOADER_DESTINATION", json.dumps([one]))
    assert [one.name for one in load_settings().destination] == ["a"]


def test_the_key_is_read_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(GOOD).destination[0]
    with pytest.raises(
        UsageError, match=r"the key of the destination 'Segment': .* KEY is not set"
    ):
        found.secret()
    monkeypatch.setenv("KEY", "k1")
    assert found.secret() == "k1"
    Path("key").write_text("k2\n")
    assert read(GOOD.replace("env:KEY", "file:key")).destination[0].secret() == "k2"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("https://api.example.com", "ftp://s3cr3t.example.com", "begins with https://"),
        ("https://api.example.com", "https://me:s3cr3t@x", "without user, password"),
        ("https://api.example.com", "https://x:s3cr3t", "it is no address"),
        ("https://api.example.com", "s3cr3t", "begins with https://"),
        ('segment"\nurl = "https', 'webhook"\nurl = "http', "over https:// only"),
        ('"segment"', '"kafka"', "must be 'segment' or 'webhook'"),
        ("env:KEY", "s3cr3t", "a key itself is no setting"),
        ('key = "env:KEY"', "", "'key' of the destination 'Segment' (loader.toml) is missing"),
        ('key = "env:KEY"', "key = 5", "'key' of the destination 'Segment'"),
        ('"https://api.example.com"', '["s3cr3t"]', "'url' of the destination 'Segment'"),
        ('"env:KEY"', '"env:KEY"\nevents = []', "leave it out for all"),
        ('"env:KEY"', '"env:KEY"\nsources = ["EUR"]', "which is not configured: did you mean 'EU'"),
        ('"env:KEY"', '"env:KEY"\nsource = ["EU"]', "did you mean 'sources'?"),
        ("[[destination]]", "[destination]", "write [[destination]]"),
        ("[[source]]", 'kind = "x"\n[[source]]', "below a line [[destination]]"),
        (
            "[[destination]]",
            '[[destination]]\nname = "Segment"\nkind = "webhook"\nurl = "https://x"\n'
            'key = "env:X"\n[[destination]]',
            "two destinations are called 'Segment'",
        ),
    ],
)
def test_what_is_wrong_is_said_without_secrets(old: str, new: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(GOOD.replace(old, new, 1))
    assert words in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
