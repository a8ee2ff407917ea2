"""Numbers: which of them are stored as such, and the one way in which they are written."""

from decimal import Decimal

import msgspec

# So many digits before the point, and so many behind it, has a stored number when it is written
# out: room for every double, and for far more digits than anyone counts in. PostgreSQL would take
# 131,072 and 16,383, and print them all: a list of `1e131000` would be too large for it to read
# again, and for pg_dump. 16 MiB, the largest record, of `1e349` make less than 1 GB, its limit.
MAX_DIGITS = 350
_BEYOND: int = 10**MAX_DIGITS


class LongNumber:
    """A number with more digits: it is loaded as text, and nothing computes with it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text  # as sent

    def __repr__(self) -> str:
        return f"LongNumber({self.text})"

    def __eq__(self, other: object) -> bool:
        return type(other) is LongNumber and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def parse_number(digits: str) -> Decimal | LongNumber:
    """The number that JSON has as `digits`."""
    if len(digits) <= MAX_DIGITS and "e" not in digits and "E" not in digits:
        return Decimal(digits)  # by far the most
    if len(digits) <= 3 * MAX_DIGITS:
        try:
            number = Decimal(digits)
        except ArithmeticError:  # the exponent is beyond any
            return LongNumber(digits)
        if is_storable(number):
            return number
    return LongNumber(digits)


def parse_integer(digits: str) -> int | LongNumber:
    """The integer that JSON has as `digits`; `int` itself would refuse to read thousands."""
    return int(digits) if len(digits.lstrip("-")) <= MAX_DIGITS else LongNumber(digits)


def is_storable(number: int | Decimal) -> bool:
    """Whether PostgreSQL is given `number` as a number."""
    if isinstance(number, int):
        return -_BEYOND < number < _BEYOND
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return False  # not a number, or infinite
    before, behind = len(digits) + exponent, -exponent
    return before <= MAX_DIGITS and behind <= MAX_DIGITS


def number_text(number: int | Decimal | LongNumber) -> str:
    """The text of a number: all of its digits, as PostgreSQL writes it; a longer one as sent."""
    if isinstance(number, LongNumber):
        return number.text
    if isinstance(number, int):
        # Python itself does not write integers of thousands of digits.
        return str(number if is_storable(number) else Decimal(number))
    return format(number, "f") if is_storable(number) else str(number)


def written(number: object) -> str:
    """The text of a number in ids, which are stored: as Python writes it."""
    if not isinstance(number, LongNumber):
        return str(number)
    if number.text.lstrip("-").isdigit():
        return number.text
    try:
        return str(Decimal(number.text))
    except ArithmeticError:  # the exponent is beyond any
        return number.text


def as_json(value: object) -> msgspec.Raw:
    """A long number for an encoder to JSON, which knows all other values itself."""
    if isinstance(value, LongNumber):
        return msgspec.Raw(written(value).encode())
    raise TypeError(f"a {type(value).__name__} is no value of JSON: give what json.loads gives")
