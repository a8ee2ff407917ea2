"""Files, folders, globs and stdin: which files a path names, and their bytes."""

import glob
import io
import os
import re
import stat
import sys
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import msgspec

from loader import native
from loader.errors import InputUnreadable
from loader.sources.opening import OpenInput, Stored, unreadable
from loader.sources.page import PAGE_FILES, InputFile
from loader.sources.selection import Selection, base_of

STDIN = "-"


def spell(path: str) -> str:
    r"""A file name as text that PostgreSQL can hold; no two names have the same.

    Bytes that are not UTF-8 become `\xNN`, and so does a backslash that would read like one.
    """
    if _is_plain(path):
        return path
    name = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", os.fsencode(path))
    return name.decode("utf-8", "backslashreplace")


def _is_plain(text: str) -> bool:
    return text.isascii() and "\\" not in text


# folders and globs


def find_matches(path: str) -> list[str]:
    """What a path names: itself, or what a glob matches, sorted.

    Raises InputUnreadable where that is nothing.
    """
    if path == STDIN or os.path.lexists(path):
        return [path]
    matches = sorted(_glob(path))
    if not matches:
        raise InputUnreadable(f"no file matches {path!r}: check the path and its spelling")
    return matches


def _glob(pattern: str) -> list[str]:
    """What a pattern matches.

    The module `glob` follows links in place of `**` as long as the system lets it: two of them to
    their own folder take it years.
    """
    head, *tails = re.split(r"(?:^|(?<=/))\*\*(?:/+|$)", pattern)
    if not tails:
        return glob.glob(pattern)
    matches = glob.glob(head) if head else [""]
    for tail in [*tails[:-1], tails[-1] or "*"]:
        seen: set[_FolderId] = set()
        tops, matches = matches, []
        for top in filter(os.path.isdir, (top or os.curdir for top in tops)):
            for folder, *_ in _walk(top, seen, follow_links=True):
                if isinstance(folder, InputUnreadable):
                    raise folder
                matches += glob.glob(os.path.join(glob.escape(folder), tail))
    return matches


_FolderId = tuple[int, int]  # device and inode


class Listing:
    """The files that paths name, in order, each once; links and spellings of one are one file.

    Pipes, sockets and devices could hold up a load for ever: one in a folder, or matched by a
    glob, is `skipped`; one that is named itself is read like stdin.
    """

    def __init__(self, selection: Selection, named: Iterable[str]) -> None:
        self._selection = selection
        self._named = {_describe(path, is_named=True).uri for path in named}  # will be read
        # Folders that were listed, with their paths below the inputs, as the selection sees them.
        self._folders: dict[_FolderId, list[str]] = {}
        # What was listed otherwise than with its folder; millions may have been listed with it.
        self._files: set[str] = set()
        self.excluded = 0  # files that the selection leaves out
        self.failures: list[InputUnreadable] = []  # folders that cannot be listed

    def files(self, path: str, matches: Iterable[str]) -> Iterator[InputFile]:
        """The files of a path that matches these; a folder means every file below it."""
        for match in matches:
            base = path if match == path else base_of(path) or os.curdir
            if match != STDIN and os.path.isdir(match):
                yield from self._below(match, base)
            elif match == path or self._selection.takes(os.path.relpath(match, base)):
                yield from self._once(_describe(match, is_named=match == path))
            elif not self._belows(match):  # else it was counted with its folder
                self.excluded += 1

    def _below(self, top: str, base: str) -> Iterator[InputFile]:
        real_top = os.path.realpath(top)
        for folder, names, folder_id in _walk(top):
            if isinstance(folder, InputUnreadable):
                self.failures.append(folder)
                continue
            below = os.path.join(os.path.relpath(folder, base), "").removeprefix("./")
            before = self._folders.get(folder_id, [])
            self._folders[folder_id] = [*before, below]
            if before:
                names = [name for name in names if not self._takes(before, name)]
            wanted = self._selection.take(below, names)
            self.excluded += len(names) - len(wanted)
            # No link was followed on the way down.
            real = os.path.join(real_top, folder[len(top) :].lstrip("/"), "")
            for name, file in _as_they_stand(real, wanted):
                if file is None:
                    path = os.path.join(folder, name)
                    yield from self._once(_describe(path, is_named=False))
                elif file.uri not in self._files:
                    yield file

    def _takes(self, folders: Iterable[str], name: str) -> bool:
        return any(self._selection.takes(folder + name) for folder in folders)

    def _once(self, file: InputFile) -> Iterator[InputFile]:
        """A file that was found otherwise than with its folder, unless it was listed already."""
        if file.uri in self._files or (not file.is_stream and self._is_listed(file.path)):
            return
        if file.skipped and file.uri in self._named:
            return
        if not file.skipped:
            self._files.add(file.uri)
        yield file

    def _is_listed(self, path: str) -> bool:
        return os.path.isfile(path) and self._takes(self._belows(path), os.path.basename(path))

    def _belows(self, path: str) -> list[str]:
        """The paths below inputs with which the folder of a file was listed, and the file, too."""
        folder, name = os.path.split(path)
        try:
            status = os.stat(folder or os.curdir)
        except OSError:
            return []
        is_hidden = name.startswith(".")
        return [] if is_hidden else self._folders.get((status.st_dev, status.st_ino), [])


