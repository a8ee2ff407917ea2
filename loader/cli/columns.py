"""`columns list` and `columns widen`."""

from typing import Annotated

import typer

from loader import __version__
from loader.cli.context import existing_schema, read_settings, running_server
from loader.cli.options import AsJson, SourceName, WarehouseUrl, examples
from loader.cli.text import number, out, out_json, out_table
from loader.errors import LockHeld

app = typer.Typer(help="Columns of the event tables.", no_args_is_help=True, rich_markup_mode=None)


def _types(incomplete: str) -> list[str]:
    return [one for one in ("numeric", "text", "jsonb") if one.startswith(incomplete)]


_LIST_EPILOG = examples("customerio-loader columns list email_opened")
_WIDEN_EPILOG = examples("customerio-loader columns widen email_opened campaign_id text")


@app.command("list", epilog=_LIST_EPILOG)
def columns_list(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show every column: type, key as sent, when it was added, nulls, values in _extra."""
    from loader.warehouse import widen

    settings = read_settings(warehouse_url=warehouse_url)
    chosen = settings.find_source(source)
    with existing_schema(settings, chosen) as connection:
        found = widen.list_columns(connection, chosen.schema_, table)
    if as_json:
        out_json([one._asdict() for one in found])
        return
    out_table(
        ("table", "column", "type", "key", "added", "null", "in _extra"),
        [
            (
                one.table,
                one.column,
                one.type,
                one.key,
                one.added_at or "declared",
                "-" if one.null_share is None else f"{one.null_share:.1%}",
                f"{one.in_extra:,}",
            )
            for one in found
        ],
    )


@app.command("widen", epilog=_WIDEN_EPILOG)
def columns_widen(
    table: Annotated[str, typer.Argument(help="Table of the column.")],
    column: Annotated[str, typer.Argument(help="Column to widen.")],
    type_: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="numeric, text or jsonb.",
            autocompletion=_types,
        ),
    ],
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
) -> None:
    """Give a column a wider type, and move the values that wait in _extra into it."""
    from loader.warehouse import engine, widen

    settings = read_settings(warehouse_url=warehouse_url)
    chosen = settings.find_source(source)
    with running_server(settings) as url:
        session = engine.Session(
            engine.make_engine(url), chosen.schema_, lock_timeout=settings.lock_timeout
        )
        try:
            if not session.open():
                raise LockHeld(f"a load of {chosen.name!r} is running: widen when it has ended")
            with engine.translate(session.engine.url), session.connection.begin():
                moved = widen.widen(
                    session.connection, chosen, table, column, type_, version=__version__
                )
        finally:
            session.close()
    for name, count in moved.items():
        out(f"{name}.{column} is {type_} now; {number(count, 'value')} moved from _extra")
