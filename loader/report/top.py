"""The first of many groups, and the sum of the others."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)

# What tells a group from others.
Key = tuple[Any, ...]


def is_of_several(user_id: ColumnElement[Any], email: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a group has more than one person: what one has alone may tell who it is.

    Two ids or two addresses: one person may have an id in one event and only an address in another.
    """
    return or_(*(func.coalesce(func.min(one) != func.max(one), False) for one in (user_id, email)))


class Found(NamedTuple):
    """The first groups, each with its key; and the sum of the others."""

    shown: list[tuple[Key, Row[Any]]]
    others: int
    rest: tuple[Key, Row[Any]] | None


def select_top(
    connection: Connection,
    groups: "Select[*tuple[Any, ...]]",
    keys: Sequence[ColumnElement[Any]],
    *,
    by: Sequence[str],
    limit: int,
) -> Found:
    """The groups with the most, and the sum of the others and of those that may not be shown."""
    each = groups.subquery()
    key = [each.c[column.name] for column in keys]
    sums = [one for one in each.c if one.name not in {"may_be_shown", *(k.name for k in key)}]
    order = [each.c[name].desc() for name in ("may_be_shown", *by)]
    place = func.row_number().over(order_by=[*order, *key])
    ranked = select(each, place.label("place")).subquery()
    is_shown = and_(ranked.c.may_be_shown, ranked.c.place <= limit)
    by_place = case((is_shown, ranked.c.place)).label("place")
    of_key = [func.max(case((is_shown, ranked.c[k.name]))).label(k.name) for k in key]
    statement = (
        select(
            by_place,
            func.count().label("groups"),
            *of_key,
            *(cast(func.sum(ranked.c[one.name]), BigInteger).label(one.name) for one in sums),
        )
        .group_by(literal_column("1"))
        .order_by(literal_column("1"))
    )
    rows = connection.execute(statement).all()
    keyed = [(tuple(getattr(row, k.name) for k in key), row) for row in rows]
    shown = [(one, row) for one, row in keyed if row.place is not None]
    rest = [(one, row) for one, row in keyed if row.place is None]
    return Found(shown, rest[0][1].groups if rest else 0, rest[0] if rest else None)
