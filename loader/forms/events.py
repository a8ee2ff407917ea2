"""Events in columns: what the records of a block say, before anything is known of the tables."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from loader.columns.tokens import Flags, Longs, Tokens
from loader.forms.columns import Columns
from loader.forms.model import Named
from loader.forms.records import Records
from loader.normalize.event import IgnoreReason, Reject


@dataclass(kw_only=True)
class Times:
    """One time of each event."""

    microseconds: Longs  # since 2000, as PostgreSQL counts
    is_given: Flags

    def take(self, at: Longs) -> "Times":
        """Those of some events."""
        return Times(microseconds=self.microseconds[at], is_given=self.is_given[at])


class Values(NamedTuple):
    """Values of events, one entry each. A value of an envelope counts for several events."""

    event: Longs
    token: Longs
    column: Longs  # at most one value of an event has a column

    def take(self, at: Longs) -> "Values":
        """Some of the values."""
        return Values(*(each.take(at) for each in self))


class Extra(NamedTuple):
    """Values of events that have no column, one entry each; by the order of the events."""

    event: Longs
    token: Longs
    name: Longs  # index in the names of the block
    is_own: Flags  # of the event's own table only: it lost the column of a property

    def take(self, at: Longs) -> "Extra":
        """Some of the values."""
        event, token, name, is_own = self
        return Extra(event.take(at), token.take(at), name.take(at), is_own.take(at))


@dataclass(kw_only=True)
class Refused:
    """A record that is no event."""

    record: int  # number of the record in the block that it is, or is in
    items: tuple[int, ...]  # where it stands in the containers there, counted from 1
    reject: Reject
    raw: bytes


@dataclass(kw_only=True)
class Events:
    """The events of a block in the order of the input; arrays have an entry per event."""

    tokens: Tokens
    records: Records
    record: Longs  # number of each event's record
    ids: list[str]
    texts: dict[str, Longs]  # shared column -> token; 0 for none
    times: dict[str, Times]  # shared column -> time
    names: list[Named]
    name: Longs  # index in `names`
    columns: Columns
    values: Values
    extra: Extra
    extra_names: list[str]
    replaced: dict[int, int] = field(default_factory=dict)  # by event: code points

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> int:
        """The bytes of their records."""
        records = self.records
        return int((records.end[self.record] - records.start[self.record]).sum())

    def take(self, at: Longs) -> "Events":
        """Some of the events, in their order."""
        event = np.full(len(self.ids), -1)
        event[at] = np.arange(len(at))

        def keep(every: Longs) -> Longs:
            return np.flatnonzero(event.take(every) >= 0)

        values, extra = self.values.take(keep(self.values.event)), self.extra
        extra = extra.take(keep(extra.event))
        return Events(
            tokens=self.tokens,
            records=self.records,
            record=self.record[at],
            ids=[self.ids[one] for one in at.tolist()],
            texts={column: each[at] for column, each in self.texts.items()},
            times={column: each.take(at) for column, each in self.times.items()},
            names=self.names,
            name=self.name[at],
            columns=self.columns,
            values=values._replace(event=event.take(values.event)),
            extra=extra._replace(event=event.take(extra.event)),
            extra_names=self.extra_names,
            replaced={int(event[e]): n for e, n in self.replaced.items() if event[e] >= 0},
        )


@dataclass(kw_only=True)
class Read:
    """What was read of a block, or of a part of it."""

    first: int  # number of its first record in the block
    events: Events
    refused: list[Refused]
    ignored: dict[IgnoreReason, int]  # left out on purpose: how many
    records: int  # events, refused and ignored ones
    rewritten: int  # records that were written again before they could be read
