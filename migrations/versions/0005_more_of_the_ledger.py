"""More of the ledger: batches, columns that wait for a lock, and what later features record.

`_batches` has a row per transaction of a load, by whose `uuid_ts` its rows are found.
`_waiting_columns` has the columns that a load could not add, because somebody held the table.
`_loads` and `_files` get columns for what loads will record: records that are left out on purpose,
parts of a load, versions of an object in a bucket. `event_type` of Customer.io's webhooks is
declared in all six collections; where events have brought it, their column stays as it is.

Makes two tables, and adds columns without reading or rewriting a row: an ACCESS EXCLUSIVE lock on
`_loads`, `_files`, `_rejects` and the six collections, for an instant each. On the way back
`event_type` stays, because it may have values; an older loader takes it for a column that events
brought.

Only adds: a loader of `oldest_loader` or newer can work with this schema too, even if it does not
know this revision. So an upgrade of the loader has a way back without a downgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
oldest_loader = "0.2.0"

TIME = sa.DateTime(timezone=True)
COLLECTIONS = (
    "email_delivered",
    "email_opened",
    "email_link_clicked",
    "email_unsubscribed",
    "email_bounced",
    "email_marked_as_spam",
)
RECORDS_READ = "Records read; rows_loaded + duplicates + rejects"


def columns() -> "list[tuple[str, sa.Column[object]]]":
    return [
        (
            "_loads",
            sa.Column(
                "ignored",
                sa.BigInteger,
                nullable=False,
                server_default=sa.text("0"),
                comment="Records left out on purpose.",
            ),
        ),
        (
            "_loads",
            sa.Column("part_of", sa.BigInteger, comment="The load that this one is a part of."),
        ),
        ("_loads", sa.Column("part", sa.BigInteger, comment="Which part of it; the first is 1.")),
        (
            "_files",
            sa.Column(
                "version", sa.Text, comment="Version of an object in a bucket; null for a file."
            ),
        ),
        (
            "_rejects",
            sa.Column(
                "place", sa.Text, comment="Where in the record it is wrong, if that is one place."
            ),
        ),
    ]


def event_type() -> "sa.Column[str]":
    return sa.Column(
        "event_type", sa.Text, comment="Type of the event in legacy webhooks; null in others."
    )


def upgrade() -> None:
    op.create_table(
        "_batches",
        sa.Column("load_id", sa.BigInteger, nullable=False, comment="The load."),
        sa.Column("number", sa.BigInteger, nullable=False, comment="Number of the batch in it."),
        sa.Column(
            "uuid_ts",
            TIME,
            nullable=False,
            server_default=sa.func.now(),
            comment="uuid_ts of the rows that it wrote.",
        ),
        sa.PrimaryKeyConstraint("load_id", "number", name="_batches_pkey"),
        comment="One row per batch, which is one transaction.",
    )
    op.create_table(
        "_waiting_columns",
        sa.Column("table_name", sa.Text, nullable=False, comment="The table."),
        sa.Column("column_name", sa.Text, nullable=False, comment="The column that it lacks."),
        sa.Column("type", sa.Text, nullable=False, comment="Type that holds its values so far."),
        sa.Column("comment", sa.Text, nullable=False, comment="Comment that the column will get."),
        sa.Column("blocker", sa.Text, nullable=False, comment="Who held the table."),
        sa.Column("load_id", sa.BigInteger, nullable=False, comment="The last load that tried."),
        sa.Column(
            "since", TIME, nullable=False, server_default=sa.func.now(), comment="First try."
        ),
        sa.PrimaryKeyConstraint("table_name", "column_name", name="_waiting_columns_pkey"),
        comment="Columns that wait for a lock on their table; meanwhile values are in _extra.",
    )
    for table, column in columns():
        op.add_column(table, column)
    for table in COLLECTIONS:
        op.add_column(table, event_type(), if_not_exists=True)
    op.alter_column("_loads", "records_read", comment=f"{RECORDS_READ} + ignored.")


def downgrade() -> None:
    op.alter_column("_loads", "records_read", comment=f"{RECORDS_READ}.")
    for table, column in reversed(columns()):
        op.drop_column(table, column.name)
    op.drop_table("_waiting_columns")
    op.drop_table("_batches")
