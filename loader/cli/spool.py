"""`spool`: received events that wait to be loaded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.context import all_pairs, loaded_schema, read_settings
from loader.cli.exits import Outcomes
from loader.cli.log import tell
from loader.cli.options import AsJson, SourceName, examples
from loader.cli.text import number, out, out_json, out_table

if TYPE_CHECKING:
    from loader.config import Settings, Source
    from loader.spool import SpoolFile

# Who takes files, as it is said of those that it does not have -> the names of those it has.
Have = dict[str, Collection[str]]

app = typer.Typer(
    help="Received events, in files that loads read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_STATUS_EPILOG = examples("customerio-loader spool status")
_PRUNE_EPILOG = examples("customerio-loader spool prune", "customerio-loader spool prune --dry-run")
_RECOVER_EPILOG = examples("customerio-loader spool recover")


@app.command("status", epilog=_STATUS_EPILOG)
def spool_status(source: SourceName = None, as_json: AsJson = False) -> None:
    """Show what is in the spool: finished files, and those that are being written or were left."""
    from loader.load.pairs import choose_sources
    from loader.spool import began_at, finished
    from loader.spool.files import unfinished
    from loader.spool.recovery import is_held

    settings = read_settings()
    found: list[dict[str, Any]] = []
    for one in choose_sources(settings, source):
        files = finished(settings.spool_dir, one.schema_)
        begun = unfinished(settings.spool_dir, one.schema_)
        held = sum(map(is_held, begun))
        found.append(
            {
                "source": one.name,
                "schema": one.schema_,
                "files": len(files),
                "bytes": sum(file.size for file in files),
                "oldest": began_at(files[0].name).isoformat() if files else None,
                "newest": began_at(files[-1].name).isoformat() if files else None,
                "being_written": held,
                "left": len(begun) - held,
            }
        )
    if as_json:
        out_json({"spool_dir": str(settings.spool_dir), "sources": found})
        return
    out(str(settings.spool_dir), bold=True)
    out_table(
        ("source", "files", "MB", "oldest", "newest", "being written", "left"),
        [
            (
                one["source"],
                f"{one['files']:,}",
                f"{one['bytes'] / 1e6:,.1f}",
                one["oldest"] or "-",
                one["newest"] or "-",
                f"{one['being_written']:,}",
                f"{one['left']:,}",
            )
            for one in found
        ],
    )


@app.command("recover", epilog=_RECOVER_EPILOG)
def spool_recover(source: SourceName = None) -> None:
    """Finish the files that receivers have left which died and do not come back.

    A receiver does it itself when it starts.
    """
    from loader.load.pairs import choose_sources
    from loader.spool import recover

    settings = read_settings()
    done = 0
    for one in choose_sources(settings, source):
        for file in recover(settings.spool_dir, one.schema_):
            out(str(file.path))
            done += 1
    out(f"{number(done, 'file')} finished")


@app.command("prune", epilog=_PRUNE_EPILOG)
def spool_prune(
    source: SourceName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Delete received events that are old, and that all warehouses and destinations have."""
    from loader.load import spooled
    from loader.load.pairs import choose_sources
    from loader.spool import finished

    settings = read_settings()
    now = datetime.now(UTC)
    chosen = choose_sources(settings, source)
    written_before = now - timedelta(days=settings.spool_keep)
    files = {one.schema_: finished(settings.spool_dir, one.schema_) for one in chosen}
    outcomes = Outcomes()
    have = _loaded(settings, chosen, files, outcomes)
    if outcomes.code():  # a warehouse that cannot be asked may need any of them
        return outcomes.code()
    hold_nothing: dict[str, list[str]] = {}
    for one in chosen:
        sent, hold_nothing[one.schema_] = _sent(settings, one, files[one.schema_])
        have[one.schema_] |= sent
    for one in chosen:
        known = files[one.schema_], have[one.schema_]
        done = spooled.prune(*known, written_before, dry_run=dry_run)
        _tell_missed(settings, one.schema_, hold_nothing[one.schema_])
        if as_json:
            out_json({"source": one.name, "dry_run": dry_run} | asdict(done))
            continue
        deleted = f"{number(done.files, 'file')}, {done.bytes / 1e6:,.1f} MB"
        out(f"{one.name}: {'would delete' if dry_run else 'deleted'} {deleted}")
        out(f"  {number(done.young, 'file')} kept, not older than {settings.spool_keep:g} days")
        for who, count in done.held.items():
            out(f"  {number(count, 'old file')} kept: {who}")
    return 0


def _loaded(
    settings: "Settings",
    sources: "Sequence[Source]",
    files: "Mapping[str, Sequence[SpoolFile]]",
    outcomes: Outcomes,
) -> "dict[str, Have]":
    """Which spool files of a schema are in each of its warehouses."""
    from loader.load import spooled

    have: dict[str, Have] = {schema: {} for schema in files}
    for pair in all_pairs(settings, sources):
        source, schema, name = pair.source, pair.source.schema_, pair.warehouse.name
        with (
            outcomes.of(source.name, "spool.prune_failed", name),
            loaded_schema(pair) as connection,
        ):
            loaded = spooled.find_loaded(connection, schema, files[schema])
            have[schema][f"not loaded into {name or 'the warehouse'} yet"] = loaded
    return have


def _sent(
    settings: "Settings", source: "Source", files: "Sequence[SpoolFile]"
) -> tuple["Have", list[str]]:
    """Which files destinations have, of those that hold them; and the names of the others.

    These know all files from here on, so that what is deleted counts as missed.
    """
    from loader.forward.state import State, opened

    have: Have = {}
    hold_nothing: list[str] = []
    if not State.is_there(settings.spool_dir):
        return have, hold_nothing
    with opened(settings.spool_dir) as state:
        for one in settings.destination:
            standing = state.standing(one.name) if one.takes(source.name) else None
            if standing is None:  # it begins with what is new
                continue
            if standing.holds_files(timedelta(days=settings.destination_keep)):
                have[f"not sent to {one.name} yet"] = state.sent_files(one.name, source.schema_)
            else:
                known = {(source.schema_, file.name): file.size for file in files}
                state.add(one.name, known, done=False)
                hold_nothing.append(one.name)
    return have, hold_nothing


def _tell_missed(settings: "Settings", schema: str, destinations: Sequence[str]) -> None:
    """Count what was deleted before destinations had it, and say it."""
    from loader.forward.by_hand import tell_removed
    from loader.forward.state import opened
    from loader.spool import finished

    if not destinations:
        return
    left = {file.name for file in finished(settings.spool_dir, schema)}
    with opened(settings.spool_dir) as state:
        for name in destinations:
            known = state.progress(name)
            gone = [key for key in known if key[0] == schema and key[1] not in left]
            if told := tell_removed(state, name, gone):
                facts = {"destination": name, "schema": schema}
                tell(f"destination {name!r}: {told}", "spool.missed", **facts)
