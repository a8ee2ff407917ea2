"""The arguments and options that several commands share."""

from typing import Annotated

import typer

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Files, folders, globs, or - for stdin; default: the inputs of the sources.",
        show_default=False,
    ),
]
SourceName = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Name of the source; default: Customer.io."),
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
LogFormat = Annotated[
    str | None,
    typer.Option("--log-format", metavar="text|json", help="Form of the log [LOADER_LOG_FORMAT]."),
]
