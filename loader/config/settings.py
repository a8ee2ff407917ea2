"""Every setting with its type, its bounds and its default."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from loader.config.layers import CONFIG_FILE
from loader.config.words import explain
from loader.errors import UsageError, did_you_mean, nearest
from loader.normalize.collections import COLLECTIONS
from loader.normalize.names import MAX_BYTES, schema_name, table_name
from loader.normalize.times import parse_time
from loader.sources.selection import Selection
from loader.sources.urls import read_url

DEFAULT_SOURCE = "Customer.io"
# What Segment's calls are besides `track`.
OTHER_CALLS = ("identify", "page", "screen", "group", "alias")
# "Email Openned" and "Email Open" are that near to "Email Opened"; "Email Dropped" is not.
_NEAR_NAME = 0.85
_MOST_SECONDS_FOR_LOCKS = 10.0


class Source(BaseModel):
    """A Customer.io workspace, or another sender, whose events are loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        DEFAULT_SOURCE, description="Name of the source; its schema is named from it."
    )
    inputs: tuple[str, ...] = Field((), description="Paths, globs and folders to load.")
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
        if not endpoint:
            return endpoint
        scheme, _, host = endpoint.partition("://")
        if scheme not in ("http", "https") or not host:
            raise ValueError("it has to begin with https:// or http://, and name a host")
        if "@" in host or "?" in host:
            raise ValueError(
                "it has credentials in it: leave them out, and give them by the environment"
            )
        return endpoint.rstrip("/")


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    warehouse_url: SecretStr | None = Field(
        None, description="URL of the PostgreSQL server; default: DATABASE_URL, else embedded."
    )
    warehouse_dir: Path = Field(
        default_factory=lambda given: _default_warehouse_dir(given),  # which is below
        description="Data folder of the embedded PostgreSQL.",
    )
    source: Annotated[tuple[Source, ...], Field(description="The configured sources.")] = ()
    storage: Annotated[
        dict[str, Storage], Field(description="How buckets are reached, by their address.")
    ] = {}
    auto_migrate: bool = Field(True, description="A load may bring the schema to head.")
    schema_contract: Literal["evolve", "freeze"] = Field(
        "evolve", description="New properties: `evolve` adds columns, `freeze` fills `_extra`."
    )
    max_columns: int = Field(
        500, ge=60, le=1_500, description="Columns per table; further properties go to `_extra`."
    )
    max_tables: int = Field(
        1_000,
        ge=7,
        le=10_000,
        description="Tables per schema; events of further names go to `tracks` alone.",
    )
    max_record_bytes: int = Field(
        1 << 20, ge=1_024, le=16 << 20, description="A larger record is rejected."
    )
    max_reject_ratio: float = Field(
        0.05, ge=0, le=1, description="More rejects than this share: exit code 3."
    )
    batch_records: int = Field(
        50_000, ge=1, le=1_000_000, description="Records per transaction, about."
    )
    batch_bytes: int = Field(
        24 << 20, ge=1 << 20, le=1 << 30, description="Bytes of rows per transaction, about."
    )
    lock_timeout: float = Field(
        0.1,
        gt=0,
        description="Seconds to wait for a lock on a table that needs new columns, a try.",
    )
    retry_timeout: float = Field(
        60.0, ge=0, description="Seconds for which faults of the server that may pass are retried."
    )
    reader_role: str = Field("", description="Role that may read the events; default: none.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the log on stderr.")

    @field_validator("warehouse_dir", mode="before")
    @classmethod
    def _empty_is_unset(cls, folder: object, info: ValidationInfo) -> object:
        # Path("") would be the current folder.
        return _default_warehouse_dir(info.data) if folder == "" else folder

    @field_validator("storage")
    @classmethod
    def _check_buckets(cls, storage: dict[str, Storage]) -> dict[str, Storage]:
        found: dict[str, Storage] = {}
        for url, options in storage.items():
            try:
                address = read_url(url)
            except UsageError as error:
                raise ValueError(str(error)) from None
            if address.key:
                raise ValueError(
                    f'it is set for a whole bucket: write [storage."{address.root[:-1]}"]'
                )
            if found.setdefault(address.root, options) is not options:
                raise ValueError(f"the bucket {address.root[:-1]!r} is there twice: leave one out")
        return found

    @model_validator(mode="after")
    def _schemas_differ(self) -> "Settings":
        owners: dict[str, str] = {}
        for source in self.source:
            other = owners.setdefault(source.schema_, source.name)
            if other != source.name:
                raise ValueError(
                    f"the sources {other!r} and {source.name!r} would share the schema "
                    f"{source.schema_!r}: set `schema` for one of them"
                )
        return self

    def url(self) -> str | None:
        """The URL of the user's own server, or None for the embedded one."""
        return self.warehouse_url.get_secret_value() or None if self.warehouse_url else None

    @property
    def wait_for_locks(self) -> float:
        """Seconds that a try waits for a lock behind which no reader queues."""
        return max(self.lock_timeout, min(_MOST_SECONDS_FOR_LOCKS, self.retry_timeout))

    def sources(self) -> tuple[Source, ...]:
        """The configured sources, or the default one."""
        return self.source or (Source(),)  # type: ignore[call-arg]

    def find_source(self, name: str | None, *, new: bool = True) -> Source:
        """The source called `name`; one that is not configured has defaults.

        With `new` false it is refused where others are configured: a typing error would make a
        schema of its own.
        """
        if name is None:
            if len(self.sources()) > 1:
                names = ", ".join(source.name for source in self.sources())
                raise UsageError(f"several sources are configured ({names}): say --source NAME")
            return self.sources()[0]
        for source in self.source:
            if source.name == name:
                return source
        configured = [source.name for source in self.source]
        if configured and not new:
            near = did_you_mean(name, configured, f"there are {', '.join(configured)}")
            raise UsageError(
                f"the source {name!r} is not configured{near} (To load a new one, add it to "
                f"{CONFIG_FILE}, or say --new-source or new_source=True.)"
            )
        try:
            found = Source(name=name)  # type: ignore[call-arg]
        except ValidationError as error:
            raise UsageError(f"the source {name!r} cannot be used: {explain(error)}") from None
        for source in self.source:
            if source.schema_ == found.schema_:
                raise UsageError(
                    f"the sources {source.name!r} and {name!r} would share the schema "
                    f"{found.schema_!r}: set `schema` for one of them in {CONFIG_FILE}"
                )
        return found


def _default_warehouse_dir(given: Mapping[str, object]) -> Path:
    try:
        return Path(platformdirs.user_data_dir("customerio-loader")) / "warehouse"
    except RuntimeError:  # neither HOME nor an entry of the user in the system's list
        if given.get("warehouse_url"):
            return Path(os.devnull)  # nothing is in it
        raise UsageError(
            "no folder for the embedded PostgreSQL, as the system knows no home folder of this "
            "user: set LOADER_WAREHOUSE_DIR or HOME, or LOADER_WAREHOUSE_URL for another server"
        ) from None


class SettingKeywords(TypedDict, total=False):
    """The settings as `loader.load` takes them. A test holds this list to that of `Settings`."""

    warehouse_url: str | None
    warehouse_dir: str | os.PathLike[str]
    auto_migrate: bool
    schema_contract: Literal["evolve", "freeze"]
    max_columns: int
    max_tables: int
    max_record_bytes: int
    max_reject_ratio: float
    batch_records: int
    batch_bytes: int
    lock_timeout: float
    retry_timeout: float
    reader_role: str
    log_format: Literal["text", "json"]
