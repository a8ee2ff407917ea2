"""What loads remember of buckets: `_listings`, and files that are no events.

`_listings` has a row per prefix of a bucket: up to which day everything below it is loaded, so that
only newer folders are listed. `_files.not_events` says what a file is that holds no events.

Makes a table, and adds a column without reading or rewriting a row: an ACCESS EXCLUSIVE lock on
`_files` for an instant. The comment of `_rejects.outcome` gets a word more.

Only adds: a loader of `oldest_loader` or newer can work with this schema too, even if it does not
know this revision. It takes a file without events for one that is finished.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
oldest_loader = "0.2.0"

TIME = sa.DateTime(timezone=True)
OUTCOME = "Of the last replay: loaded, duplicate"


def not_events() -> "sa.Column[str]":
    return sa.Column("not_events", sa.Text, comment="What the file is, if it holds no events.")


def upgrade() -> None:
    op.create_table(
        "_listings",
        sa.Column("prefix", sa.Text, nullable=False, comment="The input, as it is configured."),
        sa.Column("selection", sa.Text, nullable=False, comment="include and exclude, as JSON."),
        sa.Column(
            "day",
            sa.Date,
            nullable=False,
            comment="Everything in folders of the days before it is loaded.",
        ),
        sa.Column("listed_at", TIME, nullable=False, comment="When all folders were last listed."),
        sa.Column("load_id", sa.BigInteger, nullable=False, comment="The last load that listed."),
        sa.PrimaryKeyConstraint("prefix", "selection", name="_listings_pkey"),
        comment="One row per input in a bucket whose folders are days.",
    )
    op.add_column("_files", not_events())
    op.alter_column("_rejects", "outcome", comment=f"{OUTCOME}, ignored or rejected.")


def downgrade() -> None:
    op.alter_column("_rejects", "outcome", comment=f"{OUTCOME} or rejected.")
    op.drop_column("_files", "not_events")
    op.drop_table("_listings")
