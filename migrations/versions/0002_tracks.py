"""The table of all events.

`tracks` has the columns that every collection's table has too. Takes no lock on anything that
exists.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from loader.warehouse.migrate import refuse_loss

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The server stamps the row.
DEFAULTS = {"uuid_ts": sa.func.now()}

SHARED = (
    (
        "received_at",
        sa.DateTime(timezone=True),
        "Arrival at the receiving server; else the start of the load. "
        "Do not plot by it: plot by timestamp.",
    ),
    (
        "uuid_ts",
        sa.DateTime(timezone=True),
        "When the loader wrote the row, by the server's clock.",
    ),
    ("sent_at", sa.DateTime(timezone=True), "When the sender sent it."),
    ("original_timestamp", sa.DateTime(timezone=True), "When it happened by the sender's clock."),
    ("timestamp", sa.DateTime(timezone=True), "When it happened; order and plot events by this."),
    (
        "anonymous_id",
        sa.Text,
        "The sender's id of a person without a user id; from Customer.io an "
        "e-mail address, not the id of a browser.",
    ),
    ("user_id", sa.Text, "The person's id in Customer.io; null if they have none."),
    ("event", sa.Text, "Name of the event as a table name."),
    ("event_text", sa.Text, "Name of the event as sent."),
    ("context_ip", sa.Text, "IP address of the recipient's device."),
    ("context_user_agent", sa.Text, "User agent of the recipient's device."),
    ("context_traits_email", sa.Text, "E-mail address of the person."),
    ("context_integration_name", sa.Text, "Integration that sent the event."),
    ("context_integration_version", sa.Text, "Version of that integration."),
    ("context_library_name", sa.Text, "Library that sent the event."),
    ("context_library_version", sa.Text, "Version of that library."),
    (
        "_extra",
        postgresql.JSONB,
        "Values that fit no column, by column name; null if there are none.",
    ),
)


def upgrade() -> None:
    op.create_table(
        "tracks",
        sa.Column(
            "id",
            sa.Text(collation="C"),  # compared byte by byte, in any database
            nullable=False,
            comment="Identity of the event: messageId, a webhook's event_id, or a hash.",
        ),
        *(
            sa.Column(name, type_, server_default=DEFAULTS.get(name), comment=comment)
            for name, type_, comment in SHARED
        ),
        sa.PrimaryKeyConstraint("id", name="tracks_pkey"),
        comment="One row per event of any name, with the columns that all events share.",
    )


def downgrade() -> None:
    refuse_loss(op, ["tracks"])
    op.drop_table("tracks")
