"""`sources`: who sends events, and the keys with which they are received."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.context import all_pairs, loaded_schema, read_effective
from loader.cli.exits import Outcomes
from loader.cli.log import warn
from loader.cli.options import AsJson, Labels, examples, read_labels
from loader.cli.text import number, out, out_exactly, out_json, out_table
from loader.errors import LoaderError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loader.config import Settings, Source

app = typer.Typer(
    help="Sources of events, and their write keys.", no_args_is_help=True, rich_markup_mode=None
)

_ADD_EPILOG = examples("customerio-loader sources add 'Customer.io EU' --label team=crm")
_LIST_EPILOG = examples(
    "customerio-loader sources list", "customerio-loader sources list --label team=crm"
)
_KEY_EPILOG = examples(
    "customerio-loader sources key 'Customer.io EU' --add",
    "customerio-loader sources key 'Customer.io EU' --revoke 5c08f3d1a2b4",
)
_REMOVE_EPILOG = examples("customerio-loader sources remove 'Customer.io EU'")
Name = Annotated[str, typer.Argument(help="Name of the source.", show_default=False)]


@app.command("add", epilog=_ADD_EPILOG)
def sources_add(
    name: Name,
    label: Labels = None,
    schema: Annotated[
        str, typer.Option("--schema", help="Schema; default: made from the name.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Add a source to loader.toml. Prints its write key, which is shown this once.

    Where loader.toml cannot be written, what belongs into it is printed instead.
    """
    from loader.config import editing, keys

    settings, file = _settings_and_file()
    if any(one.name == name for one in settings.source):
        raise UsageError(
            f"the source {name!r} is there already: `sources key NAME --add` makes another key"
        )
    given_schema, schema = schema, schema or settings.find_source(name).schema_
    labels, key = read_labels(label), keys.make_key()
    block = editing.source_block(name, given_schema, labels, keys.key_hash(key))
    to_paste = None
    try:
        editing.add_source(file, block)
    except editing.NotWritable as error:
        warn(f"{error}: put the block that is printed into your settings yourself")
        to_paste = block
    if as_json:
        out_json(
            {"source": name, "schema": schema, "labels": labels, "write_key": key}
            | {"fingerprint": keys.fingerprint(keys.key_hash(key))}
            | {"file": None if to_paste else str(file), "block": to_paste}
        )
        return
    out(f"source     {name}")
    out(f"schema     {schema}")
    out(f'webhooks   /v1/webhook/{schema}, once it has e.g. signing_keys = ["env:CIO_SIGNING_KEY"]')
    _show_key(key)
    if to_paste:
        out()
        out_exactly(to_paste.rstrip())
    elif not settings.source and schema != settings.sources()[0].schema_:
        warn(
            f"{name!r} is the only source in {file}: `load` without --source is for this one now, "
            f"and no longer for {settings.sources()[0].name!r}; where that one is used, add it, too"
        )


@app.command("list", epilog=_LIST_EPILOG)
def sources_list(label: Labels = None, as_json: AsJson = False) -> int:
    """Show the sources: labels, keys, what was received, and what warehouses have of it."""
    from loader.load.pairs import choose_sources

    settings, _ = read_effective()
    outcomes = Outcomes()
    chosen = choose_sources(settings, None, labels=read_labels(label))
    found = [_facts(settings, one, outcomes) for one in chosen]
    if as_json:
        for one in found:
            out_json(one)
        return outcomes.code()
    out_table(
        ("source", "schema", "labels", "keys", "newest spool file"),
        [
            (
                one["source"],
                one["schema"],
                ", ".join(f"{name}={value}" for name, value in one["labels"].items()) or "none",
                ", ".join(one["keys"]) or "none",
                one["newest_file"] or "none",
            )
            for one in found
        ],
    )
    out()
    out_table(
        ("source", "warehouse", "newest event", "events waiting"),
        [
            (
                one["source"],
                it["warehouse"] or "-",
                it["newest_event"] or ("not known" if it["events_waiting"] is None else "none"),
                "not known" if it["events_waiting"] is None else f"{it['events_waiting']:,}",
            )
            for one in found
            for it in one["warehouses"]
        ],
    )
    return outcomes.code()


