"""The compiled part: what `hatch_build.py` makes of the C files beside this one.

The comments there say what a function does. None of them needs the interpreter's lock. Where the
library is missing, or is not the one of this version, importing this raises BrokenInstallation.
"""

import ctypes
from pathlib import Path

from loader.errors import BrokenInstallation

LIBRARY = Path(__file__).with_name("native.so")

# Counts what changed for callers; in `tokens.c` too. A library may be older than this file.
_VERSION = 2

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


# blocks.c
find_lines = _declare("find_lines", _long, ctypes.c_char_p, _long, _long, _pointer, _pointer, _long)
find_ids = _declare(
    "find_ids", _long, ctypes.c_char_p, _long, ctypes.c_char_p, _long, _long, _pointer
)

# tokens.c
new_paths = _declare("new_paths", _pointer)
free_paths = _declare("free_paths", None, _pointer)
count_paths = _declare("count_paths", _int, _pointer)
find_path = _declare("find_path", _int, _pointer, _int, ctypes.c_char_p, _long)
get_path = _declare(
    "get_path", _int, _pointer, _int, ctypes.POINTER(_pointer), ctypes.POINTER(_long)
)
expect_times = _declare("expect_times", None, _pointer, _int)
read_lines = _declare(
    "read_lines", _long, _pointer, _pointer, _pointer, _long, *3 * [_pointer], _long
)


# rows.c
class Fields(ctypes.Structure):
    """Where the values stand that become fields."""

    _fields_ = (
        *((name, _pointer) for name in ("letters", "start", "end", "number", "behind", "places")),
        ("ready", ctypes.c_char_p),
        ("ready_ends", _pointer),
    )


_rows = (ctypes.POINTER(Fields), _pointer, _long, _long, _pointer, _long)
measure_rows = _declare("measure_rows", _long, *_rows, _pointer)
write_rows = _declare("write_rows", None, *_rows, _pointer, _pointer, _long, _pointer, _pointer)

# lines.c
read_keys = _declare("read_keys", None, _pointer, _long, _pointer, _pointer)
gather = _declare("gather", None, _pointer, _pointer, _long, _pointer, _long)
