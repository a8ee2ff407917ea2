"""Files of received events, between the receiver that writes them and all who read them.

`<spool_dir>/<schema>/` has the events of one source:

- `<UTC time>-<16 hex digits>.v1.jsonl` is finished: it never changes, and readers may take it;
- the same name behind a dot is being written, or was left by a receiver that died;
- `.lock` is held while a file begins, ends or is repaired.

What was acknowledged is synced: a line, its file, and the folders above. A writer holds a lock on
its file as long as it lives, so a file without one was left behind.
"""

from loader.spool.files import (
    SCHEME,
    SpoolFile,
    began_at,
    finished,
    spool_folder,
    spool_input,
    spool_uri,
    unfinished,
)
from loader.spool.recovery import make_folder, recover
from loader.spool.writer import SpoolFailed, SpoolWriter

__all__ = [
    "SCHEME",
    "SpoolFailed",
    "SpoolFile",
    "SpoolWriter",
    "began_at",
    "finished",
    "make_folder",
    "recover",
    "spool_folder",
    "spool_input",
    "spool_uri",
    "unfinished",
]
