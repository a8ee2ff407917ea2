"""A Segment track call -> Event. Facts: Segment's tracking API and the lines of its archive."""

from collections.abc import Sequence
from operator import itemgetter

from loader.normalize.collections import UNSUBSCRIBED_ALIASES, UNSUBSCRIBED_EVIDENCE
from loader.normalize.event import (
    MAX_ID_BYTES,
    Event,
    Events,
    Object,
    Reject,
    content_id,
    identity,
    put_extra,
    usable_id,
)
from loader.normalize.names import snake_case, table_name

# Keys that become columns.
_USED = (
    "event",
    "messageId",
    "userId",
    "anonymousId",
    "context",
    "properties",
    "receivedAt",
    "sentAt",
    "originalTimestamp",
    "timestamp",
)
# Keys about transport, which Segment's warehouses do not hold either; the rest goes to `_extra`.
_TRANSPORT = ("type", "channel", "integrations", "projectId", "version", "_metadata", "writeKey")
KNOWN = frozenset((*_USED, *_TRANSPORT))
# Spellings of the Email specification's examples and of some relays.
_ALIASES = {snake_case(key): key for key in _USED if snake_case(key) != key}


def recognizes(record: Object) -> bool:
    """Whether `record` is a call of Segment's; the tracking API lets a track call omit `type`."""
    return "type" in record or "event" in record


def parse(record: Object) -> Event | Reject:
    """The event of a track call. Any other call, and one without a name, is a reject."""
    if record.get("type") not in (None, "track"):
        return Reject(reason="not_a_track_call", detail="only calls of type track are loaded")
    is_known = KNOWN.issuperset(record)
    if not is_known:
        record = _rename(record)
    get = record.get
    name = get("event")
    if type(name) is not str:
        if name is None:
            return Reject(reason="no_event_name", detail="the call has no event name")
        return Reject(reason="event_not_string", detail="the event name is not a string")
    if not name or name.isspace():
        return Reject(reason="no_event_name", detail="the event name is blank")
    context = get("context")
    if type(context) is not dict:
        if context is not None:
            return Reject(reason="context_not_object", detail="context is not an object")
        context = {}
    properties = get("properties")
    if type(properties) is not dict:
        if properties is not None:
            return Reject(reason="properties_not_object", detail="properties is not an object")
        properties = {}
    extra: Object | None = None
    if not is_known:
        extra = {k: v for k, v in record.items() if k not in KNOWN and v is not None} or None
    message_id = get("messageId")
    user_id = get("userId")
    anonymous_id = get("anonymousId")
    if not (
        type(message_id) is str
        and (type(user_id) is str or user_id is None)
        and (type(anonymous_id) is str or anonymous_id is None)
    ):
        extra = extra or {}
        message_id = identity(message_id, "messageId", extra)
        user_id = identity(user_id, "userId", extra)
        anonymous_id = identity(anonymous_id, "anonymousId", extra)
    if not user_id:
        user_id = None
        if not anonymous_id:
            anonymous_id = _email(context)
    slug = table_name(name)
    if slug in UNSUBSCRIBED_ALIASES and _is_about_a_message(properties):
        slug = "email_unsubscribed"
    used_id = usable_id(message_id) if message_id else content_id(record)
    if message_id and used_id is not message_id:
        put_extra(extra := extra or {}, "id", message_id)
    return Event(
        id=used_id,
        event=slug,
        event_text=name,
        user_id=user_id,
        anonymous_id=anonymous_id or None,
        received_at=get("receivedAt"),
        sent_at=get("sentAt"),
        original_timestamp=get("originalTimestamp"),
        timestamp=get("timestamp"),
        context=context,
        properties=properties,
        extra=extra,
    )


_REQUIRED_KEYS = (
    *("type", "event", "messageId", "userId", "context", "properties"),
    *("receivedAt", "sentAt", "originalTimestamp", "timestamp"),
)
_REQUIRED = itemgetter(*_REQUIRED_KEYS)


def parse_plain(records: Sequence[Object]) -> Events | None:
    """The same as `parse` of each record, column by column, if none of them needs a decision.

    This is the hot path: lines of an archive of Customer.io's track calls. None where some record
    is another call, lacks a key, has an id that is not a plain text, or may be an alias.
    """
    try:
        columns = list(zip(*map(_REQUIRED, records), strict=True))
        kinds, names, ids, users, contexts, properties, *times = columns
        slugs = {name: table_name(name) for name in set(names)}
        if set(kinds) != {"track"} or not KNOWN.issuperset(set().union(*records)):
            return None
    except (KeyError, ValueError, TypeError):  # a key is missing, no records, a name is no text
        return None
    anonymous = [record.get("anonymousId") for record in records]
    people = {*map(type, users), *map(type, anonymous)}
    if not (
        set(map(type, names)) == set(map(type, ids)) == {str}
        and set(map(type, contexts)) == set(map(type, properties)) == {dict}
        and people <= {str, type(None)}
        and "" not in ids
        and "" not in users
        and "" not in anonymous
        and max(map(len, ids)) * 4 <= MAX_ID_BYTES
        and not any(name.isspace() or not name for name in slugs)
        and UNSUBSCRIBED_ALIASES.isdisjoint(slugs.values())
    ):
        return None
    if None in users:
        for place, user in enumerate(users):
            if user is None and anonymous[place] is None:
                anonymous[place] = _email(contexts[place])
    received_at, sent_at, original_timestamp, timestamp = map(list, times)
    return Events(
        id=list(ids),
        event=[slugs[name] for name in names],
        event_text=list(names),
        user_id=list(users),
        anonymous_id=anonymous,
        received_at=received_at,
        sent_at=sent_at,
        original_timestamp=original_timestamp,
        timestamp=timestamp,
        context=list(contexts),
        properties=list(properties),
        extra={},
    )


def is_plain(record: Object) -> bool:
    """Whether one record needs no decision; all such records together are `parse_plain`'s."""
    get = record.get
    name, key, user, anonymous = get("event"), get("messageId"), get("userId"), get("anonymousId")
    return (
        get("type") == "track"
        and type(name) is str
        and bool(name)
        and not name.isspace()
        and table_name(name) not in UNSUBSCRIBED_ALIASES
        and type(key) is str
        and 0 < len(key) <= MAX_ID_BYTES // 4
        and (user is None or (type(user) is str and user != ""))
        and (anonymous is None or (type(anonymous) is str and anonymous != ""))
        and type(get("context")) is type(get("properties")) is dict
        and all(map(record.__contains__, _REQUIRED_KEYS))
        and KNOWN.issuperset(record)
    )


def _email(context: Object) -> str | None:
    traits = context.get("traits")
    email = traits.get("email") if type(traits) is dict else None
    return email if type(email) is str and email else None


def _is_about_a_message(properties: Object) -> bool:
    return any(
        value not in (None, "") and snake_case(key) in UNSUBSCRIBED_EVIDENCE
        for key, value in properties.items()
    )


def _rename(record: Object) -> Object:
    """`record` with snake-case keys of the envelope in Segment's spelling, where that is free."""
    return {
        (_ALIASES[k] if k in _ALIASES and record.get(_ALIASES[k]) is None else k): v
        for k, v in record.items()
        if v is not None
    }
