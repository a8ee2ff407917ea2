"""Write keys: made at random, kept as hashes, named by the beginnings of these."""

import hashlib
import secrets
import string
from collections.abc import Sequence

from loader.errors import UsageError

# What senders take without a doubt; Segment's keys look like this, too. 190 bits.
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 32
_HASH = "sha256:"
_FINGERPRINT = 12  # hexadecimal digits


def make_key() -> str:
    """A new write key. It is kept nowhere: who is shown it has the only copy."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def key_hash(key: str) -> str:
    """What `write_keys` has of a key. A key is random, so that nothing slower is needed."""
    return _HASH + hashlib.sha256(key.encode()).hexdigest()


def fingerprint(hashed: str) -> str:
    """A short name for a key, by its hash."""
    return hashed.removeprefix(_HASH)[:_FINGERPRINT]


def find_key(hashes: Sequence[str], wanted: str, source: str) -> str:
    """The hash of the key with a fingerprint, which may be longer or shorter.

    Raises UsageError where it is not exactly one.
    """
    start = wanted.lower().removeprefix(_HASH)
    found = [one for one in hashes if start and one.removeprefix(_HASH).startswith(start)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(map(fingerprint, hashes)) or "none"
    # What was typed may be the key itself, so it is not repeated.
    raise UsageError(
        f"{len(found) or 'none'} of the keys of the source {source!r} has that fingerprint: "
        f"give one of its fingerprints ({known}), which `sources list` shows"
    )
