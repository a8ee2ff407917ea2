"""Where events come from: files, and what is asked of them before they are read."""

from loader.normalize.event import MAX_ID_BYTES

# The keys of ids, most frequent first.
_ID_KEYS = (b'"messageId"', b'"event_id"')


def likely_ids(lines: bytes) -> str:
    """What is likely the id of an event in some lines of JSON, with line feeds between.

    None of them has to be one, and some may be missing.
    """
    import numpy as np

    from loader import native

    letters = np.empty(len(lines), np.uint8)
    for key in _ID_KEYS:
        count = native.find_ids(lines, len(lines), key, len(key), MAX_ID_BYTES, letters.ctypes.data)
        if count:
            return letters[: count - 1].tobytes().decode("utf-8", "replace")
    return ""
