"""Where received events are sent on to."""

from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from loader.config.secret import is_reference, resolve
from loader.config.tables import Name, Sources, Table
from loader.errors import UsageError

Kind = Literal["segment", "webhook"]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Of Segment's Tracking API, and of what speaks its language.
_BATCH_PATH = "/v1/batch"


class Destination(Table):
    """A `[[destination]]` of the settings."""

    name: Name = Field(description="Name of the destination.")
    kind: Kind = Field(
        description="`segment`: a Tracking API; `webhook`: signed as Standard Webhooks."
    )
    # The path and the query of a webhook may be its password.
    url: SecretStr = Field(description="Address that takes the events.")
    key: str = Field(
        description="`env:NAME` or `file:PATH` of the write key, or of the key that signs."
    )
    sources: Sources | None = Field(
        None, description="The sources that are sent to it; default: all."
    )
    events: tuple[str, ...] | None = Field(
        None, description="The events that are sent to it; default: all calls."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            has_port = parts.port is None or parts.port > 0
        except ValueError:
            raise ValueError("it is no address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not has_port:
            raise ValueError("write an address that begins with https://")
        if parts.username or parts.password or parts.fragment:
            raise ValueError("write an address without user, password and #")
        is_far = parts.hostname not in _LOOPBACK
        if parts.scheme == "http" and is_far and info.data.get("kind") == "webhook":
            raise ValueError("a webhook is sent over https:// only")
        return url

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: str) -> str:
        if not is_reference(key):
            raise ValueError("write `env:NAME` or `file:PATH`: a key itself is no setting")
        return key

    @field_validator("events")
    @classmethod
    def _check_events(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and not (names and all(map(str.strip, names))):
            raise ValueError("it is empty or has a blank name: leave it out for all of them")
        return names

    def takes(self, source: str) -> bool:
        """Whether the events of a source are sent to it."""
        return self.sources is None or source in self.sources

    @property
    def address(self) -> str:
        """Where to send to; it may hold a password."""
        parts = self._parts
        if self.kind == "segment" and parts.path in ("", "/"):
            parts = parts._replace(path=_BATCH_PATH)
        return parts.geturl()

    @property
    def host(self) -> str:
        """What of the address may be shown."""
        return self._parts.netloc

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url.get_secret_value())

    def secret(self) -> str:
        """The key. Read where it is used, so that a change of it counts. Raises UsageError."""
        try:
            return resolve(self.key)
        except UsageError as error:
            raise UsageError(f"the key of the destination {self.name!r}: {error}") from None
