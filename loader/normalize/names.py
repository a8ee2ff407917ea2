"""Names of schemas, tables and columns.

Tables and columns follow Segment's naming (the open package go-snakecase), then PostgreSQL's
limits: no leading digit, no reserved word, at most 63 bytes.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps

from loader.normalize.collections import DIMENSIONS, MARTS, SHARED_NAMES, TRACKS

MAX_BYTES = 63

# Words that Segment prefixes with `_`: the list of reserved words in the Amazon Redshift
# Developer Guide, which Segment applies on PostgreSQL too.
RESERVED = frozenset(  # a list of words reads best as text
    """
    aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64
    backup between binary blanksasnull both bytedict bzip2 case cast check collate column
    constraint create credentials cross current_date current_time current_timestamp current_user
    current_user_id default deferrable deflate defrag delta delta32k desc disable distinct do
    else emptyasnull enable encode encrypt encryption end except explicit false for foreign
    freeze from full globaldict256 globaldict64k grant group gzip having identity ignore ilike
    in initially inner intersect interval into is isnull join leading left like limit localtime
    localtimestamp lun luns lzo lzop minus mostly16 mostly32 mostly8 natural new not notnull
    null nulls off offline offset oid old on only open or order outer overlaps parallel
    partition percent permissions pivot placing primary raw readratio recover references
    rejectlog resort respect restore right select session_user similar snapshot some sysdate
    system table tag tdes text255 text32k then timestamp to top trailing true truncatecolumns
    union unique unnest unpivot user using verbose wallet when where with without
    """.split()  # noqa: SIM905
)

# Columns that every PostgreSQL table already has, under the hood.
SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})

# Tables of a source schema that no event may take.
OWN_TABLES = MARTS | {TRACKS, "alembic_version", "alembic_version_pkc"}

_WORD = re.compile(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+")


def _remember(rule: Callable[[str], str]) -> Callable[[str], str]:
    """Names come again and again, so their results are kept; not those of names that are huge."""
    kept = lru_cache(maxsize=20_000)(rule)

    @wraps(rule)
    def ask(name: str) -> str:
        return kept(name) if len(name) <= _LONGEST_REMEMBERED else rule(name)

    return ask


_LONGEST_REMEMBERED = 200


def snake_case(name: str) -> str:
    """The words of `name` in lower case, joined by `_` (the rule of go-snakecase).

    A word is a run of capitals or digits with the small letters behind it. Everything outside
    ASCII letters and digits separates words and is dropped, so the result may be empty.
    """
    return "_".join(_WORD.findall(name)).lower()


def schema_name(source: str) -> str:
    """The schema of a source: `Customer.io` -> `customerio`. Empty if nothing is left."""
    spaced = re.sub(r"[\s-]+", "_", source.strip().lower())
    kept = re.sub(r"[^a-z0-9_]", "", spaced).strip("_")
    # PostgreSQL keeps names that begin with `pg_` for itself.
    return shorten("_" + kept if kept[:1].isdigit() or kept.startswith("pg_") else kept)


@_remember
def identifier(name: str) -> str:
    """A table or column name for `name`: snake case, then what PostgreSQL and Segment ask."""
    snake = snake_case(name)
    if not snake:
        return "_0" + _digest(name)
    if snake[0].isdigit() or snake in RESERVED or snake in SYSTEM_COLUMNS:
        snake = "_" + snake
    return shorten(snake)


def shorten(name: str) -> str:
    """`name`, or its beginning and a hash of all of it where it exceeds 63 bytes."""
    if len(name) <= MAX_BYTES:
        return name
    return name[: MAX_BYTES - 9].rstrip("_") + "_" + _digest(name)


def table_name(event_text: str) -> str:
    """The slug of an event name, which is also the name of its table.

    Indexes share the names of tables, and each table has one that ends in `_pkey`.
    """
    name = identifier(event_text)
    if name.endswith("_pkey"):
        name = shorten(name + "_0")
    return "_" + name if name in OWN_TABLES or is_dimension(name) else name


def is_dimension(table: str) -> bool:
    """Whether a table describes things by their ids, and has no events.

    None has a name of 63 bytes, so there is always room for a `_` in front.
    """
    return table.startswith(DIMENSIONS) and len(table) < MAX_BYTES


def is_context_column(column: str) -> bool:
    """Whether a column has a value of the context; no property's column has such a name."""
    return column.startswith("context_")


def context_column(path: str) -> str:
    """The column of a key in `context`; `path` joins nested keys with dots."""
    return identifier("context." + (path if snake_case(path) else identifier(path)))


@_remember
def property_column(path: str) -> str:
    """The column of a property; `path` joins nested keys with dots.

    A name that belongs to the shared columns gets a leading `_`, as Segment does for `id`. All of
    `context_` counts, because a context column may be added to the shared ones at any time.
    """
    name = identifier(path)
    return shorten("_" + name) if name in SHARED_NAMES or is_context_column(name) else name


def property_columns(keys: Sequence[str]) -> list[str]:
    """`property_column` of each of many keys, all at once."""
    text = "\n".join(keys)
    if text.count("\n") != len(keys) - 1:  # a key has line breaks, or there is none
        return list(map(property_column, keys))
    snaked = _snake_lines(text)
    names = snaked.split("\n")
    for at in _changed(snaked, names):
        names[at] = property_column(keys[at])
    return names


def _snake_lines(text: str) -> str:
    """`snake_case` of each line."""
    if not text.isascii() or text != text.lower():
        text = "_".join(_WORD_OR_END.findall(text)).lower()
    else:  # each run of letters and digits is a word
        text = text.translate(_SEPARATORS)
        while "__" in text:
            text = text.replace("__", "_")
    return text.replace("\n_", "\n").replace("_\n", "\n").strip("_")


def _changed(snaked: str, names: list[str]) -> list[int]:
    """Which of some lines in snake case do not stay as they are."""
    import numpy as np  # here, because the settings need this module, and mostly nothing of numpy

    codes = np.frombuffer(f"\n{snaked}\n".encode(), np.uint8)
    breaks = np.flatnonzero(codes == ord("\n"))
    # Letters come behind all else that is there; an empty line has a break.
    is_changed = codes[breaks[:-1] + 1] < ord("a")
    is_changed |= np.diff(breaks) > MAX_BYTES + 1
    if "context_" in snaked:
        is_changed |= np.array(list(map(is_context_column, names)))
    if not _CHANGED.isdisjoint(names):
        is_changed |= np.array([name in _CHANGED for name in names])
    changed: list[int] = np.flatnonzero(is_changed).tolist()
    return changed


_WORD_OR_END = re.compile(_WORD.pattern + r"|\n")
_SEPARATORS = {at: "_" for at in range(128) if chr(at) != "\n" and not chr(at).isalnum()}
# Names in snake case that do not stay as they are.
_CHANGED = RESERVED | SYSTEM_COLUMNS | SHARED_NAMES


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
