"""Bytes of one file -> blocks of records with their positions.

Forms may follow one another in a file: a record per line (NDJSON), a JSON document over many lines,
a JSON array. Nothing is parsed here: lines and elements are found by their brackets, so that an
array of any length streams. What is broken costs the line that it stands on, and no other.
"""

import ctypes
import re
from collections.abc import Iterable, Iterator

import numpy as np

from loader import native
from loader.columns.tokens import WORD_BYTES, Longs
from loader.errors import InputUnreadable
from loader.normalize.event import Reject
from loader.normalize.jsontext import invalid_json, parse_json
from loader.sources.blocks import Block, Gathering, position_of
from loader.sources.lines import LineRoom, Lines

# A batch envelope holds many records in one document; Segment accepts 500 kB.
MAX_DOCUMENT_BYTES = 32 << 20
# At most so many records are handed on together.
BLOCK_RECORDS = 5_000
# What is kept of a line that is too long to hold.
_HEAD_BYTES = 1 << 20
# Bytes of a file that may be searched for the end of what turns out to have none.
_MOST_SEARCHED_IN_VAIN = 16 << 20
_BOM = b"\xef\xbb\xbf"
_BLANKS = re.compile(rb"[ \t\r\n]*")
_BETWEEN = re.compile(rb"[ \t\r,]*")
# What may stand between two values on one line.
_SEPARATORS = b" \t\r,"

# How a search ended; the same numbers stand in spans.h.
_CLOSED, _UNFINISHED, _FULL, _BROKEN, _IN_STRING = range(5)


def read_blocks(chunks: Iterable[bytes], *, most_records: int = BLOCK_RECORDS) -> Iterator[Block]:
    """The records in `chunks`, the bytes of one file; memory is bounded by the limits above.

    Where `chunks` raises InputUnreadable, the whole records before that point come first.
    """
    return _Reader(iter(chunks), most_records).blocks()


