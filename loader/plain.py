"""Plain lines -> COPY's lines, by column, in Arrow.

Most inputs are lines that one program wrote: track calls, each value under its key. Arrow reads a
block of them into columns and joins these into lines without making a Python object per value. It
is the same work as `chunk.py` does record by record, with the same result. Here is only what most
records need: a record that needs a decision is given to `chunk.py`, and so is a whole block in
which too many do.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from loader.chunk import Parsed, Work, parse_chunk, process_chunk
from loader.normalize.batch import MAX_CONTEXT_VALUES, MAX_PROPERTY_VALUES
from loader.normalize.collections import TRACKS, UNSUBSCRIBED_ALIASES, Type
from loader.normalize.columns import MAX_DEPTH, NameOf, coerce
from loader.normalize.event import MAX_ID_BYTES
from loader.normalize.names import context_column, property_column, table_name
from loader.sources.records import WholeLines, read_chunks
from loader.sources.segment import KNOWN
from loader.warehouse.encode import DECLARED_SHARED, Layouts, Segment
from loader.warehouse.forms import NULL

# Arrow's own pool would keep what Python could use in its turn.
pa.set_memory_pool(pa.system_memory_pool())

# The times of a call, and their columns.
_TIMES = {
    "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp",
    "timestamp": "timestamp",
}
_TEXTS = ("type", "event", "messageId", "userId", "anonymousId", *_TIMES)
_NEEDED = ("type", "event", "messageId", "receivedAt", "timestamp")
_OBJECTS = ("context", "properties")

# A block is not plain where more than one of so many records needs a decision.
_ODD = 50
# After a block that was not plain, so many at most are not tried.
_MOST_SKIPPED = 63

Array = Any  # pyarrow.Array; the library has no types of its own
Columns = dict[str, Array]
Misfits = dict[int, Any]


class Calls(NamedTuple):
    """The records of a block before anything is known of the tables."""

    plain: Any  # pyarrow.RecordBatch of track calls
    others: list[Parsed]  # lines that need decisions

    @property
    def ids(self) -> list[str]:
        """The ids of all events, for asking which are there."""
        found: list[str] = self.plain.column("messageId").to_pylist()
        return found + [key for other in self.others for key in other.ids]


class _Call(msgspec.Struct):
    """What tells that a line is a track call, and which."""

    type: str
    event: str
    messageId: str
    context: msgspec.Raw = msgspec.Raw()
    properties: msgspec.Raw = msgspec.Raw()


_decode_call = msgspec.json.Decoder(_Call).decode


class NotPlain(Exception):
    """A block, or too much of it, needs decisions about single records."""


class Plain:
    """The short way for the blocks of one load."""

    def __init__(
        self,
        *,
        tables: dict[str, dict[str, Type]],
        layouts: Layouts,
        load_started_at: str,
        only: frozenset[str] | None,
        taken: frozenset[str],
        max_record_bytes: int,
    ) -> None:
        self._tables = tables
        self._layouts = layouts
        self._max_record_bytes = max_record_bytes
        self._process_chunk: Callable[..., Work] = partial(
            process_chunk,
            tables=tables,
            layouts=layouts,
            load_started_at=load_started_at,
            only=only,
            taken=taken,
        )
        self._reader = _Reader(only, taken)
        self._skip = self._failed = 0

    def is_worth_trying(self) -> bool:
        """Whether to try the next block; after some that were not plain, it is less often."""
        self._skip -= 1
        return self._skip < 0

    def ids(self, block: WholeLines) -> list[str] | None:
        """The ids of the calls in a block; None unless each line is one that its id is enough of.

        A call whose id is there needs nothing else, so no more of it is read.
        """
        data = block.data
        if block.odd or data.count(b'"messageId"') != block.lines or not _is_utf8(data):
            return None
        try:
            calls = list(map(_decode_call, data.split(b"\n")))
        except msgspec.MsgspecError:
            return None
        ids = [call.messageId for call in calls]
        objects = {bytes(each)[:1] for call in calls for each in (call.context, call.properties)}
        if (
            {call.type for call in calls} == {"track"}
            and objects <= {b"", b"{", b"n"}  # absent, an object, null
            and all(event and not event.isspace() for event in {call.event for call in calls})
            and min(map(len, ids)) > 0
            and max(map(len, ids)) <= MAX_ID_BYTES // 4
        ):
            return ids
        return None

    def read(self, block: WholeLines) -> Calls | None:
        """The records of a block, or None if it is not plain.

        It needs nothing of the tables, so another thread may do it ahead of `process`.
        """
        try:
            return self._read(block)
        except (NotPlain, pa.ArrowException) as error:
            if isinstance(error, MemoryError):
                raise
            return None

    def _read(self, block: WholeLines) -> Calls:
        plain, places = self._reader.read(block)
        others: list[Parsed] = []
        if len(places) < block.lines:
            lines = block.data.split(b"\n")
            for at in sorted(set(range(block.lines)).difference(places)):
                limit, number = self._max_record_bytes, block.line + at
                chunks = read_chunks([lines[at]], max_record_bytes=limit, first_line=number)
                others += map(parse_chunk, chunks)
            ids = set(plain.column("messageId").to_pylist())
            if any(not ids.isdisjoint(other.ids) for other in others):
                raise NotPlain  # the first copy of an id wins, and here the order is lost
        return Calls(plain, others)

    def process(
        self, block: WholeLines, calls: Calls | None, there: Set[str] = frozenset()
    ) -> list[Work] | None:
        """The rows of a block that was read, without those whose id is `there`.

        None if the block is not plain.
        """
        try:
            if calls is None:
                raise NotPlain
            size = len(block.data) - sum(other.chunk.size for other in calls.others)
            works = [self._process_chunk(other, there=there) for other in calls.others]
            rough = b"\\" in block.data
            works.insert(0, self._rows(calls.plain, there, rough=rough, size=size))
        except (NotPlain, pa.ArrowException) as error:
            if isinstance(error, MemoryError):
                raise
            self._skip = self._failed = min(2 * self._failed + 1, _MOST_SKIPPED)
            return None
        self._failed = 0
        return works

    def _rows(self, calls: Any, there: Set[str], *, rough: bool, size: int) -> Work:
        """The rows of plain calls; `rough` if some value may need escapes."""
        work = Work(records=calls.num_rows, size=size)
        ids = calls.column("messageId").to_pylist()
        if there:
            kept = [at for at, key in enumerate(ids) if key not in there]
            work.known = len(ids) - len(kept)
            if not kept:
                return work
            calls, ids = calls.take(pa.array(kept)), [ids[at] for at in kept]
        work.ids = ids
        column = dict(zip(calls.schema.names, calls.columns, strict=True))
        count = calls.num_rows
        context = _Values(column.get("context"), context_column, MAX_CONTEXT_VALUES)
        names = pc.dictionary_encode(column["event"])
        event_texts = names.dictionary.to_pylist()
        slugs = [table_name(text) for text in event_texts]
        shared = _Rows(range(count))
        shared.texts = {
            "id": column["messageId"],
            **_times(column),
            **_people(column, context),
            "event": pa.array(slugs, pa.string()).take(names.indices),
            "event_text": column["event"],
        }
        shared.texts = _taken(shared.texts, None)
        shared.place(context, self._tables[TRACKS])
        shared.escape(rough)
        layout = self._extend(TRACKS, shared)
        lines = _join(shared.texts, layout, count)
        codes = names.indices.to_numpy()
        properties = _Values(column.get("properties"), property_column, MAX_PROPERTY_VALUES)
        for table in dict.fromkeys(slugs):
            same = [code for code, slug in enumerate(slugs) if slug == table]
            places = np.flatnonzero(codes == same[0] if len(same) == 1 else np.isin(codes, same))
            rows = _Rows(places.tolist())
            rows.place(properties, self._tables.get(table, {}), pa.array(places))
            rows.escape(rough)
            types = self._tables.get(table, DECLARED_SHARED)
            begin = tuple(name for name in layout if name in types)
            first = lines
            if begin != layout:
                missing = [shared.texts[n] for n in layout if n not in types and n in shared.texts]
                if any(array.take(pa.array(places)).null_count < len(places) for array in missing):
                    raise NotPlain
                first = _join(shared.texts, begin, count)
            first = first.take(pa.array(places))
            end = self._extend(table, rows)
            if end:
                own = _join(rows.texts, end, len(places))
                first = pc.binary_join_element_wise(first, own, "\t")
            rows.share(shared)
            work.segments.append(
                rows.segment(table, begin + end, first, event_texts[int(codes[places[0]])])
            )
        shared.new_shared, shared.new = shared.new, {}
        work.segments.insert(0, shared.segment(TRACKS, layout, lines))
        work.times = {name: shared.texts[name].to_pylist() for name in ("timestamp", "received_at")}
        return work

    def _extend(self, table: str, rows: "_Rows") -> tuple[str, ...]:
        layout = self._layouts.setdefault(table, [])
        layout.extend(name for name in rows.texts if name not in layout)
        return tuple(layout)


# bytes -> columns


_ROW = re.compile(r"in row (\d+)")
_MOST_ATTEMPTS = 6


class _Reader:
    """Reads blocks of lines into columns; what one block teaches holds for the next."""

    def __init__(self, only: frozenset[str] | None, taken: frozenset[str]) -> None:
        self._only = only
        self._taken = taken
        # Arrow takes a column of texts that all look like times for times, unless it is told.
        self._texts: set[tuple[str, ...]] = {(key,) for key in _TEXTS}

    def read(self, block: WholeLines) -> tuple[Any, list[int]]:
        """The plain calls as a pyarrow.RecordBatch, and the place in the block of each."""
        # A single sign is found many times faster than several.
        if b"\\" in block.data and b"\\u0000" in block.data:
            raise NotPlain
        odd = set(block.odd)
        for _ in range(_MOST_ATTEMPTS):
            if len(odd) > block.lines // _ODD:
                break
            places = [at for at in range(block.lines) if at not in odd]
            data = block.data
            if odd:
                lines = data.split(b"\n")
                data = b"\n".join([lines[at] for at in places])
            try:
                calls = self._parse(data)
            except pa.ArrowInvalid as error:
                odd |= self._odd_row(str(error), places)
                continue
            if calls is None:
                continue
            if calls.num_rows != len(places):
                break
            mask = self._plain_rows(calls, data)
            if mask is not None:
                kept = np.flatnonzero(mask)
                if len(kept) < max(block.lines - block.lines // _ODD, 1):
                    break
                calls, places = calls.filter(pa.array(mask)), [places[row] for row in kept]
            _check_times(calls)
            return calls, places
        raise NotPlain

    def _odd_row(self, error: str, places: Sequence[int]) -> set[int]:
        """The place of the line that an error of the parser is about."""
        row = _ROW.search(error)
        if row is None:
            raise NotPlain
        at = places[int(row[1])]
        if {at - 1, at + 1} - set(places):
            raise NotPlain  # it may go on in the next line, or the one before in it
        return {at}

    def _parse(self, data: bytes) -> Any | None:
        """The calls in `data`; None if they have to be read in another way."""
        table = arrow_json.read_json(
            pa.py_buffer(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=_schema(self._texts)),
        )
        batches = table.to_batches()
        if len(batches) != 1:
            raise NotPlain
        try:
            kinds = list(_kinds(batches[0].schema, ()))
        except UnicodeDecodeError as error:
            raise NotPlain from error
        times = {path for path, kind in kinds if pa.types.is_timestamp(kind)}
        if times:
            self._texts |= times
            return None
        if any(pa.types.is_floating(kind) for _, kind in kinds):
            raise NotPlain  # not every digit would be kept
        return batches[0]

    def _plain_rows(self, calls: Any, data: bytes) -> Any | None:
        """Which rows need no decision, as a mask; None if none does."""
        column = dict(zip(calls.schema.names, calls.columns, strict=True))
        for key in _OBJECTS:
            if key in column and not pa.types.is_struct(column[key].type):
                raise NotPlain
        masks = [pc.equal(column["type"], "track"), self._plain_events(column["event"])]
        for key in ("event", "messageId", "userId", "anonymousId"):
            is_given = pc.greater(pc.binary_length(column[key]), 0)
            masks.append(is_given if key in _NEEDED else is_given.fill_null(True))
        masks.append(pc.less_equal(pc.binary_length(column["messageId"]), MAX_ID_BYTES // 4))
        for key in _TIMES:
            if key in _NEEDED or column[key].null_count < len(calls):
                masks.append(pc.equal(pc.binary_length(column[key]), _USUAL_LENGTH))
        for key in column.keys() - KNOWN:
            masks.append(pc.is_null(column[key]))
        if not _is_utf8(data):  # the parser does not look for it
            masks.append(pa.array([_is_utf8(line) for line in data.split(b"\n")]))
        if all(mask.true_count == len(mask) for mask in masks):
            return None
        return np.logical_and.reduce([mask.fill_null(False) for mask in masks])

    def _plain_events(self, events: Array) -> Array:
        names = pc.dictionary_encode(events)
        plain = []
        for text in names.dictionary.to_pylist():
            table = "" if text.isspace() or not text else table_name(text)
            plain.append(
                table not in UNSUBSCRIBED_ALIASES | self._taken | {""}
                and (self._only is None or table in self._only)
            )
        return pa.array(plain, pa.bool_()).take(names.indices)


def _schema(paths: Iterable[tuple[str, ...]]) -> Any:
    """An Arrow schema with a text at each of the paths."""
    inside: dict[str, list[tuple[str, ...]]] = {}
    for key, *rest in paths:
        inside.setdefault(key, []).append(tuple(rest))
    return pa.schema(
        [
            (key, pa.string() if rests == [()] else pa.struct(list(_schema(rests))))
            for key, rests in inside.items()
        ]
    )


def _kinds(fields: Iterable[Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The type of each value that is no object, by path."""
    for each in fields:
        kind = each.type
        if pa.types.is_list(kind):
            _check_list(kind)
        if pa.types.is_struct(kind):
            yield from _kinds(kind, (*path, each.name))
        else:
            yield (*path, each.name), kind


