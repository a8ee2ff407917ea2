"""Settings: flag, else environment, else `.env`, else `loader.toml`, else default."""

from collections.abc import Callable, Mapping
from typing import get_type_hints

from pydantic import ValidationError

from loader.config.destination import Destination
from loader.config.layers import CONFIG_FILE, Given, config_file, flag, gather, keyword
from loader.config.settings import SettingKeywords, Settings
from loader.config.source import DEFAULT_SOURCE, Source, Storage
from loader.config.warehouse import Warehouse
from loader.config.words import explain
from loader.errors import UsageError

__all__ = [
    "CONFIG_FILE",
    "DEFAULT_SOURCE",
    "Destination",
    "Given",
    "SettingKeywords",
    "Settings",
    "Source",
    "Storage",
    "Warehouse",
    "config_file",
    "flag",
    "load_settings",
    "read_settings",
]


def load_settings(
    given: Mapping[str, object] | None = None, spelled: Callable[[str], str] = keyword
) -> Settings:
    """The settings, with `given` (what is not None) before everything else.

    Raises UsageError, in one sentence, for an unknown or impossible setting.
    """
    return read_settings(given, spelled)[0]


def read_settings(
    given: Mapping[str, object] | None = None, spelled: Callable[[str], str] = keyword
) -> tuple[Settings, dict[str, Given]]:
    """The settings, and for each one that is set, who set it."""
    found = gather(given or {}, spelled, set(Settings.model_fields))
    for name in given or {}:
        if name in found:
            _check_type(name, found)
    try:
        return Settings(**{name: one.value for name, one in found.items()}), found
    except ValidationError as error:
        raise UsageError(explain(error, found)) from None


def _check_type(name: str, found: Mapping[str, Given]) -> None:
    """What comes from Python has its type: `"500"` is no number there, and `"no"` is not False.

    Everywhere else values are texts, or what TOML makes of them.
    """
    from pydantic import TypeAdapter

    try:
        kind = TypeAdapter(get_type_hints(SettingKeywords)[name])
        kind.validate_python(found[name].value, strict=True)
    except ValidationError as error:
        raise UsageError(explain(error, found, name)) from None
