"""`marts rebuild`."""

import typer

from loader.cli.context import one_pair, read_settings, schema_at
from loader.cli.options import SourceName, Wait, WarehouseName, WarehouseUrl, examples
from loader.cli.text import number, out
from loader.errors import LockHeld, UsageError

app = typer.Typer(
    help="Tables that are made of the events.", no_args_is_help=True, rich_markup_mode=None
)

_REBUILD_EPILOG = examples("customerio-loader marts rebuild")


@app.callback()
def _root() -> None:
    """Keeps `rebuild` a word of its own, although it is the only one."""


@app.command("rebuild", epilog=_REBUILD_EPILOG)
def marts_rebuild(
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    wait: Wait = False,
) -> None:
    """Make email_messages anew from all events.

    After events were deleted or changed by hand. It is empty first, and then filled slice by
    slice; where that is stopped, the next load goes on.
    """
    from loader.warehouse import embedded, engine
    from loader.warehouse.marts import fold

    settings = read_settings(warehouse_url=warehouse_url)
    if settings.mart == "off":
        raise UsageError("the setting mart is off, so email_messages is not filled: set it to on")
    chosen, place, _ = one_pair(settings, source, warehouse)
    with embedded.server_of(place) as url:
        with schema_at(url, chosen):
            pass  # which refuses a schema that is not there
        session = engine.Session(engine.make_engine(url), chosen.schema_)
        try:
            if not session.open(wait=wait):
                raise LockHeld(f"a load of {chosen.name!r} is running: rebuild when it has ended")
            with engine.translate(session.engine.url):
                fold.rebuild(
                    session.connection,
                    chosen.schema_,
                    lock_timeout=settings.lock_timeout,
                    retry_timeout=settings.retry_timeout,
                )
                with session.connection.begin():
                    found = fold.select_status(session.connection, chosen.schema_)
        finally:
            session.close()
    out(f"{found.mart} has {number(found.rows, 'message')}")
