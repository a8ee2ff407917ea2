"""Which source a request belongs to: write keys, and the keys that sign webhooks.

The settings file and the files of keys are read again when they change, so that a revoked key is of
no use some seconds later. They are compared by what is in them: times and inodes do not tell of
each way in which a file is replaced.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from loader.config import Settings, config_file, load_settings
from loader.config.secret import resolve
from loader.errors import UsageError
from loader.spool import spool_folder


class Keys(NamedTuple):
    """The keys of all sources."""

    written: Mapping[str, str]  # hash of a write key -> schema
    signing: Mapping[str, Sequence[bytes]]  # schema -> keys

    def source_of(self, key: str) -> str | None:
        """The schema of the source with that write key."""
        hashed = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
        return self.written.get(f"sha256:{hashed}")

    def is_signed(self, schema: str, timestamp: str, signature: str, body: bytes) -> bool:
        """Whether a key of the source has signed that body."""
        message = b"v0:%b:%b" % (timestamp.encode(), body)
        signed = signature.encode("utf-8", "replace")
        found = [
            hmac.compare_digest(hmac.new(key, message, "sha256").hexdigest().encode(), signed)
            for key in self.signing.get(schema, ())
        ]
        return any(found)


def read_keys(settings: Settings) -> Keys:
    """The keys that the settings name. Raises UsageError."""
    written: dict[str, str] = {}
    signing: dict[str, list[bytes]] = {}
    for source in settings.sources():
        if not source.write_keys and not source.signing_keys:
            continue
        spool_folder(settings.spool_dir, source.schema_)  # which says if it can be none
        for hashed in source.write_keys:
            if written.setdefault(hashed, source.schema_) != source.schema_:
                raise UsageError(
                    f"the source {source.name!r} has a write key of another source: "
                    "revoke it for one of them"
                )
        if source.signing_keys:
            signing[source.schema_] = [resolve(key).encode() for key in source.signing_keys]
    return Keys(written, signing)


class WatchedKeys:
    """The keys as the settings have them now."""

    def __init__(self, settings: Settings) -> None:
        self._files = _files_of(settings)
        self._seen: list[bytes | None] = []  # nothing: they may have changed since they were read
        self.keys = read_keys(settings)

    def read_again(self) -> bool:
        """Whether keys have changed. Raises UsageError, once; then the old ones stay in use."""
        found = list(map(_read, self._files))
        if found == self._seen:
            return False
        self._seen = found  # what is changed after this is seen the next time
        before, settings = self.keys, load_settings()
        if (files := _files_of(settings)) != self._files:
            self._files, self._seen = files, []
        self.keys = read_keys(settings)
        return self.keys != before


def _files_of(settings: Settings) -> list[Path]:
    named = [key for source in settings.sources() for key in source.signing_keys]
    files = [key.removeprefix("file:") for key in named if key.startswith("file:")]
    return [config_file(), *map(Path, files)]


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
