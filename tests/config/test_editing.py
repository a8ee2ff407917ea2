"""The settings file is changed block by block: everything else in it stays as it was."""

import os
import stat
import sys
import tomllib
from pathlib import Path
from subprocess import run

import pytest

from loader.config import editing, keys
from loader.errors import UsageError

OLD, OTHER, NEW = ("sha256:" + one * 64 for one in "abc")
FILE = f"""\
# The settings of the team.
max_columns = 300  # few

# The workspace in the US
[[source]]
name = "US"  # the first one
inputs = ['/data/us']
write_keys = [
    "{OLD}",  # of March
    "{OTHER}",
]
[source.labels]
team = "crm"

[storage."s3://bucket"]
region = "eu-west-1" # Ireland

# The workspace in the EU.
# It has no key.
[[source]]
name = "EU"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loader.toml"
    path.write_text(FILE)
    return path


def sources(file: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = tomllib.loads(file.read_text())["source"]
    return found


def test_a_block_is_appended(file: Path) -> None:
    block = editing.source_block('A "new" \\ one', "", {"team": "crm", "a b": 'c"'}, NEW)
    editing.add_source(file, block)
    assert file.read_text() == FILE + "\n" + block
    assert sources(file)[2] == {
        "name": 'A "new" \\ one',
        "labels": {"team": "crm", "a b": 'c"'},
        "write_keys": [NEW],
    }


@pytest.mark.parametrize("old", ["", "max_columns = 300", "max_columns = 300\r\n"])
def test_a_block_is_appended_behind_any_end(tmp_path: Path, old: str) -> None:
    file = tmp_path / "loader.toml"
    file.write_bytes(old.encode())
    editing.add_source(file, editing.source_block("EU", "eu_2", {}, NEW))
    assert sources(file) == [{"name": "EU", "schema": "eu_2", "write_keys": [NEW]}]
    assert file.read_bytes().startswith(old.encode())


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    editing.add_source(tmp_path / "loader.toml", editing.source_block("EU", "", {}, NEW))
    assert [one["name"] for one in sources(tmp_path / "loader.toml")] == ["EU"]


@pytest.mark.parametrize(
    ("name", "schema", "words"),
    [
        ("EU", "", "there already"),
        ("E-U", "eu", "would share the schema 'eu'"),
        ("!", "", "empty schema name"),
        ("x", "pg_x", "for itself"),
    ],
)
def test_a_source_that_cannot_be_added_changes_nothing(
    file: Path, name: str, schema: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        editing.add_source(file, editing.source_block(name, schema, {}, NEW))
    assert file.read_text() == FILE


def test_a_list_in_one_line_is_not_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "loader.toml"
    file.write_text('source = [{ name = "US" }]\n')
    with pytest.raises(UsageError, match="write its sources as"):
        editing.add_source(file, editing.source_block("EU", "", {}, NEW))
    with pytest.raises(UsageError, match="change it by hand"):
        editing.change_keys(file, "US", lambda old: [*old, NEW])
    assert file.read_text() == 'source = [{ name = "US" }]\n'


def test_a_key_is_added_and_comments_stay(file: Path) -> None:
    editing.change_keys(file, "US", lambda old: [*old, NEW])
    assert file.read_text() == FILE.replace(f'"{OTHER}",\n', f'"{OTHER}",\n    "{NEW}",\n')


def test_a_key_is_revoked_and_comments_stay(file: Path) -> None:
    editing.change_keys(file, "US", lambda old: [one for one in old if one != OTHER])
    assert file.read_text() == FILE.replace(f'    "{OTHER}",\n', "")


def test_a_source_without_keys_gets_one(file: Path) -> None:
    editing.change_keys(file, "EU", lambda old: [*old, NEW])
    assert file.read_text() == FILE + f'write_keys = ["{NEW}"]\n'


def test_every_key_may_be_revoked(file: Path) -> None:
    editing.change_keys(file, "US", lambda old: [])
    assert sources(file)[0]["write_keys"] == []
    assert "# The workspace in the EU.\n# It has no key.\n[[source]]" in file.read_text()


def test_a_block_is_removed_with_the_comment_above_it(file: Path) -> None:
    removed = editing.remove_source(file, "US")
    assert removed.startswith("# The workspace in the US\n[[source]]")
    assert removed.endswith('team = "crm"')
    begin, end = FILE.index("# The workspace in the US"), FILE.index("[storage")
    assert file.read_text() == FILE[:begin] + FILE[end:]
    editing.remove_source(file, "EU")
    assert file.read_text().endswith('region = "eu-west-1" # Ireland\n\n')


@pytest.mark.parametrize("end", ["[[source]]\nname = 'B'\n", ""], ids=["block", "end"])
def test_a_comment_behind_a_blank_line_is_not_removed(tmp_path: Path, end: str) -> None:
    file = tmp_path / "loader.toml"
    before, block = "# Of all\n\n", "[[source]]\nname = 'A'\n# no keys\n\n"
    behind = "# These have to do\n\n# with what follows.\n\n" + end
    file.write_text(before + block + behind)
    assert editing.remove_source(file, "A") == block.strip()
    assert file.read_text() == before + behind


def test_a_source_that_is_named_elsewhere_is_not_removed(file: Path) -> None:
    text = (
        FILE + '[[destination]]\nname = "D"\nkind = "webhook"\nurl = "https://x"\nkey = "env:K"\n'
    )
    file.write_text(text + 'sources = ["EU"]\n')
    with pytest.raises(UsageError, match="`sources` of the destination 'D' has 'EU'"):
        editing.remove_source(file, "EU")
    editing.remove_source(file, "US")


def test_the_default_name_is_a_name(tmp_path: Path) -> None:
    file = tmp_path / "loader.toml"
    file.write_text('[[source]]\ninputs = ["x"]\n')
    editing.change_keys(file, "Customer.io", lambda old: [*old, NEW])
    assert sources(file) == [{"inputs": ["x"], "write_keys": [NEW]}]


@pytest.mark.parametrize(
    "text",
    [
        'reader_role = """\n[[source]]\nname = "EU"\n[x]\n"""\n[[source]]\nname = "EU"\n',
        '[[source]]\nname = "EU"\njson_columns = [\n["a"][0]\n]\n',
        '[[source]]\nname = "EU"\ninputs = [\n[\n"x"]\n]\n',
    ],
)
def test_what_looks_like_a_block_and_is_none_is_not_changed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "loader.toml"
    file.write_text(text)
    with pytest.raises(UsageError):
        editing.change_keys(file, "EU", lambda old: [*old, NEW])
    assert file.read_text() == text


def test_mode_and_symlink_stay(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "etc" / "loader.toml"
    link.parent.mkdir()
    link.symlink_to("../loader.toml")
    editing.change_keys(link, "EU", lambda old: [*old, NEW])
    assert link.is_symlink()
    assert NEW in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["etc", "loader.toml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(file: Path) -> None:
    os.chown(file, 1234, 2345)
    editing.change_keys(file, "EU", lambda old: [*old, NEW])
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


def test_a_file_that_is_mounted_is_left_to_its_owner(file: Path) -> None:
    """A container has a file as a mount of its own, which nothing can be renamed over."""
    inside = (
        f"mount --bind {file} {file} && cd {file.parent} && "
        f"exec {sys.executable} -c 'from pathlib import Path; from loader.config import editing; "
        f'editing.remove_source(Path("loader.toml"), "EU")\''
    )
    done = run(["unshare", "-rm", "sh", "-c", inside], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert "loader.toml cannot be written (Device or resource busy)" in done.stderr
    assert file.read_text() == FILE
    assert os.listdir(file.parent) == ["loader.toml"]


def test_keys_are_long_and_differ() -> None:
    made = {keys.make_key() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(len(one) == 32 and one.isascii() and one.isalnum() for one in made)


@pytest.mark.parametrize("wanted", ["aaaaaaaaaaaa", "a", OLD, "SHA256:AA"])
def test_a_key_is_found_by_its_fingerprint(wanted: str) -> None:
    assert keys.find_key([OLD, OTHER], wanted, "EU") == OLD


@pytest.mark.parametrize("wanted", ["", "sha256:", "d", "secret"])
def test_what_is_no_fingerprint_is_not_repeated(wanted: str) -> None:
    with pytest.raises(UsageError) as met:
        keys.find_key([OLD, OTHER], wanted, "EU")
    assert not wanted or f"{wanted!r}" not in str(met.value)
    assert "aaaaaaaaaaaa, bbbbbbbbbbbb" in str(met.value)


def test_two_keys_that_begin_alike_need_more() -> None:
    with pytest.raises(UsageError, match="2 of the keys"):
        keys.find_key([OLD, OLD[:-1] + "c"], "aaaa", "EU")
