"""Files without events, as the usual tools write them; most have lines of JSON all the same."""

import csv
import io
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

CALL = b'{"type":"track","event":"Email Opened","messageId":"m"}\n'
CALLS = CALL * 20


def zipped(compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("events.ndjson", CALLS)
    return file.getvalue()


def empty_zip() -> bytes:
    file = io.BytesIO()
    zipfile.ZipFile(file, "w").close()
    return file.getvalue()


def tarred(form: int, name: str = "events.ndjson") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(CALLS)
        archive.addfile(member, io.BytesIO(CALLS))
    return file.getvalue()


def old_tar() -> bytes:
    """As before 1988: a header that ends with the checksum and a link's name."""
    header = bytearray(tarred(tarfile.USTAR_FORMAT))
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


def database(path: Path) -> bytes:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (event text)")
        connection.executemany("INSERT INTO events VALUES (?)", [(CALL.decode(),)] * 50)
    connection.close()
    return path.read_bytes()


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    note = b"events\0" + b"\n" + CALLS  # a text of its own, with lines of JSON
    chunks = [(b"IHDR", size), (b"tEXt", note), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def table(rows: list[list[object]], delimiter: str = ",") -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    return file.getvalue().encode()
