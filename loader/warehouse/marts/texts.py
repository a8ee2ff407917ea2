"""Pieces of SQL that marts have in common: quoted names, and columns of events whatever their type.

A column of an event may be widened: what is made of it here is the same before and after that.
"""

import hashlib
from collections.abc import Mapping

from loader.normalize.collections import Type

# Types of columns, by table and column.
Tables = Mapping[str, Mapping[str, Type]]


def quote(name: str) -> str:
    """A name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def in_schema(schema: str, name: str) -> str:
    """A table, view or function of ours."""
    return f"{quote(schema)}.{name}"


def literal(text: str) -> str:
    """A text, quoted."""
    return "'" + text.replace("'", "''") + "'"


def text_of(columns: Mapping[str, Type], column: str, row: str = "e") -> str:
    """A column as text, null where it is blank; the same whatever wider type it has got."""
    type_ = columns.get(column)
    if type_ is None:
        return "NULL::text"
    if type_ == "jsonb":
        return f"nullif({row}.{column} #>> '{{}}', '')"
    return f"nullif({row}.{column}, '')" if type_ == "text" else f"{row}.{column}::text"


def flag_of(columns: Mapping[str, Type], column: str) -> str:
    """Whether a flag is known to be true."""
    if columns.get(column) == "boolean":
        return f"e.{column} IS TRUE"
    return f"coalesce({text_of(columns, column)} = 'true', false)"


def address_of(columns: Mapping[str, Type], *more: str) -> str:
    """The e-mail address of the person of an event, the first of several, in lower case."""
    sender = text_of(columns, "anonymous_id")  # an address, from Customer.io
    address = f"CASE WHEN position('@' in {sender}) > 0 THEN {sender} END"
    known = ", ".join(text_of(columns, name) for name in ("context_traits_email", *more))
    return f"nullif(lower(btrim(split_part(coalesce({known}, {address}), ',', 1))), '')"


def digest_of(statement: str) -> str:
    """What tells whether something was made by a statement as it is now."""
    return hashlib.blake2b(statement.encode(), digest_size=8).hexdigest()
