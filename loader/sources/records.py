"""Containers -> raw records with their position.

One reader for all forms, which may follow one another in a file: a record per line (NDJSON), a
JSON document over many lines, a JSON array, a batch envelope. Lines are the hot path; anything
else is found by its brackets and handed on element by element, so that an array of any length
streams.
"""

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from loader.errors import InputUnreadable
from loader.normalize.event import Object, Reject, json_text

# A batch envelope holds many records in one document; Segment accepts 500 kB.
MAX_DOCUMENT_BYTES = 32 << 20
_CHUNK_RECORDS = 1_000
# What is kept of a line that is too long to hold.
_HEAD_BYTES = 1 << 20
_MAX_CONTAINERS = 4
_MAX_SCANNED_IN_VAIN = 64 << 20
_CHUNK_BYTES = 4 << 20


def _parse_float(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except ArithmeticError:
        raise ValueError("a number with an exponent that is too large") from None


_decoder = msgspec.json.Decoder(float_hook=_parse_float)
_decode, _decode_lines = _decoder.decode, _decoder.decode_lines
_encode = msgspec.json.Encoder(decimal_format="number").encode
_BOM = b"\xef\xbb\xbf"


class BadRecord(NamedTuple):
    """A piece of input that is not a record."""

    position: str
    reject: Reject
    raw: bytes


class Chunk:
    """Some consecutive records of one file, as parsed and as they stood there."""

    __slots__ = ("bad", "positions", "raws", "records", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes
        self.records: list[Object] = []
        self.raws: list[bytes] = []
        self.positions: list[int | str] = []  # a line's number, or the position in words
        self.bad: list[BadRecord] = []

    def __len__(self) -> int:
        return len(self.records) + len(self.bad)

    def position(self, index: int) -> str:
        """The position of a record, as `_rejects` shows it."""
        place = self.positions[index]
        return f"line {place}" if type(place) is int else str(place)


def read_chunks(blocks: Iterable[bytes], *, max_record_bytes: int) -> Iterator[Chunk]:
    """The records in `blocks`, the bytes of one file; memory is bounded by the limits.

    Where `blocks` raises InputUnreadable, the whole records before that point come first.
    """
    return _Reader(iter(blocks), max_record_bytes).chunks()


class _Reader:
    """Reads one file. `self.data` is what was read and not yet used, from line `self.line` on."""

    def __init__(self, blocks: Iterator[bytes], max_record_bytes: int) -> None:
        self.blocks = blocks
        self.limit = max_record_bytes
        self.data = b""
        self.line = 1
        self.chunk = Chunk()
        self.failure: InputUnreadable | None = None
        self.scanned_in_vain = 0  # bytes looked at for the end of documents that have none

    def chunks(self) -> Iterator[Chunk]:
        while len(self.data) < len(_BOM) and self._more():
            pass
        if self.data.startswith(_BOM):
            self.data = self.data[len(_BOM) :]
            if not self.data:
                self._more()
        while self.data:
            if self.data.lstrip()[:1] == b"[":
                yield from self._array()
                continue
            cut = self.data.rfind(b"\n") + 1
            if not cut:
                if len(self.data) <= MAX_DOCUMENT_BYTES and self._more():
                    continue
                if self.failure is not None:
                    break  # the file goes on behind the failure; this line may be whole then
                cut = len(self.data)
                if cut > MAX_DOCUMENT_BYTES:
                    self._skip_line()
                    continue
            lines = self.data[:cut].split(b"\n")
            if not lines[-1]:
                lines.pop()
            self.data = self.data[cut:]
            yield from self._lines(lines)
            if not self.data:
                self._more()
        if len(self.chunk):
            yield self.chunk
        if self.failure is not None:
            raise self.failure

    def _more(self) -> bool:
        try:
            block = next(self.blocks, b"")
        except InputUnreadable as error:
            self.failure = error
            return False
        if block:
            self.data = self.data + block if self.data else block
        return bool(block)

    # lines

    def _lines(self, lines: list[bytes]) -> Iterator[Chunk]:
        """Records of whole lines."""
        for start in range(0, len(lines), _CHUNK_RECORDS):
            part = lines[start : start + _CHUNK_RECORDS]
            if not self._take_lines(part):
                for index in range(start, start + len(part)):
                    if self._take_line(lines[index], lines, index):
                        # A document over several lines: it and the rest are in `self.data` again.
                        yield from self._document()
                        return
            if self._is_full():
                yield self._next_chunk()

    def _take_lines(self, lines: list[bytes]) -> bool:
        """Take lines that are all plain records at once; False if they are not."""
        joined = b"\n".join(lines)
        # The quick parser does not mind where a value ends; each line has to be one.
        if joined.count(b"}\n{") != len(lines) - 1 or joined[:1] != b"{" or joined[-1:] != b"}":
            return False
        try:
            values = _decode_lines(joined)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return False
        if (
            len(values) != len(lines)
            or set(map(type, values)) != {dict}
            or max(map(len, lines)) > self.limit
            or any("batch" in value for value in values)
        ):
            return False
        self.chunk.records += values
        self.chunk.raws += lines
        self.chunk.size += sum(map(len, lines))
        self.chunk.positions += range(self.line, self.line + len(lines))
        self.line += len(lines)
        return True

    def _take_line(self, line: bytes, lines: list[bytes], index: int) -> bool:
        """Take one line; True if it begins a document over several lines."""
        try:
            value = _decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            if self._odd_line(line, lines, index):
                return True
        else:
            self._take(value, line, f"line {self.line}")
        self.line += 1
        return False

    def _is_full(self) -> bool:
        return len(self.chunk) >= _CHUNK_RECORDS or self.chunk.size >= _CHUNK_BYTES

    def _next_chunk(self) -> Chunk:
        full, self.chunk = self.chunk, Chunk()
        return full

    def _odd_line(self, line: bytes, lines: list[bytes], index: int) -> bool:
        """Deal with a line that is not plain JSON; True if it begins a longer document."""
        if not line.strip():
            return False
        position = f"line {self.line}"
        value, reject = parse_json(line)
        if reject is None:
            self._take(value, line, position)
        elif line.lstrip()[:1] == b"[":
            return self._put_back(lines, index)
        elif line.lstrip()[:1] != b"{":
            self._reject(position, reject, line)
        elif (end := _value_end(line)) and line[end:].strip():
            self._values_on_one_line(line, end, position)
        elif end is None and self._goes_on(line, lines, index):
            return self._put_back(lines, index)
        else:
            self._reject(position, reject, line)
        return False

    def _put_back(self, lines: list[bytes], index: int) -> bool:
        self.data = b"\n".join([*lines[index:], self.data])
        return True

    def _values_on_one_line(self, line: bytes, end: int | None, position: str) -> None:
        number = 1
        while end and line[end:].strip(b" \t\r,"):
            self._take_raw(line[:end], f"{position}, item {number}")
            line, number = line[end:].lstrip(b" \t\r,"), number + 1
            end = _value_end(line)
        self._take_raw(
            line.rstrip(b" \t\r,"), f"{position}, item {number}" if number > 1 else position
        )

    def _goes_on(self, line: bytes, lines: list[bytes], index: int) -> bool:
        """Whether an unfinished line is the head of a document, rather than a record cut short."""
        if _ends_in_string(line) or self.scanned_in_vain > _MAX_SCANNED_IN_VAIN:
            return False
        while index + 1 == len(lines):
            if b"\n" in self.data or not self._more():
                following = self.data.partition(b"\n")[0]
                break
        else:
            following = lines[index + 1]
        if not following.strip():
            return bool(following) or index + 2 < len(lines)
        return type(parse_json(following)[0]) is not dict

    def _skip_line(self) -> None:
        """Drop a line too long to hold, keeping its beginning for the reject."""
        head, size = self.data[:_HEAD_BYTES], 0
        while b"\n" not in self.data:
            size += len(self.data)
            self.data = b""
            if not self._more():
                break
        rest, newline, self.data = self.data.partition(b"\n")
        self._reject(f"line {self.line}", _too_large(size + len(rest), self.limit), head)
        self.line += 1
        if newline and not self.data:
            self._more()

    # documents and arrays

    def _document(self) -> Iterator[Chunk]:
        """Documents over several lines, until a line is whole again."""
        while True:
            if self.data.lstrip()[:1] == b"[":
                yield from self._array()
                return
            self._one_document()
            if self._is_full():
                yield self._next_chunk()
            while b"\n" not in self.data and len(self.data) <= MAX_DOCUMENT_BYTES:
                if not self._more():
                    break
            if self.data.partition(b"\n")[0].strip() not in (b"{", b"["):
                return

    def _one_document(self) -> None:
        """Take one document. If it never closes, its first line is the bad record."""
        scan = _Scan()
        while (end := scan.value_end(self.data)) is None and not scan.broken:
            if len(self.data) > MAX_DOCUMENT_BYTES or not self._more():
                break
        if end is None and self.failure is not None:
            self.data = b""
            return
        value, reject = parse_json(self.data[:end]) if end else (None, _invalid_json())
        if reject is None:
            self._take(value, self.data[:end], f"line {self.line}")
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
        while closing == b",":
            scan = _Scan(start)
            while (end := scan.element_end(self.data)) is None and not scan.broken:
                # What is used is dropped only here, once per block and not once per element.
                self.data, start, scan.at = self.data[start:], 0, scan.at - start
                if len(self.data) > MAX_DOCUMENT_BYTES or not self._more():
                    break
            if end is None and not scan.broken:
                self.data = self.data[start:]
                self._unclosed_array(number)
                return
            if end is None:
                # Broken within a line: the line is lost, the elements behind it are not.
                end = self.data.find(b"\n", start)
                end = len(self.data) if end < 0 else end
                raw = self.data[start:end]
                number += 1
                self._reject(self._place(raw, number), _invalid_json(), raw.strip())
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

    def _place(self, raw: bytes, number: int) -> str:
        return f"line {self.line + _leading_lines(raw)}, item {number}"

    def _unclosed_array(self, number: int) -> None:
        """An array that is cut short: its last line is lost, the lines behind it are not."""
        if self.failure is not None:
            self.data = b""
            return
        blank = _leading_lines(self.data)
        self._advance(len(self.data) - len(self.data.lstrip()))
        reject = _invalid_json("the array is never closed")
        if self.data:
            self._reject_line(f"line {self.line}, item {number + 1}", reject)
        else:
            self._reject(f"line {self.line - blank}, item {number + 1}", reject, b"[")
        if not self.data:
            self._more()

    def _advance(self, count: int) -> None:
        self.line += self.data.count(b"\n", 0, count)
        self.data = self.data[count:]

    def _skip_separator(self) -> None:
        """Step over what may stand between two documents: a comma, blanks, the line's end."""
        rest = self.data.lstrip(b" \t\r,")
        if rest[:1] == b"\n":
            self.line += 1
            rest = rest[1:]
        self.data = rest

    # records

    def _take_raw(self, raw: bytes, position: str) -> None:
        value, reject = parse_json(raw)
        if reject is None:
            self._take(value, raw, position)
        else:
            self._reject(position, reject, raw)

    def _take(self, value: Any, raw: bytes, position: str, depth: int = 0) -> None:
        """Add a parsed value: a record, or an array or envelope of records."""
        if depth > _MAX_CONTAINERS:
            detail = f"more than {_MAX_CONTAINERS} arrays or batches inside one another"
            self._reject(position, Reject(reason="too_deep", detail=detail), raw)
        elif type(value) is list:
            for number, item in enumerate(value, 1):
                self._take(item, _encode_raw(item), f"{position}, item {number}", depth + 1)
        elif type(value) is dict and "batch" in value and "event" not in value:
            self._take_envelope(value, raw, position, depth)
        elif len(raw) > self.limit:
            self._reject(position, _too_large(len(raw), self.limit), raw)
        elif type(value) is not dict:
            reject = Reject(reason="not_an_object", detail="the record is not a JSON object")
            self._reject(position, reject, raw)
        else:
            self.chunk.records.append(value)
            self.chunk.raws.append(raw)
            self.chunk.size += len(raw)
            self.chunk.positions.append(position)

    def _take_envelope(self, envelope: Object, raw: bytes, position: str, depth: int) -> None:
        items = envelope["batch"]
        if type(items) is not list or not items:
            reason = "empty_batch" if items == [] else "batch_not_array"
            reject = Reject(reason=reason, detail="the batch envelope has no array of calls")
            self._reject(position, reject, raw)
            return
        for number, item in enumerate(items, 1):
            if type(item) is dict:
                item = _with_envelope(item, envelope)
            self._take(item, _encode_raw(item), f"{position}, item {number}", depth + 1)

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


def _encode_raw(value: Any) -> bytes:
    try:
        return _encode(value)
    except (UnicodeEncodeError, RecursionError):
        return json_text(value).encode("utf-8", "surrogatepass")


# parsing one value


def parse_json(raw: bytes) -> tuple[Any, Reject | None]:
    """The value in `raw` with every digit, or the reject that says why there is none.

    Reads what the quick parser refuses and PostgreSQL can hold after cleaning: lone surrogates in
    strings, and integers of any length.
    """
    try:
        return _decode(raw), None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        detail = f"not UTF-8 at byte {error.start + 1}"
        return None, Reject(reason="invalid_utf8", detail=detail)
    try:
        return json.loads(
            text, parse_float=_parse_float, parse_int=_parse_int, parse_constant=_refuse_constant
        ), None
    except RecursionError:
        detail = "nested too deep to be read"
        return None, Reject(reason="too_deep", detail=detail)
    except json.JSONDecodeError as error:
        return None, _invalid_json(f"{error.msg} at character {error.pos + 1}")
    except ValueError as error:
        return None, _invalid_json(str(error))


def _parse_int(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= 4_000 else Decimal(digits)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _invalid_json(detail: str = "the JSON is cut short or broken") -> Reject:
    return Reject(reason="invalid_json", detail=detail)


def _too_large(size: int, limit: int) -> Reject:
    detail = f"{size} bytes are more than max_record_bytes = {limit}"
    return Reject(reason="record_too_large", detail=detail)


# brackets

# A string on one line, a bracket, a comma, or the quote of a string that does not end here.
_TOKEN = re.compile(rb'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|[\[{\]},]|"')
_OPENING = frozenset(b"[{")
_CLOSING = frozenset(b"]}")


class _Scan:
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


def _value_end(line: bytes) -> int | None:
    return _Scan().value_end(line)


def _ends_in_string(line: bytes) -> bool:
    return any(match.group() == b'"' for match in _TOKEN.finditer(line))


def _leading_lines(data: bytes) -> int:
    return data.count(b"\n", 0, len(data) - len(data.lstrip()))
