"""Calls and webhooks -> lines of the spool: pure, and without reading values that need not be.

What was sent stays as it is. What the receiver says stands in front: of a key that stands twice the
loader takes the first value, and keeps the others.
"""

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from loader.normalize.jsontext import encode_text
from loader.normalize.members import Member, read_members

_OWN_TIME = "receivedAt#2"
_MERGED = ("context", "integrations")  # what a batch says for its calls, besides `sentAt`
_NOTHING = (b"null", b'""')
MOST_READ = 1 << 20  # larger webhooks are searched for two keys, and not taken apart
# Of the text of a larger reject the loader keeps the head.
_MOST_TEXT, _HEAD = 16 << 20, 1 << 20
_MOST_WEBHOOKS = 10_000  # in one body, a line each
_DEEPEST = 8  # of arrays in a batch; what is deeper is left to the loader
_CONTROLS = bytes({*range(32)} - set(b"\t\r\n"))  # which JSON has nowhere
_ESCAPED = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
_EMPTY = re.compile(rb"\{\s*\}")
_WRITE_KEY = re.compile(rb'"writeKey"\s*:\s*("[^"\\]+")')
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Hook(msgspec.Struct):
    event_id: msgspec.Raw = msgspec.Raw()
    receivedAt: msgspec.Raw = msgspec.Raw()


class _Keyed(msgspec.Struct):
    writeKey: str = ""


_decode_keyed = msgspec.json.Decoder(_Keyed).decode
_decode_hook = msgspec.json.Decoder(_Hook).decode


class NotAnObject(ValueError):
    """A text is no JSON object."""


class Object(NamedTuple):
    """A JSON object whose values were not read."""

    text: bytes
    values: Mapping[str, bytes | msgspec.Raw]  # the first one of each key
    repeating: Sequence[Member] = ()  # all members, where `values` may not have all
    is_part: bool = False  # it has more members, which nobody has read

    def says(self, *spellings: str) -> bool:
        """Whether it has a value for a key, in one of its spellings."""
        if self.repeating:
            return any(one.key in spellings and _is_said(one.value) for one in self.repeating)
        return any(key in self.values and _is_said(self.values[key]) for key in spellings)

    def value(self, key: str) -> bytes:
        """The first value of a key, as it stands there; b"" if there is none."""
        return bytes(self.values.get(key, b""))

    def members(self) -> Iterable[Member]:
        """All of it, in order."""
        return self.repeating or (
            Member(key, encode_text(key), bytes(value)) for key, value in self.values.items()
        )


class Shared(NamedTuple):
    """What a batch says for all of its calls under one key; of an object each member, too."""

    value: bytes
    members: Sequence[tuple[str, bytes]] = ()


def _is_said(value: bytes | msgspec.Raw) -> bool:
    return bytes(value) not in _NOTHING


def claimed_key(text: bytes) -> str:
    """The write key in a body of somebody who is not known yet, of which no more is read."""
    try:
        return _decode_keyed(text).writeKey
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = _WRITE_KEY.search(text)  # some texts are refused that are read later
        return found[1][1:-1].decode("utf-8", "replace") if found else ""


