"""`config`: what is set, and by whom."""

from typing import TYPE_CHECKING, Any

import typer

from loader.cli.context import read_effective, read_settings
from loader.cli.log import warn
from loader.cli.options import AsJson, WarehouseUrl, examples
from loader.cli.text import number, out, out_json, out_table
from loader.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.config import Settings

app = typer.Typer(help="The settings in effect.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show", epilog=examples("customerio-loader config show"))
def config_show(warehouse_url: WarehouseUrl = None, as_json: AsJson = False) -> None:
    """Show every setting, its value, and where that comes from. Passwords are left out."""
    from loader.config import config_file

    settings, given = read_effective(warehouse_url=warehouse_url)
    shown = [
        {
            "setting": name,
            "value": _value(settings, name),
            "from": given[name].origin if name in given else "default",
        }
        for name in type(settings).model_fields
        if name != "source"
    ]
    sources = [one.model_dump(by_alias=True) for one in settings.sources()]
    origin = given["source"].origin if "source" in given else "default"
    file = config_file()
    if as_json:
        out_json({"file": file, "settings": shown, "sources": sources, "sources_from": origin})
        return
    out(f"settings file: {file}" + ("" if file.exists() else ", which does not exist"))
    out()
    out_table(
        ("setting", "value", "from"),
        [(one["setting"], _text(one["value"]), one["from"]) for one in shown],
        [{"dim": one["from"] == "default"} for one in shown],
    )
    out()
    out_table(
        ("source", "schema", "inputs", "collections", "ignored", "from"),
        [
            (
                one["name"],
                one["schema"],
                ", ".join(one["inputs"]) or "none",
                ", ".join(one["collections"]) or "all",
                ", ".join(_ignored(one)) or "none",
                origin,
            )
            for one in sources
        ],
    )


@app.command("check", epilog=examples("customerio-loader config check"))
def config_check(warehouse_url: WarehouseUrl = None) -> None:
    """Check the settings; without a server. What is wrong is said in a sentence, with exit 2."""
    settings = read_settings(warehouse_url=warehouse_url)
    if url := settings.url():
        from loader.warehouse.opening import parse_url

        parse_url(url)
    for source in settings.sources():
        for doubt in source.doubts():
            warn(doubt)
    out(f"ok: {number(len(settings.sources()), 'source')}", fg="green")


def _ignored(source: dict[str, Any]) -> "Iterator[str]":
    """What a source leaves out."""
    yield from (*source["ignore_types"], *source["ignore_events"])
    if source["after"] is not None:
        yield f"before {source['after'].isoformat()}"
    if source["before"] is not None:
        yield f"from {source['before'].isoformat()} on"


def _text(value: object) -> str:
    """A value as `loader.toml` has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        tables = (f"{url} ({_text_of_keys(keys)})" for url, keys in value.items())
        return ", ".join(tables) or "none"
    return "none" if value is None else str(value)


def _text_of_keys(keys: dict[str, object]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in keys.items()) or "defaults"


def _value(settings: "Settings", name: str) -> object:
    if name == "warehouse_url":
        return _without_password(settings.url())
    if name == "storage":
        return {url: one.model_dump(exclude_defaults=True) for url, one in settings.storage.items()}
    if name == "destination":
        return {one.name: {"kind": one.kind, "host": one.host} for one in settings.destination}
    value = getattr(settings, name)
    return value if isinstance(value, int | float) else str(value) or None


def _without_password(url: str | None) -> str:
    from loader.warehouse.opening import parse_url

    if url is None:
        return "none: the embedded server"
    try:
        parsed = parse_url(url)
    except UsageError:
        return "set, but not shown: it cannot be read, or is not percent-encoded"
    query = {key: one for key, one in parsed.query.items() if "password" not in key.lower()}
    shown = parsed.set(drivername="postgresql", query=query)
    return shown.render_as_string(hide_password=True)
