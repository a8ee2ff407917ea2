"""`dashboards superset`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.context import one_pair, read_settings
from loader.cli.log import warn
from loader.cli.options import SourceName, WarehouseName, WarehouseUrl, examples
from loader.cli.text import number, out
from loader.cli.writing import require_file, write_file

if TYPE_CHECKING:
    from loader.config import Warehouse

app = typer.Typer(help="Dashboards for BI tools.", no_args_is_help=True, rich_markup_mode=None)

_SUPERSET_EPILOG = examples(
    "customerio-loader dashboards superset",
    "customerio-loader dashboards superset -o bundle.zip "
    "--connect postgresql://bi_reader@db.example.com/analytics",
)


@app.callback()
def _root() -> None:
    """Keeps `superset` a word of its own, although it is the only one."""


@app.command("superset", epilog=_SUPERSET_EPILOG)
def dashboards_superset(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = Path("superset.zip"),
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    connect: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE by which Superset connects; default: as the "
            "loader does, and to the port of an embedded server as its role that only reads. A "
            "password in it is left out.",
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, help="The dashboard opens with the last so many days; 0: all.")
    ] = 90,
) -> None:
    """Write a bundle that Apache Superset imports: datasets with metrics, and a dashboard.

    Nothing is asked of the warehouse, and no password is in it. A second import changes what the
    first one made.
    """
    from loader.dashboards.address import PASSWORD, address_of
    from loader.dashboards.charts import CHARTS
    from loader.dashboards.datasets import DATASETS
    from loader.dashboards.superset import Target, make_bundle, title_of

    require_file(str(output))
    settings = read_settings(warehouse_url=warehouse_url)
    chosen, place, _ = one_pair(settings, source, warehouse)
    url = address_of(connect or _url_of(place))
    write_file(str(output), make_bundle(Target(chosen.name, chosen.schema_, url, days)))
    what = f"{number(len(CHARTS), 'chart')} on {number(len(DATASETS), 'dataset')}"
    out(f"{output}: the dashboard {title_of(chosen.name)!r} with {what}")
    if PASSWORD in url:
        out(f"Superset asks for the password of {url.replace(f':{PASSWORD}', '')} at the import")


def _url_of(warehouse: "Warehouse") -> str:
    """The URL of a warehouse; an embedded server without a port is started to know its own."""
    from loader.warehouse import embedded
    from loader.warehouse.cluster import ANALYST, DATABASE
    from loader.warehouse.sockets import HOST

    if warehouse.is_embedded:
        if port := embedded.port_of(warehouse.folder):
            return f"postgresql://{ANALYST}@{HOST}:{port}/{DATABASE}"
        warn(
            "the bundle connects as the administrator of the embedded server; "
            "`warehouse start --port N` gives it a role that only reads"
        )
    with embedded.server_of(warehouse) as url:
        return url
