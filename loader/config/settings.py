"""Every setting with its type, its bounds and its default."""

import os
from collections.abc import Mapping
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

from loader.config.destination import Destination
from loader.config.layers import CONFIG_FILE
from loader.config.source import Source, Storage
from loader.config.warehouse import Warehouse, WarehouseTable, refuse_one_twice
from loader.config.words import explain
from loader.errors import UsageError, did_you_mean
from loader.sources.urls import read_url
from loader.spool import spool_input

_MOST_SECONDS_FOR_LOCKS = 10.0


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    warehouse_url: SecretStr | None = Field(
        None, description="URL of the PostgreSQL server; default: DATABASE_URL, else embedded."
    )
    warehouse: Annotated[
        tuple[WarehouseTable, ...], Field(description="The warehouses, where there are several.")
    ] = ()
    warehouse_dir: Path = Field(
        default_factory=lambda given: _default_warehouse_dir(given),  # which is below
        description="Data folder of the embedded PostgreSQL.",
    )
    spool_dir: Path = Field(
        default_factory=lambda: _default_spool_dir(),  # which is below
        description="Folder of received events that are to be loaded and forwarded.",
    )
    spool_min_free: int = Field(
        1 << 30, ge=0, description="Nothing is received where less than so many bytes are free."
    )
    spool_file_seconds: float = Field(
        60.0, gt=0, le=3_600, description="Received events are ready to be loaded after that."
    )
    spool_keep: float = Field(
        30, ge=0, le=3_650, description="Days for which `spool prune` keeps received events."
    )
    destination_keep: float = Field(
        7, ge=0, le=3_650, description="A destination that fails for so many days holds no files."
    )
    source: Annotated[tuple[Source, ...], Field(description="The configured sources.")] = ()
    destination: Annotated[
        tuple[Destination, ...], Field(description="Where received events are sent on to.")
    ] = ()
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
    mart: Literal["on", "off"] = Field("on", description="Whether loads fill `email_messages`.")
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

    @field_validator("spool_dir", mode="before")
    @classmethod
    def _empty_spool_is_unset(cls, folder: object) -> object:
        return _default_spool_dir() if folder == "" else folder

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

    @model_validator(mode="after")
    def _tables_fit(self) -> "Settings":
        configured = [source.name for source in self.sources()]
        for kind, tables in (("warehouse", self.warehouse), ("destination", self.destination)):
            met: set[str] = set()
            for one in tables:
                if one.name in met:
                    raise ValueError(f"two {kind}s are called {one.name!r}: rename one of them")
                met.add(one.name)
                for name in one.sources or ():
                    if name not in configured:
                        near = did_you_mean(name, configured, f"there are {', '.join(configured)}")
                        raise ValueError(
                            f"`sources` of the {kind} {one.name!r} has {name!r}, which is not "
                            f"configured{near}"
                        )
        return self

    def warehouses(self) -> tuple[Warehouse, ...]:
        """The configured warehouses, or the only one, without a name."""
        folder = self.warehouse_dir
        if self.warehouse:
            return tuple(
                Warehouse(one.name, folder, one.url.get_secret_value(), one.sources)
                for one in self.warehouse
            )
        url = self.warehouse_url.get_secret_value() if self.warehouse_url else ""
        return (Warehouse(None, folder, url),)

    def warehouses_of(self, source: Source, name: str | None = None) -> tuple[Warehouse, ...]:
        """Those that a source is loaded into; with a `name` that one alone, if it is one of them.

        Raises UsageError for a name that is not configured, and for two that are one database.
        """
        known = [one.name for one in self.warehouse]
        if name is not None and name not in known:
            there = f"there are {', '.join(known)}" if known else "no [[warehouse]] is configured"
            near = did_you_mean(name, known, there)
            raise UsageError(f"the warehouse {name!r} is not configured{near}")
        found = tuple(one for one in self.warehouses() if one.takes(source.name))
        refuse_one_twice(found, source.name)
        return found if name is None else tuple(one for one in found if one.name == name)

    def find_warehouse(self, source: Source, name: str | None = None) -> Warehouse:
        """The warehouse of a source; where there are several, the one called `name`."""
        found = self.warehouses_of(source, name)
        if not found:
            where = "any warehouse" if name is None else f"the warehouse {name!r}"
            raise UsageError(
                f"the source {source.name!r} is not loaded into {where}: add it to `sources` of "
                "the [[warehouse]]"
            )
        if len(found) > 1:
            names = ", ".join(str(one.name) for one in found)
            raise UsageError(
                f"the source {source.name!r} is loaded into several warehouses ({names}): say "
                "--warehouse NAME, or warehouse=NAME in Python"
            )
        return found[0]

    def find_destination(self, name: str) -> Destination:
        """The destination called `name`."""
        for one in self.destination:
            if one.name == name:
                return one
        known = [one.name for one in self.destination]
        there = f"there are {', '.join(known)}" if known else "no [[destination]] is configured"
        near = did_you_mean(name, known, there)
        raise UsageError(f"the destination {name!r} is not configured{near}")

    @property
    def wait_for_locks(self) -> float:
        """Seconds that a try waits for a lock behind which no reader queues."""
        return max(self.lock_timeout, min(_MOST_SECONDS_FOR_LOCKS, self.retry_timeout))

    def sources(self) -> tuple[Source, ...]:
        """The configured sources, or the default one."""
        return self.source or (Source(),)  # type: ignore[call-arg]

    def write_keys(self) -> frozenset[str]:
        """The hashes of all keys with which events are received."""
        return frozenset(key for source in self.sources() for key in source.write_keys)

    def labelled(self, labels: Mapping[str, str]) -> tuple[Source, ...]:
        """The sources that have all of some labels."""
        return tuple(one for one in self.sources() if labels.items() <= one.labels.items())

    def inputs_of(self, source: Source) -> list[str]:
        """What is loaded where no PATH is given: `inputs`, and what was received for the source."""
        found = list(source.inputs)
        is_receiving = bool(source.write_keys or source.signing_keys)
        if is_receiving or os.path.isdir(self.spool_dir / source.schema_):
            found.append(spool_input(source.schema_))
        return found

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
        if given.get("warehouse_url") or given.get("warehouse"):
            return Path(os.devnull)  # nothing is in it
        raise UsageError(
            "no folder for the embedded PostgreSQL, as the system knows no home folder of this "
            "user: set LOADER_WAREHOUSE_DIR or HOME, or LOADER_WAREHOUSE_URL for another server"
        ) from None


def _default_spool_dir() -> Path:
    try:
        return Path(platformdirs.user_data_dir("customerio-loader")) / "spool"
    except RuntimeError:  # as above; who receives events has to say where they are kept
        return Path(os.devnull)


class SettingKeywords(TypedDict, total=False):
    """The settings as `loader.load` takes them. A test holds this list to that of `Settings`."""

    warehouse_url: str | None
    warehouse_dir: str | os.PathLike[str]
    spool_dir: str | os.PathLike[str]
    spool_min_free: int
    spool_file_seconds: float
    spool_keep: float
    destination_keep: float
    auto_migrate: bool
    schema_contract: Literal["evolve", "freeze"]
    max_columns: int
    max_tables: int
    max_record_bytes: int
    max_reject_ratio: float
    batch_records: int
    batch_bytes: int
    mart: Literal["on", "off"]
    lock_timeout: float
    retry_timeout: float
    reader_role: str
    log_format: Literal["text", "json"]
