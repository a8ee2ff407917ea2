"""`check` and `status`: they look and change nothing."""

import json
from typing import Annotated

import typer

from loader.cli.context import chosen_sources, read_settings, require_loads, running_server
from loader.cli.options import AsJson, Paths, SourceName, WarehouseUrl
from loader.cli.printing import number, print_status
from loader.errors import LoaderError


def check(
    paths: Paths = None,
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> int:
    """Can this configuration work: connection, version, rights, inputs. Changes nothing."""
    from loader.sources.files import list_inputs
    from loader.warehouse import engine, inspect

    settings = read_settings(warehouse_url=warehouse_url)
    found: list[tuple[str, inspect.Finding]] = []
    with running_server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        for chosen in chosen_sources(settings, source):
            for finding in inspect.check_warehouse(connection, chosen):
                found.append((chosen.name, finding))
            for path in paths or chosen.inputs:
                try:
                    count = len(list_inputs([path]))
                    finding = inspect.Finding(True, f"input {path}: {number(count, 'file')}")
                except LoaderError as error:
                    finding = inspect.Finding(False, f"input {path}", str(error))
                found.append((chosen.name, finding))
            found += [(chosen.name, finding) for finding in inspect.check_compiled()]
    if as_json:
        shown = [{"source": name} | finding._asdict() for name, finding in found]
        print(json.dumps([one | {"advice": ""} if one["ok"] else one for one in shown]))
    else:
        for name, finding in found:
            advice = "" if finding.ok else f"\n        {finding.advice}"
            print(f"{'ok  ' if finding.ok else 'NOT '}  {name}: {finding.what}{advice}")
    return 0 if all(finding.ok for _, finding in found) else 1


def status(
    source: SourceName = None,
    warehouse_url: WarehouseUrl = None,
    loads: Annotated[int, typer.Option(min=1, help="How many loads to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """The last loads, rows and freshness per table, rejects, values in _extra."""
    from loader.warehouse import engine, inspect, ledger, migrate

    settings = read_settings(warehouse_url=warehouse_url)
    with running_server(settings) as url, engine.connect(engine.make_engine(url)) as connection:
        for chosen in chosen_sources(settings, source):
            state = migrate.read_state(connection, chosen.schema_)
            if state.revision is None and len(settings.sources()) > 1 and source is None:
                if not as_json:
                    print(f"{chosen.name} -> schema {chosen.schema_}: nothing was loaded yet")
                continue
            require_loads(state.revision, chosen)
            named = connection.execution_options(schema_translate_map={None: chosen.schema_})
            shown = {
                "source": chosen.name,
                "schema": chosen.schema_,
                "loads": ledger.select_loads(named, loads),
                "tables": [t._asdict() for t in inspect.table_status(named, chosen.schema_)],
                "rejects": ledger.count_rejects(named),
            }
            print(json.dumps(shown, default=str)) if as_json else print_status(shown)
