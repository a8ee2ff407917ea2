"""Where sources are loaded into: the embedded server, one server, or several."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from loader.config.secret import resolve
from loader.config.tables import Name, Sources, Table
from loader.errors import UsageError


class WarehouseTable(Table):
    """A `[[warehouse]]` of the settings."""

    name: Name = Field(description="Name of the warehouse.")
    url: SecretStr = Field(
        description="URL of the PostgreSQL server, or `env:NAME` or `file:PATH` where it stands."
    )
    sources: Sources | None = Field(
        None, description="The sources that are loaded into it; default: all."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value():
            raise ValueError("it is empty: write a URL, or `env:NAME` or `file:PATH`")
        return url


@dataclass(frozen=True)
class Warehouse:
    """A server that sources are loaded into."""

    name: str | None  # None: the only one, which was given no name
    folder: Path  # of the embedded server
    reference: str = field(repr=False)  # a URL or where it stands; empty: the embedded server
    sources: tuple[str, ...] | None = None  # None: all

    @property
    def is_embedded(self) -> bool:
        """Whether it is the server that the loader starts itself."""
        return not self.reference

    def takes(self, source: str) -> bool:
        """Whether a source is loaded into it."""
        return self.sources is None or source in self.sources

    def url(self) -> str:
        """The URL, which may hold a password; not that of the embedded server.

        Looked up where it is used only, so that a secret that is missing troubles nobody else.
        Raises UsageError.
        """
        return resolve(self.reference)


def refuse_one_twice(warehouses: Sequence[Warehouse], source: str) -> None:
    """Raise UsageError if two of the warehouses of a source are evidently one database.

    The second one would find everything loaded already, and would not be the copy that somebody
    counts on.
    """
    met: dict[object, str | None] = {}
    for one in warehouses if len(warehouses) > 1 else ():
        try:
            place = _place(one.url())
        except UsageError:  # which is told where it is used
            continue
        other = met.setdefault(place, one.name)
        if other != one.name:
            raise UsageError(
                f"the warehouses {other!r} and {one.name!r} have the URL of one database, so "
                f"{source!r} would be loaded into it twice: correct one URL, or their `sources`"
            )


def _place(url: str) -> object:
    """Host, port and database of a URL, as far as they stand in it; equal for one place."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        port = str(parts.port or "") or _last(query, "port", os.environ.get("PGPORT", "5432"))
    except ValueError:  # it cannot be read, or names several hosts
        return url
    host = parts.hostname or ",".join(query.get("host", []))
    user = unquote(parts.username or _last(query, "user"))
    database = unquote(parts.path[1:]) or _last(query, "dbname", user)
    return (host, port, database, _last(query, "service"))


def _last(query: dict[str, list[str]], name: str, otherwise: str = "") -> str:
    return query.get(name, [otherwise])[-1]
