"""Lines -> tokens: every value of a block of JSON lines with its path, line and place.

The quotes of a block cut it into strings and the gaps between them. All structure is in the gaps,
and most gaps are one sign: a colon makes the string before it a key, a comma ends a value. So
numpy can read a block gap by gap, for all gaps at once. A line that is not what it should be is
`odd`, and is left to others; so is one with something rare.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from loader.normalize.columns import unstorable_in
from loader.plain.paths import Paths
from loader.plain.words import (
    PAD,
    Flags,
    Letters,
    Longs,
    NotPlain,
    Places,
    decimals,
    heads,
    integers,
    is_utf8,
    padded,
    word,
)
from loader.sources.jsontext import DECODE_ERRORS, check_memory, decode, may_repeat_keys
from loader.sources.records import WholeLines

# Kinds of values.
STRING, TRUE, FALSE, INTEGER, DECIMAL, OTHER, NULL, EMPTY, OPEN = range(1, 10)
# By the first sign of a value that is no string.
_NUMBER, _ARRAY = 10, 11
_KINDS = np.zeros(256, np.uint8)
_KINDS[[*b"-0123456789"]] = _NUMBER
_KINDS[[*b"tfn[{"]] = TRUE, FALSE, NULL, _ARRAY, EMPTY
_LITERALS = {TRUE: b"true", FALSE: b"false", NULL: b"null"}

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE, _BACKSLASH = b'",:{}\\'
_OPEN_LIST, _CLOSE_LIST = b"[]"
_BLANKS = b" \t"
_FIRST_PRINTABLE = 0x20
# Objects inside one another.
_MOST_DEPTH = 20
# One of so many odd lines may be due to blanks.
_ODD = 8
# Lines times paths that a block may have.
_MOST_CELLS = 8 << 20
# Bytes for the size of a string in front of it, as COPY's binary format has it.
SIZE_BYTES = 4

_decode_string = msgspec.json.Decoder(str).decode


@dataclass(kw_only=True)
class Tokens:
    """The values of a block, in their order. Names of arrays say what they have an entry for."""

    letters: Letters  # of the block, and behind them strings without their escapes
    block_end: int
    odd: Flags  # by line: whether it was left out
    cells: Any  # int32 [path, line]: the value there, counted from 1; 0 where there is none
    line: Places
    path: Places
    kind: Any  # uint8
    start: Places
    end: Places
    number: Longs  # of integers; of decimals what stands before the point
    behind: Longs  # of decimals: what stands behind the point, and in how many digits
    places: Longs
    others: dict[int, Any] = field(default_factory=dict)  # values that Python has to look at

    def text(self, at: int) -> str:
        """The text of a string or a number."""
        return self.letters[self.start[at] : self.end[at]].tobytes().decode()

    def value(self, at: int) -> Any:
        """A value as Python has it."""
        kind = self.kind[at]
        if kind == STRING:
            return self.text(at)
        if kind == INTEGER:
            return int(self.number[at])
        if kind == DECIMAL:
            return Decimal(self.text(at))
        return self.others[at] if kind == OTHER else bool(kind == TRUE)


class Tokenizer:
    """Reads blocks; what one block teaches holds for the next."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._blanks = False  # whether this sender puts blanks between the tokens

    def read(self, block: WholeLines) -> Tokens:
        """The values of a block."""
        scan = _Scan(block)
        if self._blanks:
            scan = _Scan(scan.without_blanks(), scan.odd_lines)
        scan.find_strings()
        if scan.odd.sum() - len(scan.odd_lines) > block.lines // _ODD and not self._blanks:
            packed = scan.without_blanks()
            if len(packed.data) < len(block.data):
                self._blanks = True
                scan = _Scan(packed, scan.odd_lines)
                scan.find_strings()
        return scan.tokens(self._paths)


