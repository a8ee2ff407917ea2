"""What a table of a payload form can say. Paths are written with dots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from loader.normalize.event import Reason, Reject

# Groups of columns that the keys of an object become.
CONTEXT, PROPERTIES, EXTRA = 1, 2, 3


class Mark(NamedTuple):
    """What a record looks like; all of it has to hold."""

    has: tuple[str, ...] = ()  # these paths, whatever their value
    gives: tuple[str, ...] = ()  # these, with a value that is not null
    lacks: tuple[str, ...] = ()
    says: tuple[tuple[str, str], ...] = ()  # this text stands at this path


class Columns(NamedTuple):
    """An object whose keys become columns."""

    group: int
    reason: Reason  # of the reject where something else stands there
    required: bool = False


class Named(NamedTuple):
    """What the texts that name an event mean."""

    text: str  # `event_text`
    table: str  # `event`
    is_email: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Name:
    """How a form names its event: a pure function of a few texts."""

    by: tuple[str, ...]  # the paths of the texts
    rule: Callable[..., Named | None]  # (*texts, is_about_a_message) -> name, or none
    message_keys: tuple[str, frozenset[str]]  # object, and keys that make it about a message
    hint: str | None = None  # one more path, whose text is given to the rule if there is one
    not_text: Reason = "no_event_name"  # reason where another value stands there


class Address(NamedTuple):
    """A path that counts as an e-mail address if it is one plain address an e-mail went to."""

    path: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """A payload that is one event. Of several paths the first one that is not empty counts."""

    name: str
    event: Name
    id: str
    user_id: tuple[str, ...]
    anonymous_id: tuple[str, ...] = ()
    email: tuple[str | Address, ...]  # who it was, where no id says it
    email_path: str | None = None  # where it stands as well
    times: Mapping[str, str]  # shared column -> path
    columns: Mapping[str, Columns]  # path -> the group its keys belong to
    consumed: tuple[str, ...] = ()  # paths inside of `columns` that get none
    lifted: Mapping[str, str] = field(default_factory=dict)  # path -> the one it stands for
    spellings: Mapping[str, str] = field(default_factory=dict)  # path -> another way to write it
    is_renamed_for_id: bool = False  # hashed in its first spelling, where there is no id
    transport: tuple[str, ...] = ()  # keys that are not kept
    only: tuple[str, str, Reason] | None = None  # path, its text, reason of the reject for others


@dataclass(frozen=True, kw_only=True, eq=False)
class Container:
    """A payload around others: a list of records, or the JSON text of one or a list."""

    name: str
    items: str
    is_text: bool = False  # the items stand there as JSON text
    not_items: Reason  # reason of the reject where nothing of that kind stands there
    no_items: Reason
    inherited: tuple[str, ...] = ()  # count for each item that has none of its own
    merged: tuple[str, ...] = ()  # objects among them that are merged key by key
    spellings: Mapping[str, str] = field(default_factory=dict)  # of one inherited, the other way
    transport: tuple[str, ...] = ()  # keys that are not kept
    rest: str | None = None  # key in `_extra` of each item for what else the container says


DETAILS: dict[Reason, str] = {
    "not_a_track_call": "only calls of type track are loaded",
    "no_event_name": "the record does not name an event",
    "event_not_string": "the event name is not a string",
    "context_not_object": "context is not an object",
    "properties_not_object": "properties is not an object",
    "data_not_object": "data is not an object",
    "batch_not_array": "the envelope has no array of calls",
    "empty_batch": "the envelope has no array of calls",
    "too_deep": "too many arrays or envelopes inside one another",
    "unknown_form": "neither a Segment track call nor a Customer.io reporting webhook",
    "record_too_large": "the envelope has too many calls, or says too much for so many",
}

# Of records that were read, and that the rules of their form refuse.
REASONS_OF_FORMS = frozenset(
    {
        *("unknown_form", "not_a_track_call", "no_event_name", "event_not_string"),
        *("context_not_object", "properties_not_object", "data_not_object"),
    }
)


def reject(reason: Reason) -> Reject:
    """The reject with a reason code, and what it says in words."""
    return Reject(reason=reason, detail=DETAILS[reason])


def too_large(size: int, limit: int) -> Reject:
    """The reject for a record of more bytes than the settings allow."""
    detail = f"{size} bytes are more than max_record_bytes = {limit}"
    return Reject(reason="record_too_large", detail=detail)
