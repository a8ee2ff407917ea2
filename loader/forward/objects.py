"""JSON objects as they stand: the first value of each key, as the loader takes it, none read."""

import json
from collections.abc import Mapping

from loader.normalize.members import read_members

Fields = dict[str, bytes]  # in order, with values as they stand in the text


def first_values(text: bytes) -> Fields | None:
    """The object in a text; None where it is none. Raises RecursionError."""
    if not text.lstrip().startswith(b"{"):
        return None
    found: Fields = {}
    try:
        for member in read_members(text):
            found.setdefault(member.key, member.value)
    except ValueError:
        return None
    return found


def object_text(fields: Mapping[str, bytes]) -> bytes:
    """The text of an object."""
    members = (json.dumps(key).encode() + b":" + value for key, value in fields.items())
    return b"{" + b",".join(members) + b"}"
