"""`email_messages`: a row per e-mail to one person, and what became of it.

The table is empty at first: loads fill it, and what was loaded before in slices (`customerio-loader
status` shows how far). `email_messages_now` is a view that computes the same rows from the events,
and is the definition. `_batches.folded` says which batches the table has, `_marts` and
`_stale_messages` what else is to be done. Indexes on `uuid_ts` find the rows of a batch.

Makes three tables, a view and the function that it selects from, and adds a column with a constant
default, which rewrites no row: an ACCESS EXCLUSIVE lock on `_batches` for an instant. The six
indexes are BRIN, some kilobytes each, but each reads its table once, at some hundred megabytes a
second; nobody who reads waits for that, only who writes, which is a load, and that waits for a
migration anyway.

A table that an event called "Email Messages" has made gets `_` in front, like all names that the
loader needs itself, and loses it on the way back; with it change the values of `event` in it and in
`tracks`. What somebody else has made of that name is left alone, and the migration refuses. An
index that somebody has made on a `uuid_ts`, leaving its name to PostgreSQL, gets a `_`, and keeps
it.

Only adds, but for that: a loader of `oldest_loader` or newer can work with this schema too, even if
it does not know this revision. On the way back the table goes, which loses nothing: all that it has
is in the events.

The view and its function are made by `loader/warehouse/marts/definition.py`. `MADE` is a digest of
what that says, and a test compares the two: see there what a later revision has to do.
"""

import sqlalchemy as sa
from alembic import context, op

from loader.normalize.collections import declared_tables
from loader.warehouse.marts import definition
from loader.warehouse.migrate import refuse_taken, rename_tables_of_events
from loader.warehouse.tables import select_tables

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
oldest_loader = "0.2.0"

MADE = "b5d1e5295b894858"
NEW = ("email_messages", "email_messages_now")
TAKEN = "{name} IN ('email_messages', 'email_messages_now')"
TIME = sa.DateTime(timezone=True)
KEY = sa.Text(collation="C")
COLLECTIONS = (
    "email_delivered",
    "email_opened",
    "email_link_clicked",
    "email_unsubscribed",
    "email_bounced",
    "email_marked_as_spam",
)
RANGES = "WITH (pages_per_range = 32)"
BATCHES = "One row per batch, which is one transaction"

