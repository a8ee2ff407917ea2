"""The short way and the long one, and how to compare what they make of some lines."""

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from warehouse.test_generated import (
    Raw,
    text_of,
)

from loader.chunk import Work, parse_chunk, process_chunk
from loader.normalize.batch import span
from loader.normalize.collections import declared_tables
from loader.normalize.names import context_column, property_column
from loader.plain import NotPlain, Plain
from loader.sources.records import WholeLines, read_chunks, read_lines
from loader.warehouse.binary import BINARY, EPOCH
from loader.warehouse.encode import DECLARED_SHARED
from loader.warehouse.forms import TEXT, Form, unescape

TABLES = declared_tables()
TABLES["cart_seen"] = DECLARED_SHARED | {
    "a": "bigint",
    "b": "text",
    "a_b": "numeric",
    "list": "jsonb",
    "user": "boolean",
    "a_at": "timestamptz",
    "other": "other",
}
TABLES["tracks"] |= {"context_a": "text", "context_b": "bigint"}
TABLES["email_opened"] |= {"context_a": "text"}
LIMIT = 1 << 20
OPTIONS: dict[str, Any] = {
    "load_started_at": "2026-01-01T00:00:00.000Z",
    "only": None,
    "taken": frozenset({"taken"}),
}


def short_way(lines: Sequence[bytes], there: Set[str] = frozenset()) -> list[Work]:
    """The works of all lines, or NotPlain."""
    way = Plain(tables=TABLES, layouts={}, max_record_bytes=LIMIT, **OPTIONS)
    works: list[Work] = []
    for block in read_lines([b"".join(line + b"\n" for line in lines)], max_record_bytes=LIMIT):
        if not isinstance(block, WholeLines):
            raise NotPlain
        assert block.lines == block.data.count(b"\n") + 1
        got = way.process(block, way.read(block), there)
        if got is None:
            raise NotPlain
        works += got
    return works


def block(line: bytes) -> WholeLines:
    return WholeLines(line, 1, 1, [], np.array([len(line)]))


def long_way(lines: Sequence[bytes], there: Set[str] = frozenset()) -> list[Work]:
    data = b"".join(line + b"\n" for line in lines)
    return [
        work
        for chunk in read_chunks([data], max_record_bytes=LIMIT)
        for work in process_chunk(
            parse_chunk(chunk), tables=TABLES, layouts={}, there=there, **OPTIONS
        )
    ]


def rows(works: Sequence[Work]) -> Counter[str]:
    """Each row with all that belongs to it, as text."""
    return Counter(row for work in works for row in _rows(work))


def _rows(work: Work) -> Iterator[str]:
    for one in work.segments:
        lines = one.lines if one.form is TEXT else one.lines.every()
        for place, line in zip(one.members, lines, strict=True):
            sent = dict(zip(one.columns, fields_of(one.form, line), strict=True))
            types = TABLES.get(one.table, DECLARED_SHARED)
            settled = {
                name: MEANING[one.form, types[name]](field)
                for name, field in sent.items()
                if field is not None
            }
            late = {
                name: by_place[place]
                for name, by_place in (*one.new.items(), *one.new_shared.items())
                if place in by_place
            }
            # Of two spellings for one column, either may name it.
            keys = {name: name in _columns(one.keys[name]) for name in late}
            extra = one.extra.get(place, {})
            yield repr([one.table, *map(sorted, (settled.items(), late.items(), keys.items()))])
            yield repr((settled["id"], sorted(extra.items())))


def _columns(key: str) -> tuple[str, str, str]:
    """The columns that a key may be meant for; a context key may be a column's name already."""
    return key, property_column(key), context_column(key)


def fields_of(form: Form, line: bytes) -> list[bytes | None]:
    """The fields of a line, None for null."""
    if form is TEXT:
        return [None if field == b"\\N" else field for field in line.split(b"\t")]
    found: list[bytes | None] = []
    count, line = int.from_bytes(line[:2], "big"), line[2:]
    while line:
        size = int.from_bytes(line[:4], "big", signed=True)
        assert size >= -1
        assert len(line) >= 4 + size
        found.append(None if size < 0 else line[4 : 4 + size])
        line = line[4 + max(size, 0) :]
    assert len(found) == count
    return found


