"""Defects: mistakes of the loader that a record brings to light.

Such a record must not stop a load, again and again: it becomes a reject, and the defect is told.
"""

import traceback
from pathlib import Path

from loader.errors import LoaderError, is_out_of_memory
from loader.normalize.event import Reason, Reject

# The reason of such rejects.
DEFECT: Reason = "defect"
_PACKAGE = Path(__file__).parents[1]


def defect(error: Exception) -> Reject:
    """The reject for what failed with `error`; an error that is no defect is raised again."""
    return Reject(reason=DEFECT, detail=describe(error))


def describe(error: Exception) -> str:
    """What failed, and where in the loader, without a value of the payload; as `defect`."""
    if isinstance(error, LoaderError) or is_out_of_memory(error):
        raise error
    where = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(_PACKAGE):
            where = f" in {file.relative_to(_PACKAGE)}, line {line}, {frame.f_code.co_name}"
    return f"a defect of the loader: {type(error).__name__}{where}"
