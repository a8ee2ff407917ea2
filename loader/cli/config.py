"""`config`: what is set, and by whom."""

from typing import TYPE_CHECKING, Any

import typer

from loader.cli.context import pairs_of, read_effective, read_settings
from loader.cli.log import complain, warn
from loader.cli.options import AsJson, WarehouseUrl, examples
from loader.cli.text import number, out, out_json, out_table
from loader.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loader.config import Settings, Warehouse

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
        if name not in ("source", "warehouse")
    ]
    sources = [one.model_dump(by_alias=True) for one in settings.sources()]
    origin = given["source"].origin if "source" in given else "default"
    warehouses = [_of_warehouse(one) for one in settings.warehouses()] * bool(settings.warehouse)
    file = config_file()
    if as_json:
        said = {"file": file, "settings": shown, "sources": sources, "sources_from": origin}
        out_json(said | {"warehouses": warehouses})
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
                _names(one["collections"]),
                ", ".join(_ignored(one)) or "none",
                origin,
            )
            for one in sources
        ],
    )
    if warehouses:
        out()
        out_table(
            ("warehouse", "url", "sources", "from"),
            [
                (one["name"], one["url"], _names(one["sources"]), given["warehouse"].origin)
                for one in warehouses
            ],
        )


@app.command("check", epilog=examples("customerio-loader config check"))
def config_check(warehouse_url: WarehouseUrl = None) -> int:
    """Check the settings; without a server. What is wrong is said in a sentence, with exit 2."""
    from loader.config import config_file
    from loader.config.secret import resolve
    from loader.warehouse.opening import parse_url

    settings = read_settings(warehouse_url=warehouse_url)
    wrong = 0
    for one in settings.warehouses():
        try:
            if not one.is_embedded:
                parse_url(one.url())
        except UsageError as error:
            complain(str(error), "config.wrong", warehouse=one.name)
            wrong = error.exit_code
    pairs_of(settings, None, None)
    for source in settings.sources():
        for doubt in source.doubts():
            warn(doubt)
    if wrong:
        return wrong
    for reference, owner in _references(settings):
        try:
            resolve(reference)
        except UsageError as error:
            warn(f"{owner}: {error}")
    file = config_file()
    if not file.exists():
        warn(f"there is no {file} in this directory: these are the defaults and the environment")
    counts = [number(len(settings.sources()), "source")]
    for tables, noun in ((settings.warehouse, "warehouse"), (settings.destination, "destination")):
        if tables:
            counts.append(number(len(tables), noun))
    out(f"ok: {', '.join(counts)}", fg="green")
    return 0


def _references(settings: "Settings") -> "Iterator[tuple[str, str]]":
    """Where keys are, and whose: those who need them may run elsewhere, so they are no errors."""
    for source in settings.sources():
        for reference in source.signing_keys:
            yield reference, f"a signing key of the source {source.name!r}"
    for one in settings.destination:
        yield one.key, f"the key of the destination {one.name!r}"


def _names(names: "Sequence[str]") -> str:
    return ", ".join(names) or "all"


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
        if settings.warehouse:
            return "none: see the warehouses"
        return _shown_url(settings.warehouses()[0])
    if name == "storage":
        return {url: one.model_dump(exclude_defaults=True) for url, one in settings.storage.items()}
    if name == "destination":
        return {one.name: {"kind": one.kind, "host": one.host} for one in settings.destination}
    value = getattr(settings, name)
    return value if isinstance(value, int | float) else str(value) or None


def _of_warehouse(one: "Warehouse") -> dict[str, Any]:
    return {"name": one.name, "url": _shown_url(one), "sources": one.sources or ()}


def _shown_url(one: "Warehouse") -> str:
    """The URL of a warehouse without a password, and where it stands if that is elsewhere."""
    from loader.config.secret import is_reference

    if one.is_embedded:
        return "none: the embedded server"
    if not is_reference(one.reference):
        return _without_password(one.url())
    try:
        return f"{one.reference} ({_without_password(one.url())})"
    except UsageError as error:
        return f"{one.reference} ({error})"


def _without_password(url: str) -> str:
    from loader.warehouse.opening import parse_url

    try:
        parsed = parse_url(url)
    except UsageError:
        return "set, but not shown: it cannot be read, or is not percent-encoded"
    query = {key: one for key, one in parsed.query.items() if "password" not in key.lower()}
    shown = parsed.set(drivername="postgresql", query=query)
    return shown.render_as_string(hide_password=True)
