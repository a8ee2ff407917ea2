"""The content of one record as it counts for its event: hashed where it brings no id, and kept as
the text of a reject.

Ids are stored, so what is hashed must stay to the byte. Records are decoded one by one here.
"""

import ctypes

import numpy as np

from loader import native
from loader.columns.regular import first_values
from loader.columns.tokens import WORD_BYTES
from loader.forms.model import Container, Form
from loader.forms.recognize import ARRAY, CONTAINERS
from loader.forms.records import Records
from loader.normalize.event import JSON, Object, content_id
from loader.normalize.jsontext import encode_json, parse_json

# No sender has this key.
_REPEATED = "\0repeated"


def hash_of_content(records: Records, record: int, form: Form) -> str:
    """The id of a record, with what its envelopes say for it."""
    value = content(records, record)
    assert isinstance(value, dict)  # it has a form
    value = _renamed(value, form) if form.is_renamed_for_id else value
    others = records.repeated.get(record)
    if others:
        value = value | {_REPEATED: [[path, one] for path, one in others]}
    return content_id(value)


def raw_text(records: Records, record: int) -> bytes:
    """A record as `_rejects` keeps it: as it stood, or with what its envelopes say for it."""
    above = int(records.parent[record])
    while above >= 0 and records.form[above] == ARRAY:
        above = int(records.parent[above])
    if above < 0:
        return _as_it_stood(records, record)
    value = content(records, record)
    return records.raw(record) if value is None else encode_json(value)  # it is no JSON


def _as_it_stood(records: Records, record: int) -> bytes:
    """A record that stands in nothing but arrays, which may have been written again."""
    above = int(records.parent[record])
    if not _is_below_rewritten(records, above):
        return records.raw(record)
    if above not in records.elements:
        records.elements[above] = _elements(_as_it_stood(records, above))
    return records.elements[above][records.index(record)]


def _elements(raw: bytes) -> list[bytes]:
    """The elements of an array."""
    data = np.frombuffer(raw + bytes(WORD_BYTES), np.uint8)
    starts, ends = np.empty((2, raw.count(b",") + 1), np.int64)
    at, state = ctypes.c_int64(), ctypes.c_int32()
    count = native.find_elements(
        *(data.ctypes.data, raw.index(b"[") + 1, len(raw), 0),
        *(starts.ctypes.data, ends.ctypes.data, len(starts)),
        *(ctypes.addressof(at), ctypes.addressof(state)),
    )
    return [raw[start:end] for start, end in zip(starts[:count], ends[:count], strict=True)]


def content(records: Records, record: int) -> JSON:
    """The value of a record, with what its envelopes say for it."""
    return _completed(records, _value(records, record), int(records.parent[record]))


def _completed(records: Records, value: JSON, above: int) -> JSON:
    container = _container(records, above)
    if container is None or not container.inherited or type(value) is not dict:
        return value
    if above not in records.envelopes:
        said = _without_records(records, above)
        records.envelopes[above] = _completed(records, said, int(records.parent[above]))
    envelope = records.envelopes[above]
    return _with_envelope(value, envelope, container) if type(envelope) is dict else value


def _without_records(records: Records, record: int) -> JSON:
    """The value of a container, as far as it counts for its records."""
    if _is_below_rewritten(records, record):
        return _opened(records, record)
    first, behind = (np.searchsorted(records.parent, record, side) for side in ("left", "right"))
    cut, begin, end = records.text.cut, records.start[record], records.end[record]
    said = cut(begin, records.start[first]) + cut(records.end[behind - 1], end)
    return parse_json(said)[0]


def _container(records: Records, record: int) -> Container | None:
    # An array is none of them: it says nothing.
    return CONTAINERS.get(int(records.form[record])) if record >= 0 else None


def _value(records: Records, record: int) -> JSON:
    above = int(records.parent[record])
    if above >= 0 and _is_below_rewritten(records, above):
        # What stands inside was written again; the text before that is its container's.
        container, items = _container(records, above), _opened(records, above)
        if container is not None:
            items = items.get(container.items) if type(items) is dict else None
        index = records.index(record)
        if type(items) is list and index < len(items):
            return items[index]
        if type(items) is str and index == 0:
            value = parse_json(items.encode("utf-8", "surrogatepass"))[0]
            if value is not None:
                return value
        # It stood in a second list, or in a text that could not be read before that.
    raw = records.raw(record)
    value = parse_json(raw)[0]
    return first_values(value, raw)[0] if record in records.rewritten else value


def _opened(records: Records, record: int) -> JSON:
    """The value of a container that was written again."""
    if record not in records.opened:
        records.opened[record] = _value(records, record)
    return records.opened[record]


def _is_below_rewritten(records: Records, record: int) -> bool:
    while record >= 0:
        if record in records.rewritten:
            return True
        record = int(records.parent[record])
    return False


def _with_envelope(value: Object, envelope: Object, container: Container) -> Object:
    found = dict(value)
    for key in container.inherited:
        theirs, own = envelope.get(key), value.get(key)
        if key in container.merged and isinstance(theirs, dict) and isinstance(own, dict):
            found[key] = theirs | own
        elif own is None and theirs is not None:
            found[key] = theirs
    left_out = {*container.inherited, *container.transport, container.items}
    rest = {key: inner for key, inner in envelope.items() if key not in left_out}
    return found | {container.rest: rest} if rest and container.rest else found


def _renamed(value: Object, form: Form) -> Object:
    """Keys in their first spelling, without nulls, where there is a key that the form has not."""
    used = (form.id, *form.user_id, *form.anonymous_id, *form.event.by, *form.times.values())
    if {*used, *form.columns, *form.transport}.issuperset(value):
        return value
    spelled = {other: key for key, other in form.spellings.items()}
    return {
        (spelled[key] if key in spelled and value.get(spelled[key]) is None else key): inner
        for key, inner in value.items()
        if inner is not None
    }
