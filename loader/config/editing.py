"""`loader.toml` as a text that is changed: block by block, with its comments, and all at once.

Nothing is written that does not read, value for value, as the old file with that one change.
"""

import fcntl
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loader.config.layers import Given
from loader.config.settings import Settings
from loader.config.source import DEFAULT_SOURCE
from loader.config.words import explain
from loader.errors import LoaderError, UsageError

_HEADER = re.compile(r"\s*\[")
_SOURCE = re.compile(r"\s*\[\[\s*source\s*\]\]")
_OF_SOURCE = re.compile(r"\s*\[\[?\s*source\s*\.")  # a table within a source

Sources = list[dict[str, Any]]


class NotWritable(LoaderError):
    """The settings file cannot be replaced here."""


def source_block(name: str, schema: str, labels: Mapping[str, str], key: str) -> str:
    """The block of a new source; `schema` is empty where it is made from the name."""
    import tomlkit

    table = tomlkit.table()
    table["name"] = name
    if schema:
        table["schema"] = schema
    if labels:
        table["labels"] = tomlkit.inline_table()
        table["labels"].update(labels)
    table["write_keys"] = tomlkit.array().multiline(True)
    table["write_keys"].append(key)
    block = tomlkit.aot()
    block.append(table)
    return tomlkit.dumps({"source": block})


def add_source(file: Path, block: str) -> None:
    """Append the block of a source that must not be there yet."""
    (new,) = tomllib.loads(block)["source"]

    def change(text: str) -> str:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return text + gap + block

    _edit(file, change, lambda sources: [*sources, new])


def change_keys(file: Path, name: str, change: Callable[[list[str]], list[str]]) -> None:
    """Change the `write_keys` of a source."""

    def edit(text: str) -> str:
        begin, end = _span(text, name)
        return text[:begin] + _with_keys(text[begin:end], change) + text[end:]

    def expect(sources: Sources) -> Sources:
        return [
            one | {"write_keys": change(one.get("write_keys", []))} if _is(one, name) else one
            for one in sources
        ]

    _edit(file, edit, expect)


def remove_source(file: Path, name: str) -> str:
    """Take out the block of a source; returns it."""
    removed = ""

    def edit(text: str) -> str:
        nonlocal removed
        begin, end = _span(text, name)
        removed = text[begin:end]
        return text[:begin] + text[end:]

    _edit(file, edit, lambda sources: [one for one in sources if not _is(one, name)])
    return removed.strip("\n")


def _with_keys(block: str, change: Callable[[list[str]], list[str]]) -> str:
    """A block with other `write_keys`; those that stay keep their place and comments."""
    import tomlkit

    document = tomlkit.parse(block)
    (source,) = document["source"]
    if "write_keys" not in source:
        source["write_keys"] = []
    keys = source["write_keys"]
    wanted = change(list(keys))
    for gone in [key for key in keys if key not in wanted]:
        keys.remove(gone)
    for new in [key for key in wanted if key not in keys]:
        keys.append(new)
    return tomlkit.dumps(document)


def _span(text: str, name: str) -> tuple[int, int]:
    """Where the block of a source begins and ends in the text, with the comment above it."""
    lines = text.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    headers = [at for at, line in enumerate(lines) if _HEADER.match(line)]
    borders = [at for at in headers if not _OF_SOURCE.match(lines[at])] + [len(lines)]
    for at, following in pairwise(borders):
        begin, end = _comment_above(lines, at), _end_of_block(lines, following)
        block = text[offsets[begin] : offsets[end]]
        if _SOURCE.match(lines[at]) and any(_is(one, name) for one in _sources(block)):
            return offsets[begin], offsets[end]
    raise UsageError(
        f"the source {name!r} has no block [[source]] that could be changed: change it by hand"
    )


def _comment_above(lines: list[str], at: int) -> int:
    """The first line of the comment that stands directly above a line."""
    while 0 < at < len(lines) and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    return at


def _end_of_block(lines: list[str], following: int) -> int:
    """Where a block ends: a comment behind a blank line is about what follows."""
    end = following
    while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#"):
        end -= 1
    while end < following and lines[end].strip():
        end += 1
    while end < following and not lines[end].strip():
        end += 1
    return min(end, _comment_above(lines, following))


def _sources(text: str) -> Sources:
    try:
        found = tomllib.loads(text).get("source", [])
    except tomllib.TOMLDecodeError:
        return []
    return found if isinstance(found, list) else []


def _is(source: object, name: str) -> bool:
    return isinstance(source, dict) and source.get("name", DEFAULT_SOURCE) == name


def _edit(file: Path, change: Callable[[str], str], expect: Callable[[Sources], Sources]) -> None:
    """Replace the file by what `change` makes of its text, while nobody else does.

    `expect` says what its sources must then be.
    """
    target = Path(os.path.realpath(file))
    with _locked(target):
        old = _read(target)
        new = change(old)
        _check(file, old, new, expect)
        try:
            replace_file(target, new.encode())
        except OSError as error:
            raise NotWritable(f"{file} cannot be written ({error.strerror})") from None


def _check(file: Path, old: str, new: str, expect: Callable[[Sources], Sources]) -> None:
    """Refuse a text that is not the old one with that one change, or that no command would take."""
    by_hand = f"{file} cannot be changed by this command"
    try:
        before, after = tomllib.loads(old), tomllib.loads(new)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{by_hand}: {error}; write its sources as [[source]]") from None
    sources = expect(before.pop("source", []))
    if after.pop("source", []) != sources or before != after:
        raise UsageError(f"{by_hand}, because of how its blocks are written: change it by hand")
    names = [one.get("name", DEFAULT_SOURCE) for one in sources]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the source {name!r} is there already")
    try:
        # All that may name a source; and folders, because not every user has default ones.
        others = {name: value for name, value in after.items() if name in Settings.model_fields}
        folders = {"warehouse_dir": ".", "spool_dir": "."}
        Settings.model_validate(folders | others | {"source": sources})
    except ValidationError as error:
        given = {name: Given(value, str(file)) for name, value in after.items()}
        given["source"] = Given(sources, str(file))
        raise UsageError(explain(error, given)) from None


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the folder of the file: the file itself is another one after each change."""
    try:
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritable(f"{target.parent} cannot be opened ({error.strerror})") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _read(target: Path) -> str:
    try:
        return target.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{target} cannot be read: {error}") from None


def replace_file(target: Path, content: bytes) -> None:
    """Write a file beside the old one, with its mode and owner, and put it in its place."""
    new = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    old = target.stat() if target.exists() else None
    if old is not None and not os.access(target, os.W_OK):
        # It could be replaced all the same; who made it read-only did not mean that.
        raise PermissionError(0, "it is read-only")
    made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(made, "wb") as opened:
            if old is not None:
                os.fchown(made, old.st_uid, old.st_gid)
                os.fchmod(made, old.st_mode & 0o7777)
            opened.write(content)
            opened.flush()
            os.fsync(made)
        os.replace(new, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
