"""JSON objects and arrays as they stand: each member with its text, none of them read.

Half of a surrogate pair and numbers of any size stay what they are, and so do repeated keys.
"""

import json
import re
from typing import NamedTuple, NoReturn

_BLANKS = re.compile(r"[ \t\r\n]*")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Numbers are not made: an integer of many digits would be refused.
_scan = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse).raw_decode


class Member(NamedTuple):
    """A key of an object with its value, or an item of an array."""

    key: str
    spelled: bytes  # with its quotes; nothing in an array, as the key
    value: bytes


def read_members(raw: bytes) -> list[Member]:
    """What the object or array in a text has, in order.

    Raises ValueError where the text is none of both, and RecursionError where it is too deep.
    """
    text = raw.decode()
    at = _blanks(text, 0)
    is_object = text[at : at + 1] == "{"
    end = "}" if is_object else "]"
    at = _behind(text, at, "{" if is_object else "[")
    found: list[Member] = []
    while text[at : at + 1] != end or found:  # behind a comma something has to follow
        key, spelled = "", ""
        if is_object:
            if text[at : at + 1] != '"':
                raise ValueError("a key is no text")
            begin = at
            key, at = _scan(text, at)
            spelled = text[begin:at]
            at = _behind(text, at, ":")
        begin = at
        _, at = _scan(text, at)
        found.append(Member(key, spelled.encode(), text[begin:at].encode()))
        at = _blanks(text, at)
        if text[at : at + 1] == end:
            break
        at = _behind(text, at, ",")
    if _blanks(text, at + 1) != len(text):
        raise ValueError("something follows")
    return found


def _behind(text: str, at: int, mark: str) -> int:
    """Where something stands behind a mark that has to follow."""
    at = _blanks(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"{mark} is missing")
    return _blanks(text, at + 1)


def _blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    assert found is not None
    return found.end()
