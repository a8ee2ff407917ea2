"""The compiled part: what `hatch_build.py` makes of the C files beside this one.

The comments there say what a function does. None of them needs the interpreter's lock. Where the
library is missing, or is not the one of this version, importing this raises BrokenInstallation.
"""

import ctypes
from pathlib import Path

from loader.errors import BrokenInstallation

LIBRARY = Path(__file__).with_name("native.so")

# Counts what changed for callers; in `tokens.c` too. A library may be older than this file.
_VERSION = 7

try:
    _library = ctypes.CDLL(str(LIBRARY))
    if _library.library_version() != _VERSION:
        raise OSError("it is of another version")
except (OSError, AttributeError) as error:
    raise BrokenInstallation(
        f"the compiled part of the loader cannot be used ({error}): install the package anew, "
        "for this machine and this version"
    ) from error
_pointer, _int, _long = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


def _declare(name: str, returns: type | None, *arguments: type) -> "ctypes._NamedFuncPointer":
    function = _library[name]
    function.restype = returns
    function.argtypes = arguments
    return function


# ids.c
find_ids = _declare("find_ids", _long, _pointer, _long, ctypes.c_char_p, _long, _long, _pointer)

# spans.c
find_lines = _declare("find_lines", _long, _pointer, _long, *3 * [_pointer], _long)
find_value_end = _declare("find_value_end", _long, _pointer, _long, _long, _pointer)
find_elements = _declare(
    "find_elements",
    _long,
    *(_pointer, _long, _long, _int, _pointer, _pointer, _long, _pointer, _pointer),
)

# paths.c
new_paths = _declare("new_paths", _pointer, ctypes.c_uint64)
free_paths = _declare("free_paths", None, _pointer)
count_paths = _declare("count_paths", _int, _pointer)
find_path = _declare("find_path", _int, _pointer, _int, ctypes.c_char_p, _long)
list_paths = _declare("list_paths", None, _pointer, _int, _pointer, _pointer)
count_key_bytes = _declare("count_key_bytes", _int, _pointer)
mark_path = _declare("mark_path", None, _pointer, _int, _int)


# tokens.c
class Tokens(ctypes.Structure):
    """Arrays with an entry per token, and the spans of records found inside of records."""

    _fields_ = (
        *((name, _pointer) for name in ("record", "path", "start", "end")),
        *((name, _pointer) for name in ("number", "fraction", "scale", "kind")),
        *((name, _long) for name in ("count", "room")),
        *((name, _pointer) for name in ("item_start", "item_end", "item_parent")),
        *((name, _long) for name in ("items", "items_room", "text_size", "text_room")),
    )


_arrays_of_spans = (_pointer, _pointer, _long)
read_records = _declare(
    "read_records",
    _long,
    *(_pointer, _pointer, _pointer, *_arrays_of_spans),  # paths, bytes, starts, ends, numbers, ...
    *(_int, _pointer, ctypes.POINTER(Tokens)),  # is_rewritten, refused, tokens
)

# distinct.c
number_texts = _declare(
    "number_texts",
    _long,
    *(_pointer, *_arrays_of_spans, ctypes.c_uint64),
    *(_pointer, _long, _pointer, _pointer),
)
gather_texts = _declare("gather_texts", None, _pointer, *_arrays_of_spans, _pointer)


# rows.c
class Fields(ctypes.Structure):
    """Where the values stand that become fields."""

    _fields_ = tuple(
        (name, _pointer)
        for name in (
            *("bytes", "kind", "start", "end", "number", "fraction", "scale"),
            *("literals", "literal_ends", "stored"),
        )
    )


_fields = ctypes.POINTER(Fields)
_rows = (_fields, _pointer, _long, _long, _pointer, _long)
measure_rows = _declare("measure_rows", _long, *_rows, _pointer)
write_rows = _declare("write_rows", None, *_rows, _pointer, _pointer, _long, _pointer, _pointer)
measure_objects = _declare(
    "measure_objects", _long, _fields, _pointer, _pointer, _long, _pointer, _long
)
write_objects = _declare("write_objects", None, _fields, *5 * [_pointer], _long, _pointer, _pointer)

# status.c
read_status = _declare("read_status", None, _int, ctypes.c_char_p, _long, _pointer, _pointer)

# order.c
read_keys = _declare("read_keys", None, _pointer, _long, _pointer, _pointer)
gather = _declare("gather", None, _pointer, _pointer, _long, _pointer)
