"""Keys that change while a receiver runs."""

import os
import time
from pathlib import Path

from receive.receiving import SIGNING_KEY, Running, Start, basic, config, signed

EVENT = {"event": "A"}
HOOK = b'{"object_type":"email","metric":"sent","data":{}}'


def status_of(running: Running, key: str) -> int:
    return running.send("POST", "/v1/track", EVENT, **basic(key)).status


def becomes(running: Running, key: str, status: int) -> None:
    """Wait until a key is answered so."""
    while status_of(running, key) != status:
        assert running.process.poll() is None
        time.sleep(0.1)


def replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def test_a_revoked_key_ends_and_a_new_one_begins(receiver: Start, tmp_path: Path) -> None:
    """However the file is changed: replaced, written in place, or linked to another folder."""
    running = receiver(settings=config("one", "two"))
    file = tmp_path / "loader.toml"
    assert (status_of(running, "one"), status_of(running, "two")) == (200, 200)
    replace(file, config("two", "six"))
    becomes(running, "one", 401)
    assert (status_of(running, "two"), status_of(running, "six")) == (200, 200)

    status = file.stat()
    file.write_text(config("ten", "six"))  # as through a bind mount; of the same size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    becomes(running, "two", 401)
    assert status_of(running, "ten") == 200

    # As Kubernetes does it.
    for name, text in (("..1", config("ten", "six")), ("..2", config("one", "six"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "loader.toml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    file.unlink()
    file.symlink_to("..data/loader.toml")
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    becomes(running, "ten", 401)
    assert (status_of(running, "one"), status_of(running, "six")) == (200, 200)


def test_a_source_that_is_added_is_received(receiver: Start, tmp_path: Path) -> None:
    running = receiver(settings=config("one"))
    other = config("two").replace('"Customer.io"', '"Other"').partition("[[")[2]
    replace(tmp_path / "loader.toml", config("one") + "[[" + other)
    becomes(running, "two", 200)
    assert len(list((tmp_path / "spool" / "other").iterdir())) == 2  # with its lock


def test_a_file_that_cannot_be_read_changes_nothing(receiver: Start, tmp_path: Path) -> None:
    """And it is said, once; the right file counts again."""
    running = receiver(settings=config("one"))
    cut = config("one").partition("write_keys")[0]
    for wrong in ("[[source]", 'colour = "red"', "", cut, cut.partition("[[")[0], None):
        before = running.log().count("the old keys stay in use")
        if wrong is None:
            (tmp_path / "loader.toml").unlink()
        else:
            replace(tmp_path / "loader.toml", wrong)
        while running.log().count("the old keys stay in use") == before:
            time.sleep(0.05)
        assert status_of(running, "one") == 200
        assert running.hook(HOOK).status == 200
    assert running.log().count("the old keys stay in use") == 6
    replace(tmp_path / "loader.toml", config("two"))
    becomes(running, "one", 401)
    assert status_of(running, "two") == 200


def test_a_signing_key_in_a_file_may_change(receiver: Start, tmp_path: Path) -> None:
    secret = tmp_path / "signing-key"
    secret.write_text(SIGNING_KEY + "\n")
    running = receiver(settings=config(signing=f"file:{secret}"))
    assert running.hook(HOOK).status == 200
    replace(secret, "another\n")
    while running.hook(HOOK).status == 200:
        time.sleep(0.1)
    headers = signed(HOOK, "another")
    assert running.send("POST", "/v1/webhook/customerio", HOOK, **headers).status == 200


def test_the_last_key_is_revoked_by_an_empty_list(receiver: Start, tmp_path: Path) -> None:
    running = receiver(settings=config("one"))
    empty = config("one").partition("write_keys")[0] + "write_keys = []\n"
    replace(tmp_path / "loader.toml", empty)
    becomes(running, "one", 401)
    assert running.hook(HOOK).status == 401


def test_a_missing_signing_key_keeps_no_write_key_in_use(receiver: Start, tmp_path: Path) -> None:
    """The old signing key stays, and the write keys change."""
    running = receiver(settings=config("one"))
    replace(tmp_path / "loader.toml", config("two", signing="env:NOT_SET"))
    becomes(running, "one", 401)
    assert status_of(running, "two") == 200
    assert running.hook(HOOK).status == 200
    assert "the old keys stay in use: those that sign webhooks of the source" in running.log()
    assert "the environment variable NOT_SET is not set" in running.log()


def test_a_file_that_is_half_written_revokes_nothing(receiver: Start, tmp_path: Path) -> None:
    """Though what is there of it is right: it counts when it stays as it is."""
    running = receiver(settings=config("one"))
    file = tmp_path / "loader.toml"
    half = config("six")
    whole = half + "[[" + config("one").replace('"Customer.io"', '"Other"').partition("[[")[2]
    for number in range(25):  # never the same for two looks, and each of them without the key
        file.write_text(half + f"# {number}\n")
        assert status_of(running, "one") == 200
        time.sleep(0.2)
    file.write_text(whole)
    becomes(running, "six", 200)
    assert status_of(running, "one") == 200


def test_a_user_without_a_home_receives(receiver: Start, tmp_path: Path) -> None:
    """No folder of the embedded server is needed, at the start and later."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pwd\nos.environ.pop('HOME', None)\npwd.getpwuid = {}.__getitem__\n"
    )
    env = {"PYTHONPATH": str(tmp_path), "XDG_DATA_HOME": "", "LOADER_WAREHOUSE_URL": ""}
    running = receiver(settings=config("one"), env=env)
    replace(tmp_path / "loader.toml", config("two"))
    becomes(running, "one", 401)
    assert status_of(running, "two") == 200