class _Scan:
    """One block, step by step."""

    def __init__(self, block: WholeLines, odd: Sequence[int] = ()) -> None:
        self.block = block
        self.data = block.data
        self.letters = padded(self.data)
        self.line_ends = block.ends + PAD
        self.line_starts = np.concatenate(([PAD], self.line_ends[:-1] + 1))
        self.odd = np.zeros(block.lines, bool)
        self.odd[[*block.odd, *odd]] = True
        self._find_unprintable(block.lines)
        self._find_quotes()
        if _OPEN_LIST in self.data or _CLOSE_LIST in self.data:
            self._find_lists()
        else:
            self.every_quote = self.quotes
            self.list_starts = self.list_ends = np.zeros(0, np.int64)
        self.odd_lines = np.flatnonzero(self.odd).tolist()

    def _find_unprintable(self, lines: int) -> None:
        """Control characters do not stand in JSON; neither does what is not UTF-8."""
        inside = self.letters[PAD:-PAD]
        if np.count_nonzero(inside < _FIRST_PRINTABLE) != lines - 1:
            is_control = (inside < _FIRST_PRINTABLE) & (inside != ord("\n"))
            self._mark_places(np.flatnonzero(is_control) + PAD)
        self._find_not_utf8(0, lines)

    def _find_not_utf8(self, first: int, behind: int) -> None:
        """Halve the lines until those that are not UTF-8 are found."""
        if is_utf8(self.letters[self.line_starts[first] : self.line_ends[behind - 1]]):
            return
        if behind - first == 1:
            self.odd[first] = True
            return
        half = (first + behind) // 2
        self._find_not_utf8(first, half)
        self._find_not_utf8(half, behind)

    def _mark_places(self, places: Any) -> None:
        """The lines of some places are odd."""
        self.odd[np.searchsorted(self.line_ends, places)] = True

    def _find_quotes(self) -> None:
        is_quote = self.letters == _QUOTE
        self.backslashes = np.zeros(0, np.int64)
        if _BACKSLASH in self.data:
            self.backslashes = np.flatnonzero(self.letters == _BACKSLASH)
            is_quote[_escaped(self.backslashes)] = False
        self.quotes = np.flatnonzero(is_quote)
        behind = np.searchsorted(self.quotes, self.line_ends)
        self.per_line = np.diff(behind, prepend=0)
        is_open = self.per_line % 2 == 1
        self.odd |= is_open | (self.per_line == 0)
        # Without one of its quotes such a line does no harm to the next ones.
        self.quotes = np.delete(self.quotes, behind.compress(is_open) - 1)
        self.per_line -= is_open
        if self.odd.all():
            raise NotPlain

    def _find_lists(self) -> None:
        """The outermost lists; what is in them is no token of its own."""
        is_bracket = (self.letters == _OPEN_LIST) | (self.letters == _CLOSE_LIST)
        places = np.flatnonzero(is_bracket)
        places = places[np.searchsorted(self.quotes, places) % 2 == 0]  # not inside of strings
        lines = np.searchsorted(self.line_ends, places)
        for _ in range(2):  # the second time without the lines that are out of balance
            kept = ~self.odd[lines]
            places, lines = places[kept], lines[kept]
            step = np.where(self.letters[places] == _OPEN_LIST, 1, -1)
            depth = np.cumsum(step)
            self.odd |= np.bincount(lines, step, len(self.odd)) != 0
            self.odd[lines[depth < 0]] = True
        if self.odd[lines].any():
            raise NotPlain
        self.every_quote = self.quotes
        self.list_starts = places[(step == 1) & (depth == 1)]
        self.list_ends = places[(step == -1) & (depth == 0)]
        self.quotes = self._outside_lists(self.quotes)
        self.backslashes = self._outside_lists(self.backslashes)
        self.per_line = np.diff(np.searchsorted(self.quotes, self.line_ends), prepend=0)
        self.odd |= self.per_line == 0
        if self.odd.all():
            raise NotPlain

    def _outside_lists(self, places: Places) -> Places:
        starts = np.searchsorted(places, self.list_starts).tolist()
        ends = np.searchsorted(places, self.list_ends).tolist()
        inside = [range(*both) for both in zip(starts, ends, strict=True)]
        return np.delete(places, np.array([*chain(*inside)], np.int64))

    def without_blanks(self) -> WholeLines:
        """The block without the blanks between its tokens; `odd_lines` are spoilt."""
        letters = self.letters
        toggles = np.zeros(len(letters), np.uint8)
        toggles[self.every_quote] = 1
        is_between = np.bitwise_xor.accumulate(toggles) == 0
        is_blank = (letters == _BLANKS[0]) | (letters == _BLANKS[1])
        data = letters[PAD:-PAD].compress(~(is_blank & is_between)[PAD:-PAD])
        ends = np.append(np.flatnonzero(data == ord("\n")), len(data))
        return self.block._replace(data=data.tobytes(), ends=ends)

    def find_strings(self) -> None:
        """Strings and the gaps behind them: which are keys, what the gaps do, how deep they are."""
        letters = self.letters
        live = np.flatnonzero(self.per_line)
        counts = self.per_line.take(live, mode="clip") // 2
        self.opening, self.closing = self.quotes.reshape(-1, 2).T.copy()
        self.line = np.repeat(live, counts)
        last = np.cumsum(counts) - 1
        first = last - counts + 1
        gap_end = np.append(self.opening[1:], 0)
        gap_end[last] = self.line_ends.take(live, mode="clip")
        gap = gap_end - self.closing
        after = letters.take(self.closing + 1, mode="clip")
        self.is_key = after == _COLON
        self.is_single = is_single = (gap == 2) & (self.is_key | (after == _COMMA))
        is_single[last] = False
        is_value = np.zeros(len(gap), bool)
        np.logical_and(self.is_key[:-1], is_single[:-1], out=is_value[1:])
        bad = self.is_key == is_value
        # Gaps of more than one sign, and those at the end of a line.
        self.long = at = np.flatnonzero(~is_single)
        is_last = np.zeros(len(gap), bool)
        is_last[last] = True
        ends_line = is_last.take(at, mode="clip")
        self.of_key = self.is_key.take(at, mode="clip")
        self.start = self.closing.take(at, mode="clip") + 2
        self.sign = letters.take(self.start, mode="clip")
        self.opens = (
            self.of_key & (self.sign == _OPEN) & (gap.take(at, mode="clip") == 3) & ~ends_line
        )
        core_end = gap_end.take(at, mode="clip") - ~ends_line
        closes = _closes(letters, core_end)
        is_empty = self.of_key & (self.sign == _OPEN) & ~self.opens
        closes -= is_empty  # one of the closing braces is its own
        self.end = core_end - closes
        wrong = self.end - self.start <= 0
        # Behind a value that is a string there are only closing braces.
        wrong = self.of_key & wrong | ~self.of_key & (self.end != self.start - 1)
        is_pair = (self.end - self.start == 2) & (
            letters.take(self.start + 1, mode="clip") == _CLOSE
        )
        wrong |= is_empty & ~is_pair
        wrong |= ~ends_line & (letters.take(core_end, mode="clip") != _COMMA)
        bad[at] |= wrong & ~self.opens
        self._find_depth(live, ends_line, self.opens + (~self.opens) * -closes)
        start = self.line_starts.take(live, mode="clip")
        bad[first] |= (letters.take(start, mode="clip") != _OPEN) | (
            self.opening.take(first, mode="clip") != start + 1
        )
        self.odd[self.line.compress(bad)] = True

    def _find_depth(self, live: Any, ends_line: Flags, step: Longs) -> None:
        """How deep the strings up to each long gap are: all of them stand in one object."""
        reached = np.cumsum(step)
        at_end = reached.compress(ends_line)
        before = np.append(0, at_end[:-1])
        self.odd[live.compress(at_end - before != -1)] = True
        per_line = np.diff(np.flatnonzero(ends_line), prepend=-1)
        self.depth = reached - step - np.repeat(before, per_line) + 1
        is_wrong = (self.depth < 1) | (self.depth > _MOST_DEPTH)
        self.odd[self.line.take(self.long.compress(is_wrong), mode="clip")] = True

    def tokens(self, paths: Paths) -> Tokens:
        """The values with their paths."""
        size = len(self.opening)
        has_escape = np.zeros(size, bool)
        if len(self.backslashes) and size:
            has_escape[np.searchsorted(self.opening, self.backslashes) - 1] = True
            self.odd[self.line.compress(has_escape & self.is_key)] = True
        if self.odd.any():
            self.is_key &= ~self.odd.take(self.line, mode="clip")
        keys = np.flatnonzero(self.is_key)
        if not len(keys):
            raise NotPlain
        # What follows a key is a string, unless its gap is a long one.
        follow = np.minimum(keys + 1, size - 1)
        kind = np.full(len(keys), STRING, np.uint8)
        start = self.opening.take(follow, mode="clip") + 1
        end = self.closing.take(follow, mode="clip")
        # Values that are no strings: their places among the keys, and their gaps.
        place = np.flatnonzero(~self.is_single.take(keys, mode="clip"))
        long = np.flatnonzero(self.is_key.take(self.long, mode="clip"))
        opens = self.opens.take(long, mode="clip")
        sign = self.sign.take(long, mode="clip")
        kind[place] = np.where(opens, OPEN, _KINDS.take(sign, mode="clip"))
        start[place] = self.start.take(long, mode="clip")
        end[place] = self.end.take(long, mode="clip")
        line = self.line.take(keys, mode="clip")
        ids = paths.key_ids(
            self.letters,
            self.opening.take(keys, mode="clip") + 1,
            self.closing.take(keys, mode="clip"),
        )
        self._find_parents(paths, ids.take(place, mode="clip"), long)
        parents = np.repeat(self.parents, np.diff(self.long, prepend=-1))
        tokens = Tokens(
            letters=self.letters,
            block_end=PAD + len(self.data),
            odd=self.odd,
            cells=None,
            line=line,
            path=paths.step(parents.take(keys, mode="clip"), ids),
            kind=kind,
            start=start,
            end=end,
            number=np.zeros(len(keys), np.int64),
            behind=np.zeros(len(keys), np.int64),
            places=np.zeros(len(keys), np.int64),
        )
        self.odd[line.compress(kind == 0)] = True
        self._check_literals(tokens, place)
        self._read_numbers(tokens, place)
        self._check_lists(tokens, place)
        self._look_at_others(tokens)
        if has_escape.any():
            is_escaped = has_escape.take(follow, mode="clip") & (kind == STRING)
            self._unescape(tokens, np.flatnonzero(is_escaped))
        return _without_repeated(tokens, len(paths.paths))

    def _find_parents(self, paths: Paths, ids: Places, long: Places) -> None:
        """The path of the object in which the strings up to each long gap stand."""
        is_opener = self.opens.take(long, mode="clip")
        opens, keys = long.compress(is_opener), ids.compress(is_opener)
        depth = self.depth.take(opens, mode="clip")
        self.parents = np.zeros(len(self.long), np.int64)
        for level in range(1, int(depth.max(initial=0)) + 1):
            found = np.flatnonzero(depth == level)
            opener = opens.take(found, mode="clip")
            below = np.zeros(len(self.long), np.int64)
            below[opener] = np.arange(len(found))
            below = np.maximum.accumulate(below)
            path = paths.step(self.parents.take(opener, mode="clip"), keys.take(found, mode="clip"))
            if len(path):
                inner = np.flatnonzero(self.depth == level + 1)
                self.parents[inner] = path.take(below.take(inner), mode="clip")

    def _check_literals(self, tokens: Tokens, place: Places) -> None:
        kinds = tokens.kind.take(place, mode="clip")
        for literal, text in _LITERALS.items():
            at = place.compress(kinds == literal)
            start = tokens.start.take(at, mode="clip")
            size = tokens.end.take(at, mode="clip") - start
            wrong = (size != len(text)) | (heads(self.letters, start, size) != word(text))
            self.odd[tokens.line.take(at.compress(wrong), mode="clip")] = True

    def _read_numbers(self, tokens: Tokens, place: Places) -> None:
        """Integers and decimals; any other number is left to Python."""
        at = place.compress(tokens.kind.take(place, mode="clip") == _NUMBER)
        start, end = tokens.start.take(at, mode="clip"), tokens.end.take(at, mode="clip")
        tokens.number[at], fits = integers(self.letters, start, end)
        tokens.kind[at] = np.where(fits, INTEGER, OTHER)
        if fits.all():
            return
        at, start, end = at.compress(~fits), start.compress(~fits), end.compress(~fits)
        tokens.number[at], tokens.behind[at], tokens.places[at], fits = decimals(
            self.letters, start, end
        )
        tokens.kind[at] = np.where(fits, DECIMAL, OTHER)

    def _check_lists(self, tokens: Tokens, place: Places) -> None:
        at = place.compress(tokens.kind.take(place, mode="clip") == _ARRAY)
        if not len(at):
            return
        tokens.kind[at] = OTHER
        start, end = tokens.start.take(at, mode="clip"), tokens.end.take(at, mode="clip")
        found = np.searchsorted(self.list_starts, start)
        starts, ends = np.append(self.list_starts, 0), np.append(self.list_ends, 0)
        wrong = (starts.take(found, mode="clip") != start) | (
            ends.take(found, mode="clip") + 1 != end
        )
        self.odd[tokens.line.take(at.compress(wrong), mode="clip")] = True

    def _look_at_others(self, tokens: Tokens) -> None:
        """Lists, and numbers that are not small integers."""
        at = np.flatnonzero(tokens.kind == OTHER)
        check_memory(int((tokens.end[at] - tokens.start[at]).sum()))
        for one in at.tolist():
            raw = self.letters[tokens.start[one] : tokens.end[one]].tobytes()
            try:
                value = decode(raw)
            except (*DECODE_ERRORS, ValueError):
                self.odd[tokens.line[one]] = True
                continue
            tokens.others[one] = value
            if type(value) is list and (unstorable_in(value) or may_repeat_keys([value], [raw])):
                self.odd[tokens.line[one]] = True

    def _unescape(self, tokens: Tokens, at: Any) -> None:
        """Write the strings with escapes as they are meant, behind the others."""
        if not len(at):
            return
        check_memory(int((tokens.end[at] - tokens.start[at]).sum()))
        tail = bytearray()
        size = len(self.letters)
        for one in at.tolist():
            raw = self.letters[tokens.start[one] - 1 : tokens.end[one] + 1].tobytes()
            try:
                text = _decode_string(raw)
            except DECODE_ERRORS:
                text = "\0"
            if "\0" in text:  # nor can a lone surrogate be stored
                self.odd[tokens.line[one]] = True
                continue
            tail += bytes(SIZE_BYTES)
            tokens.start[one] = size + len(tail)
            tail += text.encode()
            tokens.end[one] = size + len(tail)
        tail += bytes(PAD)
        tokens.letters = np.concatenate((self.letters, np.frombuffer(tail, np.uint8)))


