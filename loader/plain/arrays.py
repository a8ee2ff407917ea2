"""Names of arrays."""

from typing import Any

import numpy as np

Letters = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class NotPlain(Exception):
    """A block, or too much of it, needs decisions about single records."""
