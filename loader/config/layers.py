"""Where a value comes from: a flag or keyword, else the environment, else `.env`, else
`loader.toml`. The names are checked here, the values are not.
"""

import json
import os
import tomllib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from loader.config.secret import read_dotenv
from loader.errors import LoaderWarning, UnknownSetting, UsageError, did_you_mean, nearest

CONFIG_FILE = "loader.toml"
_PREFIX = "LOADER_"
_CONFIG_VARIABLE = "LOADER_CONFIG"
_OTHER_TOOLS = "DATABASE_URL"
_ALMOST = 0.9  # [[sources]] is [[source]], although a destination has that key

# Settings of earlier versions. They warn and are ignored for one minor version, so that an
# upgrade does not end a job at night; after that they are unknown.
REMOVED = {"workers": "lines are read in blocks, which is faster than workers were"}


class Given(NamedTuple):
    """A value that somebody set."""

    value: Any  # not checked yet
    origin: str  # as the user spells it


def flag(name: str) -> str:
    """A setting as an option of a command."""
    return "--" + name.replace("_", "-")


def keyword(name: str) -> str:
    """A setting as an argument from Python."""
    return f"{name}="


def gather(
    given: Mapping[str, object], spelled: Callable[[str], str], known: Collection[str]
) -> dict[str, Given]:
    """What is set, by the name of the setting; `given`, spelled so, comes before all else.

    Raises UsageError for a name that is not `known`; warns of one that was removed.
    """
    layers = [_from_file(known), *_from_variables(known), _from_caller(given, spelled, known)]
    found: dict[str, Given] = {}
    for layer in layers:
        found |= layer
    if (tables := found.get("warehouse")) and tables.value:
        _refuse_both(
            tables, [layer["warehouse_url"] for layer in layers if "warehouse_url" in layer]
        )
        found.pop("warehouse_url", None)
    return found


def _refuse_both(tables: Given, urls: Sequence[Given]) -> None:
    """Raise if a warehouse is set beside `[[warehouse]]`: which of the two is meant?

    DATABASE_URL may be there for other tools, so it is ignored.
    """
    for url in urls:
        if not url.origin.startswith(_OTHER_TOOLS):
            raise UsageError(
                f"[[warehouse]] ({tables.origin}) and warehouse_url ({url.origin}) are both set: "
                "leave one out (--warehouse NAME chooses one of the tables)"
            )


def config_file() -> Path:
    """The settings file: LOADER_CONFIG, else `loader.toml` in the current folder."""
    return Path(os.environ.get(_CONFIG_VARIABLE) or CONFIG_FILE)


def _from_caller(
    given: Mapping[str, object], spelled: Callable[[str], str], known: Collection[str]
) -> dict[str, Given]:
    found = {}
    for name, value in given.items():
        if value is None or _is_removed(name, spelled(name)):
            continue
        if name not in known:
            raise UnknownSetting(
                f"{name!r} is not a setting" + did_you_mean(name, known, "correct its name")
            )
        found[name] = Given(value, spelled(name))
    return found


def _from_variables(known: Collection[str]) -> Iterator[dict[str, Given]]:
    """`.env`, which may be shared with other tools, and the environment."""
    yield _by_name(read_dotenv(), " in .env", known)
    yield _by_name(os.environ, "", known)


def _by_name(
    variables: Mapping[str, str | None], where: str, known: Collection[str]
) -> dict[str, Given]:
    found = {}
    if url := variables.get(_OTHER_TOOLS):
        found["warehouse_url"] = Given(url, f"{_OTHER_TOOLS}{where}")
    for variable, value in variables.items():
        if not variable.upper().startswith(_PREFIX) or variable == _CONFIG_VARIABLE:
            continue
        name = variable[len(_PREFIX) :].lower()
        if _is_removed(name, variable + where):
            continue
        if name not in known:
            near = nearest(name, known)
            advice = f"did you mean {_PREFIX}{near.upper()}?" if near else "correct or unset it"
            raise UsageError(
                f"the environment variable {variable}{where} is not a setting: {advice}"
            )
        if value:  # one that is empty is not set
            found[name] = Given(_parsed(name, value), variable + where)
    return found


def _parsed(name: str, value: str) -> object:
    """Tables are JSON in a variable; every other value is read from its text."""
    if name not in ("source", "storage", "warehouse", "destination"):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UsageError(f"{_PREFIX}{name.upper()} is not JSON: {error}") from None


def _from_file(known: Collection[str]) -> dict[str, Given]:
    file = config_file()
    if not os.path.lexists(file) and _CONFIG_VARIABLE not in os.environ:
        return {}
    try:
        names = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    found = {}
    for name, value in names.items():
        if _is_removed(name, f"{name!r} in {file}"):
            continue
        if name not in known:
            raise UsageError(f"{name!r} in {file} is not a setting{_advice(name, known)}")
        found[name] = Given(value, str(file))
    return found


def _advice(name: str, known: Collection[str]) -> str:
    if name in source_keys():
        return ": it belongs to a source, so write it below a line [[source]]"
    if name in storage_keys():
        return ': it belongs to a bucket, so write it below a line [storage."s3://bucket"]'
    for keys, owner in (
        (warehouse_keys, "warehouse"),
        (destination_keys, "destination"),
    ):
        if name in keys() and not nearest(name, known, _ALMOST):
            return f": it belongs to a {owner}, so write it below a line [[{owner}]]"
    return did_you_mean(name, known, "correct its name or remove it")


def setting_keys() -> list[str]:
    """The settings of the whole `loader.toml`."""
    from loader.config.settings import Settings

    return list(Settings.model_fields)


def source_keys() -> list[str]:
    """The keys of a source, as `loader.toml` has them."""
    from loader.config.source import Source

    return [field.alias or name for name, field in Source.model_fields.items()]


def storage_keys() -> list[str]:
    """The keys of a bucket, as `loader.toml` has them."""
    from loader.config.source import Storage

    return list(Storage.model_fields)


def warehouse_keys() -> list[str]:
    """The keys of a warehouse, as `loader.toml` has them."""
    from loader.config.warehouse import WarehouseTable

    return list(WarehouseTable.model_fields)


def destination_keys() -> list[str]:
    """The keys of a destination, as `loader.toml` has them."""
    from loader.config.destination import Destination

    return list(Destination.model_fields)


def _is_removed(name: str, spelled: str) -> bool:
    if name not in REMOVED:
        return False
    warnings.warn(
        f"{spelled} is ignored, and the next minor version will refuse it: {REMOVED[name]}; "
        "remove it",
        LoaderWarning,
        stacklevel=2,
    )
    return True
