"""`migrate`: the schemas of the sources."""

from typing import Annotated

import typer

from loader.cli.context import pairs_of, read_settings, require_one_warehouse
from loader.cli.exits import Outcomes
from loader.cli.log import in_warehouse
from loader.cli.options import NewSource, SourceName, WarehouseName, WarehouseUrl, examples
from loader.cli.text import out, out_exactly

EPILOG = examples(
    "customerio-loader migrate",
    "customerio-loader migrate --sql > migration.sql",
)


def migrate(
    source: SourceName = None,
    new_source: NewSource = False,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, run nothing.")] = False,
) -> int:
    """Bring schemas to head. Those of all sources and warehouses, or of one."""
    from loader.load.pairs import running_servers
    from loader.warehouse import engine, migrate

    settings = read_settings(warehouse_url=warehouse_url)
    outcomes = Outcomes()
    pairs = pairs_of(settings, source, warehouse, new=new_source)
    if sql:
        require_one_warehouse(pairs)
    with running_servers(pairs) as url_of:
        for chosen, place, _ in pairs:
            with (
                outcomes.of(chosen.name, "migrate.failed", place.name),
                engine.connect(engine.make_engine(url_of(place))) as connection,
            ):
                with connection.begin():
                    state = migrate.read_state(connection, chosen.schema_)
                migrate.check_state(state, chosen, auto_migrate=True)
                schema = f"{in_warehouse(place.name)}{chosen.schema_}"
                at_head = f"{schema}: at head, revision {state.revision}"
                if sql and state.kind == "head":
                    out(f"-- {at_head}")
                elif sql:
                    out_exactly(migrate.upgrade_sql(chosen, state.revision))
                elif state.kind == "head":
                    out(at_head)
                else:
                    migrate.upgrade(connection, chosen, retry_timeout=settings.retry_timeout)
                    before = state.revision or "nothing"
                    out(f"{schema}: from {before} to revision {migrate.head_revision()}")
    return outcomes.code()
