"""The ledger: loads, files, rejects.

Three small tables beside the events of a source, so that dropping the schema drops everything.
Takes no lock on anything that exists.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from loader.warehouse.migrate import refuse_loss

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def count(name: str, comment: str) -> "sa.Column[int]":
    return sa.Column(
        name, sa.BigInteger, nullable=False, server_default=sa.text("0"), comment=comment
    )


def upgrade() -> None:
    op.create_table(
        "_loads",
        sa.Column(
            "id",
            sa.BigInteger,
            sa.Identity(always=True),
            nullable=False,
            comment="Number of the load.",
        ),
        sa.Column("source", sa.Text, nullable=False, comment="Name of the source."),
        sa.Column(
            "status",
            sa.Text,
            nullable=False,
            comment="running, success, partial (an input was not read to its end), failure, "
            "interrupted (stopped by a signal, or killed).",
        ),
        sa.Column(
            "started_at", TIME, nullable=False, server_default=sa.func.now(), comment="Start."
        ),
        sa.Column("finished_at", TIME, comment="End; null while running."),
        count("batches", "Transactions."),
        count("records_read", "Records read; rows_loaded + duplicates + rejects."),
        count(
            "rows_loaded",
            "Events written; each is a row in tracks and one in its collection.",
        ),
        count("duplicates", "Records whose id, or reject, was there already."),
        count("rejects", "Records that could not be loaded; a row each in _rejects."),
        count("extra_values", "Values put into _extra, because they fit no column."),
        count(
            "replaced_characters",
            "Characters that PostgreSQL cannot store (NUL, lone surrogates), now U+FFFD.",
        ),
        sa.Column("rows_per_table", postgresql.JSONB, comment="Rows written, by table."),
        sa.Column("first_timestamp", TIME, comment="Earliest timestamp of the events written."),
        sa.Column("last_timestamp", TIME, comment="Latest timestamp of the events written."),
        sa.Column("first_received_at", TIME, comment="Earliest received_at of the events written."),
        sa.Column("last_received_at", TIME, comment="Latest received_at of the events written."),
        sa.Column(
            "schema_changes",
            postgresql.JSONB,
            comment="Tables and columns that the load added, in order.",
        ),
        sa.Column("error", sa.Text, comment="What went wrong, in words."),
        sa.Column("loader_version", sa.Text, nullable=False, comment="Version of the loader."),
        sa.PrimaryKeyConstraint("id", name="_loads_pkey"),
        comment="One row per load.",
    )
    op.create_table(
        "_files",
        sa.Column("uri", sa.Text, nullable=False, comment="Path of the file; - for stdin."),
        sa.Column("size", sa.BigInteger, comment="Bytes as stored; null for a stream."),
        sa.Column("modified_at", TIME, comment="Modification time; null for a stream."),
        sa.Column(
            "records_done", sa.BigInteger, nullable=False, comment="Records read and committed."
        ),
        sa.Column("finished", sa.Boolean, nullable=False, comment="Read to its end."),
        sa.Column("load_id", sa.BigInteger, nullable=False, comment="The last load that read it."),
        sa.Column(
            "updated_at",
            TIME,
            nullable=False,
            server_default=sa.func.now(),
            comment="When that was.",
        ),
        sa.PrimaryKeyConstraint("uri", name="_files_pkey"),
        comment="One row per input file; a finished one is read again only if it changes.",
    )
    op.create_table(
        "_rejects",
        sa.Column(
            "id", sa.Text, nullable=False, comment="Hash of file, position, reason and raw text."
        ),
        sa.Column("load_id", sa.BigInteger, nullable=False, comment="The load that met it."),
        sa.Column("file", sa.Text, nullable=False, comment="Path of the file; - for stdin."),
        sa.Column(
            "position",
            sa.Text,
            nullable=False,
            comment="Line, and item within an array or batch.",
        ),
        sa.Column(
            "reason",
            sa.Text,
            nullable=False,
            comment="Reason code, stable, for counting and alerts.",
        ),
        sa.Column("detail", sa.Text, nullable=False, comment="What was wrong, in words."),
        sa.Column("raw", sa.Text, nullable=False, comment="The record as it stood in the file."),
        sa.Column(
            "rejected_at",
            TIME,
            nullable=False,
            server_default=sa.func.now(),
            comment="When it was met.",
        ),
        sa.Column("replayed_at", TIME, comment="When it was tried again; null if never."),
        sa.Column("replayed_by", sa.BigInteger, comment="The load that tried it again."),
        sa.Column("outcome", sa.Text, comment="Of the last replay: loaded, duplicate or rejected."),
        sa.PrimaryKeyConstraint("id", name="_rejects_pkey"),
        comment="One row per record that could not be loaded.",
    )


def downgrade() -> None:
    refuse_loss(op, ["_rejects"])
    for table in ("_rejects", "_files", "_loads"):
        op.drop_table(table)