# name, type, what it is derived from, comment
COLUMNS = (
    (
        "delivered_at",
        TIME,
        "",
        "When it was delivered; plot by this.",
    ),
    (
        "message_key",
        KEY,
        "",
        "The message; delivery_id where the events have it, see key_kind.",
    ),
    (
        "key_kind",
        KEY,
        "CASE \"left\"(message_key, 2) WHEN 'e:'::text THEN 'email_id'::text WHEN "
        "'p:'::text THEN 'person'::text WHEN 'i:'::text THEN 'event'::text ELSE "
        "'delivery_id'::text END",
        "What message_key is made of: delivery_id; email_id of older payloads; person "
        "(with campaign and template: legacy webhooks, where repeated sends are one "
        "message); or event, where nothing tells which message it belongs to.",
    ),
    (
        "message_kind",
        KEY,
        "CASE WHEN (campaign_id IS NOT NULL) THEN 'campaign'::text WHEN (newsletter_id "
        "IS NOT NULL) THEN 'newsletter'::text WHEN (broadcast_id IS NOT NULL) THEN "
        "'broadcast'::text WHEN (transactional_message_id IS NOT NULL) THEN "
        "'transactional'::text ELSE 'unknown'::text END",
        "campaign, newsletter, broadcast, transactional or unknown.",
    ),
    (
        "message_source_id",
        KEY,
        "COALESCE(campaign_id, newsletter_id, broadcast_id, transactional_message_id)",
        "Id of that campaign, newsletter, broadcast or transactional message.",
    ),
    (
        "campaign_id",
        KEY,
        "",
        "Campaign; null for other messages.",
    ),
    (
        "newsletter_id",
        KEY,
        "",
        "Newsletter; null for other messages.",
    ),
    (
        "broadcast_id",
        KEY,
        "",
        "API-triggered broadcast; null for other messages.",
    ),
    (
        "transactional_message_id",
        KEY,
        "",
        "Transactional message; null for others.",
    ),
    (
        "action_id",
        KEY,
        "",
        "Step of the campaign.",
    ),
    (
        "parent_action_id",
        KEY,
        "",
        "Step that holds the step, as in an A/B test.",
    ),
    (
        "content_id",
        KEY,
        "",
        "Variant of a newsletter.",
    ),
    (
        "campaign_name",
        KEY,
        "",
        "Name of the campaign; only older payloads have it.",
    ),
    (
        "subject",
        KEY,
        "",
        "Subject of the message.",
    ),
    (
        "person",
        KEY,
        "COALESCE(user_id, email)",
        "The person: user_id, else the e-mail address.",
    ),
    (
        "user_id",
        KEY,
        "",
        "The person's id in Customer.io; null if they have none.",
    ),
    (
        "email",
        KEY,
        "",
        "E-mail address of the person, in lower case.",
    ),
    (
        "email_domain",
        KEY,
        "NULLIF(split_part(email, '@'::text, 2), ''::text)",
        "What stands behind the @ of the address.",
    ),
    (
        "first_opened_at",
        TIME,
        "",
        "First open by anybody or anything.",
    ),
    (
        "first_human_opened_at",
        TIME,
        "",
        "First open that is not known to be by a machine, a prefetch or inferred from a click.",
    ),
    (
        "first_clicked_at",
        TIME,
        "",
        "First click that is not known to be by a machine.",
    ),
    (
        "unsubscribed_at",
        TIME,
        "",
        "First unsubscribe through the message.",
    ),
    (
        "bounced_at",
        TIME,
        "",
        "First bounce.",
    ),
    (
        "spam_at",
        TIME,
        "",
        "First time it was marked as spam.",
    ),
    (
        "converted_at",
        TIME,
        "",
        "First conversion that Customer.io reports.",
    ),
    (
        "opens",
        sa.BigInteger,
        "",
        "Opens by anybody or anything.",
    ),
    (
        "human_opens",
        sa.BigInteger,
        "",
        "Opens that are not known to be by a machine, a prefetch or inferred from a click.",
    ),
    (
        "clicks",
        sa.BigInteger,
        "",
        "Clicks that are not known to be by a machine.",
    ),
    (
        "conversions",
        sa.BigInteger,
        "",
        "Conversions that Customer.io reports.",
    ),
    (
        "bounce_reason",
        KEY,
        "",
        "What the receiving mail server said of the bounce.",
    ),
    (
        "is_delivered",
        sa.Boolean,
        "delivered_at IS NOT NULL",
        "It was delivered.",
    ),
    (
        "is_opened",
        sa.Boolean,
        "first_opened_at IS NOT NULL",
        "Opened by anybody or anything.",
    ),
    (
        "is_human_opened",
        sa.Boolean,
        "((first_human_opened_at IS NOT NULL) OR (first_clicked_at IS NOT NULL))",
        "Opened by a person, as far as is known; who clicked has opened.",
    ),
    (
        "is_clicked",
        sa.Boolean,
        "first_clicked_at IS NOT NULL",
        "Clicked by a person.",
    ),
    (
        "is_unsubscribed",
        sa.Boolean,
        "unsubscribed_at IS NOT NULL",
        "Unsubscribed.",
    ),
    (
        "is_bounced",
        sa.Boolean,
        "bounced_at IS NOT NULL",
        "Bounced.",
    ),
    (
        "is_spam",
        sa.Boolean,
        "spam_at IS NOT NULL",
        "Marked as spam.",
    ),
    (
        "is_converted",
        sa.Boolean,
        "converted_at IS NOT NULL",
        "Converted.",
    ),
)
COMMENT = (
    "One row per e-mail to one person, and what became of it; plot by delivered_at."
    " Folded from the six collections and email_converted at the end of each load."
)


