"""`inputs`: what a load would read."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from loader.cli.context import pairs_to_load, read_settings, require_loads
from loader.cli.exits import EXIT_CODES, FAILED, Outcomes
from loader.cli.log import complain
from loader.cli.options import (
    AsJson,
    Labels,
    NewSource,
    Paths,
    SourceName,
    WarehouseName,
    WarehouseUrl,
    examples,
)
from loader.cli.printing import print_inputs
from loader.cli.text import out_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.config import Settings, Source
    from loader.load.look import InputSummary

INPUTS_EPILOG = examples(
    "customerio-loader inputs",
    "customerio-loader inputs s3://bucket/segment-logs/",
    after=EXIT_CODES,
)


def inputs(
    paths: Paths = None,
    source: SourceName = None,
    label: Labels = None,
    new_source: NewSource = False,
    warehouse: WarehouseName = None,
    warehouse_url: WarehouseUrl = None,
    as_json: AsJson = False,
) -> int:
    """Show what a load would read: files, bytes, days, and what is loaded. Lists all of it."""
    from loader.load.pairs import running_servers

    settings = read_settings(warehouse_url=warehouse_url)
    pairs = pairs_to_load(settings, source, warehouse, paths, new=new_source, labels=label)
    outcomes = Outcomes()
    with running_servers(pairs) as url_of:
        for chosen, place, given in pairs:
            with outcomes.of(chosen.name, "inputs.failed", place.name):
                found = _summaries(url_of(place), settings, chosen, given)
                if as_json:
                    named = {"source": chosen.name, "warehouse": place.name}
                    out_json([named | asdict(one) for one in found])
                else:
                    print_inputs(chosen.name, place.name, found)
                errors = [error for one in found for error in one.errors]
                for error in errors:
                    complain(error, "input.unreadable", source=chosen.name, warehouse=place.name)
                outcomes.add(FAILED if errors else 0)
    return outcomes.code()


def _summaries(
    url: str, settings: "Settings", source: "Source", paths: "Sequence[str]"
) -> "list[InputSummary]":
    from loader import __version__
    from loader.load.look import summarize
    from loader.load.todo import inputs_of
    from loader.warehouse import engine, ledger, migrate

    inputs = inputs_of(paths, source, settings)
    with engine.connect(engine.make_engine(url)) as connection:
        state = migrate.read_state(connection, source.schema_)
        if state.revision is None:
            return list(summarize(inputs, lambda uris: {}))
        require_loads(state, source)
        named = connection.execution_options(schema_translate_map={None: source.schema_})
        find_files = partial(ledger.select_files, named, version=__version__)
        return list(summarize(inputs, find_files))
