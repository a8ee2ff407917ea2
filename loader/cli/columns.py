"""`columns list` and `columns widen`."""

import sys
from typing import Annotated

import typer

from loader import __version__
from loader.cli.context import existing_schema, one_pair, read_settings, schema_at
from loader.cli.options import AsJson, SourceName, WarehouseName, WarehouseUrl, examples
from loader.cli.text import number, out, out_exactly, out_json, out_table
from loader.errors import LoaderError, LockHeld, UsageError

app = typer.Typer(help="Columns of the event tables.", no_args_is_help=True, rich_markup_mode=None)


def _types(incomplete: str) -> list[str]:
    return [one for one in ("numeric", "text", "jsonb") if one.startswith(incomplete)]


_LIST_EPILOG = examples("customerio-loader columns list email_opened")
_WIDEN_EPILOG = examples(
    "customerio-loader columns widen email_opened campaign_id text --dry-run",
    "customerio-loader columns widen email_opened campaign_id text",
)
_MOST_BYTES_UNASKED = 1_000_000_000


@app.command("list", epilog=_LIST_EPILOG)
def columns_list(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None,
    source: SourceName = None,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show every column: type, key as sent, when it was added, nulls, values in _extra."""
    from loader.warehouse import widen

    settings = read_settings(warehouse_url=warehouse_url)
    pair = one_pair(settings, source, warehouse)
    with existing_schema(pair) as connection:
        found = widen.list_columns(connection, pair.source.schema_, table)
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
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, with its SQL.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, however large the tables are.")
    ] = False,
) -> None:
    """Give a column a wider type, and move the values that wait in _extra into it.

    The tables are rewritten, and nobody can read them meanwhile.
    """
    from loader.warehouse import blockers, embedded, engine, evolve, widen
    from loader.warehouse.marts import definition, fold

    settings = read_settings(warehouse_url=warehouse_url)
    chosen, place, _ = one_pair(settings, source, warehouse)
    with embedded.server_of(place) as url:
        with schema_at(url, chosen) as connection:
            changes = widen.plan_widening(connection, chosen, table, column, type_)
            sizes = {
                change.table: widen.select_bytes(connection, chosen.schema_, change.table)
                for change in changes
            }
        for name, size in sizes.items():
            out(f"{name} has {size / 1e6:,.1f} MB: it is rewritten under an ACCESS EXCLUSIVE lock")
        if dry_run:
            out_exactly(evolve.changes_sql(chosen.schema_, changes).rstrip())
            return
        if not yes:
            _ask(sum(sizes.values()))
        session = engine.Session(engine.make_engine(url), chosen.schema_)
        try:
            if not session.open():
                raise LockHeld(f"a load of {chosen.name!r} is running: widen when it has ended")
            connection = session.connection
            with engine.translate(session.engine.url), connection.begin():
                blockers.lock_tables(
                    connection,
                    chosen.schema_,
                    list(sizes),
                    lock_timeout=settings.lock_timeout,
                    retry_timeout=settings.retry_timeout,
                    then="widen again",
                )
                # Somebody may have changed them since.
                changes = widen.plan_widening(connection, chosen, table, column, type_)
                moved = widen.widen(connection, chosen, changes, version=__version__)
            for name, count in moved.items():
                out(f"{name}.{column} is {type_} now; {number(count, 'value')} moved from _extra")
            changes_messages = any(definition.uses(one.table, one.column) for one in changes)
            if settings.mart == "on" and changes_messages:
                try:
                    with engine.translate(session.engine.url):
                        run = fold.transactions_on(connection)
                        left = fold.fill(run, schema=chosen.schema_, load_id=None, was_off=False)
                except LoaderError as error:  # the column is wider, whatever becomes of this
                    left = f"{error}; the next load tries again"
                out(f"email_messages: {left}" if left else "email_messages is up to date")
        finally:
            session.close()


def _ask(size: int) -> None:
    """Ask whether so many bytes shall be rewritten, if that takes long."""
    if size <= _MOST_BYTES_UNASKED:
        return
    if not sys.stdin.isatty():
        raise UsageError("the tables have more than 1 GB: say --yes, at a time when nobody reads")
    typer.confirm("The tables have more than 1 GB. Rewrite them now?", abort=True)
