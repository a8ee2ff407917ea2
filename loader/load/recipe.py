"""The load as a recipe, with what it has in common with a replay of rejects and with a plan."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

# `native` raises BrokenInstallation: before anything is done, not when there is something to read.
from loader import __version__, native  # noqa: F401
from loader.config import Settings, Source
from loader.load.beginning import check_owner
from loader.load.context import LoadContext
from loader.load.planner import Planner
from loader.load.result import LoadResult, Tally, result_of
from loader.load.running import long_lived_garbage, running
from loader.load.todo import Choice, Lookups, inputs_of
from loader.normalize.collections import declared_tables
from loader.normalize.event import IgnoreReason
from loader.sources.inputs import Inputs
from loader.warehouse import engine as warehouse
from loader.warehouse import ledger, migrate
from loader.warehouse.changes import TablesDiffer
from loader.warehouse.engine import Session
from loader.warehouse.ids import Ids, Known, KnownIds
from loader.warehouse.ledger import Counts
from loader.warehouse.tables import select_tables, select_taken

if TYPE_CHECKING:
    from loader.load.reading import Progress

# A load, whose tables others change all the time.
_MOST_BEGUN_ANEW = 3
_SECONDS_TO_CLOSE = 1.0


def load(
    paths: Sequence[str],
    *,
    source: Source,
    settings: Settings,
    url: str,
    wait: bool = False,
    force: bool = False,
    is_by_hand: bool = True,
    full_listing: bool = False,
    progress: "Progress | None" = None,
) -> LoadResult:
    """Load `paths` into the schema of `source`. Raises LoaderError; see `loader.errors`.

    `is_by_hand` is False where they are the inputs of the source: then only the newest folders of a
    bucket are listed, unless a `full_listing` is wanted or due.
    """
    inputs = inputs_of(paths, source, settings)
    begun_anew: list[str] = []
    before = Counts()  # of loads that were begun anew
    ignored: Counter[IgnoreReason] = Counter()
    while True:
        try:
            with running(source, settings, url, inputs, wait=wait, progress=progress) as one:
                one.read(
                    is_by_hand=is_by_hand, lists_all=is_by_hand or full_listing, reads_all=force
                )
            break
        except TablesDiffer as error:
            # Another load goes on behind its last batch, for the tables as they are now.
            if len(begun_anew) == _MOST_BEGUN_ANEW or one.has_read_stream:
                raise
            begun_anew.append(f"a load was begun anew behind its last batch: {error}")
            before = before.plus(one.writer.counts)
            ignored.update(one.writer.ignored)
    result = one.result()
    if begun_anew:
        result.counts = before.plus(result.counts)
        result.ignored = dict(ignored + Counter(result.ignored))
        result.warnings += begun_anew
    return result


def replay(
    *,
    source: Source,
    settings: Settings,
    url: str,
    wait: bool = False,
    load: int | None = None,
    file: str | None = None,
    reason: str | None = None,
) -> LoadResult:
    """Try the rejects of `source` again, once each, and mark them; filters as in `rejects list`."""
    with running(source, settings, url, Inputs([]), wait=wait, progress=None) as one:
        after = ""
        while page := one.select_rejects(after, load=load, file=file, reason=reason):
            one.run.replay(page)
            after = page[-1]["id"]
    return one.result()


def plan(
    paths: Sequence[str],
    *,
    source: Source,
    settings: Settings,
    url: str,
    force: bool = False,
    progress: "Progress | None" = None,
) -> LoadResult:
    """What `load` would do, without writing anything; remembers every id, in 8 bytes each."""
    from loader.load.prefetch import Prefetch  # here, because they import numpy: see `Running.run`
    from loader.load.reading import Run

    began, tally = time.monotonic(), Tally()
    inputs = inputs_of(paths, source, settings)
    started_at = datetime.now(UTC)
    with ExitStack() as stack:
        stack.callback(inputs.close)
        server = warehouse.make_engine(url)
        connection = stack.enter_context(warehouse.connect(server)).execution_options(
            isolation_level="AUTOCOMMIT", schema_translate_map={None: source.schema_}
        )
        state = migrate.read_state(connection, source.schema_)
        migrate.check_state(state, source, auto_migrate=True)
        tables = declared_tables()
        known = Lookups()
        if state.revision is not None:
            check_owner(connection, source)
            tables = select_tables(connection, source.schema_)
            if not force:
                known = Lookups(
                    files=partial(ledger.select_files, connection, version=__version__),
                    finished=partial(ledger.select_finished, connection),
                )
        known_ids = KnownIds(
            Session(server, source.schema_, lock_timeout=settings.wait_for_locks),
            retry_timeout=settings.retry_timeout,
        )
        stack.callback(known_ids.close, _SECONDS_TO_CLOSE)
        planner = Planner(connection if state.revision is not None else None)
        run = Run(
            source=source,
            settings=settings,
            context=LoadContext.of(
                source,
                settings,
                started_at=started_at.isoformat(),
                tables=tables,
                reserved=select_taken(connection, source.schema_),
            ),
            sink=planner,
            prefetch=Prefetch(
                planner.remember(known_ids if state.revision is not None else _nothing),
                known_ids.thread,
            ),
            asks=True,
            progress=progress,
            tally=tally,
            inputs=inputs,
        )
        with long_lived_garbage():
            run.read(Choice(inputs, source, tally, started_at=started_at, lookups=known))
        result = result_of(
            tally,
            source=source,
            tables=tables,
            counts=planner.counts,
            ignored=dict(planner.ignored),
            load_id=None,
            seconds=time.monotonic() - began,
            waited_for_server=planner.waited,
        )
        result.pending_sql = planner.sql(source.schema_)
        if state.kind != "head":
            result.pending_sql = migrate.upgrade_sql(source, state.revision) + result.pending_sql
            result.migration = (
                f"from revision {state.revision or 'nothing'} to {migrate.head_revision()}"
            )
        return result


def _nothing(_ids: Ids) -> Known:
    return Known(set(), 0)
