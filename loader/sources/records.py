"""Containers -> raw records with their position.

One reader for all forms, which may follow one another in a file: a record per line (NDJSON), a
JSON document over many lines, a JSON array, a batch envelope. Lines are the hot path; anything
else is found by its brackets and handed on element by element, so that an array of any length
streams.
"""

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, NamedTuple

from loader import native
from loader.defects import defect
from loader.errors import InputUnreadable
from loader.normalize.event import Object, Reason, Reject
from loader.sources.brackets import Scan, ends_in_string, leading_lines, value_end
from loader.sources.jsontext import (
    DECODE_ERRORS,
    check_memory,
    decode,
    encode_json,
    invalid_json,
    may_repeat_keys,
    parse_json,
    parse_repeated,
)

# A batch envelope holds many records in one document; Segment accepts 500 kB.
MAX_DOCUMENT_BYTES = 32 << 20
# A chunk is handed on when it has so many records or bytes.
CHUNK_RECORDS = 2_500
_CHUNK_BYTES = 4 << 20
# At most so many lines are handed on together.
BLOCK_RECORDS = 5_000
# Fewer bytes than this are not worth looking for whole lines in.
_ENOUGH_BYTES = 256 << 10
# So many bytes at least have the lines of a block, on average.
_SHORT_LINE = 16
# Lines are not whole where more than one of so many is odd.
_ODD = 50
# What is kept of a line that is too long to hold.
_HEAD_BYTES = 1 << 20
# A value takes up to 90 bytes. A document of the largest size has fewer, unless it is made to.
_MOST_VALUES = 2_000_000
# Arrays or batches inside one another.
_MAX_CONTAINERS = 4
# So many bytes of a file, and so many times what was read of it, may be searched for the end of
# documents and arrays that turn out to have none.
_MAX_SCANNED_IN_VAIN = 16 << 20
_SCANNED_IN_VAIN = 64 << 10
_SCANNED_PER_BYTE = 4
# What is moved for each document or array is at most about so much.
_WINDOW = 64 << 10
# Behind a document over several lines, the lines of so many bytes are looked at together, and then
# of twice as many each time.
_SPAN = 4 << 10
_ANY_SPAN = 1 << 40
# After a line that is not plain JSON, so many are tried together, and then twice as many each time.
_FEW_LINES = 8
# What a batch says for all of its calls may come to so many times its size, and so many bytes.
_REPEATED_PER_BYTE = 64
_REPEATED_BYTES = 4 << 20
# What may stand between two values on one line.
_SEPARATORS = b" \t\r,"
_BOM = b"\xef\xbb\xbf"


class BadRecord(NamedTuple):
    """A piece of input that is not a record."""

    position: str
    reject: Reject
    raw: bytes


