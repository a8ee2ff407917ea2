"""`spool`: received events that wait to be loaded."""

from datetime import UTC, datetime
from typing import Any

import typer

from loader.cli.context import chosen_sources, read_settings
from loader.cli.options import AsJson, SourceName, examples
from loader.cli.text import number, out, out_json, out_table

app = typer.Typer(
    help="Received events, in files that loads read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_STATUS_EPILOG = examples("customerio-loader spool status")
_RECOVER_EPILOG = examples("customerio-loader spool recover")


@app.command("status", epilog=_STATUS_EPILOG)
def spool_status(source: SourceName = None, as_json: AsJson = False) -> None:
    """Show what is in the spool: finished files, and those that are being written or were left."""
    from loader.spool import finished
    from loader.spool.files import unfinished
    from loader.spool.recovery import is_held

    settings = read_settings()
    found: list[dict[str, Any]] = []
    for one in chosen_sources(settings, source):
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

    A receiver does it itself, when it starts and with each file that it begins.
    """
    from loader.spool import recover

    settings = read_settings()
    done = 0
    for one in chosen_sources(settings, source):
        for file in recover(settings.spool_dir, one.schema_):
            out(str(file.path))
            done += 1
    out(f"{number(done, 'file')} finished")


def began_at(name: str) -> datetime:
    """When a spool file was begun, by its name."""
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
