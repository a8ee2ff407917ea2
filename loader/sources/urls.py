"""Addresses of objects and folders in a store: `s3://bucket/key`, and which of them are refused."""

import re
from typing import NamedTuple

from loader.errors import UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)
# Schemes, and how they are spelled in the ledger: one object has one name there.
_SCHEMES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "abfss",
    "abfss": "abfss",
}
_READ = "s3://bucket/key, gs://bucket/key, az://container/key, or abfss://container@account.../key"
_INSTEAD = {"gcs": "gs://", "s3n": "s3://", "wasb": "abfss://", "wasbs": "abfss://"}
# Parameters of a signed URL. Anything else behind a `?` may be the key of an object.
_SECRET = re.compile(
    r"[?&#;](sig|sv|se|sas|(x-(amz|goog)-)?(signature|credential|security-token)"
    r"|awsaccesskeyid|googleaccessid|access_?key(_?id)?|secret\w*|\w*token|passw\w*)=",
    re.IGNORECASE,
)
_BUCKET = re.compile(r"[^\s/@:?#\\]+")
# `s3:/bucket`, which is no local path that anybody has.
_ONE_SLASH = re.compile(r"(s3[an]?|gc?s|az|azure|abfss?|wasbs?):/*(?=[^/])", re.IGNORECASE)
_ACCOUNT_HOST = re.compile(r"([a-z0-9-]+)\.(?:dfs|blob)\.([a-z0-9.-]+)", re.IGNORECASE)


class Address(NamedTuple):
    """An object or a folder of a store."""

    scheme: str  # `s3`, `gs`, `az` or `abfss`
    bucket: str  # or container
    host: str  # of the account, in an `abfss` address; else empty
    key: str  # exactly as the store has it; of a folder perhaps with a slash at its end

    @property
    def root(self) -> str:
        """The address of the bucket, with a slash at its end; what a key is put behind."""
        return f"{self.scheme}://{self.bucket}{'@' * bool(self.host)}{self.host}/"

    @property
    def url(self) -> str:
        """The address as text."""
        return self.root + self.key

    @property
    def account(self) -> str:
        """The account in an `abfss` address, or nothing."""
        return self.host.partition(".")[0]

    @property
    def blob_endpoint(self) -> str:
        """Where the account of an `abfss` address answers, or nothing."""
        found = _ACCOUNT_HOST.fullmatch(self.host)
        return f"https://{found[1]}.blob.{found[2]}" if found else ""


def is_url(path: str) -> bool:
    """Whether an input is an address and not a local path. `read_url` says if it can be read."""
    return _URL.match(path) is not None or _ONE_SLASH.match(path) is not None


def check_endpoint(endpoint: str) -> str:
    """The address of a store, without a slash at its end.

    Raises UsageError where it is none, or has a secret in it, which is not repeated.
    """
    scheme, _, host = endpoint.partition("://")
    if scheme not in ("http", "https") or not host:
        raise UsageError("it has to begin with https:// or http://, and name a host")
    if "@" in host or "?" in host or "#" in host:
        raise UsageError(
            "it has credentials in it: leave them out, and give them by the environment"
        )
    return endpoint.rstrip("/")


def read_url(url: str) -> Address:
    """Take an address apart.

    Raises UsageError where it is none of a store, names no bucket, or has a secret in it; the
    secret is not repeated.
    """
    found = _URL.match(url)
    if found is None:
        raise UsageError(f"an input is no address of a store: write {_READ}")
    scheme, rest = found[1].lower(), found[2]
    place, _, key = rest.partition("/")
    shown = f"{scheme}://{place.rpartition('@')[2].partition('?')[0]}"
    container, at, host = place.rpartition("@")
    if (at and (_SCHEMES.get(scheme) != "abfss" or ":" in container)) or _SECRET.search(rest):
        raise UsageError(
            f"an address at {shown!r} has credentials in it, which would be stored and logged: "
            "leave them out, and give them to the job by its environment"
        )
    if scheme == "file":
        raise UsageError(f"the input at {shown!r} is a local one: write its path without file://")
    if scheme not in _SCHEMES:
        instead = f"{_INSTEAD[scheme]}..." if scheme in _INSTEAD else _READ
        raise UsageError(f"{scheme}:// is no scheme of a store that is read: write {instead}")
    scheme = _SCHEMES[scheme]
    bucket = container if at else place
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{url!r} names no bucket: write {_READ}")
    if scheme == "abfss" and not _ACCOUNT_HOST.fullmatch(host):
        raise UsageError(
            f"{url!r} names no account: write abfss://container@account.dfs.core.windows.net/key"
        )
    return Address(scheme, bucket, host.lower() if at else "", key)