def read_object(text: bytes) -> Object:
    """A JSON object. Raises NotAnObject."""
    try:
        values = _decode(text)
        if not text.isascii():
            text.decode()  # the decoder looks only at keys
        if _is_all(text, values):
            return Object(text, values)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # half of a surrogate pair is refused, too, which loads can read
    if not text.startswith(b"{"):
        raise NotAnObject
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
    if not text.startswith(b"["):
        return None
    try:
        return [bytes(item) for item in _decode_list(text)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [one.value for one in _members(text)]


def _members(text: bytes) -> list[Member]:
    """What an object or array has. Raises NotAnObject."""
    try:
        return read_members(text)
    except (ValueError, RecursionError):
        raise NotAnObject from None


def call_line(
    call: Object, stamp: bytes, *, kind: str = "", shared: Mapping[str, Shared] | None = None
) -> bytes:
    """The line of a call, which came at `stamp` in a request of its `kind` or in a batch.

    A call without `messageId` gets a fresh one, as at Segment: two equal calls are two events.
    """
    put = {"receivedAt": stamp}
    if kind:
        put["type"] = encode_text(kind)
    elif "event" in call.values and not call.says("type"):
        put["type"] = b'"track"'
    if not call.says("messageId", "message_id"):
        put["messageId"] = b'"%b"' % str(uuid.uuid4()).encode()
    # What clients call so is the time by their clock.
    if call.says("timestamp") and not call.says("originalTimestamp", "original_timestamp"):
        put["originalTimestamp"] = call.value("timestamp")
    merged = []
    for key, theirs in (shared or {}).items():
        if key in _MERGED and call.value(key).startswith(b"{"):
            put[key] = _merged(call.value(key), theirs)
            merged.append(key)
        elif key == "_batch" or not call.says(key, "sent_at" if key == "sentAt" else key):
            put[key] = theirs.value
    cut = ("writeKey", "type") if "type" in put else ("writeKey",)
    return _splice(call, put, cut=cut, merged=merged)


def shared_of(batch: Object) -> dict[str, Shared]:
    """What a batch says for all of its calls; what is not known is kept in `_batch`."""
    shared: dict[str, Shared] = {}
    rest = []
    for one in batch.members():
        key = "sentAt" if one.key == "sent_at" else one.key
        if key in (*_MERGED, "sentAt") and key not in shared:
            if _is_said(one.value):
                is_object = key in _MERGED and one.value.startswith(b"{")
                # Read here, and not for each call.
                inner = read_object(one.value).members() if is_object else ()
                shared[key] = Shared(one.value, [(it.key, _spelled(it)) for it in inner])
        elif key not in ("type", "writeKey") and not (key == "batch" and _is_list(one)):
            rest.append(one)
    if rest:
        shared["_batch"] = Shared(_object(rest))
    return shared


def _is_list(one: Member) -> bool:
    return one.value.startswith(b"[")


def calls_of(batch: Object, most: int) -> list[bytes] | None:
    """The calls of a batch, more than `most` at most; None where it has none.

    An array among them is as good as its items, as it is for the loader, which reads deeper ones.
    """
    lists = [one.value for one in batch.members() if one.key == "batch" and _is_list(one)]
    if not lists:
        return None
    calls: list[bytes] = []
    items = [(item, 1) for one in reversed(lists) for item in reversed(read_list(one) or [])]
    while items and len(calls) <= most:
        item, depth = items.pop()
        inner = read_list(item) if depth < _DEEPEST else None
        if inner:
            items += [(one, depth + 1) for one in reversed(inner)]
        else:
            calls.append(item)
    return calls


def webhook_lines(body: bytes, stamp: bytes) -> list[bytes]:
    """The lines of a signed body, whatever it is: of each webhook, or of what is none."""
    with suppress(NotAnObject):
        return [_webhook_line(body, stamp)]
    with suppress(NotAnObject):
        if 0 < body.strip().count(b"\n") < _MOST_WEBHOOKS:
            return [_webhook_line(part, stamp) for part in body.split(b"\n") if part.strip()]
    return [wrapped_line(body, stamp)]


def _webhook_line(body: bytes, stamp: bytes) -> bytes:
    """The line of a webhook; one without `event_id` is called by its hash. Raises NotAnObject."""
    text = body.strip()
    hook = read_object(text) if len(text) <= MOST_READ else _read_large(text)
    put = {"receivedAt": stamp}
    if hook.is_part and "receivedAt" in hook.values:
        put[_OWN_TIME] = hook.value("receivedAt")
    if not hook.says("event_id"):
        put["event_id"] = b'"%b"' % hashlib.sha256(body).hexdigest().encode()
    return _splice(hook, put)


def _read_large(text: bytes) -> Object:
    """A large webhook, with no more than is asked for. What is refused is read by the loader."""
    try:
        found = msgspec.structs.asdict(_decode_hook(text))
        text.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotAnObject from None
    return Object(text, {key: value for key, value in found.items() if bytes(value)}, is_part=True)


def wrapped_line(body: bytes, stamp: bytes) -> bytes:
    """What is no object, as an API gateway would hand it on: the loader reads or rejects it.

    As a text JSON is at most twice as large; what is none might be six times. The loader keeps no
    more than the head of such a text, so that it is all that is kept here.
    """
    kept, note = body, b""
    text = kept.decode("utf-8", "ignore")
    odd = len(body) - len(text.encode().translate(None, _CONTROLS))
    if odd and len(body) + 5 * odd > _MOST_TEXT:
        kept = body[:_HEAD]
        note = b',"cut":"%d of %d bytes are kept"' % (_HEAD, len(body))
    if odd:
        text = kept.decode("utf-8", "surrogateescape").translate(_ESCAPED)
    return b'{"receivedAt":%b,"headers":{}%b,"body":%b}\n' % (stamp, note, encode_text(text))


def _merged(own: bytes, theirs: Shared) -> bytes:
    """An object, and behind it what it does not say itself."""
    known = read_object(own).values
    first = () if _EMPTY.fullmatch(own) else (own[1:-1],)
    more = [member for key, member in theirs.members if key not in known]
    return b"{" + b",".join((*first, *more)) + b"}"


def _splice(
    found: Object, put: Mapping[str, bytes], *, cut: Sequence[str] = (), merged: Sequence[str] = ()
) -> bytes:
    """A line of an object with other values in front, and without those of some keys.

    What it says itself of the keys in front stays, unless it is nothing or the same, and its own
    time of arrival under another key; of those in `merged` the first value is in front already.
    """
    front = b",".join([b'"%b":%b' % (key.encode(), value) for key, value in put.items()])
    text = found.text
    is_touched = any(key in found.values for key in (*put, *cut))
    if is_touched and not found.is_part:
        left = list(merged)
        rest = []
        for one in found.members():
            if one.key in left:
                left.remove(one.key)
            elif one.key == "receivedAt":
                rest.append(one._replace(spelled=b'"%b"' % _OWN_TIME.encode()))
            elif one.key not in cut and not (
                one.key in put and one.value in (*_NOTHING, put[one.key])
            ):
                rest.append(one)
        text = _object(rest)
    line = b"{%b%b%b" % (front, b"" if _EMPTY.fullmatch(text) else b",", text[1:])
    # Between tokens a line break means the same as a blank, and inside of them there is none.
    return line.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"


def _object(members: Iterable[Member]) -> bytes:
    return b"{" + b",".join(map(_spelled, members)) + b"}"


def _spelled(one: Member) -> bytes:
    return b"%b:%b" % (one.spelled, one.value)
