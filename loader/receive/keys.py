"""Which source a request belongs to: write keys, and the keys that sign webhooks.

The settings file and the files of keys are read again when they change, so that a revoked key is of
no use some seconds later. They are compared by what is in them: times and inodes do not tell of
each way in which a file is replaced. A file that is being written, is gone or has no keys any more
revokes none of them.
"""

import hashlib
import hmac
import os
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


def read_keys(settings: Settings, old: Keys | None = None) -> tuple[Keys, list[str]]:
    """The keys that the settings name, and what is wrong with some of them. Raises UsageError.

    For signing keys that cannot be read the old ones of that source stay, if there are any.
    """
    written: dict[str, str] = {}
    signing: dict[str, list[bytes]] = {}
    wrong: list[str] = []
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
        for key in source.signing_keys:
            keys = signing.setdefault(source.schema_, [])
            try:
                keys.append(resolve(key).encode())
            except UsageError as error:
                if old is None:
                    raise UsageError(
                        f"a signing key of the source {source.name!r}: {error}"
                    ) from None
                keys += old.signing.get(source.schema_, ())
                wrong.append(f"those that sign webhooks of the source {source.name!r}: {error}")
    return Keys(written, signing), wrong


class WatchedKeys:
    """The keys as the settings have them now."""

    def __init__(self, settings: Settings) -> None:
        self._files = _files_of(settings)
        self._has_file = _read(config_file()) is not None
        self._used: list[bytes | None] = []  # nothing: they may have changed since they were read
        self._seen: list[bytes | None] = []
        self.keys, _ = read_keys(settings)

    def read_again(self) -> bool:
        """Whether keys have changed, in files that are as they were the last time.

        A file that has just changed may be half written. Raises UsageError, once; then old keys
        stay in use.
        """
        seen, self._seen = self._seen, list(map(_read, self._files))
        if self._seen in (self._used, []) or self._seen != seen:
            return False
        self._used = self._seen  # what is changed after this is seen the next time
        if self._has_file and self._seen[0] is None:
            raise UsageError(f"the settings file {str(config_file())!r} cannot be read")
        before = self.keys
        settings = load_settings({"warehouse_dir": os.devnull})  # as at the start
        self._has_file = self._seen[0] is not None
        self._files = _files_of(settings)
        self._used = self._seen = [self._seen[0], *map(_read, self._files[1:])]
        keys, wrong = read_keys(settings, before)
        if not any(keys) and any(before) and not _says_none(settings):
            raise UsageError(
                f"the settings file {str(config_file())!r} has no keys any more; to revoke the "
                "last one, leave `write_keys = []` in its place"
            )
        self.keys = keys
        if wrong:
            raise UsageError("; ".join(wrong))
        return self.keys != before


def _says_none(settings: Settings) -> bool:
    """Whether a source says that it has no write keys: a file that was cut does not."""
    return any("write_keys" in source.model_fields_set for source in settings.sources())


def _files_of(settings: Settings) -> list[Path]:
    named = [key for source in settings.sources() for key in source.signing_keys]
    files = [key.removeprefix("file:") for key in named if key.startswith("file:")]
    return [config_file(), *map(Path, files)]


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
