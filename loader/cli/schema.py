"""`migrate`: the schemas of the sources."""

from typing import Annotated

import typer

from loader.cli.context import chosen_sources, read_settings, running_server
from loader.cli.exits import Outcomes
from loader.cli.options import NewSource, SourceName, WarehouseUrl, examples
from loader.cli.text import out, out_exactly

EPILOG = examples(
    "customerio-loader migrate",
    "customerio-loader migrate --sql > migration.sql",
)


def migrate(
    source: SourceName = None,
    new_source: NewSource = False,
    warehouse_url: WarehouseUrl = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, run nothing.")] = False,
) -> int:
    """Bring schemas to head. That of a source, or of all configured ones."""
    from loader.warehouse import engine, migrate

    settings = read_settings(warehouse_url=warehouse_url)
    outcomes = Outcomes()
    with running_server(settings) as url:
        for chosen in chosen_sources(settings, source, new=new_source):
            with (
                outcomes.of(chosen.name, "migrate.failed"),
                engine.connect(engine.make_engine(url)) as connection,
            ):
                with connection.begin():
                    state = migrate.read_state(connection, chosen.schema_)
                migrate.check_state(state, chosen, auto_migrate=True)
                at_head = f"{chosen.schema_}: at head, revision {state.revision}"
                if sql and state.kind == "head":
                    out(f"-- {at_head}")
                elif sql:
                    out_exactly(migrate.upgrade_sql(chosen, state.revision))
                elif state.kind == "head":
                    out(at_head)
                else:
                    migrate.upgrade(connection, chosen, retry_timeout=settings.retry_timeout)
                    before = state.revision or "nothing"
                    out(f"{chosen.schema_}: from {before} to revision {migrate.head_revision()}")
    return outcomes.code()