class Chunk:
    """Some consecutive records of one file, as parsed and as they stood there."""

    __slots__ = ("bad", "positions", "raws", "records", "repeated", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes
        self.records: list[Object] = []
        self.raws: list[bytes] = []
        self.positions: list[int | str] = []  # a line's number, or the position in words
        self.bad: list[BadRecord] = []
        # By record, the values of keys that stand twice in one object, but for the first ones.
        self.repeated: dict[int, Object] = {}

    def __len__(self) -> int:
        return len(self.records) + len(self.bad)

    def position(self, index: int) -> str:
        """The position of a record, as `_rejects` shows it."""
        place = self.positions[index]
        return f"line {place}" if type(place) is int else str(place)


class WholeLines(NamedTuple):
    """Lines that can be read one by one, not parsed yet; nearly all look like a record each."""

    data: bytes  # without the last line's end
    line: int  # number of the first one
    lines: int
    odd: list[int]  # the places of those that do not look like a record
    ends: Any  # numpy.ndarray: where each of them ends


def read_lines(
    blocks: Iterable[bytes], *, max_record_bytes: int, chunk_records: int = BLOCK_RECORDS
) -> Iterator[Chunk | WholeLines]:
    """The same as `read_chunks`, but what is a record per line is left for others to parse."""
    return _Reader(iter(blocks), max_record_bytes, chunk_records, 1, lazy=True).chunks()


def read_chunks(
    blocks: Iterable[bytes],
    *,
    max_record_bytes: int,
    chunk_records: int = CHUNK_RECORDS,
    first_line: int = 1,
) -> Iterator[Chunk]:
    """The records in `blocks`, the bytes of one file; memory is bounded by the limits.

    Where `blocks` raises InputUnreadable, the whole records before that point come first.
    """
    reader = _Reader(iter(blocks), max_record_bytes, chunk_records, first_line, lazy=False)
    return (chunk for chunk in reader.chunks() if type(chunk) is Chunk)


class _Reader:
    """Reads one file. `self.data` is what was read and not yet used, from line `self.line` on."""

    def __init__(
        self,
        blocks: Iterator[bytes],
        max_record_bytes: int,
        chunk_records: int,
        first_line: int,
        *,
        lazy: bool,
    ) -> None:
        self.blocks = blocks
        self.limit = max_record_bytes
        self.chunk_records = chunk_records
        self.data = b""
        self.line = first_line
        self.lazy = lazy
        self.chunk = Chunk()
        self.failure: InputUnreadable | None = None
        self.scanned_in_vain = 0  # bytes looked at for the end of documents that have none
        self.read = 0  # bytes
        self.held = b""  # read, but not in `data` yet, from `held_at` on
        self.held_at = 0
        self.span = _ANY_SPAN  # bytes of which the lines are looked at together

    def chunks(self) -> Iterator[Chunk | WholeLines]:
        while len(self.data) < len(_BOM) and self._more():
            pass
        if self.data.startswith(_BOM):
            self.data = self.data[len(_BOM) :]
            if not self.data:
                self._more()
        while self.data:
            if self._begins_array():
                self._advance(len(self.data) - len(self.data.lstrip()))
                self._hold()
                yield from self._array()
                continue
            cut = self.data.rfind(b"\n", 0, self.span) + 1 or self.data.find(b"\n") + 1
            self.span = min(2 * self.span, _ANY_SPAN)
            if not cut:
                if len(self.data) <= MAX_DOCUMENT_BYTES and self._more():
                    continue
                if self.failure is not None:
                    break  # the file goes on behind the failure; this line may be whole then
                cut = len(self.data)
                if cut > MAX_DOCUMENT_BYTES:
                    self._skip_line()
                    continue
            part, self.data = self.data[:cut], self.data[cut:]
            whole = self._whole_lines(part) if self.lazy else None
            if whole is not None:
                if len(self.chunk):
                    yield self._next_chunk()
                yield from whole
            else:
                lines = part.split(b"\n")
                if not lines[-1]:
                    lines.pop()
                yield from self._lines(lines)
            if not self.data:
                self._more()
        if len(self.chunk):
            yield self.chunk
        if self.failure is not None:
            raise self.failure

    def _begins_array(self) -> bool:
        """Whether an array begins here that is worth looking for its end."""
        return self.data.lstrip()[:1] == b"[" and not self._is_lost()

    def _is_lost(self) -> bool:
        """Whether too much was searched for nothing; from then on, only lines are read."""
        most = min(_MAX_SCANNED_IN_VAIN, _SCANNED_IN_VAIN + _SCANNED_PER_BYTE * self.read)
        return self.scanned_in_vain > most

    def _hold(self) -> None:
        """Leave only the beginning in `data`, which is copied for each document or array."""
        if len(self.data) > 2 * _WINDOW:
            self.held = self.data[_WINDOW:] + self.held[self.held_at :]
            self.data, self.held_at = self.data[:_WINDOW], 0

    def _more(self) -> bool:
        if self.held_at < len(self.held):
            end = self.held_at + max(_WINDOW, len(self.data))
            self.data += self.held[self.held_at : end]
            self.held_at = end
            return True
        try:
            block = next(self.blocks, b"")
        except InputUnreadable as error:
            self.failure = error
            return False
        self.read += len(block)
        if block:
            self.data = self.data + block if self.data else block
        return bool(block)

    # lines

    def _whole_lines(self, data: bytes) -> list[WholeLines] | None:
        """Some lines in parts, if each of them can be read by itself."""
        if len(data) < _ENOUGH_BYTES or not data.endswith(b"\n"):
            return None
        import numpy as np

        room = len(data) // _SHORT_LINE
        ends, are_whole = np.empty(room, np.int64), np.empty(room, bool)
        count = native.find_lines(
            data, len(data), self.limit, ends.ctypes.data, are_whole.ctypes.data, room
        )
        if count < 0:
            return None
        ends, are_whole = ends[:count], are_whole[:count]
        starts = np.append(0, ends[:-1] + 1)
        odd = np.flatnonzero(~are_whole)
        if len(odd) > len(ends) // _ODD or not all(
            self._stands_alone(data[starts[at] : ends[at]], bool(are_whole[at + 1 : at + 2].any()))
            for at in odd
        ):
            return None
        parts = []
        for first in range(0, len(ends), self.chunk_records):
            last = min(first + self.chunk_records, len(ends)) - 1
            inside = odd[(odd >= first) & (odd <= last)] - first
            piece = data[starts[first] : ends[last]]
            inner = ends[first : last + 1] - starts[first]
            parts.append(WholeLines(piece, self.line, len(inner), inside.tolist(), inner))
            self.line += last - first + 1
        return parts

    def _stands_alone(self, line: bytes, next_is_whole: bool) -> bool:
        """Whether a line that does not look like a record can be read without those behind it."""
        if not line.strip() or (line[:1] == b"{" and next_is_whole):
            return True
        if len(line) > self.limit:
            return False
        try:
            decode(line)
        except DECODE_ERRORS:
            return False
        return True

    def _lines(self, lines: list[bytes]) -> Iterator[Chunk]:
        """Records of whole lines: as many at a time as are plain JSON, then the odd one."""
        start, step = 0, self.chunk_records
        while start < len(lines):
            part = lines[start : start + step]
            step = min(2 * step, self.chunk_records)
            short = list(takewhile(lambda line: len(line) <= self.limit, part))
            check_memory(sum(map(len, short)))
            values: list[Any] = []
            odd = len(short) < len(part)
            try:
                values.extend(map(decode, short))
            except DECODE_ERRORS:
                odd = True
            self._take_values(values, part)
            start += len(values)
            if odd:
                step = min(_FEW_LINES, self.chunk_records)
                if self._odd_line(lines[start], lines, start):
                    # A document over several lines: it and the rest are in `self.data` again.
                    yield from self._document()
                    return
                self.line += 1
                start += 1
                while start < len(lines) and not lines[start].strip():
                    self.line += 1
                    start += 1
            if self._is_full():
                yield self._next_chunk()

    def _take_values(self, values: list[Any], lines: list[bytes]) -> None:
        """Add the values of consecutive lines; plain records many at once."""
        at = 0
        for odd in [*self._odd_values(values, lines[: len(values)]), len(values)]:
            raws = lines[at:odd]
            self.chunk.records += values[at:odd]
            self.chunk.raws += raws
            self.chunk.positions += range(self.line, self.line + len(raws))
            self.chunk.size += sum(map(len, raws))
            self.line += len(raws)
            if odd < len(values):
                self._take(values[odd], lines[odd], f"line {self.line}")
                self.line += 1
            at = odd + 1

    def _odd_values(self, values: list[Any], lines: list[bytes]) -> list[int]:
        """The places of values that are not a record each."""
        odd = []
        if set(map(type, values)) != {dict} or any("batch" in value for value in values):
            odd = [
                at for at, value in enumerate(values) if type(value) is not dict or "batch" in value
            ]
        if may_repeat_keys(values, lines):
            odd += [at for at in range(len(values)) if may_repeat_keys([values[at]], [lines[at]])]
        return sorted(set(odd))

    def _is_full(self) -> bool:
        return len(self.chunk) >= self.chunk_records or self.chunk.size >= _CHUNK_BYTES

    def _next_chunk(self) -> Chunk:
        full, self.chunk = self.chunk, Chunk()
        return full

    def _odd_line(self, line: bytes, lines: list[bytes], index: int) -> bool:
        """Deal with a line that is not plain JSON; True if it begins a longer document."""
        if not line.strip():
            return False
        position = f"line {self.line}"
        value, reject = self._parse(line)
        if reject is None:
            self._take(value, line, position)
        elif line.lstrip()[:1] == b"[" and not self._is_lost():
            return self._put_back(lines, index)
        elif line.lstrip()[:1] != b"{":
            self._reject(position, reject, line)
        elif (end := value_end(line)) and line[end:].strip():
            self._values_on_one_line(line, end, position)
        elif end is None and self._goes_on(line, lines, index):
            return self._put_back(lines, index)
        else:
            self._reject(position, reject, line)
        return False

    def _put_back(self, lines: list[bytes], index: int) -> bool:
        self.data = b"\n".join([*lines[index:], self.data])
        self._hold()
        self.span = _SPAN
        return True

    def _values_on_one_line(self, line: bytes, end: int | None, position: str) -> None:
        start = number = 0
        while end is not None:
            number += 1
            raw = line[start:end].strip(_SEPARATORS)
            only = number == 1 and not line[end:].strip(_SEPARATORS)
            self._take_raw(raw, position if only else f"{position}, item {number}")
            start, end = end, Scan(end).value_end(line)
        rest = line[start:].strip(_SEPARATORS)
        if rest:
            self._take_raw(rest, f"{position}, item {number + 1}")

    def _goes_on(self, line: bytes, lines: list[bytes], index: int) -> bool:
        """Whether an unfinished line is the head of a document, rather than a record cut short."""
        if ends_in_string(line) or self._is_lost():
            return False
        while index + 1 == len(lines):
            if b"\n" in self.data or not self._more():
                following = self.data.partition(b"\n")[0]
                break
        else:
            following = lines[index + 1]
        if not following.strip():
            return bool(following) or index + 2 < len(lines)
        return not self._is_object(following)

    def _skip_line(self) -> None:
        """Drop a line too long to hold, keeping its beginning for the reject."""
        head, size = self.data[:_HEAD_BYTES], 0
        while b"\n" not in self.data:
            size += len(self.data)
            self.data = b""
            if not self._more():
                break
        rest, newline, self.data = self.data.partition(b"\n")
        detail = (
            f"a line of {size + len(rest)} bytes that is no array: only its first {len(head)} "
            "bytes are kept; put each record on a line of its own, or all into an array"
        )
        reject = Reject(reason="record_too_large", detail=detail)
        self._reject(f"line {self.line}", reject, head)
        self.line += 1
        if newline and not self.data:
            self._more()

    # documents and arrays

    def _document(self) -> Iterator[Chunk]:
        """Documents over several lines, until a line is whole again."""
        while True:
            if self._begins_array():
                yield from self._array()
                return
            self._one_document()
            if self._is_full():
                yield self._next_chunk()
            while b"\n" not in self.data and len(self.data) <= MAX_DOCUMENT_BYTES:
                if not self._more():
                    break
            self._advance(len(self.data) - len(self.data.lstrip(b" \t\r\n")))
            head = self.data.partition(b"\n")[0].strip()
            if head not in (b"{", b"[") or self._is_lost():
                return

    def _one_document(self) -> None:
        """Take one document. If it never closes, its first line is the bad record."""
        scan = Scan()
        while (end := scan.value_end(self.data)) is None and not scan.broken:
            if len(self.data) > MAX_DOCUMENT_BYTES or not self._more():
                break
        if end is None and self.failure is not None:
            self.data = b""
            return
        value, reject = self._parse(self.data[:end]) if end else (None, invalid_json())
        if reject is None or (end and reject.reason == "record_too_large"):
            if reject is None:
                self._take(value, self.data[:end], f"line {self.line}")
            else:
                self._reject(f"line {self.line}", reject, self.data[:end])
            self._advance(end or 0)
            self._skip_separator()
        else:
            self.scanned_in_vain += len(self.data)
            self._reject_line(f"line {self.line}", reject)

    def _reject_line(self, position: str, reject: Reject) -> None:
        line, _, self.data = self.data.partition(b"\n")
        self._reject(position, reject, line)
        self.line += 1

    def _array(self) -> Iterator[Chunk]:
        """The elements of an array, one by one."""
        self._advance(self.data.index(b"[") + 1)
        start = number = 0
        closing = b","
        broken = False
        while closing == b",":
            scan = Scan(start)
            while (end := scan.element_end(self.data)) is None and not scan.broken:
                # What is used is dropped only here, once per block and not once per element.
                self.data, start, scan.at = self.data[start:], 0, scan.at - start
                if len(self.data) > MAX_DOCUMENT_BYTES or not self._more():
                    break
            if end is None and not scan.broken:
                self.data = self.data[start:]
                self._unclosed_array(number, broken)
                return
            if end is None:
                # Broken within a line: the line is lost, the elements behind it are not.
                broken = True
                end = self._line_end(start)
                if self.failure is not None and end == len(self.data):
                    self.data = b""
                    return
                raw = self.data[start:end]
                number += 1
                self._reject(self._place(raw, number), invalid_json(), raw.strip())
                closing = b"," if end < len(self.data) else b""
            else:
                raw = self.data[start:end]
                if raw.strip():
                    number += 1
                    self._take_raw(raw.strip(), self._place(raw, number))
                closing = self.data[end : end + 1]
            self.line += self.data.count(b"\n", start, end + 1)
            start = end + 1
            if self._is_full():
                yield self._next_chunk()
        self.data = self.data[start:]
        self._skip_separator()
        if not self.data:
            self._more()

    def _line_end(self, start: int) -> int:
        """The end of the first line from `start` on that is not blank, or of the file."""
        begin = len(self.data) - len(self.data[start:].lstrip())
        while (end := self.data.find(b"\n", begin)) < 0:
            if len(self.data) - start > MAX_DOCUMENT_BYTES or not self._more():
                return len(self.data)
        return end

    def _place(self, raw: bytes, number: int) -> str:
        return f"line {self.line + leading_lines(raw)}, item {number}"

    def _unclosed_array(self, number: int, rejected: bool) -> None:
        """An array that is cut short: its last line is lost, the lines behind it are not."""
        if self.failure is not None:
            self.data = b""
            return
        self.scanned_in_vain += len(self.data)
        blank = leading_lines(self.data)
        self._advance(len(self.data) - len(self.data.lstrip()))
        reject = invalid_json("the array is never closed")
        following = self.data.partition(b"\n")[0] or b"{}"
        said_already = rejected and self._is_object(following)
        if self.data and not said_already:
            self._reject_line(f"line {self.line}, item {number + 1}", reject)
        elif not said_already:
            self._reject(f"line {self.line - blank}, item {number + 1}", reject, b"[")
        if not self.data:
            self._more()

    def _advance(self, count: int) -> None:
        self.line += self.data.count(b"\n", 0, count)
        self.data = self.data[count:]

    def _skip_separator(self) -> None:
        """Step over what may stand between two documents: a comma, blanks, the line's end."""
        while not (rest := self.data.lstrip(b" \t\r,")) and self._more():
            pass
        if rest[:1] == b"\n":
            self.line += 1
            rest = rest[1:]
        self.data = rest

    # records

    def _parse(self, raw: bytes) -> tuple[Any, Reject | None]:
        """As `parse_json`, but without parsing what cannot be used then.

        Values may take thirty times the memory of their text, so what is longer than a record may
        be is parsed only where it may hold many.
        """
        if len(raw) > self.limit:
            if raw.lstrip()[:1] == b"{" and b"batch" not in raw and b"\\u" not in raw:
                return None, _too_large(len(raw), self.limit)
            if raw.count(b",") > _MOST_VALUES:
                detail = (
                    f"more than {_MOST_VALUES} values in one document: put each record on a line"
                )
                return None, Reject(reason="record_too_large", detail=detail)
        return parse_json(raw)

    def _is_object(self, line: bytes) -> bool:
        return line.lstrip()[:1] == b"{" and type(self._parse(line)[0]) is dict

    def _take_raw(self, raw: bytes, position: str) -> None:
        value, reject = self._parse(raw)
        if reject is None:
            self._take(value, raw, position)
        else:
            self._reject(position, reject, raw)

    def _take(self, value: Any, raw: bytes, position: str) -> None:
        """Add a parsed value: a record, or an array or envelope of records."""
        try:
            self._take_value(value, raw, position)
        except Exception as error:
            self._reject(position, defect(error), raw)

    def _take_value(self, value: Any, raw: bytes, position: str, depth: int = 0) -> None:
        others: Object = {}
        if not depth and may_repeat_keys([value], [raw]):
            value, others = parse_repeated(raw)
        if depth > _MAX_CONTAINERS:
            detail = f"more than {_MAX_CONTAINERS} arrays or batches inside one another"
            self._reject(position, Reject(reason="too_deep", detail=detail), raw)
        elif type(value) is list:
            for number, item in enumerate(value, 1):
                self._take_value(item, encode_json(item), f"{position}, item {number}", depth + 1)
        elif type(value) is dict and "batch" in value and "event" not in value:
            self._take_envelope(value | others, raw, position, depth)
        elif len(raw) > self.limit:
            self._reject(position, _too_large(len(raw), self.limit), raw)
        elif type(value) is not dict:
            reject = Reject(reason="not_an_object", detail="the record is not a JSON object")
            self._reject(position, reject, raw)
        else:
            if others:
                self.chunk.repeated[len(self.chunk.records)] = others
            self.chunk.records.append(value)
            self.chunk.raws.append(raw)
            self.chunk.size += len(raw)
            self.chunk.positions.append(position)

    def _take_envelope(self, envelope: Object, raw: bytes, position: str, depth: int) -> None:
        items = envelope["batch"]
        if type(items) is not list or not items:
            reason: Reason = "empty_batch" if items == [] else "batch_not_array"
            reject = Reject(reason=reason, detail="the batch envelope has no array of calls")
            self._reject(position, reject, raw)
            return
        size = len(encode_json({key: envelope[key] for key in envelope if key != "batch"}))
        if size * len(items) > _REPEATED_BYTES + _REPEATED_PER_BYTE * len(raw):
            detail = "what the batch says for all of its calls is too large for so many"
            self._reject(position, Reject(reason="record_too_large", detail=detail), raw)
            return
        for number, item in enumerate(items, 1):
            if type(item) is dict:
                item = _with_envelope(item, envelope)
            self._take_value(item, encode_json(item), f"{position}, item {number}", depth + 1)

    def _reject(self, position: str, reject: Reject, raw: bytes) -> None:
        self.chunk.bad.append(BadRecord(position, reject, raw.rstrip(b"\r")))
        self.chunk.size += len(raw)


# What a batch says once for all of its calls.
_INHERITED = ("context", "sentAt", "receivedAt", "sent_at", "received_at")
# What says nothing about a call.
_OF_THE_BATCH = ("batch", "integrations", "type", "writeKey")


def _with_envelope(item: Object, envelope: Object) -> Object:
    """A call with what its batch says for it; anything else of the batch is kept apart."""
    merged = dict(item)
    for key in _INHERITED:
        value = envelope.get(key)
        if key == "context" and type(value) is dict and type(item.get(key)) is dict:
            merged[key] = value | item[key]
        elif merged.get(key) is None and value is not None:
            merged[key] = value
    rest = {k: v for k, v in envelope.items() if k not in (*_INHERITED, *_OF_THE_BATCH)}
    return merged | {"_batch": rest} if rest else merged


def _too_large(size: int, limit: int) -> Reject:
    detail = f"{size} bytes are more than max_record_bytes = {limit}"
    return Reject(reason="record_too_large", detail=detail)