@app.command("key", epilog=_KEY_EPILOG)
def sources_key(
    name: Name,
    add: Annotated[bool, typer.Option("--add", help="Make another key, and show it.")] = False,
    revoke: Annotated[
        str | None,
        typer.Option("--revoke", metavar="FINGERPRINT", help="Take out the key with this one."),
    ] = None,
) -> None:
    """Add or revoke a write key of a source. While a key is changed, both are good."""
    from loader.config import editing, keys

    if add == (revoke is not None):
        raise UsageError("say either --add or --revoke FINGERPRINT")
    settings, file = _settings_and_file()
    source = _configured(settings, name)
    if revoke is None:
        key = keys.make_key()
        hashed = keys.key_hash(key)
        by_hand = f'add "{hashed}" to the `write_keys` of {name!r} there yourself'
        with _or_by_hand(by_hand, fails=False):
            editing.change_keys(file, name, lambda old: [*old, hashed])
        _show_key(key)
        return
    gone = keys.find_key(source.write_keys, revoke, name)
    with _or_by_hand(f'take "{gone}" out of the `write_keys` of {name!r} there yourself'):
        editing.change_keys(file, name, lambda old: [one for one in old if one != gone])
    left = len(source.write_keys) - 1
    out(f"revoked {keys.fingerprint(gone)}; {number(left, 'key')} of {name!r} left")
    if not left:
        warn(f"calls for {name!r} are refused from now on: it has no write key")


@app.command("remove", epilog=_REMOVE_EPILOG)
def sources_remove(name: Name) -> None:
    """Take a source out of loader.toml, and print its block. What was loaded or received stays."""
    from loader.config import editing
    from loader.spool import finished

    settings, file = _settings_and_file()
    source = _configured(settings, name)
    with _or_by_hand(f"take the block of {name!r} out of it yourself"):
        block = editing.remove_source(file, name)
    out_exactly(block)
    out()
    if files := finished(settings.spool_dir, source.schema_):
        warn(
            f"{number(len(files), 'file')} of received events stay, and are loaded no more: if they"
            " were not loaded yet, add the source again and load first"
        )
    out(
        f"removed {name!r} from {file}. Its data stay: the schema {source.schema_!r} in the "
        f"warehouse, and what was received in {settings.spool_dir / source.schema_}"
    )


def _facts(settings: "Settings", source: "Source", outcomes: Outcomes) -> dict[str, Any]:
    from loader.config import keys
    from loader.load import spooled
    from loader.spool import finished
    from loader.warehouse import ledger

    files = finished(settings.spool_dir, source.schema_)
    warehouses: list[dict[str, Any]] = []
    for pair in all_pairs(settings, [source]):
        name = pair.warehouse.name
        facts: dict[str, Any] = {"warehouse": name, "newest_event": None, "events_waiting": None}
        warehouses.append(facts)
        with outcomes.of(source.name, "sources.failed", name), loaded_schema(pair) as connection:
            waiting = spooled.count_waiting(connection, source.schema_, files)
            newest = None if connection is None else ledger.select_newest_event(connection)
            facts |= {"newest_event": newest and newest.isoformat(), "events_waiting": waiting}
    return {
        "source": source.name,
        "schema": source.schema_,
        "labels": source.labels,
        "keys": [keys.fingerprint(one) for one in source.write_keys],
        "newest_file": files[-1].name if files else None,
        "warehouses": warehouses,
    }


def _show_key(key: str) -> None:
    from loader.config.keys import fingerprint, key_hash

    out(f"write key  {key}")
    out(f"It is shown this once, and kept nowhere. Its fingerprint: {fingerprint(key_hash(key))}")


def _settings_and_file() -> "tuple[Settings, Path]":
    """The settings, and the file that has their sources, or is to have them."""
    from loader.config import config_file

    settings, given = read_effective()
    file = config_file()
    origin = given["source"].origin if "source" in given else str(file)
    if origin != str(file):
        raise UsageError(
            f"the sources are those of {origin}, which comes before {file}: change them there"
        )
    return settings, file


def _configured(settings: "Settings", name: str) -> "Source":
    """A source of the file."""
    for one in settings.source:
        if one.name == name:
            return one
    near = did_you_mean(name, [one.name for one in settings.source], "`sources list` shows them")
    raise UsageError(f"the source {name!r} is not configured{near}")


@contextmanager
def _or_by_hand(what: str, *, fails: bool = True) -> "Iterator[None]":
    """Say what to do where the file cannot be written."""
    from loader.config.editing import NotWritable

    try:
        yield
    except NotWritable as error:
        if fails:
            raise LoaderError(f"{error}: {what}") from None
        warn(f"{error}: {what}")
