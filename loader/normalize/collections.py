"""The catalogue: shared columns, the six collections and their declared columns, as data.

Names and types are those of Segment's PostgreSQL warehouses; the properties are the union of
both generations of Customer.io's payloads.
"""

from typing import Literal, NamedTuple

# `other` is a type that someone gave a column by hand; no value fits it.
Type = Literal["text", "bigint", "numeric", "boolean", "jsonb", "timestamptz", "other"]


class Column(NamedTuple):
    """A declared column."""

    name: str
    type: Type
    comment: str


class Collection(NamedTuple):
    """A declared collection: all events of one name."""

    event_text: str
    table: str
    comment: str
    properties: tuple[Column, ...]


TRACKS = "tracks"
TRACKS_COMMENT = "One row per event of any name, with the columns that all events share."
# Tables and views that the loader makes of the events; no event may take their names.
EMAIL_MESSAGES = "email_messages"
EMAIL_MESSAGES_NOW = "email_messages_now"
DIM_MESSAGES = "dim_messages"
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
MARTS = frozenset({EMAIL_MESSAGES, EMAIL_MESSAGES_NOW, DIM_MESSAGES, *VIEWS})
# What describes things by their ids has a name that begins so, whoever makes it.
DIMENSIONS = "dim_"

EXTRA = Column(
    "_extra", "jsonb", "Values that fit no column, by column name; null if there are none."
)

SHARED = (
    Column("id", "text", "Identity of the event: messageId, a webhook's event_id, or a hash."),
    Column(
        "received_at",
        "timestamptz",
        "Arrival at the receiving server; else the start of the load. "
        "Do not plot by it: plot by timestamp.",
    ),
    Column("uuid_ts", "timestamptz", "When the loader wrote the row, by the server's clock."),
    Column("sent_at", "timestamptz", "When the sender sent it."),
    Column("original_timestamp", "timestamptz", "When it happened by the sender's clock."),
    Column("timestamp", "timestamptz", "When it happened; order and plot events by this."),
    Column(
        "anonymous_id",
        "text",
        "The sender's id of a person without a user id; from Customer.io an "
        "e-mail address, not the id of a browser.",
    ),
    Column("user_id", "text", "The person's id in Customer.io; null if they have none."),
    Column("event", "text", "Name of the event as a table name."),
    Column("event_text", "text", "Name of the event as sent."),
    Column("context_ip", "text", "IP address of the recipient's device."),
    Column("context_user_agent", "text", "User agent of the recipient's device."),
    Column("context_traits_email", "text", "E-mail address of the person."),
    Column("context_integration_name", "text", "Integration that sent the event."),
    Column("context_integration_version", "text", "Version of that integration."),
    Column("context_library_name", "text", "Library that sent the event."),
    Column("context_library_version", "text", "Version of that library."),
)

SHARED_NAMES = frozenset(column.name for column in (*SHARED, EXTRA))

_MESSAGE = (
    Column(
        "delivery_id", "text", "One message to one person; joins a delivery with what followed."
    ),
    Column("journey_id", "text", "The person's way through a campaign."),
    Column("trigger_id", "text", "The call that triggered a broadcast."),
    Column("trigger_event_id", "text", "The event that started the journey."),
    Column("customer_id", "text", "The person's id as older payloads have it; may be blank."),
    Column("recipient", "text", "Address the message went to; may hold several, with commas."),
    Column("subject", "text", "Subject of the message (payloads since May 2022)."),
    Column(
        "email_id",
        "text",
        "Message in older Segment payloads, template in legacy webhooks; join by delivery_id.",
    ),
    Column("email_subject", "text", "Subject of the message (older payloads)."),
    Column("campaign_name", "text", "Name of the campaign (older payloads)."),
    Column("action_id", "bigint", "Step of the campaign that sent the message."),
    Column("parent_action_id", "bigint", "Step that holds the sending step, as in an A/B test."),
    Column("campaign_id", "bigint", "Campaign; null for newsletters, broadcasts, transactional."),
    Column("broadcast_id", "bigint", "API-triggered broadcast; null for other messages."),
    Column("newsletter_id", "bigint", "Newsletter; null for other messages."),
    Column("content_id", "bigint", "Variant of a newsletter."),
    Column("transactional_message_id", "bigint", "Transactional message; null for others."),
    Column("event_type", "text", "Type of the event in legacy webhooks; null in others."),
)

_MACHINE = (
    Column("proxied", "boolean", "Fetched through a proxy that hides the person; null: unknown."),
    Column("prefetched", "boolean", "Opened by a mail service, not a person; null: unknown."),
    Column("machine", "boolean", "Done by a machine; null: unknown, not a proof of a person."),
    Column("synthetic", "boolean", "An open inferred from a click; null: unknown."),
)

COLLECTIONS = (
    Collection(
        "Email Delivered",
        "email_delivered",
        "One row per message that the receiving mail server accepted.",
        _MESSAGE,
    ),
    Collection(
        "Email Opened",
        "email_opened",
        "One row per open of a message; see proxied, prefetched, machine, synthetic.",
        (*_MESSAGE, *_MACHINE),
    ),
    Collection(
        "Email Link Clicked",
        "email_link_clicked",
        "One row per click on a link in a message.",
        (
            *_MESSAGE,
            *_MACHINE,
            Column("href", "text", "Address of the link (payloads since May 2022)."),
            Column("link_id", "text", "Id of the link; a word in older payloads."),
            Column("link_url", "text", "Address of the link (older payloads)."),
        ),
    ),
    Collection(
        "Email Unsubscribed",
        "email_unsubscribed",
        "One row per click on a message's subscription link; not always a global unsubscribe.",
        (
            *_MESSAGE,
            Column("list_id", "text", "List the person left (older payloads)."),
            Column("list_name", "text", "Name of that list (older payloads)."),
            Column("email_address", "text", "Address that unsubscribed."),
        ),
    ),
    Collection(
        "Email Bounced",
        "email_bounced",
        "One row per message that the receiving mail server did not accept.",
        (*_MESSAGE, Column("failure_message", "text", "What the receiving mail server said.")),
    ),
    Collection(
        "Email Marked as Spam",
        "email_marked_as_spam",
        "One row per message that its recipient marked as spam.",
        _MESSAGE,
    ),
)

DECLARED_NAMES = SHARED_NAMES | {c.name for each in COLLECTIONS for c in each.properties}

# The Email specification's names for Email Unsubscribed. Customer.io also uses the first for a
# change of the person's subscription, so it takes one of these properties to be the e-mail event.
UNSUBSCRIBED_ALIASES = frozenset({"unsubscribed", "unsubscribe"})
UNSUBSCRIBED_EVIDENCE = frozenset({"email_id", "list_id", "delivery_id"})


def declared_tables() -> dict[str, dict[str, Type]]:
    """Column types by table, as the migrations make them."""
    shared = {column.name: column.type for column in (*SHARED, EXTRA)}
    tables = {TRACKS: dict(shared)}
    for collection in COLLECTIONS:
        tables[collection.table] = shared | {c.name: c.type for c in collection.properties}
    return tables