class _Reader:
    """Reads one file. What was read and is not used yet is `data[at:size]`, from `line` on."""

    def __init__(self, chunks: Iterator[bytes], most_records: int) -> None:
        self.chunks = chunks
        self.data = bytes(WORD_BYTES)  # with some more bytes that can be read behind the last one
        self.text = np.frombuffer(self.data, np.uint8)
        self.size = self.at = 0
        self.line = 1
        self.room = LineRoom()
        self.lines: Lines | None = None
        self.found = Gathering(most_records)
        self.failure: InputUnreadable | None = None
        self.searched_in_vain = 0

    def blocks(self) -> Iterator[Block]:
        while self.size < len(_BOM) and self._more():
            pass
        if self.data.startswith(_BOM):
            self.at = len(_BOM)
        while self.at < self.size or self._more():
            yield from self._next()
            yield from self._full_blocks()
        while not self.found.is_empty:
            yield self.found.take()
        if self.failure is not None:
            raise self.failure

    def _full_blocks(self) -> Iterator[Block]:
        while self.found.is_full:
            yield self.found.take()

    def _next(self) -> Iterator[Block]:
        """Take some lines, or what is not on one line."""
        first = self._skip_blanks()
        if self.data[first : first + 1] == b"[" and not self._is_given_up():
            self._advance(first)
            yield from self._array()
            return
        cut = self.data.rfind(b"\n", self.at, self.size) + 1
        if cut <= self.at:
            if self.size - self.at <= MAX_DOCUMENT_BYTES and self._more():
                return
            cut = self.size
            if self.failure is not None:
                self.at = cut  # the file goes on behind the failure; this line may be whole then
                return
            if cut - self.at > MAX_DOCUMENT_BYTES:
                self._skip_line()
                return
        self._lines(cut)

    def _more(self) -> bool:
        """Read on; False at the end."""
        if self.failure is not None:
            return False
        try:
            chunk = next(self.chunks, b"")
        except InputUnreadable as error:
            self.failure = error
            return False
        if chunk:
            self.data = b"".join((self.data[self.at : self.size], chunk, bytes(WORD_BYTES)))
            self.size, self.at = len(self.data) - WORD_BYTES, 0
            self.text = np.frombuffer(self.data, np.uint8)
            self.lines = None
        return bool(chunk)

    def _skip_blanks(self) -> int:
        """Where the first byte stands that is not blank, of those that were read."""
        found = _BLANKS.match(self.data, self.at, self.size)
        assert found is not None  # it may be empty
        return found.end()

    def _advance(self, to: int) -> None:
        self.line += self.data.count(b"\n", self.at, to)
        self.at = to

    def _line_break(self, start: int) -> int:
        return self.data.find(b"\n", start, self.size)

    def _line_end(self, start: int) -> int:
        """Where a line ends, of what was read."""
        end = self._line_break(start)
        return end if end >= 0 else self.size

    def _is_given_up(self) -> bool:
        """Whether nothing over several lines is looked for any more."""
        return self.searched_in_vain > _MOST_SEARCHED_IN_VAIN

    def _reject(self, reject: Reject, raw: bytes, *items: int) -> None:
        self.found.add_bad(position_of(self.line, *items), reject, raw)

    # lines

    def _lines(self, cut: int) -> None:
        """Take whole lines, up to the first one that goes on behind its end."""
        if self.lines is None or self.lines.cut != cut:
            self.lines = self.room.find(self.text, self.at, cut, self.line)
        lines = self.lines
        first = lines.index(self.at)
        if first is None:  # in the middle of a line, behind something else
            end = min(self._line_end(self.at) + 1, cut)
            lines, first = self.room.find(self.text, self.at, end, self.line), 0
        irregular = lines.irregular
        for at in range(int(np.searchsorted(irregular, first)), len(irregular)):
            number = int(irregular[at])
            self._run(lines, first, number)
            first = number + 1
            self.at, self.line = int(lines.starts[number]), lines.line + number
            data = self.data
            if self._goes_on(int(lines.ends[number])):
                return
            if self.data is not data:  # more was read, and the lines stand elsewhere now
                self._advance(min(self._line_end(self.at) + 1, self.size))
                return
        self._run(lines, first, len(lines))
        self.at = lines.cut
        self.line = lines.line + len(lines) - (self.data[self.at - 1 : self.at] != b"\n")

    def _run(self, lines: Lines, first: int, behind: int) -> None:
        """Take consecutive lines that are whole, or blank."""
        at = np.flatnonzero(~lines.is_blank[first:behind]) + first
        if len(at):
            starts, ends = lines.starts[at], lines.ends[at]
            begin, end = int(starts[0]), int(ends[-1])
            nothing = np.zeros(len(at), np.int64)
            self.found.add(
                self.text[begin:end], starts - begin, ends - begin, at + lines.line, nothing
            )

    def _goes_on(self, end: int) -> bool:
        """Take the line at hand, unless it goes on behind its end; then it is dealt with there."""
        line = self.data[self.at : end]
        head = line.lstrip(b" \t\r")[:1]  # no others, as in `_skip_blanks`
        if head == b"[":
            if not self._is_given_up():
                return True  # it is the next thing that is read
            self._reject(_NEVER_CLOSED, line)
            return False
        if head != b"{":
            self.found.add_one(line, self.line)
            return False
        inner, state = self._value_end(self.at, end)
        if inner >= 0:
            self._values_on_one_line(inner, end)
        elif state == _IN_STRING or self._is_given_up():
            self._reject(invalid_json(), line)
        else:
            return self._documents(line)
        return False

    def _value_end(self, start: int, end: int) -> tuple[int, int]:
        """Where the first value in brackets ends, or -1 and why it does not."""
        state = ctypes.c_int32()
        found = native.find_value_end(self.text.ctypes.data, start, end, ctypes.addressof(state))
        return found, state.value

    def _values_on_one_line(self, inner: int, end: int) -> None:
        """Several values on one line; one that closes more than it has opened is one reject."""
        raws: list[bytes] = []
        start = self.at
        while inner >= 0:
            raws.append(self.data[start:inner].strip(_SEPARATORS))
            start, inner = inner, self._value_end(inner, end)[0]
        rest = self.data[start:end].strip(_SEPARATORS)
        if any(raw[:1] in b"}]" for raw in (*raws, rest or b"{")):
            self._reject(invalid_json(), self.data[self.at : end])
            return
        if rest:
            raws.append(rest)
        for number, raw in enumerate(raws, 1):
            self.found.add_one(raw, self.line, number if len(raws) > 1 else 0)

    def _skip_line(self) -> None:
        """Drop a line too long to hold, keeping its beginning for the reject."""
        head, size = self.data[self.at : self.at + _HEAD_BYTES], 0
        while (end := self._line_break(self.at)) < 0:
            size += self.size - self.at
            self.at = self.size
            if not self._more():
                break
        end = self.size if end < 0 else end
        size += end - self.at
        detail = (
            f"a line of {size} bytes that is no array: only its first {len(head)} "
            "bytes are kept; put each record on a line of its own, or all into an array"
        )
        self._reject(Reject(reason="record_too_large", detail=detail), head)
        self._advance(min(end + 1, self.size))

    # documents

    def _documents(self, line: bytes) -> bool:
        """Documents over several lines, from one that begins with an unfinished line.

        False where that line is no beginning of one, but a record that is cut short.
        """
        if not self._is_head(line):
            self._reject(invalid_json(), line)
            return False
        while True:
            self._document()
            while self._line_break(self.at) < 0 and self.size - self.at <= _HEAD_BYTES:
                if not self._more():
                    break
            head = self.data[self.at : self._line_end(self.at)].strip()
            if head != b"{" or self._is_given_up() or self.found.is_full:
                return True

    def _is_head(self, line: bytes) -> bool:
        """Whether an unfinished line is the head of a document, rather than a record cut short."""
        while (end := self._line_break(self.at)) < 0 or self.data.find(
            b"\n", end + 1, self.size
        ) < 0:
            if self.size - self.at > MAX_DOCUMENT_BYTES or not self._more():
                break
        if end < 0:
            return False
        following = self.data[end + 1 : self._line_end(end + 1)]
        if not following.strip():
            return end + 1 < self.size
        if following.lstrip()[:1] != b"{":
            return True
        if len(following) > _HEAD_BYTES:  # its values would take thirty times as much
            return self._value_end(end + 1, self._line_end(end + 1))[0] < 0
        return type(parse_json(following)[0]) is not dict

    def _document(self) -> None:
        """Take one document. If it never closes, its first line is the bad record."""
        while True:
            end, state = self._value_end(self.at, self.size)
            if end >= 0 or state == _BROKEN or self.size - self.at > MAX_DOCUMENT_BYTES:
                break
            if not self._more():
                break
        if end < 0 and self.failure is not None:
            self.at = self.size
        elif end < 0:
            self.searched_in_vain += self.size - self.at
            self._lose_line(invalid_json())
        else:
            self.found.add_one(self.data[self.at : end], self.line)
            self._advance(end)
            self._skip_separator()

    def _lose_line(self, reject: Reject, *items: int) -> None:
        end = self._line_end(self.at)
        self._reject(reject, self.data[self.at : end], *items)
        self._advance(min(end + 1, self.size))

    def _skip_separator(self) -> None:
        """Step over what may stand behind a document: a comma, blanks, the line's end."""
        while True:
            found = _BETWEEN.match(self.data, self.at, self.size)
            assert found is not None  # it may be empty
            at = found.end()
            if at < self.size or not self._more():
                break
        self._advance(at + (self.data[at : at + 1] == b"\n"))

    # arrays

    def _array(self) -> Iterator[Block]:
        """The elements of an array, some at a time."""
        self.at += 1
        number, is_broken = 0, False
        room = self.found.most_records
        starts, ends = np.empty((2, room), np.int64)
        where, state = ctypes.c_int64(), ctypes.c_int32()
        while True:
            count = native.find_elements(
                *(self.text.ctypes.data, self.at, self.size, 0),
                *(starts.ctypes.data, ends.ctypes.data, room),
                *(ctypes.addressof(where), ctypes.addressof(state)),
            )
            self._elements(starts[:count], ends[:count], number)
            number += count
            self._advance(where.value)
            if state.value == _CLOSED:
                self._skip_separator()
                return
            yield from self._full_blocks()
            if state.value == _FULL:
                continue
            if state.value == _BROKEN:
                # The line is lost, the elements behind it are not.
                self._advance(self._skip_blanks())
                number, is_broken = number + 1, True
                self._lose_line(invalid_json(), number)
                self.searched_in_vain += max(int(starts[count]) - self.at, 0)
                if self._is_given_up():
                    return
            elif self.size - self.at > MAX_DOCUMENT_BYTES or not self._more():
                self._unclosed_array(number, is_broken)
                return

    def _elements(self, starts: Longs, ends: Longs, number: int) -> None:
        if len(starts):
            begin, end = int(starts[0]), int(ends[-1])
            breaks = np.flatnonzero(self.text[self.at : end] == ord("\n")) + self.at
            self.found.add(
                self.text[begin:end],
                starts - begin,
                ends - begin,
                self.line + np.searchsorted(breaks, starts),
                np.arange(number + 1, number + 1 + len(starts)),
            )

    def _unclosed_array(self, number: int, is_broken: bool) -> None:
        """An array that is cut short: what is whole behind its last element goes on as lines."""
        first = self._skip_blanks()
        self.searched_in_vain += self.size - self.at
        if self.failure is not None:
            self.at = self.size
            return
        line = self.line
        self._advance(first)
        rest = self.data[first : self._line_end(first)].strip(_SEPARATORS)
        end = self.at + len(rest)
        if rest and self._value_end(self.at, end)[0] != end:
            self._lose_line(_NEVER_CLOSED, number + 1)
        elif not is_broken:  # else it was said
            self.found.add_bad(position_of(line, number + 1), _NEVER_CLOSED, b"[")


_NEVER_CLOSED = invalid_json("the array is never closed")