def _number(field: bytes) -> Decimal:
    """A binary numeric as the manual has it: groups of four digits."""
    count, weight, sign, places = struct.unpack_from(">HhHH", field)
    groups = struct.unpack_from(f">{count}h", field, 8)
    assert len(field) == 8 + 2 * count
    with localcontext(prec=10_000):
        value = sum((Decimal(g).scaleb(4 * (weight - n)) for n, g in enumerate(groups)), Decimal(0))
        value = value.quantize(Decimal(1).scaleb(-places))
    return -value if sign == 0x4000 else value


def _written(field: bytes) -> Decimal:
    value = Decimal(field.decode())
    value = value if value else abs(value)  # PostgreSQL has no negative zero
    with localcontext(prec=10_000):
        return value if value.as_tuple().exponent <= 0 else value.quantize(Decimal(1))  # type: ignore[operator]


# What a field means: there are several ways to write the same value.
MEANING: dict[tuple[Form, str], Callable[[bytes], Any]] = {
    (TEXT, "text"): lambda field: unescape(field.decode()),
    (TEXT, "bigint"): int,
    (TEXT, "numeric"): _written,
    (TEXT, "boolean"): lambda field: field == b"true",
    (TEXT, "jsonb"): lambda field: unescape(field.decode()),
    (TEXT, "timestamptz"): lambda field: datetime.fromisoformat(field.decode()),
    (BINARY, "text"): bytes.decode,
    (BINARY, "bigint"): lambda field: struct.unpack(">q", field)[0],
    (BINARY, "numeric"): _number,
    (BINARY, "boolean"): lambda field: {b"\0": False, b"\1": True}[field],
    (BINARY, "jsonb"): lambda field: field.decode().removeprefix("\1"),
    (BINARY, "timestamptz"): lambda field: (
        EPOCH + timedelta(microseconds=struct.unpack(">q", field)[0])
    ),
}


def rest(works: Sequence[Work]) -> Any:
    """All that is not a row."""
    spans = [span(found) for name in ("timestamp", "received_at") if (found := _times(works, name))]
    times = [[datetime.fromisoformat(text) for text in both] for both in spans]
    return (
        sum(work.records for work in works),
        sorted(key for work in works for key in work.ids),
        sorted((at, reject.reason, raw) for work in works for at, reject, raw in work.rejects),
        sum(work.known for work in works),
        sum(work.replaced_characters for work in works),
        times,
    )


def _times(works: Sequence[Work], name: str) -> list[str]:
    found = [work.spans[name](set()) for work in works if name in work.spans]
    return [text for both in found if both for text in both]


def check(lines: Sequence[bytes]) -> None:
    short, long = short_way(lines), long_way(lines)
    assert rows(short) == rows(long)
    assert rest(short) == rest(long)


def call(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A plain track call."""
    time = f"2026-03-04T05:06:{number % 60:02}.007Z"
    return {
        "type": "track",
        "event": "Email Opened",
        "messageId": f"m{number}",
        "userId": f"u{number}",
        "timestamp": time,
        "receivedAt": time,
        "sentAt": time,
        "originalTimestamp": time,
        "context": {"traits": {"email": "a@example.com"}, "ip": "192.0.2.1"},
        "properties": {"campaign_id": number, "subject": f"S{number}", "proxied": True},
    } | changes


def lines(*found: Any) -> list[bytes]:
    return [text_of(one) for one in found]


def hook(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A plain webhook; a value of ... takes its key away."""
    data = {
        "identifiers": {"id": f"u{number}", "email": "a@example.com", "cio_id": f"c{number}"},
        "customer_id": f"u{number}",
        "delivery_id": f"d{number}",
        "recipient": "a@example.com",
        "campaign_id": number,
        "subject": f"S{number}",
    } | changes.pop("data", {})
    record = {
        "event_id": f"h{number}",
        "object_type": "email",
        "metric": "opened",
        "timestamp": 1_789_460_612 + number,
        "data": {key: value for key, value in data.items() if value is not ...},
    } | changes
    return {key: value for key, value in record.items() if value is not ...}


ANY_VALUES = ["", " ", "x", 7, 0, -1, Raw("1.5"), True, None, [], ["a"], {}, {"a": 1}, 2**63]