def _check_list(kind: Any) -> None:
    """Raise NotPlain where a list would not come out as it was written."""
    while pa.types.is_list(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_int64(kind) or pa.types.is_boolean(kind)):
        raise NotPlain


def _is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8, at a tenth of what decoding them would cost."""
    ends = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


_USUAL = "0000-00-00T00:00:00.000Z"
_USUAL_LENGTH = len(_USUAL)
_SEPARATORS = [(at, ord(mark)) for at, mark in enumerate(_USUAL) if mark != "0"]
_YEAR_1 = -62_135_596_800_000  # in milliseconds since 1970


# Where the digits of a usual time go in the form of `_compact`: there, and here.
_DIGITS = (
    (slice(0, 4), slice(0, 4)),
    (slice(4, 6), slice(5, 7)),
    (slice(6, 8), slice(8, 10)),
    (slice(9, 11), slice(11, 13)),
    (slice(11, 13), slice(14, 16)),
    (slice(13, 19), slice(17, 23)),
)
_COMPACT = b"00000000 000000.000+00"


def _check_times(calls: Any) -> None:
    """Raise NotPlain where some time is not written as most are; the rule of `are_usual`."""
    checked: list[Array] = []
    for key in _TIMES:
        array = calls.column(key)
        if array.null_count == len(array) or any(array.equals(other) for other in checked):
            continue
        checked.append(array)
        letters = _letters(array)
        if any((letters[:, at] != mark).any() for at, mark in _SEPARATORS):
            raise NotPlain
        try:
            moments = pc.cast(array, pa.timestamp("ms", "UTC"))
        except pa.ArrowInvalid as error:
            raise NotPlain from error
        if pc.min(moments).value < _YEAR_1:
            raise NotPlain


def _letters(times: Array) -> Any:
    """The bytes of usual times, a row of a matrix each."""
    start = times.offset * _USUAL_LENGTH
    letters = np.frombuffer(times.buffers()[2], np.uint8)
    return letters[start : start + len(times) * _USUAL_LENGTH].reshape(-1, _USUAL_LENGTH)


def _compact(times: Array) -> Array:
    """Usual times as `20260915 082332.000+00`, which costs PostgreSQL a third less to read."""
    letters = _letters(times)
    form = np.empty((len(times), len(_COMPACT)), np.uint8)
    form[:] = np.frombuffer(_COMPACT, np.uint8)
    for there, here in _DIGITS:
        form[:, there] = letters[:, here]
    ends = np.arange(0, form.size + 1, len(_COMPACT), dtype=np.int32)
    return pa.StringArray.from_buffers(len(times), pa.py_buffer(ends), pa.py_buffer(form))


# columns -> texts


class _Values:
    """The values of objects by column, as read and as texts."""

    def __init__(self, objects: Array | None, name_of: NameOf, most: int) -> None:
        self.arrays: Columns = {}
        self.keys: dict[str, str] = {}
        self._texts: dict[tuple[str, Type], tuple[Array, Misfits]] = {}
        for path, array in _leaves(objects, "", 1) if objects is not None else ():
            name = name_of(path)
            if name in self.arrays:
                raise NotPlain  # which of two keys gets the column?
            self.arrays[name], self.keys[name] = array, path
        if len(self.arrays) > most:
            counts = np.sum([array.is_valid() for array in self.arrays.values()], axis=0)
            if counts.max() > most:
                raise NotPlain

    def texts(self, name: str, type_: Type) -> tuple[Array, Misfits]:
        """The texts of a column in a type, and by row the values that do not fit it."""
        if (name, type_) not in self._texts:
            self._texts[name, type_] = _coerce(self.arrays[name], type_)
        return self._texts[name, type_]


def _leaves(objects: Array, prefix: str, depth: int) -> Iterator[tuple[str, Array]]:
    """The values in objects by path."""
    if depth > MAX_DEPTH:
        raise NotPlain
    for each, array in zip(objects.type, objects.flatten(), strict=True):
        if array.null_count == len(array):
            continue
        if pa.types.is_struct(each.type):
            yield from _leaves(array, prefix + each.name + ".", depth + 1)
        else:
            yield prefix + each.name, array


# What goes from a type of Arrow into a type of PostgreSQL as its own text.
_FITTING: list[tuple[Callable[[Any], bool], tuple[Type, ...]]] = [
    (pa.types.is_string, ("text",)),
    (pa.types.is_int64, ("bigint", "numeric", "text")),
    (pa.types.is_boolean, ("boolean", "text")),
]


def _coerce(array: Array, type_: Type) -> tuple[Array, Misfits]:
    if any(is_kind(array.type) and type_ in types for is_kind, types in _FITTING):
        return pc.cast(array, pa.string()), {}
    column, misfits = coerce(array.to_pylist(), type_)
    return pa.array(column.texts, pa.string()), misfits


# texts -> lines


@dataclass
class _Rows:
    """Rows of one table."""

    members: Sequence[int]
    texts: Columns = field(default_factory=dict)
    new: dict[str, dict[int, Any]] = field(default_factory=dict)
    extra: dict[int, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    new_shared: dict[str, dict[int, Any]] = field(default_factory=dict)

    def place(
        self, values: _Values, types: Mapping[str, Type], places: Array | None = None
    ) -> None:
        """Put values into columns of these types; `places` are the rows of `values` to take."""
        settled: Columns = {}
        fresh: Columns = {}
        for name, array in values.arrays.items():
            type_ = types.get(name)
            if type_ is None:
                fresh[name] = array
                continue
            settled[name], misfits = values.texts(name, type_)
            if misfits:
                members = set(self.members)
                for row, value in misfits.items():
                    if row in members:
                        self.extra.setdefault(row, {})[name] = value
        self.texts |= _taken(settled, places)
        for name, array in _taken(fresh, places).items():
            found = zip(self.members, array.to_pylist(), strict=True)
            self.new[name] = {row: value for row, value in found if value is not None}
            self.keys[name] = values.keys[name]

    def escape(self, rough: bool) -> None:
        """Escape what COPY would read as something else, if there can be any of it."""
        if not rough:
            return
        for name, array in self.texts.items():
            letters = memoryview(array.buffers()[2] or b"").tobytes()
            for mark, escaped in (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r")):
                if mark.encode() in letters:
                    array = pc.replace_substring(array, mark, escaped)
            self.texts[name] = array

    def share(self, shared: "_Rows") -> None:
        """Take over what the rows of `tracks` could not settle."""
        for name, by_row in shared.new.items():
            own = {row: by_row[row] for row in self.members if row in by_row}
            if own:
                self.new_shared[name] = own
        if shared.extra:
            both = {row: shared.extra[row] for row in self.members if row in shared.extra}
            for row, values in self.extra.items():
                both[row] = both.get(row, {}) | values
            self.extra = both
        self.keys = {name: name for name in self.new_shared} | shared.keys | self.keys

    def segment(
        self, table: str, columns: tuple[str, ...], lines: Array, event_text: str = ""
    ) -> Segment:
        """The rows as lines for one table."""
        return Segment(
            table=table,
            columns=columns,
            members=self.members,
            lines=lines.cast(pa.binary()).to_pylist(),
            new=self.new,
            new_shared=self.new_shared,
            extra=self.extra,
            keys=self.keys,
            event_text=event_text,
        )


def _taken(columns: Columns, places: Array | None) -> Columns:
    """The rows at some places, without the columns that are empty then."""
    if places is not None and columns:
        batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns)).take(places)
        columns = dict(zip(columns, batch.columns, strict=True))
    return {name: array for name, array in columns.items() if array.null_count < len(array)}


def _people(column: Columns, context: _Values) -> Columns:
    """Who it was; a person without any id has their address for one, as `segment.parse` says."""
    users, anonymous = column["userId"], column["anonymousId"]
    emails = context.arrays.get("context_traits_email")
    if (
        emails is not None
        and pa.types.is_string(emails.type)
        and context.keys["context_traits_email"] == "traits.email"
    ):
        is_address = pc.greater(pc.binary_length(emails), 0)
        is_nobody = pc.and_(pc.is_null(users), pc.is_null(anonymous))
        anonymous = pc.if_else(pc.and_(is_nobody, is_address).fill_null(False), emails, anonymous)
    return {"anonymous_id": anonymous, "user_id": users}


def _times(column: Columns) -> Columns:
    """The columns of the times; a sender often gives one time under several names."""
    done: list[tuple[Array, Array]] = []
    times: Columns = {}
    for key, name in _TIMES.items():
        array = column[key]
        if array.null_count:  # then all of them are
            continue
        known = next((compact for other, compact in done if array.equals(other)), None)
        times[name] = _compact(array) if known is None else known
        done.append((array, times[name]))
    return times


def _join(texts: Columns, layout: Sequence[str], size: int) -> Array:
    """Lines out of columns of texts."""
    null = pa.nulls(size, pa.string())
    return pc.binary_join_element_wise(
        *(texts.get(name, null) for name in layout),
        "\t",
        null_handling="replace",
        null_replacement=NULL,
    )
