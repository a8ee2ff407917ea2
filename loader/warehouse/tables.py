"""SQLAlchemy tables of one source schema, made from the catalogue; and what is really there."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Connection,
    Date,
    DateTime,
    Identity,
    Index,
    MetaData,
    Numeric,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from loader.normalize import collections as catalogue
from loader.normalize.collections import DIM_MESSAGES, EMAIL_MESSAGES, Type
from loader.normalize.names import is_dimension
from loader.warehouse.marts.messages import COLUMNS, DAY_OF_INDEX, TABLE_COMMENT, MessageColumn

# Constraints have names, or a later migration could not drop them.
NAMING = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
}

SQL_TYPES: dict[Type, type[TypeEngine[Any]] | TypeEngine[Any]] = {
    "text": Text,
    "bigint": BigInteger,
    "numeric": Numeric,
    "boolean": Boolean,
    "jsonb": JSONB(none_as_null=True),
    "timestamptz": DateTime(timezone=True),
}
# PostgreSQL's own names of these types.
TYPE_NAMES: dict[str, Type] = {
    "text": "text",
    "character varying": "text",
    "bigint": "bigint",
    "numeric": "numeric",
    "boolean": "boolean",
    "jsonb": "jsonb",
    "timestamp with time zone": "timestamptz",
}

# Ids are compared byte by byte: in the language of a database each comparison takes several times
# as long, and an id is compared some forty times on its way into two indexes.
_KEY_TYPE = Text(collation="C")

metadata = MetaData(naming_convention=NAMING)


def shared_columns() -> list[Column[object]]:
    """New objects for the columns that `tracks` and every collection have."""
    return [_column(column) for column in (*catalogue.SHARED, catalogue.EXTRA)]


def _column(column: catalogue.Column) -> Column[object]:
    # The server's clock stamps the rows, and a stamp that is not sent costs nothing in COPY.
    default = func.now() if column.name == "uuid_ts" else None
    is_key = column.name == "id"
    return Column(
        column.name,
        _KEY_TYPE if is_key else SQL_TYPES[column.type],
        comment=column.comment,
        server_default=default,
        primary_key=is_key,
    )


tracks = Table(catalogue.TRACKS, metadata, *shared_columns(), comment=catalogue.TRACKS_COMMENT)

# A batch's rows are found by their stamp, which they have in common and lie together with.
_BRIN: dict[str, Any] = {"postgresql_using": "brin", "postgresql_with": {"pages_per_range": 32}}
_CLICKED: dict[str, Any] = {
    "postgresql_using": "hash",
    "postgresql_where": text("first_clicked_at IS NOT NULL"),
}

for _collection in catalogue.COLLECTIONS:
    Table(
        _collection.table,
        metadata,
        *shared_columns(),
        *(_column(column) for column in _collection.properties),
        Index(None, "uuid_ts", **_BRIN),
        comment=_collection.comment,
    )

_TIME = DateTime(timezone=True)


def _count(name: str, comment: str) -> Column[object]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"), comment=comment)


loads = Table(
    "_loads",
    metadata,
    Column(
        "id", BigInteger, Identity(always=True), primary_key=True, comment="Number of the load."
    ),
    Column("source", Text, nullable=False, comment="Name of the source."),
    Column(
        "status",
        Text,
        nullable=False,
        comment="running, success, partial (an input was not read to its end), failure, "
        "interrupted (stopped by a signal, or killed).",
    ),
    Column("started_at", _TIME, nullable=False, server_default=func.now(), comment="Start."),
    Column("finished_at", _TIME, comment="End; null while running."),
    _count("batches", "Transactions."),
    _count("records_read", "Records read; rows_loaded + duplicates + rejects + ignored."),
    _count("rows_loaded", "Events written; each is a row in tracks and one in its collection."),
    _count("duplicates", "Records whose id, or reject, was there already."),
    _count("rejects", "Records that could not be loaded; a row each in _rejects."),
    _count("extra_values", "Values put into _extra, because they fit no column."),
    _count(
        "replaced_characters",
        "Characters that PostgreSQL cannot store (NUL, lone surrogates), now U+FFFD.",
    ),
    Column("rows_per_table", JSONB, comment="Rows written, by table."),
    Column("first_timestamp", _TIME, comment="Earliest timestamp of the events written."),
    Column("last_timestamp", _TIME, comment="Latest timestamp of the events written."),
    Column("first_received_at", _TIME, comment="Earliest received_at of the events written."),
    Column("last_received_at", _TIME, comment="Latest received_at of the events written."),
    Column("schema_changes", JSONB, comment="Tables and columns that the load added, in order."),
    Column("error", Text, comment="What went wrong, in words."),
    Column("loader_version", Text, nullable=False, comment="Version of the loader."),
    Column("token", Text, comment="Random; by it a load knows the row as its own."),
    _count("ignored", "Records left out on purpose."),
    Column("part_of", BigInteger, comment="The load that this one is a part of."),
    Column("part", BigInteger, comment="Which part of it; the first is 1."),
    comment="One row per load.",
)

batches = Table(
    "_batches",
    metadata,
    Column("load_id", BigInteger, primary_key=True, autoincrement=False, comment="The load."),
    Column(
        "number",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Number of the batch in it.",
    ),
    Column(
        "uuid_ts",
        _TIME,
        nullable=False,
        server_default=func.now(),
        comment="uuid_ts of the rows that it wrote.",
    ),
    Column(
        "folded",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether email_messages has its events.",
    ),
    Index(None, "uuid_ts", unique=True),
    Index("_batches_waiting_idx", "uuid_ts", postgresql_where=text("NOT folded")),
    comment="One row per batch, which is one transaction; those of load 0 were found by their "
    "rows.",
)

marts = Table(
    "_marts",
    metadata,
    Column("name", Text, primary_key=True, comment="Name of the mart."),
    Column("definition", Text, comment="Digest of the SQL that its view was made by."),
    Column(
        "loads_seen",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="All batches of the loads up to this one are in _batches.",
    ),
    comment="One row per mart that a function makes of the events.",
)

stale_messages = Table(
    "_stale_messages",
    metadata,
    Column("message_key", _KEY_TYPE, primary_key=True, comment="Key of the message."),
    comment="Messages of email_messages that have to be made anew, because events have changed.",
)


def _message_column(column: MessageColumn) -> Column[object]:
    is_sum = column.combine == "sum"
    computed = [Computed(column.sql, persisted=True)] if column.combine == "derived" else []
    return Column(
        column.name,
        _KEY_TYPE if column.type == "text" else SQL_TYPES[column.type],
        *computed,
        server_default=text("0") if is_sum else None,
        primary_key=column.combine == "key",
        nullable=column.combine != "key" and not is_sum,
        comment=column.comment,
    )


email_messages = Table(
    EMAIL_MESSAGES,
    metadata,
    *map(_message_column, COLUMNS),
    Index(None, "delivered_at", **_BRIN),
    Index("email_messages_day_idx", text(DAY_OF_INDEX), **_BRIN),
    # What a person clicked, for the function `attribution`. Hashes, since a text may be longer than
    # a key of another index.
    Index(None, "user_id", **_CLICKED),
    Index(None, "email", **_CLICKED),
    comment=TABLE_COMMENT,
    postgresql_with={"fillfactor": 80},  # a message is updated when it is opened, clicked, ...
)

dim_messages = Table(
    DIM_MESSAGES,
    metadata,
    Column(
        "message_kind",
        _KEY_TYPE,
        primary_key=True,
        comment="campaign, newsletter, broadcast or transactional.",
    ),
    Column("message_source_id", _KEY_TYPE, primary_key=True, comment="Id of that one."),
    Column("name", _KEY_TYPE, nullable=False, comment="The name that views and reports show."),
    comment="Names of campaigns, newsletters, broadcasts and transactional messages. The loader "
    "leaves it empty: fill it with the names that you want to see.",
)

files = Table(
    "_files",
    metadata,
    Column("uri", _KEY_TYPE, primary_key=True, comment="Path of the file; - for stdin."),
    Column("size", BigInteger, comment="Bytes as stored; null for a stream."),
    Column("modified_at", _TIME, comment="Modification time; null for a stream."),
    Column("records_done", BigInteger, nullable=False, comment="Records read and committed."),
    Column("finished", Boolean, nullable=False, comment="Read to its end."),
    Column("load_id", BigInteger, nullable=False, comment="The last load that read it."),
    Column(
        "updated_at", _TIME, nullable=False, server_default=func.now(), comment="When that was."
    ),
    Column("version", Text, comment="Version of an object in a bucket; null for a file."),
    Column("not_events", Text, comment="What the file is, if it holds no events."),
    comment="One row per input file; a finished one is read again only if it changes.",
)

listings = Table(
    "_listings",
    metadata,
    Column("prefix", Text, primary_key=True, comment="The input, as it is configured."),
    Column("selection", Text, primary_key=True, comment="include and exclude, as JSON."),
    Column(
        "day",
        Date,
        nullable=False,
        comment="Everything in folders of the days before it is loaded.",
    ),
    Column("listed_at", _TIME, nullable=False, comment="When all folders were last listed."),
    Column("load_id", BigInteger, nullable=False, comment="The last load that listed."),
    comment="One row per input in a bucket whose folders are days.",
)

rejects = Table(
    "_rejects",
    metadata,
    Column("id", Text, primary_key=True, comment="Hash of file, position, reason and raw text."),
    Column("load_id", BigInteger, nullable=False, comment="The load that met it."),
    Column("file", Text, nullable=False, comment="Path of the file; - for stdin."),
    Column("position", Text, nullable=False, comment="Line, and item within an array or batch."),
    Column("reason", Text, nullable=False, comment="Reason code, stable, for counting and alerts."),
    Column("detail", Text, nullable=False, comment="What was wrong, in words."),
    Column("raw", Text, nullable=False, comment="The record as it stood in the file."),
    Column(
        "rejected_at", _TIME, nullable=False, server_default=func.now(), comment="When it was met."
    ),
    Column("replayed_at", _TIME, comment="When it was tried again; null if never."),
    Column("replayed_by", BigInteger, comment="The load that tried it again."),
    Column("outcome", Text, comment="Of the last replay: loaded, duplicate, ignored or rejected."),
    Column("place", Text, comment="Where in the record it is wrong, if that is one place."),
    comment="One row per record that could not be loaded.",
)

waiting_columns = Table(
    "_waiting_columns",
    metadata,
    Column("table_name", Text, primary_key=True, comment="The table."),
    Column("column_name", Text, primary_key=True, comment="The column that it lacks."),
    Column("type", Text, nullable=False, comment="Type that holds its values so far."),
    Column("comment", Text, nullable=False, comment="Comment that the column will get."),
    Column("blocker", Text, nullable=False, comment="Who held the table."),
    Column("load_id", BigInteger, nullable=False, comment="The last load that tried."),
    Column("since", _TIME, nullable=False, server_default=func.now(), comment="First try."),
    comment="Columns that wait for a lock on their table; meanwhile values are in _extra.",
)

LEDGER = (loads, batches, files, listings, rejects, waiting_columns, marts, stale_messages)

_SELECT_COLUMNS = text(
    """
    -- Columns of the tables of one schema, in their order.
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
      AND (CAST(:tables AS text[]) IS NULL OR c.relname = ANY(:tables))
    ORDER BY c.relname, a.attnum
    """
)


def catalogue_type(type_: TypeEngine[Any]) -> Type:
    """The catalogue's name for an SQL type."""
    for name, known in SQL_TYPES.items():
        if isinstance(type_, known if isinstance(known, type) else type(known)):
            return name
    return "other"


