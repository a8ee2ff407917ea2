"""`migrate`: the schemas of the sources."""

from typing import Annotated

import typer

from loader.cli.context import chosen_sources, read_settings, running_server
from loader.cli.options import SourceName, WarehouseUrl


def migrate(
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, run nothing.")] = False,
) -> None:
    """Bring the schema of a source, or of all configured ones, to head."""
    from loader.warehouse import engine, migrate

    settings = read_settings(warehouse_url=warehouse_url)
    with running_server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        for chosen in chosen_sources(settings, source):
            with connection.begin():
                state = migrate.read_state(connection, chosen.schema_)
            migrate.check_state(state, chosen, auto_migrate=True)
            if sql:
                print(migrate.upgrade_sql(chosen, state.revision) if state.kind != "head" else "")
            elif state.kind == "head":
                print(f"{chosen.schema_}: at head, revision {state.revision}")
            else:
                migrate.upgrade(connection, chosen)
                before = state.revision or "nothing"
                print(f"{chosen.schema_}: from {before} to revision {migrate.head_revision()}")
