"""Lines of a spool file -> the calls that a destination takes.

Calls pass as they are, but for stamps of transport. What is no call (a reporting webhook, say)
becomes the track call that the loader makes of it, by the loader's own forms.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from loader.columns.times import time_text
from loader.columns.tokens import Text
from loader.config import Destination
from loader.forms.events import Events, Read
from loader.forms.read import Reader
from loader.forms.times import when_it_happened
from loader.forward.kinds import KINDS
from loader.normalize.event import JSON, Object
from loader.normalize.jsontext import encode_json
from loader.normalize.names import table_name

_TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})
# So much of a file is read, sent and kept as done together. With what is around the calls, this
# is one request within Segment's 500 KB, mostly.
_MOST_BYTES, _MOST_LINES = 450_000, 1_000

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode
_Fields = dict[str, msgspec.Raw]


class Line(NamedTuple):
    """A line of a spool file."""

    at: int  # where it begins
    text: bytes


class Call(NamedTuple):
    """What is sent for a line, or for one of the calls in it."""

    line: Line
    number: int  # among the calls of the line
    id: str
    body: bytes


class Refused(NamedTuple):
    """A call, or a line, that cannot be delivered."""

    line: Line
    number: int
    id: str | None
    reason: str  # never a value of the payload


def read_lines(file: BinaryIO, at: int) -> list[Line]:
    """The next lines from `at` on that are sent together; none at the end of the file."""
    lines: list[Line] = []
    size = 0
    file.seek(at)
    for text in file:
        size += len(text)
        if lines and size > _MOST_BYTES:
            break
        lines.append(Line(at, text))
        at += len(text)
        if len(lines) == _MOST_LINES:
            break
    return lines


class CallReader:
    """Reads lines as one destination takes them."""

    def __init__(self, destination: Destination, *, max_record_bytes: int) -> None:
        self._name = destination.name
        self._events = (
            None if destination.events is None else frozenset(map(table_name, destination.events))
        )
        self._left_out = KINDS[destination.kind].left_out
        self._reader = Reader(max_record_bytes=max_record_bytes)

    def read(self, lines: Sequence[Line]) -> tuple[list[Call], list[Refused]]:
        """The calls of some lines, in order, and the lines that are none."""
        fields = [_fields(line.text) for line in lines]
        others = [line for line, found in zip(lines, fields, strict=True) if found is None]
        made, refused = self._convert(others)
        moments = iter(self._moments([one for one in fields if one and _is_null(one, "timestamp")]))
        calls: list[Call] = []
        for line, found in zip(lines, fields, strict=True):
            if found is None:
                calls += made.get(line.at, ())
                continue
            if _is_null(found, "timestamp") and (moment := next(moments)):
                found["timestamp"] = msgspec.Raw(_encode(moment))
            if self._is_wanted(found):
                calls.append(Call(line, 0, str(_value(found, "messageId")), self._body(found)))
        return calls, refused

    def _is_wanted(self, call: _Fields) -> bool:
        """Whether the settings and the sender let a call go to the destination."""
        if self._events is not None:
            name = _value(call, "event") if _value(call, "type") == "track" else None
            if not isinstance(name, str) or table_name(name) not in self._events:
                return False
        said = _value(call, "integrations")
        return not isinstance(said, dict) or said.get(self._name, said.get("All")) is not False

    def _body(self, call: _Fields) -> bytes:
        return _encode({key: one for key, one in call.items() if key not in self._left_out})

    def _convert(self, lines: Sequence[Line]) -> tuple[dict[int, list[Call]], list[Refused]]:
        """The calls that the loader makes of lines, by where these begin; and its rejects."""
        made: dict[int, list[Call]] = {}
        refused = []
        for read in self._read([line.text for line in lines]):
            for one in read.refused:
                line = lines[read.first + one.record]
                refused.append(Refused(line, 0, None, f"{one.reject.reason}: {one.reject.detail}"))
            for number, call in _calls_of(read):
                line = lines[number]
                calls = made.setdefault(line.at, [])
                fields = _decode(encode_json(call))
                if self._is_wanted(fields):
                    calls.append(Call(line, len(calls), str(call["messageId"]), self._body(fields)))
        return made, refused

    def _moments(self, calls: Sequence[_Fields]) -> list[str | None]:
        """When calls happened that do not say it, by the loader's rule; None: nothing tells."""
        named = ("originalTimestamp", "sentAt", "receivedAt")
        stubs = [
            {"type": msgspec.Raw(b'"track"'), "event": msgspec.Raw(b'"x"')}
            | {name: call[name] for name in named if name in call}
            for call in calls
        ]
        found: list[str | None] = []
        for read in self._read(list(map(_encode, stubs))):
            unknown = np.iinfo(np.int64).min
            moments = when_it_happened(read.events.times, unknown).tolist()
            found += [None if one == unknown else time_text(one) for one in moments]
        return found

    def _read(self, texts: list[bytes]) -> list[Read]:
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        starts = np.append(0, ends)[:-1]
        return self._reader.read(Text(texts), starts, ends) if texts else []