_OWN = frozenset(table.name for table in LEDGER) | catalogue.MARTS | {"alembic_version"}


_SELECT_RELATIONS = text(
    """
    -- Everything in a schema that has a name: how many columns it ever had, and if it is a table.
    SELECT c.relname, c.relnatts, c.relkind IN ('r', 'p')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema
    """
)


def select_slots(connection: Connection, schema: str) -> dict[str, int]:
    """Columns that each table ever had; PostgreSQL counts dropped ones for its limit."""
    found = connection.execute(_SELECT_RELATIONS, {"schema": schema})
    return {name: slots for name, slots, is_table in found if is_table}


def select_taken(connection: Connection, schema: str) -> frozenset[str]:
    """Names that no table can have any more: views, sequences, foreign tables and the like."""
    found = connection.execute(_SELECT_RELATIONS, {"schema": schema})
    return frozenset(name for name, _, is_table in found if not is_table)


def select_tables(
    connection: Connection, schema: str, only: Collection[str] | None = None
) -> dict[str, dict[str, Type]]:
    """Column types by table: the event tables that a schema really has, or some of them."""
    names = {"schema": schema, "tables": None if only is None else list(only)}
    tables: dict[str, dict[str, Type]] = {}
    for table, column, type_name in connection.execute(_SELECT_COLUMNS, names):
        if table not in _OWN and not is_dimension(table):
            tables.setdefault(table, {})[column] = TYPE_NAMES.get(type_name, "other")
    return tables
