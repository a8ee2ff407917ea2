"""JSON texts -> values, with every digit."""

import json
import mmap
import re
from itertools import chain
from typing import NamedTuple, NoReturn

import msgspec

from loader.normalize.event import JSON, Object, Reject, json_text, put_extra
from loader.normalize.numbers import as_json, parse_integer, parse_number

_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=as_json).encode
encode_text = msgspec.json.Encoder().encode  # of a str
# The fast path, which refuses some texts that `parse_json` reads.
_decode = msgspec.json.Decoder(float_hook=parse_number).decode
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
TOO_DEEP = Reject(reason="too_deep", detail="nested too deep to be read")


def check_memory(size: int) -> None:
    """Raise MemoryError if there is no room for the values of JSON texts of `size` bytes.

    The fast parser ends the process with a segmentation fault where an allocation fails.
    """
    try:
        mmap.mmap(-1, max(size, 1) * _VALUES_PER_TEXT).close()
    except OSError as error:
        raise MemoryError(str(error)) from error


# How many times the size of its text a value takes, at most about.
_VALUES_PER_TEXT = 8


def parse_json(raw: bytes) -> tuple[JSON, Reject | None]:
    """The value in `raw` with every digit, or the reject that says why there is none.

    Reads what the fast parser refuses and PostgreSQL can hold after cleaning: lone surrogates in
    strings, and integers of any length.
    """
    try:
        return _decode(raw), None
    except _DECODE_ERRORS:
        pass
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1}"
        return None, Reject(reason="invalid_utf8", detail="not UTF-8", place=place)
    try:
        return json.loads(
            text,
            parse_float=parse_number,
            parse_int=parse_integer,
            parse_constant=_refuse_constant,
        ), None
    except RecursionError:
        return None, TOO_DEEP
    except json.JSONDecodeError as error:
        # Its words differ between versions of Python, and some have a character of the payload.
        return None, invalid_json(place=f"character {error.pos + 1}")
    except ValueError as error:
        return None, invalid_json(str(error))


def read_value(text: str | bytes) -> JSON:
    """The value of a text that is known to be JSON."""
    value, reject = parse_json(text.encode() if isinstance(text, str) else text)
    assert reject is None
    return value


# The end of a key, and what looks like it inside of a string.
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_INSIDE = re.compile(rb'\\"[ \t\r\n]*:')
_BLANKS_BEHIND_KEYS = (b'" ', b'"\t', b'"\r', b'"\n')


def may_repeat_keys(value: JSON, text: bytes) -> bool:
    """Whether some object in `text`, which is that of `value`, may have a key twice.

    Parsers keep the last value of such a key, so that a value has fewer keys than its text. A part
    of a string may look like a key; then the answer may be true where no key stands twice, and
    never the other way round.
    """
    if b'\\\\"' in text:
        return True  # does the string end there, or is the quote escaped, as it is below?
    if any(blank in text for blank in _BLANKS_BEHIND_KEYS):
        written, inside = _count(_KEY_END, text), _count(_INSIDE, text)
    else:
        written, inside = text.count(b'":'), text.count(b'\\":')
    level = [value]
    while level:
        objects = [value for value in level if type(value) is dict]
        written -= sum(map(len, objects))
        lists = [value for value in level if type(value) is list]
        children = chain(chain.from_iterable(map(dict.values, objects)), *lists)
        level = [child for child in children if type(child) is dict or type(child) is list]
    return written != inside


def _count(pattern: re.Pattern[bytes], text: bytes) -> int:
    return sum(1 for _ in pattern.finditer(text))  # a list of them could take ten times the text


# Values of keys that stand twice in one object, but for the first ones, with their path.
Repeated = list[tuple[str, JSON]]


def parse_repeated(raw: bytes) -> tuple[JSON, Repeated]:
    """The value of a text that is JSON, with the first value of each key; and the others.

    Inside a list, the others stay in their object, as `key#2`.
    """
    others: Repeated = []
    try:
        pairs = json.loads(
            raw, parse_float=parse_number, parse_int=parse_integer, object_pairs_hook=_Pairs
        )
        return _first_of_each(pairs, "", others), others
    except RecursionError:
        return parse_json(raw)[0], []


class _Pairs(NamedTuple):
    """An object as it stands in its text."""

    pairs: list[tuple[str, JSON]]


def _first_of_each(value: "JSON | _Pairs", path: str, others: Repeated | None) -> JSON:
    if isinstance(value, list):
        return [_first_of_each(item, "", None) for item in value]
    if not isinstance(value, _Pairs):
        return value
    found: Object = {}
    for key, inner in value.pairs:
        if key not in found:
            found[key] = _first_of_each(inner, f"{path}{key}.", others)
        elif others is None:
            put_extra(found, key, _first_of_each(inner, "", None))
        else:
            others.append((path + key, _first_of_each(inner, "", None)))
    return found


def invalid_json(detail: str = "the JSON is cut short or broken", place: str = "") -> Reject:
    """The reject for a text that is not JSON."""
    return Reject(reason="invalid_json", detail=detail, place=place)


def encode_json(value: object) -> bytes:
    """A text for a parsed value that has none of its own, as an item of a batch."""
    try:
        return _encode(value)
    except (ValueError, RecursionError):  # lone surrogates, long integers, deep nesting
        return json_text(value).encode("utf-8", "surrogatepass")


def one_line(text: str) -> str:
    """A record over several lines as one line with the same value.

    A line break stands only between two tokens, where a blank means the same. A carriage return
    alone may stand in a string of what is not JSON, and stays there: it must not become JSON.
    """
    line = text.replace("\r\n", " ").replace("\n", " ")
    return line.replace("\r", " ") if parse_json(text.encode())[1] is None else line


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