def _escaped(backslashes: Any) -> Any:
    """The places that a backslash escapes: in a run of them, every second one escapes the next."""
    is_first = np.diff(backslashes, prepend=-2) != 1
    run = backslashes[is_first][np.cumsum(is_first) - 1]
    return backslashes[(backslashes - run) % 2 == 0] + 1


def _closes(letters: Letters, ends: Places) -> Places:
    """How many closing braces stand before each of some places."""
    counts = np.zeros(len(ends), np.int64)
    at, end = np.arange(len(ends)), ends
    while len(at):
        end = end - 1
        closes = letters.take(end, mode="clip") == _CLOSE
        at, end = at.compress(closes), end.compress(closes)
        counts[at] += 1
    return counts


def _without_repeated(tokens: Tokens, paths: int) -> Tokens:
    """The tokens in their cells; a line in which a key stands twice is odd."""
    lines = len(tokens.odd)
    if lines * paths > _MOST_CELLS:
        raise NotPlain
    cells = np.zeros(paths * lines, np.int32)
    code = tokens.path * lines + tokens.line
    numbers = np.arange(1, len(code) + 1, dtype=np.int32)
    cells[code] = numbers
    tokens.odd[tokens.line.compress(cells.take(code, mode="clip") != numbers)] = True
    tokens.cells = cells.reshape(paths, lines)
    return tokens
