"""Calls and webhooks -> lines of the spool: pure, and without reading values that need not be.

What was sent is spliced, so that numbers, texts and the order of keys stay as they are. What the
receiver says stands in front, and the loader takes the first value of a key.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from loader.normalize.jsontext import encode_text, parse_json

# Keys of a batch that count for its calls, and those that do not belong to them.
_MERGED = ("context", "integrations")
_OWN_OF_BATCH = frozenset(
    ("batch", "sentAt", "sent_at", "receivedAt", "received_at", "type", "writeKey", *_MERGED)
)
_NOTHING = (b"null", b'""')
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_MARK = re.compile(_STRING + rb"|[{}\[\],]", re.DOTALL)
_KEY = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*", re.DOTALL)


class NotAnObject(ValueError):
    """A text is no JSON object."""


class Member(NamedTuple):
    """A key of an object, with its value as it stands there."""

    key: str
    spelled: bytes  # with its quotes
    value: bytes | msgspec.Raw


class Object(NamedTuple):
    """A JSON object whose values were not read."""

    text: bytes
    values: Mapping[str, bytes | msgspec.Raw]  # the first one of each key
    repeating: Sequence[Member] = ()  # all members, where `values` may not have all

    def says(self, *spellings: str) -> bool:
        """Whether it has a value for a key, in one of its spellings."""
        for key in spellings:
            value = self.values.get(key)
            if value is not None and bytes(value) not in _NOTHING:
                return True
        return False

    def value(self, key: str) -> bytes:
        """The value of a key, as it stands there; b"" if there is none."""
        return bytes(self.values.get(key, b""))

    def string(self, key: str) -> str | None:
        """The text that the value of a key is, if it is one."""
        value = self.value(key)
        return json.loads(value) if value.startswith(b'"') else None

    def members(self) -> Iterable[Member]:
        """All of it, in order."""
        return self.repeating or (
            Member(key, encode_text(key), value) for key, value in self.values.items()
        )


def read_object(text: bytes) -> Object:
    """A JSON object. Raises NotAnObject."""
    try:
        values = _decode(text)
        if not text.isascii():
            text.decode()  # the decoder looks only at keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Half of a surrogate pair is refused, although senders do write it and loads can read it.
        if type(parse_json(text)[0]) is not dict:
            raise NotAnObject from None
    else:
        if _is_all(text, values):
            return Object(text, values)
    members = _members(text)
    return Object(text, {one.key: one.value for one in reversed(members)}, members)


def _is_all(text: bytes, values: Mapping[str, msgspec.Raw]) -> bool:
    """Whether a text has no more than these values: of a repeated key the decoder keeps one.

    A text without blanks and escapes has just as many bytes, and any other has more.
    """
    least = sum(map(len, values)) + sum(map(len, values.values())) + 4 * len(values) + 1
    if len(text) == least:
        return True
    spaced = b", ".join([b'"%b": %b' % (key.encode(), one) for key, one in values.items()])
    return text == b"{" + spaced + b"}"


def read_list(text: bytes) -> list[bytes] | None:
    """The items of a part of a text that was read; None where it is no array."""
    try:
        return [bytes(item) for item in _decode_list(text)]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _parts(text) if text.startswith(b"[") else None


def call_line(
    call: Object, stamp: bytes, *, kind: str = "", shared: Mapping[str, bytes] | None = None
) -> bytes:
    """The line of a call, which came at `stamp` in a request of its `kind` or in a batch.

    A call without `messageId` gets a fresh one, as at Segment: two equal calls are two events.
    """
    put = {"receivedAt": stamp}
    if "receivedAt" in call.values:
        put["receivedAt#2"] = call.value("receivedAt")
    if kind:
        put["type"] = encode_text(kind)
    elif "event" in call.values and not call.says("type"):
        put["type"] = b'"track"'
    if not call.says("messageId", "message_id"):
        put["messageId"] = b'"%b"' % str(uuid.uuid4()).encode()
    # What clients call so is the time by their clock.
    if call.says("timestamp") and not call.says("originalTimestamp", "original_timestamp"):
        put["originalTimestamp"] = call.value("timestamp")
    for key, theirs in (shared or {}).items():
        if key in _MERGED and call.value(key).startswith(b"{"):
            put[key] = _merged(call.value(key), theirs)
        elif not call.says(key, *(("sent_at",) if key == "sentAt" else ())):
            put[key] = theirs
    return _splice(call, put, without="writeKey")


def shared_of(batch: Object) -> dict[str, bytes]:
    """What a batch says for all of its calls; what is not known is kept in `_batch`."""
    shared = {key: batch.value(key) for key in _MERGED if batch.says(key)}
    if batch.says("sentAt", "sent_at"):
        shared["sentAt"] = batch.value("sentAt" if batch.says("sentAt") else "sent_at")
    if rest := [member for member in batch.members() if member.key not in _OWN_OF_BATCH]:
        shared["_batch"] = _object(rest)
    return shared


def webhook_line(body: bytes, stamp: bytes) -> bytes:
    """The line of a signed body, whatever it is; one without `event_id` is called by its hash."""
    try:
        hook = read_object(body.strip())
    except NotAnObject:
        return wrapped_line(body, stamp)
    put = {"receivedAt": stamp}
    if "receivedAt" in hook.values:
        put["receivedAt#2"] = hook.value("receivedAt")
    if not hook.says("event_id"):
        put["event_id"] = b'"%b"' % hashlib.sha256(body).hexdigest().encode()
    return _splice(hook, put)


def wrapped_line(body: bytes, stamp: bytes) -> bytes:
    """What is no object, as an API gateway would hand it on: the loader reads or rejects it."""
    text = encode_text(body.decode("utf-8", "backslashreplace"))
    return b'{"receivedAt":%b,"headers":{},"body":%b}\n' % (stamp, text)


def _merged(own: bytes, theirs: bytes) -> bytes:
    if not theirs.startswith(b"{"):
        return own
    first = read_object(own)
    more = [one for one in read_object(theirs).members() if one.key not in first.values]
    return _object([*first.members(), *more])


def _splice(found: Object, put: Mapping[str, bytes], without: str = "") -> bytes:
    """A line of an object, with other values in front of it, and in place of its own."""
    front = b",".join([b'"%b":%b' % (key.encode(), value) for key, value in put.items()])
    text, is_empty = found.text, not found.values
    if without in found.values or not put.keys().isdisjoint(found.values):
        rest = [one for one in found.members() if one.key not in put and one.key != without]
        text, is_empty = _object(rest), not rest
    line = b"{%b%b%b" % (front, b"" if is_empty else b",", text[1:])
    # Between tokens a line break means the same as a blank, and inside of them there is none.
    return line.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


def _object(members: Iterable[Member]) -> bytes:
    return b"{" + b",".join([b"%b:%b" % (one.spelled, one.value) for one in members]) + b"}"


def _members(text: bytes) -> list[Member]:
    """The members of a text that is known to be a JSON object."""
    members = []
    for part in _parts(text):
        named = _KEY.match(part)
        assert named is not None
        members.append(Member(json.loads(named[1]), named[1], part[named.end() :].strip()))
    return members


def _parts(text: bytes) -> list[bytes]:
    """What stands between the commas of an object or array that is known to be JSON."""
    parts: list[bytes] = []
    depth = begin = 0
    for mark in _MARK.finditer(text):
        at = mark.start()
        if text[at] in b"{[":
            depth += 1
            begin = at + 1 if depth == 1 else begin
        elif text[at] in b"}]":
            depth -= 1
        if depth == 0 or (depth == 1 and text[at] in b","):
            parts.append(text[begin:at].strip())
            begin = mark.end()
    return [] if parts == [b""] else parts
