"""The six e-mail collections of Customer.io.

Each has the columns of `tracks` and its properties, from both generations of Customer.io's
payload. Takes no lock on anything that exists.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from loader.warehouse.migrate import made_by_events, refuse_loss

revision = "0003"
down_revision = "0002"
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

MESSAGE = (
    ("delivery_id", sa.Text, "One message to one person; joins a delivery with what followed."),
    ("journey_id", sa.Text, "The person's way through a campaign."),
    ("trigger_id", sa.Text, "The call that triggered a broadcast."),
    ("trigger_event_id", sa.Text, "The event that started the journey."),
    ("customer_id", sa.Text, "The person's id as older payloads have it; may be blank."),
    ("recipient", sa.Text, "Address the message went to; may hold several, with commas."),
    ("subject", sa.Text, "Subject of the message (payloads since May 2022)."),
    (
        "email_id",
        sa.Text,
        "Message in older Segment payloads, template in legacy webhooks; join by delivery_id.",
    ),
    ("email_subject", sa.Text, "Subject of the message (older payloads)."),
    ("campaign_name", sa.Text, "Name of the campaign (older payloads)."),
    ("action_id", sa.BigInteger, "Step of the campaign that sent the message."),
    ("parent_action_id", sa.BigInteger, "Step that holds the sending step, as in an A/B test."),
    ("campaign_id", sa.BigInteger, "Campaign; null for newsletters, broadcasts, transactional."),
    ("broadcast_id", sa.BigInteger, "API-triggered broadcast; null for other messages."),
    ("newsletter_id", sa.BigInteger, "Newsletter; null for other messages."),
    ("content_id", sa.BigInteger, "Variant of a newsletter."),
    ("transactional_message_id", sa.BigInteger, "Transactional message; null for others."),
)

MACHINE = (
    ("proxied", sa.Boolean, "Fetched through a proxy that hides the person; null: unknown."),
    ("prefetched", sa.Boolean, "Opened by a mail service, not a person; null: unknown."),
    ("machine", sa.Boolean, "Done by a machine; null: unknown, not a proof of a person."),
    ("synthetic", sa.Boolean, "An open inferred from a click; null: unknown."),
)

# table -> comment and properties
COLLECTIONS = {
    "email_delivered": (
        "One row per message that the receiving mail server accepted.",
        MESSAGE,
    ),
    "email_opened": (
        "One row per open of a message; see proxied, prefetched, machine, synthetic.",
        (
            *MESSAGE,
            *MACHINE,
        ),
    ),
    "email_link_clicked": (
        "One row per click on a link in a message.",
        (
            *MESSAGE,
            *MACHINE,
            ("href", sa.Text, "Address of the link (payloads since May 2022)."),
            ("link_id", sa.Text, "Id of the link; a word in older payloads."),
            ("link_url", sa.Text, "Address of the link (older payloads)."),
        ),
    ),
    "email_unsubscribed": (
        "One row per click on a message's subscription link; not always a global unsubscribe.",
        (
            *MESSAGE,
            ("list_id", sa.Text, "List the person left (older payloads)."),
            ("list_name", sa.Text, "Name of that list (older payloads)."),
            ("email_address", sa.Text, "Address that unsubscribed."),
        ),
    ),
    "email_bounced": (
        "One row per message that the receiving mail server did not accept.",
        (
            *MESSAGE,
            ("failure_message", sa.Text, "What the receiving mail server said."),
        ),
    ),
    "email_marked_as_spam": (
        "One row per message that its recipient marked as spam.",
        MESSAGE,
    ),
}


def upgrade() -> None:
    for table, (comment, properties) in COLLECTIONS.items():
        op.create_table(
            table,
            sa.Column(
                "id",
                sa.Text(collation="C"),  # compared byte by byte, in any database
                nullable=False,
                comment="Identity of the event: messageId, a webhook's event_id, or a hash.",
            ),
            *(
                sa.Column(name, type_, server_default=DEFAULTS.get(name), comment=text)
                for name, type_, text in (*SHARED, *properties)
            ),
            sa.PrimaryKeyConstraint("id", name=f"{table}_pkey"),
            comment=comment,
        )


def downgrade() -> None:
    tables = list(COLLECTIONS)
    if not op.get_context().as_sql:
        # Loads add tables of this kind; without this revision there is no place for them.
        tables = [table for table in made_by_events(op.get_bind()) if table != "tracks"]
    refuse_loss(op, tables)
    for table in tables:
        op.drop_table(table)
