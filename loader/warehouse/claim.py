"""What a load demands of its row in `_loads`, as the first thing in each of its transactions.

A connection that comes back may lead to another server, or to an earlier state of the same one: a
standby that lagged was promoted, or a server crashed and had not flushed its last commits. Then
batches are gone that were acknowledged. So nothing is written until the server has shown that it
has them all: the row must be the load's own, still be running, and show the last of them.

That is enough. The log of a server is one sequence, and whoever takes over has a beginning of it:
where the last acknowledged batch is, everything is that was committed before it, other loads' rows
included. What came after it may be missing; see `loader.warehouse.ids` on what was asked meanwhile.

The UPDATE also waits for a session of this load that the server still works for: its batch is
decided before it is looked for.
"""

from enum import Enum, auto
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from loader.errors import LedgerDisagrees
from loader.warehouse.ledger import RUNNING, Counts, Load, require_rows
from loader.warehouse.tables import loads


class Standing(NamedTuple):
    """How far a load is, in its row: before or after one of its transactions."""

    status: str
    batches: int  # committed


class Shown(NamedTuple):
    """What a row of `_loads` shows."""

    token: str | None
    status: str
    batches: int


class Verdict(Enum):
    """What a row says about a load."""

    GO_ON = auto()  # all that was acknowledged is there, and nothing more
    COMMITTED = auto()  # and so is the transaction whose COMMIT had no answer
    GONE = auto()  # there is no such row
    ANOTHER = auto()  # it is the row of another load
    ENDED = auto()  # somebody has ended the load
    BEHIND = auto()  # batches that were acknowledged are not there
    AHEAD = auto()  # there are more batches than this load has committed


def judge(shown: Shown | None, token: str, acknowledged: int, doubtful: Standing | None) -> Verdict:
    """Compare a row with what a load knows: so many batches, and perhaps a COMMIT in doubt.

    `doubtful` is what the row shows if the transaction was committed whose COMMIT had no answer.
    """
    if shown is None:
        return Verdict.GONE
    if shown.token != token:
        return Verdict.ANOTHER
    standing = Standing(shown.status, shown.batches)
    if standing == Standing(RUNNING, acknowledged):
        return Verdict.GO_ON
    if standing == doubtful:
        return Verdict.COMMITTED
    if shown.batches < acknowledged:
        return Verdict.BEHIND
    return Verdict.ENDED if shown.status != RUNNING else Verdict.AHEAD


def claim(
    connection: Connection, load: Load, acknowledged: int, doubtful: Standing | None
) -> Verdict:
    """Begin a transaction of a load: lock its row, if it shows what it must, and judge it."""
    own = update(loads).where(
        loads.c.id == load.id,
        loads.c.token == load.token,
        loads.c.status == RUNNING,
        loads.c.batches == acknowledged,
    )
    if connection.execute(own.values(batches=loads.c.batches)).rowcount == 1:
        return Verdict.GO_ON
    row = connection.execute(
        select(loads.c.token, loads.c.status, loads.c.batches).where(loads.c.id == load.id)
    ).one_or_none()
    verdict = judge(Shown(*row) if row else None, load.token, acknowledged, doubtful)
    if verdict is Verdict.GO_ON:
        require_rows(loads.name, sent=1, stored=0)
    return verdict


def disagreement(
    verdict: Verdict, load: Load, *, counted: Counts, recorded: Counts, where: str
) -> LedgerDisagrees:
    """The error for a load that cannot go on: its own counts, and those that the server has."""
    return LedgerDisagrees(
        f"{where} {_WORDS[verdict].format(id=load.id)}: {counted.batches:,} batches of this load "
        f"were committed ({counted.records_read:,} records), and it has {recorded.batches:,} "
        f"({recorded.records_read:,} records); load again: that goes on behind what is there"
    )


_LOST = "a standby that lagged was promoted, or the server crashed with synchronous_commit off"
_WORDS = {
    Verdict.GONE: f"no longer knows load {{id}} ({_LOST}, or its row was deleted)",
    Verdict.ANOTHER: f"has given the number of load {{id}} to another load ({_LOST})",
    Verdict.ENDED: "has seen another load or a widening begin while load {id} had lost its "
    "connection",
    Verdict.BEHIND: f"has lost what it had committed for load {{id}} ({_LOST})",
    Verdict.AHEAD: "shows more batches of load {id} than it has committed "
    "(two servers answer under one name)",
}
