"""JSON objects as they stand: the first value of each key, as the loader takes it, none read.

Half of a surrogate pair and numbers of any size stay what they are.
"""

import json
import re
from collections.abc import Mapping
from typing import NoReturn

Fields = dict[str, bytes]  # in order, with values as they stand in the text

_BLANKS = re.compile(r"[ \t\n\r]*")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers are not made: an integer of many digits would be refused.
_scan = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse).raw_decode


def first_values(text: bytes) -> Fields | None:
    """The object in a text; None where it is none. Raises RecursionError."""
    try:
        return _members(text.decode())
    except ValueError:
        return None


def object_text(fields: Mapping[str, bytes]) -> bytes:
    """The text of an object."""
    members = (json.dumps(key).encode() + b":" + value for key, value in fields.items())
    return b"{" + b",".join(members) + b"}"


def _members(text: str) -> Fields:
    found: Fields = {}
    at = _behind(text, 0, "{")
    if text[at : at + 1] == "}":
        return _end(text, at, found)
    while True:
        if text[at : at + 1] != '"':
            raise ValueError
        key, at = _scan(text, at)
        begin = _behind(text, at, ":")
        _, at = _scan(text, begin)
        found.setdefault(key, text[begin:at].encode())
        at = _blanks(text, at)
        if text[at : at + 1] == "}":
            return _end(text, at, found)
        at = _behind(text, at, ",")


def _end(text: str, at: int, found: Fields) -> Fields:
    if _blanks(text, at + 1) != len(text):
        raise ValueError
    return found


def _behind(text: str, at: int, mark: str) -> int:
    """Where something stands behind a mark that has to follow."""
    at = _blanks(text, at)
    if text[at : at + 1] != mark:
        raise ValueError
    return _blanks(text, at + 1)


def _blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    assert found is not None
    return found.end()
