"""Settings: flag, else environment, else `loader.toml`, else default. All defaults are here."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from dotenv import dotenv_values
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from loader.errors import UsageError
from loader.normalize.names import MAX_BYTES, schema_name, table_name

DEFAULT_SOURCE = "Customer.io"
CONFIG_FILE = "loader.toml"
_PREFIX = "LOADER_"
_CONFIG_VARIABLE = "LOADER_CONFIG"


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

    @model_validator(mode="before")
    @classmethod
    def _name_the_schema(cls, data: Any) -> Any:
        if isinstance(data, dict):
            name = str(data.get("name", DEFAULT_SOURCE))
            return data | {"schema": data.get("schema") or schema_name(name)}
        return data

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

    @property
    def only_tables(self) -> frozenset[str] | None:
        """The tables that `collections` allows, or None for all."""
        return frozenset(map(table_name, self.collections)) or None


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        extra="ignore",  # .env may be shared with other tools; unknown names are checked by load()
        frozen=True,
    )

    warehouse_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("warehouse_url", "LOADER_WAREHOUSE_URL", "DATABASE_URL"),
        description="URL of the PostgreSQL server; default: DATABASE_URL, else embedded.",
    )
    warehouse_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("customerio-loader")) / "warehouse",
        description="Data folder of the embedded PostgreSQL.",
    )
    source: Annotated[tuple[Source, ...], Field(description="The configured sources.")] = ()
    auto_migrate: bool = Field(True, description="A load may bring the schema to head.")
    schema_contract: Literal["evolve", "freeze"] = Field(
        "evolve", description="New properties: `evolve` adds columns, `freeze` fills `_extra`."
    )
    max_columns: int = Field(
        500, ge=60, le=1_500, description="Columns per table; further properties go to `_extra`."
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
    workers: int = Field(
        0, ge=0, le=64, description="Processes that parse and normalize; 0: the job itself."
    )
    lock_timeout: float = Field(
        10.0, gt=0, description="Seconds to wait for a lock on a table before trying again."
    )
    retry_timeout: float = Field(
        60.0, ge=0, description="Seconds for which faults of the server that may pass are retried."
    )
    reader_role: str = Field("", description="Role that may read the events; default: none.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the log on stderr.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            TomlConfigSettingsSource(settings_cls, toml_file=config_file()),
        )

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

    def sources(self) -> tuple[Source, ...]:
        """The configured sources, or the default one."""
        return self.source or (Source(),)  # type: ignore[call-arg]

    def find_source(self, name: str | None) -> Source:
        """The source called `name`; one that is not configured has defaults."""
        if name is None:
            if len(self.sources()) > 1:
                names = ", ".join(source.name for source in self.sources())
                raise UsageError(f"several sources are configured ({names}): say --source NAME")
            return self.sources()[0]
        for source in self.source:
            if source.name == name:
                return source
        try:
            found = Source(name=name)  # type: ignore[call-arg]
        except ValidationError as error:
            raise UsageError(f"the source {name!r} cannot be used: {_explain(error)}") from None
        for source in self.source:
            if source.schema_ == found.schema_:
                raise UsageError(
                    f"the sources {source.name!r} and {name!r} would share the schema "
                    f"{found.schema_!r}: set `schema` for one of them in {CONFIG_FILE}"
                )
        return found


def load_settings(**given: Any) -> Settings:
    """The settings, with `given` (flags that were used) before everything else.

    Raises UsageError, in one sentence, for an unknown or impossible setting.
    """
    given = {name: value for name, value in given.items() if value is not None}
    _refuse_unknown()
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UsageError(f"a setting is wrong: {_explain(error)}") from None
    except ValueError as error:  # the TOML file itself
        raise UsageError(f"{config_file()} cannot be read: {error}") from None


def config_file() -> Path:
    """The settings file: LOADER_CONFIG, else `loader.toml` in the current folder."""
    return Path(os.environ.get(_CONFIG_VARIABLE) or CONFIG_FILE)


def _refuse_unknown() -> None:
    known = set(Settings.model_fields)
    variables = [*os.environ, *dotenv_values(".env")]
    named = {n.removeprefix(_PREFIX).lower() for n in variables if n.startswith(_PREFIX)}
    named.discard("config")
    if unknown := sorted(named - known):
        raise UsageError(
            f"the environment variable {_PREFIX}{unknown[0].upper()} is not a setting: "
            "correct its name or unset it"
        )
    file = config_file()
    if file.exists() or _CONFIG_VARIABLE in os.environ:
        try:
            names = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"{file} cannot be read: {error}") from None
        if unknown := sorted(set(names) - known):
            raise UsageError(
                f"{unknown[0]!r} in {file} is not a setting: correct its name or remove it"
            )


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