def _fields(text: bytes) -> _Fields | None:
    """The fields of a call with an id, as they stand there; None for everything else."""
    try:
        found = _decode(text)
        type_, id_ = _value(found, "type"), _value(found, "messageId")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    is_call = isinstance(type_, str) and type_ in _TYPES and isinstance(id_, str) and bool(id_)
    return found if is_call else None


def _value(call: _Fields, key: str) -> object:
    return msgspec.json.decode(call[key]) if key in call else None


def _is_null(call: _Fields, key: str) -> bool:
    return key not in call or bytes(call[key]) == b"null"


def _calls_of(read: Read) -> Iterator[tuple[int, Object]]:
    """The track call of each event, with the number of its line."""
    events = read.events
    values = np.argsort(events.values.event, kind="stable")
    bounds = np.searchsorted(events.values.event[values], np.arange(len(events) + 1))
    for at in range(len(events)):
        call: Object = {"type": "track", "event": events.names[events.name[at]].text}
        call["messageId"] = events.ids[at]
        for column, key in (("user_id", "userId"), ("anonymous_id", "anonymousId")):
            if token := events.texts[column][at]:
                call[key] = events.tokens.texts(np.array([token]))[0]
        call |= _times_of(events, at)
        context: Object = {}
        properties: Object = {}
        for n in values[bounds[at] : bounds[at + 1]].tolist():
            column_number = int(events.values.column[n])
            is_context = events.columns.is_context[column_number]
            key = events.columns.first_key(column_number)
            value = events.tokens.value(int(events.values.token[n]))
            _put(context if is_context else properties, key, value)
        for n in np.flatnonzero(events.extra.event == at).tolist():
            extra = events.extra_names[events.extra.name[n]]
            value = events.tokens.value(int(events.extra.token[n]))
            (properties if events.extra.is_own[n] else call).setdefault(extra, value)
        call |= {"context": context, "properties": properties}
        yield read.first + events.records.number(int(events.record[at])), call


def _times_of(events: Events, at: int) -> Object:
    """The times of an event; that of its arrival stands for one that it has not."""
    found: Object = {}
    names = ("receivedAt", "sentAt", "originalTimestamp", "timestamp")
    for (_, times), key in zip(events.times.items(), names, strict=True):
        if times.is_given[at]:
            found[key] = time_text(times.microseconds[at])
    if "timestamp" not in found and "receivedAt" in found:
        found["timestamp"] = found["receivedAt"]
    return found


def _put(group: Object, path: str, value: JSON) -> None:
    """Put a value at a path of keys, which stays one key where something else stands above."""
    *above, key = path.split(".")
    inner = group
    for name in above:
        below = inner.setdefault(name, {})
        if not isinstance(below, dict):
            group[path] = value
            return
        inner = below
    inner[key] = value
