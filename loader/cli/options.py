"""The arguments and options that several commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loader.config import Settings


def _sources(incomplete: str) -> list[str]:
    """The names of sources that the shell completes."""
    return _configured(lambda settings: [one.name for one in settings.sources()], incomplete)


def _warehouses(incomplete: str) -> list[str]:
    """The names of warehouses that the shell completes."""
    return _configured(lambda settings: [one.name for one in settings.warehouse], incomplete)


def _configured(names: "Callable[[Settings], list[str]]", incomplete: str) -> list[str]:
    from loader.config import load_settings
    from loader.errors import LoaderError

    try:
        return [name for name in names(load_settings()) if name.startswith(incomplete)]
    except LoaderError:
        return []


Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Files, folders, globs, addresses as s3://bucket/folder/, or - for stdin; "
        "default: the inputs of the sources.",
        show_default=False,
    ),
]
SourceName = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help="Name of the source; default: Customer.io.",
        autocompletion=_sources,
    ),
]
WarehouseName = Annotated[
    str | None,
    typer.Option(
        "--warehouse",
        metavar="NAME",
        help="Name of a [[warehouse]], where there are several.",
        autocompletion=_warehouses,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="NAME=VALUE", help="Label, as team=crm; of several, sources with all."
    ),
]
NewSource = Annotated[
    bool,
    typer.Option("--new-source", help="The source may be one that is not configured."),
]
WarehouseUrl = Annotated[
    str | None,
    typer.Option(
        "--warehouse-url",
        metavar="URL",
        help="postgresql://USER@HOST/DATABASE [LOADER_WAREHOUSE_URL, DATABASE_URL]; "
        "default: the embedded server. Keep passwords out of it: PGPASSWORD, ~/.pgpass.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")
]
Force = Annotated[bool, typer.Option("--force", help="Read finished files again.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for a running load to end.")]
LogFormat = Annotated[
    str | None,
    typer.Option("--log-format", metavar="text|json", help="Form of the log [LOADER_LOG_FORMAT]."),
]


def read_labels(given: list[str] | None) -> dict[str, str]:
    """The labels that some options name."""
    from loader.errors import UsageError

    found: dict[str, str] = {}
    for one in given or ():
        name, sign, value = one.partition("=")
        if not sign or not name.strip() or found.setdefault(name, value) != value:
            raise UsageError(f"--label {one!r} cannot be used: write NAME=VALUE, a name once")
    return found


def examples(*lines: str, after: str = "") -> str:
    """The end of a command's help: what to type, as it stands, and a paragraph."""
    shown = "\n".join(f"  {line}" for line in lines)
    return f"\b\nExamples:\n{shown}" + (f"\n\n{after}" if after else "")
