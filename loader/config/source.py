"""The settings of a source and of a bucket, with their bounds and defaults."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from loader.config.secret import is_reference
from loader.errors import UsageError, nearest
from loader.normalize.collections import COLLECTIONS
from loader.normalize.names import MAX_BYTES, schema_name, table_name
from loader.normalize.times import parse_time
from loader.sources.selection import Selection
from loader.sources.urls import check_endpoint, is_url, read_url

DEFAULT_SOURCE = "Customer.io"
# What Segment's calls are besides `track`.
OTHER_CALLS = ("identify", "page", "screen", "group", "alias")
# "Email Openned" and "Email Open" are that near to "Email Opened"; "Email Dropped" is not.
_NEAR_NAME = 0.85
_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class Source(BaseModel):
    """A Customer.io workspace, or another sender, whose events are loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        DEFAULT_SOURCE, description="Name of the source; its schema is named from it."
    )
    inputs: tuple[str, ...] = Field((), description="Paths, globs and folders to load.")
    labels: dict[str, str] = Field({}, description="Words by which sources are chosen.")
    write_keys: tuple[str, ...] = Field(
        (), description="`sha256:` of the keys with which calls for this source are received."
    )
    signing_keys: tuple[str, ...] = Field(
        (), description="`env:NAME` or `file:PATH` of the keys that sign its webhooks."
    )
    schema_: str = Field(
        "", alias="schema", description="Schema of the source; default: made from its name."
    )
    collections: tuple[str, ...] = Field(
        (), description="Only these events get tables of their own; default: all."
    )

    json_columns: tuple[str, ...] = Field(
        (),
        description="Properties that stay one jsonb column each; a nested one by its path.",
    )
    include: tuple[str, ...] = Field(
        (), description="Globs: only these files of folders and buckets are read; default: all."
    )
    exclude: tuple[str, ...] = Field((), description="Globs: these files are not read.")
    lookback_days: int = Field(
        3,
        ge=0,
        le=3_650,
        description="Of a bucket with folders by day, so many days are listed again each time.",
    )
    full_listing_days: float = Field(
        7, ge=0, le=3_650, description="All folders of a bucket are listed once in so many days."
    )
    ignore_types: tuple[str, ...] = Field(
        OTHER_CALLS, description="Calls of these types are no events, and no rejects."
    )
    ignore_events: tuple[str, ...] = Field((), description="Events of these names are left out.")
    after: datetime | None = Field(
        None, description="Events that happened before that moment are left out."
    )
    before: datetime | None = Field(
        None, description="Events that happened at that moment or later are left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _name_the_schema(cls, data: object) -> object:
        if isinstance(data, dict):
            name = str(data.get("name", DEFAULT_SOURCE))
            return data | {"schema": data.get("schema") or schema_name(name)}
        return data

    @field_validator("inputs")
    @classmethod
    def _check_inputs(cls, inputs: tuple[str, ...]) -> tuple[str, ...]:
        for path in filter(is_url, inputs):
            try:
                read_url(path)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return inputs

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if not name.strip() or "=" in name:
                raise ValueError(f"a label has a name without '=', not {name!r}")
        return labels

    @field_validator("write_keys")
    @classmethod
    def _check_write_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_KEY_HASH.fullmatch(key) for key in keys):
            # What stands there may be the key itself, so it is not repeated.
            raise ValueError(
                "one of them is no `sha256:` with 64 hexadecimal digits: make keys with "
                "`customerio-loader sources key`"
            )
        return keys

    @field_validator("signing_keys")
    @classmethod
    def _check_signing_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_reference, keys)):
            raise ValueError("write `env:NAME` or `file:PATH`: a key itself is no setting")
        return keys

    @field_validator("include", "exclude")
    @classmethod
    def _check_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        Selection(include=patterns)
        return patterns

    @field_validator("schema_")
    @classmethod
    def _check_schema(cls, schema: str) -> str:
        if not schema:
            raise ValueError(
                "the name of the source gives an empty schema name: set `schema` for this source"
            )
        if len(schema.encode()) > MAX_BYTES or "\0" in schema:
            raise ValueError(f"a schema name has at most {MAX_BYTES} bytes: set a shorter `schema`")
        if any(mark in schema for mark in "%[]"):
            raise ValueError("a schema name with %, [ or ] is not supported: set another")
        if schema.startswith("pg_") or schema == "information_schema":
            raise ValueError(f"PostgreSQL keeps the schema name {schema!r} for itself: set another")
        return schema

    @field_validator("ignore_types")
    @classmethod
    def _check_types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_blank(types)
        if "track" in types:
            raise ValueError(
                "'track' is the type of the calls that are loaded: remove it, and name events that "
                "are to be ignored in `ignore_events`"
            )
        return types

    @field_validator("ignore_events")
    @classmethod
    def _check_events(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        _refuse_blank(names)
        wanted = {table_name(name): name for name in info.data.get("collections", ())}
        for name in names:
            if table_name(name) in wanted:
                raise ValueError(
                    f"{wanted[table_name(name)]!r} stands in `collections`, too: remove it there "
                    "or here"
                )
        return names

    @field_validator("after", "before", mode="before")
    @classmethod
    def _read_moment(cls, value: object) -> datetime | None:
        """A date is its first moment; what has no zone is UTC, as in events."""
        if isinstance(value, date):
            value = value.isoformat()
        text = parse_time(value) if isinstance(value, str) else None
        if text is None and value is not None:
            raise ValueError(
                "write a date or a time, such as 2026-01-31 or 2026-01-31T06:00:00Z, not "
                + json.dumps(value, default=str)
            )
        return datetime.fromisoformat(text) if text is not None else None

    @field_validator("before")
    @classmethod
    def _check_range(cls, before: datetime | None, info: ValidationInfo) -> datetime | None:
        after = info.data.get("after")
        if before is not None and after is not None and before <= after:
            raise ValueError(
                f"{before.isoformat()} is not later than `after`, {after.isoformat()}: no event "
                "lies between them"
            )
        return before

    @property
    def ignored_tables(self) -> frozenset[str]:
        """The names in `ignore_events`, as events have them in the column `event`."""
        return frozenset(map(table_name, self.ignore_events))

    @property
    def only_tables(self) -> frozenset[str] | None:
        """The tables that `collections` allows, or None for all."""
        return frozenset(map(table_name, self.collections)) or None

    @property
    def selection(self) -> Selection:
        """Which files of folders and buckets are read."""
        return Selection(include=self.include, exclude=self.exclude)

    @property
    def whole(self) -> frozenset[str]:
        """The paths of the properties that are not flattened."""
        return frozenset(self.json_columns)

    def doubts(self, tables: Iterable[str] = ()) -> list[str]:
        """What is probably not meant: names that are almost those of tables, or of types.

        Any name is allowed, because senders choose theirs.
        """
        declared = {collection.table: collection.event_text for collection in COLLECTIONS}
        known = {name: name for name in tables} | declared
        found = [
            f"`collections` of the source {self.name!r} has {name!r}, of which there are no events "
            f"so far: did you mean {near!r}?"
            for name, near in _almost(self.collections, known)
        ]
        # An ignored name has no table, so only those that are declared are compared.
        found += [
            f"`ignore_events` of the source {self.name!r} has {name!r}: did you mean {near!r}?"
            for name, near in _almost(self.ignore_events, declared)
        ]
        return found + [
            f"`ignore_types` of the source {self.name!r} has {name!r}: did you mean {near!r}?"
            for name in self.ignore_types
            if name not in OTHER_CALLS and (near := nearest(name, OTHER_CALLS, _NEAR_NAME))
        ]


def _almost(names: Iterable[str], known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names whose table is not known, with a known one that is nearly the same."""
    for name in names:
        table = table_name(name)
        if table not in known and (near := nearest(table, known, _NEAR_NAME)):
            yield name, known[near]


def _refuse_blank(names: Iterable[str]) -> None:
    if not all(map(str.strip, names)):
        raise ValueError("one of its names is blank: remove it")


class Storage(BaseModel):
    """How a bucket is reached. Secrets are no settings: they come from the job's environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field("", description="Address of a store that is not the vendor's own.")
    region: str = Field("", description="Region of the bucket; default: AWS_REGION.")
    profile: str = Field("", description="Profile of ~/.aws; default: AWS_PROFILE.")
    ca_file: str = Field(
        "", description="PEM file of the authority that signed the endpoint's certificate."
    )
    anonymous: bool = Field(False, description="Ask without credentials: a public bucket.")
    path_style: bool = Field(
        True, description="The bucket stands in the path; if not, in the name of the host."
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str) -> str:
        try:
            return check_endpoint(endpoint) if endpoint else endpoint
        except UsageError as error:
            raise ValueError(str(error)) from None
