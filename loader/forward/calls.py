"""Lines of a spool file -> the calls that a destination takes.

Calls pass as they are, but for stamps of transport. What is no call (a reporting webhook, say)
becomes the track call that the loader makes of it, by the loader's own forms.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO, NamedTuple

import numpy as np

from loader.columns.tokens import Text
from loader.config import Destination
from loader.forms.calls import calls_of
from loader.forms.events import Read
from loader.forms.read import Reader
from loader.forward.kinds import KINDS
from loader.forward.objects import Fields, first_values, object_text
from loader.normalize.event import JSON
from loader.normalize.jsontext import encode_json, encode_text, read_value
from loader.normalize.names import table_name
from loader.normalize.times import parse_time

_TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})
# So much of a file is read, sent and kept as done together. With what is around the calls, this
# is one request within Segment's 500 KB, mostly.
_MOST_BYTES, _MOST_LINES = 450_000, 1_000
_THEIR_STAMP = "receivedAt#2"  # what a sender calls so, as the receiver keeps it for the loader


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
        self._left_out = KINDS[destination.kind].left_out | {_THEIR_STAMP}
        self._max_record_bytes = max_record_bytes
        self._reader = Reader(max_record_bytes=max_record_bytes)

    def read(self, lines: Sequence[Line]) -> tuple[list[Call], list[Refused]]:
        """The calls of some lines, in order, and the lines that are none.

        A line at which something fails, whatever it is, is one of these: no line may hold up those
        behind it.
        """
        made: dict[int, list[Call]] = {}  # by where the line begins
        refused: list[Refused] = []
        others: list[Line] = []
        for line in lines:
            try:
                call = _fields(line.text)
                if call is None or _id(call) is None:
                    others.append(line)
                elif self._is_allowed([call]) and self._is_named(call):
                    made[line.at] = [self._call(line, 0, call)]
            except Exception as error:
                refused.append(_unreadable(line, error))
        converted, more = self._convert_all(others)
        made |= converted
        return [call for line in lines for call in made.get(line.at, ())], refused + more

    def _is_allowed(self, objects: Sequence[Fields | None]) -> bool:
        """Whether the sender lets a call go to the destination, as Segment understands it.

        It may say so in the call, and for all calls of what is around it, from the inside out.
        """
        said: Fields = {}
        for one in objects:
            said = (first_values((one or {}).get("integrations", b"")) or {}) | said
        own = _value(said, self._name)
        if own is None:
            return _value(said, "All") is not False
        return own not in (False, "")  # 0 is false, too

    def _is_named(self, call: Fields) -> bool:
        """Whether the settings let a call go to the destination."""
        if self._events is None:
            return True
        name = _value(call, "event") if _value(call, "type") == "track" else None
        return isinstance(name, str) and table_name(name) in self._events

    def _call(self, line: Line, number: int, call: Fields) -> Call:
        """What is sent for a call. Its own id stays as it is, and has no half characters here."""
        if _is_nothing(call, "timestamp") and (moment := _moment(call)):
            call["timestamp"] = encode_text(moment)
        body = object_text({key: one for key, one in call.items() if key not in self._left_out})
        id = (_id(call) or "").encode("utf-8", "backslashreplace").decode()
        return Call(line, number, id, body)

    def _convert_all(self, lines: Sequence[Line]) -> tuple[dict[int, list[Call]], list[Refused]]:
        """The calls that the loader makes of lines; together, or where that fails one by one."""
        try:
            return self._convert(lines)
        except Exception as error:
            self._reader = Reader(max_record_bytes=self._max_record_bytes)
            if len(lines) == 1:
                return {}, [_unreadable(lines[0], error)]
        made: dict[int, list[Call]] = {}
        refused: list[Refused] = []
        for line in lines:
            found, more = self._convert_all([line])
            made |= found
            refused += more
        return made, refused

    def _convert(self, lines: Sequence[Line]) -> tuple[dict[int, list[Call]], list[Refused]]:
        """The calls that the loader makes of lines, by where these begin; and its rejects."""
        made: dict[int, list[Call]] = {}
        refused: list[Refused] = []
        if not lines:
            return made, refused
        ends = np.cumsum([len(line.text) for line in lines], dtype=np.int64)
        starts = np.append(0, ends)[:-1]
        for read in self._reader.read(Text([line.text for line in lines]), starts, ends):
            refused += _rejects(read, lines)
            records = read.events.records
            objects: dict[int, Fields | None] = {}  # of records; one may be around many
            for around, call in calls_of(read):
                for number in around:
                    if number not in objects:
                        objects[number] = _fields(records.raw(number))
                line = lines[read.first + around[-1]]
                calls = made.setdefault(line.at, [])
                fields = first_values(encode_json(call)) or {}
                own = objects[around[-1]]
                if own is not None and _is_call(own):  # all that it lacks is an id
                    fields = own | {"messageId": fields["messageId"]}
                if self._is_allowed([objects[n] for n in around]) and self._is_named(fields):
                    calls.append(self._call(line, len(calls), fields))
        return made, refused


def _rejects(read: Read, lines: Sequence[Line]) -> Iterator[Refused]:
    """What a load would reject, with numbers below 0: it is among no calls of a line."""
    met: Counter[int] = Counter()
    for one in read.refused:
        met[one.record] -= 1
        reason = f"{one.reject.reason}: {one.reject.detail}"
        yield Refused(lines[read.first + one.record], met[one.record], None, reason)


def _unreadable(line: Line, error: Exception) -> Refused:
    """What became of a line that nobody foresaw. The words of an error may have values."""
    if isinstance(error, MemoryError):
        raise error  # which is nothing that the line has done
    if isinstance(error, RecursionError):
        return Refused(line, 0, None, "too_deep: nested too deep to be read")
    return Refused(line, 0, None, f"unreadable: reading it failed with {type(error).__name__}")


def _fields(text: bytes) -> Fields | None:
    found = first_values(text)
    if found and _is_nothing(found, "messageId") and not _is_nothing(found, "message_id"):
        found["messageId"] = found.pop("message_id")  # destinations know only one spelling
    return found


def _is_call(call: Fields) -> bool:
    type_ = _value(call, "type")
    return isinstance(type_, str) and type_ in _TYPES


def _id(call: Fields) -> str | None:
    """The id of a call; None for what is no call, or has none."""
    if not _is_call(call):
        return None
    found = _value(call, "messageId")
    if isinstance(found, str):
        return found or None
    is_number = found is not None and call["messageId"][:1] not in b"tf[{"
    return call["messageId"].decode() if is_number else None


def _moment(call: Fields) -> str | None:
    """When a call happened that does not say it, by the loader's rule; None: nothing tells."""
    received, sent, original = (
        parse_time(_value(call, other if _is_nothing(call, name) else name))
        for name, other in (
            ("receivedAt", "received_at"),
            ("sentAt", "sent_at"),
            ("originalTimestamp", "original_timestamp"),
        )
    )
    if not (received and sent and original):
        return original or received
    came, went, happened = map(datetime.fromisoformat, (received, sent, original))
    try:
        return (came - (went - happened)).isoformat()
    except OverflowError:
        return original


def _value(call: Fields, key: str) -> JSON:
    return read_value(call[key]) if key in call else None


def _is_nothing(call: Fields, key: str) -> bool:
    return call.get(key, b"null") in (b"null", b'""')