def upgrade() -> None:
    rename_tables_of_events(op, TAKEN)
    refuse_taken(op, NEW)
    op.add_column(
        "_batches",
        sa.Column(
            "folded",
            sa.Boolean,
            nullable=False,
            server_default=sa.text("false"),
            comment="Whether email_messages has its events.",
        ),
    )
    create_index("_batches_uuid_ts_idx ON _batches (uuid_ts)", "UNIQUE ")
    create_index("_batches_waiting_idx ON _batches (uuid_ts) WHERE NOT folded")
    op.create_table_comment("_batches", f"{BATCHES}; those of load 0 were found by their rows.")
    for table in (*COLLECTIONS, "email_converted"):
        op.execute(
            "-- squawk-ignore renaming-object\n"
            f"ALTER INDEX IF EXISTS {table}_uuid_ts_idx RENAME TO _{table}_uuid_ts_idx"
        )
    for table in COLLECTIONS:
        create_index(f"{table}_uuid_ts_idx ON {table} USING brin (uuid_ts) {RANGES}")
    make_marts()
    make_email_messages()
    schema = context.config.attributes["schema"]
    tables, digest = declared_tables(), None
    if not op.get_context().as_sql:  # else the first load looks how the columns really are
        tables = select_tables(op.get_bind(), schema, definition.SOURCES)
        digest = definition.digest(schema, tables)
    view = (definition.function_sql(schema, tables), *definition.view_sql(schema))
    for statement in (*view, *definition.index_sql(schema, tables)):
        op.execute(sa.text(statement.replace(":", "\\:")))
    op.bulk_insert(
        sa.table("_marts", sa.column("name", sa.Text), sa.column("definition", sa.Text)),
        [{"name": "email_messages", "definition": digest}],
    )


def create_index(what: str, kind: str = "") -> None:
    """Make an index while nobody writes: see above."""
    op.execute(f"-- squawk-ignore require-concurrent-index-creation\nCREATE {kind}INDEX {what}")


def make_marts() -> None:
    op.create_table(
        "_marts",
        sa.Column("name", sa.Text, nullable=False, comment="Name of the mart."),
        sa.Column("definition", sa.Text, comment="Digest of the SQL that its view was made by."),
        sa.Column(
            "loads_seen",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("0"),
            comment="All batches of the loads up to this one are in _batches.",
        ),
        sa.PrimaryKeyConstraint("name", name="_marts_pkey"),
        comment="One row per mart that is folded from the events.",
    )
    op.create_table(
        "_stale_messages",
        sa.Column("message_key", KEY, nullable=False, comment="Key of the message."),
        sa.PrimaryKeyConstraint("message_key", name="_stale_messages_pkey"),
        comment="Messages of email_messages that have to be made anew, because events have "
        "changed.",
    )


def make_email_messages() -> None:
    op.create_table(
        "email_messages",
        *(column(*facts) for facts in COLUMNS),
        sa.PrimaryKeyConstraint("message_key", name="email_messages_pkey"),
        comment=COMMENT,
        postgresql_with={"fillfactor": 80},
    )
    create_index(
        f"email_messages_delivered_at_idx ON email_messages USING brin (delivered_at) {RANGES}"
    )


def column(
    name: str, type_: "sa.types.TypeEngine[object]", derived: str, comment: str
) -> "sa.Column[object]":
    is_sum = type_ is sa.BigInteger
    return sa.Column(
        name,
        type_,
        *([sa.Computed(derived, persisted=True)] if derived else []),
        nullable=not is_sum and name != "message_key",
        server_default=sa.text("0") if is_sum else None,
        comment=comment,
    )


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS email_messages_now")
    op.execute("DROP FUNCTION IF EXISTS _email_messages_now()")
    for table in ("email_messages", "_stale_messages", "_marts"):
        op.drop_table(table)
    rename_tables_of_events(op, TAKEN, back=True)
    for table in reversed(COLLECTIONS):
        op.drop_index(f"{table}_uuid_ts_idx")
    op.execute("DROP INDEX IF EXISTS email_converted_uuid_ts_idx")
    op.create_table_comment("_batches", f"{BATCHES}.")
    op.drop_index("_batches_waiting_idx")
    op.drop_index("_batches_uuid_ts_idx")
    op.drop_column("_batches", "folded")
