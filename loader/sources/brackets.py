"""Brackets: where a JSON value ends, without parsing it."""

import re

# A string on one line, a bracket, a comma, or the quote of a string that does not end here.
# Possessive, because to be able to go back takes a hundred bytes for each escape.
_TOKEN = re.compile(rb'"(?:[^"\\\n]++|\\.)*+"|[\[{\]},]|"')
_OPENING = frozenset(b"[{")
_CLOSING = frozenset(b"]}")


class Scan:
    """Follows brackets through bytes that grow at the end, each byte once."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.depth = 0
        self.broken = False  # a string does not end on its line

    def value_end(self, data: bytes) -> int | None:
        """Where the first bracketed value in `data` ends, or None: not yet, or never (`broken`)."""
        for match in _TOKEN.finditer(data, self.at):
            first = data[match.start()]
            if self._unfinished_string(data, match):
                return None
            if first in _OPENING:
                self.depth += 1
            elif first in _CLOSING:
                self.depth -= 1
                if self.depth <= 0:
                    return match.end()
            self.at = match.end()
        return None

    def element_end(self, data: bytes) -> int | None:
        """Where the comma or bracket behind the first element of an array stands."""
        for match in _TOKEN.finditer(data, self.at):
            first = data[match.start()]
            if self._unfinished_string(data, match):
                return None
            if first in _OPENING:
                self.depth += 1
            elif self.depth == 0 and first == 0x7D:
                self.broken = True
                return None
            elif self.depth == 0 and first != 0x22:
                return match.start()
            elif first in _CLOSING:
                self.depth -= 1
            self.at = match.end()
        return None

    def _unfinished_string(self, data: bytes, match: re.Match[bytes]) -> bool:
        if match.group() != b'"':
            return False
        self.broken = data.find(b"\n", match.start()) >= 0
        return True


def value_end(line: bytes) -> int | None:
    """Where the first bracketed value of a line ends; None if it does not."""
    return Scan().value_end(line)


def ends_in_string(line: bytes) -> bool:
    """Whether a string of a line is not closed on it."""
    return any(match.group() == b'"' for match in _TOKEN.finditer(line))


def leading_lines(data: bytes) -> int:
    """The line breaks before the first thing that is not blank."""
    return data.count(b"\n", 0, len(data) - len(data.lstrip()))
