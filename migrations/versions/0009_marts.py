"""Marts: views that answer the usual questions, and names for messages.

Views over `email_messages`: `campaign_performance`, `email_funnel`, `deliverability`,
`people_engagement`, `marketing_pressure`, `messages`; over events: `email_links`, `identities`;
over the ledger: `load_health`, `schema_changes`, `rejects_by_reason`. Those over events select from
functions, so they stand in nobody's way who changes a table of events. `dim_messages` is empty: its
rows are the names that the views show. An index finds the messages of some days; it is BRIN, some
kilobytes, and reads `email_messages` once, meanwhile nobody can write to that, which only loads do.

A table that an event made and that has one of these names, or one that begins with `dim_`, gets `_`
in front, as that of the next events of this name will. So do the values of `event` in it and in
`tracks`, which are the name of the table: where there is such a table, all of `tracks` is read. On
the way back the tables get their names again.

Only adds, but for that: a loader of `oldest_loader` or newer can work with this schema too, even if
it does not know this revision. On the way back only the names in `dim_messages` can be lost.

The views and functions are made by `loader/warehouse/marts/views.py`. `MADE` is a digest of what
that says, and a test compares the two: see there what a later revision has to do.
"""

import sqlalchemy as sa
from alembic import context, op

from loader.normalize.collections import declared_tables
from loader.warehouse.marts import renewal, views
from loader.warehouse.marts.texts import digest_of
from loader.warehouse.migrate import (
    refuse_loss,
    refuse_taken,
    refuse_users,
    rename_tables_of_events,
)
from loader.warehouse.tables import select_tables

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
oldest_loader = "0.2.0"

MADE = "d6351ddbe80f9617"
VIEWS = (
    "campaign_performance",
    "email_funnel",
    "email_links",
    "deliverability",
    "people_engagement",
    "marketing_pressure",
    "identities",
    "messages",
    "load_health",
    "schema_changes",
    "rejects_by_reason",
)
OVER_EVENTS = ("email_links", "identities")
NEW = ("dim_messages", *VIEWS)
KEY = sa.Text(collation="C")

NAMES = ", ".join(f"'{name}'" for name in NEW)
# A name that is as long as can be has no room for a `_`.
TAKEN = f"{{name}} IN ({NAMES}) OR starts_with({{name}}, 'dim_') AND octet_length({{name}}) < 63"


def upgrade() -> None:
    rename_tables_of_events(op, TAKEN)
    refuse_taken(op, NEW)
    op.create_table(
        "dim_messages",
        sa.Column(
            "message_kind",
            KEY,
            nullable=False,
            comment="campaign, newsletter, broadcast or transactional.",
        ),
        sa.Column("message_source_id", KEY, nullable=False, comment="Id of that one."),
        sa.Column("name", KEY, nullable=False, comment="The name that views and reports show."),
        sa.PrimaryKeyConstraint("message_kind", "message_source_id", name="dim_messages_pkey"),
        comment="Names of campaigns, newsletters, broadcasts and transactional messages. The "
        "loader leaves it empty: fill it with the names that you want to see.",
    )
    run(
        "-- squawk-ignore require-concurrent-index-creation\n"
        "CREATE INDEX email_messages_day_idx ON email_messages USING brin "
        "(((coalesce(delivered_at, bounced_at) AT TIME ZONE 'UTC')::date)) "
        "WITH (pages_per_range = 32)"
    )
    schema = context.config.attributes["schema"]
    tables, digests = declared_tables(), dict.fromkeys(OVER_EVENTS)
    if not op.get_context().as_sql:  # else the first load looks how the columns really are
        tables = select_tables(op.get_bind(), schema, renewal.READ)
        made = renewal.functions_of(schema, tables)
        digests = {name: digest_of(made[name]) for name in OVER_EVENTS}
    for statement in (*views.create_functions_sql(schema, tables), *views.create_views_sql(schema)):
        run(statement)
    op.bulk_insert(
        sa.table("_marts", sa.column("name", sa.Text), sa.column("definition", sa.Text)),
        [{"name": name, "definition": digest} for name, digest in digests.items()],
    )
    op.create_table_comment("_marts", "One row per mart that a function makes of the events.")


def run(statement: str) -> None:
    op.execute(sa.text(statement.replace(":", "\\:")))


def downgrade() -> None:
    refuse_loss(op, ["dim_messages"])
    refuse_users(op, NEW)
    schema = context.config.attributes["schema"]
    for statement in (*views.drop_views_sql(schema), *views.drop_functions_sql(schema)):
        run(statement)
    op.drop_table("dim_messages")
    op.drop_index("email_messages_day_idx")
    op.execute("DELETE FROM _marts WHERE name IN ('email_links', 'identities')")
    op.create_table_comment("_marts", "One row per mart that is folded from the events.")
    rename_tables_of_events(op, TAKEN, back=True)