def _walk(
    top: str, seen: set[_FolderId] | None = None, *, follow_links: bool = False
) -> Iterator[tuple[str | InputUnreadable, list[str], _FolderId]]:
    """The folders from `top` on down that were not `seen`, each once, with what else is in them.

    In place of one that cannot be listed it is said why.
    """
    waiting, seen = [top], set() if seen is None else seen
    while waiting:
        folder = waiting.pop()
        folders: list[str] = []
        names: list[str] = []  # there may be a million, and an entry with its status is large
        try:
            status = os.stat(folder)
            folder_id = (status.st_dev, status.st_ino)
            if folder_id in seen:
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if not _is_folder(entry):
                        names.append(name)
                    elif follow_links or not entry.is_symlink():
                        folders.append(entry.path)
        except OSError as error:
            words = f"cannot list the folder {folder!r}: {error.strerror}"
            yield InputUnreadable(f"{words}; give the job's user read access to it"), [], (0, 0)
            continue
        seen.add(folder_id)
        names.sort()
        yield folder, names, folder_id
        waiting += sorted(folders, reverse=True)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads only to itself
        return False


# files


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_stream(path: str) -> bool:
    """Whether a path names something that can be read only once: stdin, a pipe, a device."""
    try:
        mode = 0 if path == STDIN else os.stat(path).st_mode
    except (OSError, ValueError):  # a pattern, an address, or nothing
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _describe(path: str, *, is_named: bool) -> InputFile:
    if path == STDIN:
        return InputFile(uri=STDIN, size=None, modified=None, is_stream=True, is_named=True)
    real = os.path.realpath(path)
    if not os.path.exists(real):  # a pipe under /dev/fd has no other name; or it is gone
        real = os.path.abspath(path)
    file = InputFile(uri=spell(real), path=real, size=None, modified=None, is_named=is_named)
    try:
        status = os.stat(real)
    except OSError:  # said again, as the error of this one input, when it is opened
        return file
    if stat.S_ISREG(status.st_mode):
        return _as_it_is(file, status)
    if is_named:
        return msgspec.structs.replace(file, is_stream=True)
    skipped = f"skipped {file.uri!r}: it is {_kind(status)}, which is read only where it is named"
    return msgspec.structs.replace(file, skipped=skipped)


def _as_they_stand(folder: str, names: list[str]) -> Iterator[tuple[str, InputFile | None]]:
    """The regular files of a folder; None for anything else, and for a link."""
    if not names:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it is gone, or may be listed and not entered
        yield from ((name, None) for name in names)
        return
    try:
        for at in range(0, len(names), PAGE_FILES):
            some = names[at : at + PAGE_FILES]
            joined = "\0".join(some)
            is_plain = _is_plain(folder + joined)
            sizes, modified = array("q", bytes(8 * len(some))), array("q", bytes(8 * len(some)))
            # In one call for many, which lets other threads work meanwhile.
            native.read_status(
                descriptor,
                os.fsencode(joined),
                len(some),
                sizes.buffer_info()[0],
                modified.buffer_info()[0],
            )
            for name, size, microseconds in zip(some, sizes, modified, strict=True):
                if size < 0:
                    yield name, None
                    continue
                path = folder + name
                uri = path if is_plain else spell(path)
                yield name, InputFile(uri=uri, path=path, size=size, modified=microseconds)
    finally:
        os.close(descriptor)


def _as_it_is(file: InputFile, status: os.stat_result) -> InputFile:
    microseconds = status.st_mtime_ns // 1000
    return msgspec.structs.replace(file, size=status.st_size, modified=microseconds)


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "no file")


# bytes


@contextmanager
def open_file(file: InputFile) -> Iterator[OpenInput]:
    """The decompressed bytes of a file, in blocks.

    Raises InputUnreadable at the block where the file cannot be opened or read on, and behind the
    last one where it was cut or written over meanwhile. What is written behind its end meanwhile
    may be among the blocks.
    """
    try:
        if file.is_stream:
            raw = _open_stream(file)
        else:
            raw = _open_regular(file.path)
            file = _as_it_is(file, os.fstat(raw.fileno()))
    except OSError as error:
        raise unreadable(file.uri, error) from error
    stored = Stored(raw)
    try:
        yield OpenInput(file, _blocks(file, stored, raw), lambda: stored.taken)
    finally:
        if not file.is_stream or (not stored.reading and file.uri != STDIN):
            raw.close()
        else:
            # Closing a pipe would wait for a reader that waits for the pipe's writer.
            stored.abandoned = file.uri != STDIN


def _open_stream(file: InputFile) -> io.BufferedReader:
    if file.uri == STDIN:
        return cast(io.BufferedReader, sys.stdin.buffer)
    return open(file.path, "rb")


def _open_regular(path: str) -> io.BufferedReader:
    # A pipe may have taken the name since it was listed, and opening that would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(f"it has become {_kind(status)}")
    return open(descriptor, "rb")


def _blocks(file: InputFile, stored: Stored, raw: io.BufferedReader) -> Iterator[bytes]:
    stored.reading = True
    try:
        yield from stored.blocks(file.uri)
        if not file.is_stream:
            _check_unchanged(file, os.fstat(raw.fileno()), stored.taken)
    finally:
        stored.reading = False
        if stored.abandoned:
            raw.close()


def _check_unchanged(file: InputFile, status: os.stat_result, taken: int) -> None:
    """Raise InputUnreadable if a file is not what it was when it was opened.

    Some more behind its end is no harm: by its size and time it is another file for the next load.
    """
    after = _as_it_is(file, status)
    assert file.size is not None
    if min(status.st_size, taken) < file.size:
        what = f"it had {file.size} bytes and then {min(status.st_size, taken)}"
    elif status.st_size == file.size and after.modified != file.modified:
        what = "it was written to"
    else:
        return
    raise InputUnreadable(
        f"{file.uri!r} has changed while it was read: {what}; the next load reads it from its start"
    )
