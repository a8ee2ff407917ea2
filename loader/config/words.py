"""What is wrong with a setting, in one sentence that says what to write."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loader.config.layers import (
    destination_keys,
    keyword,
    setting_keys,
    source_keys,
    storage_keys,
    warehouse_keys,
)
from loader.errors import did_you_mean

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from loader.config.layers import Given

    Location = tuple[int | str, ...]  # of a value: its setting, the number of a source, its key

_NOT_WHOLE = ("int_parsing", "int_type", "int_from_float")
_NO_NUMBER = ("float_parsing", "float_type", "finite_number")
# By the kind of pydantic's error; `{value}` is what was written, `{name}` the last part of where.
_SENTENCES = {
    **dict.fromkeys(_NOT_WHOLE, "must be a whole number, not {value}"),
    **dict.fromkeys(_NO_NUMBER, "must be a number, not {value}"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false, not {value}"),
    "int_parsing_size": "must be a smaller number than {value}",
    "literal_error": "must be {expected}, not {value}",
    "string_type": "must be a text in quotes, not {value}",
    "path_type": "must be a path in quotes, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "greater_than": "must be more than {gt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "tuple_type": "must be a list: write {name} = [{value}]",
    "missing": "is missing",
}
_TABLES = {
    "source": "must be a list of tables: write [[source]], in two brackets, above the keys of each "
    "one",
    "storage": 'must be a table for each bucket: write [storage."s3://bucket"] above its keys',
    "warehouse": "must be a list of tables: write [[warehouse]], in two brackets, above the keys "
    "of each one",
    "destination": "must be a list of tables: write [[destination]], in two brackets, above the "
    "keys of each one",
}


def explain(
    error: "ValidationError", given: "Mapping[str, Given] | None" = None, setting: str | None = None
) -> str:
    """The first thing that is wrong (or wrong with one `setting`), with where it was set."""
    first = error.errors(include_url=False)[0]
    location: Location = (setting,) if setting else first["loc"]
    kind, context = first["type"], first.get("ctx", {})
    if kind == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{_where(location, given)}: {message}" if location else message
    if kind == "extra_forbidden":
        tables = {
            "source": (source_keys, "source"),
            "storage": (storage_keys, "bucket"),
            "warehouse": (warehouse_keys, "warehouse"),
            "destination": (destination_keys, "destination"),
        }
        keys, owner = tables[str(location[0])]
        advice = did_you_mean(str(location[-1]), keys(), f"there are {', '.join(keys())}")
        if location[-1] in setting_keys() and location[-1] not in tables:
            advice = (
                ": it is a setting of the whole file, so write it above the first line in brackets"
            )
        return f"{_where(location, given)} is not a key of a {owner}{advice}"
    if location[0] in _TABLES and (len(location) == 1 or kind.startswith("model")):
        return f"{_where(location[:1], given)} {_TABLES[str(location[0])]}"
    sentence = _SENTENCES.get(kind, first["msg"][:1].lower() + first["msg"][1:])
    words = {**context, "name": next(p for p in reversed(location) if isinstance(p, str))}
    words["value"] = _shown(first, location)
    return f"{_where(location, given)} {sentence.format_map(words)}"


def _where(location: "Location", given: "Mapping[str, Given] | None") -> str:
    """`max_columns (loader.toml)`, `'inputs' of the source 'EU' (loader.toml)`."""
    found = (given or {}).get(str(location[0]))
    where = f" ({found.origin})" if found and found.origin != keyword(str(location[0])) else ""
    if location[0] == "storage" and len(location) > 2:
        return f"{str(location[-1])!r} of the bucket {str(location[1])!r}{where}"
    if location[0] not in ("source", "warehouse", "destination") or len(location) < 3:
        return f"{location[-1]}{where}"
    name = None
    if found is not None:
        table = found.value[location[1]]
        name = table.get("name") if isinstance(table, dict) else None
    which = repr(name) if isinstance(name, str) else f"number {int(location[1]) + 1}"
    keys = "".join(f"[{p + 1}]" if isinstance(p, int) else str(p) for p in location[2:])
    return f"{keys!r} of the {location[0]} {which}{where}"


def _shown(first: "ErrorDetails", location: "Location") -> str:
    """The value as it was written; never a URL."""
    if location[0] == "warehouse_url" or location[-1] in ("url", "key"):
        return "that"
    text = json.dumps(first["input"], ensure_ascii=False, default=repr)
    return text if len(text) <= 40 else text[:39] + "…"
