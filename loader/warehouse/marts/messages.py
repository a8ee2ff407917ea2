"""`email_messages`, as data: its columns, of which events they are made, and how two parts combine.

Each column is a minimum, a maximum or a sum over the events of a message, or derived from such
ones. So what two batches say of a message can be combined in any order, and the table that is
folded batch by batch equals the view over all events.
"""

from typing import Literal, NamedTuple

from loader.normalize.collections import Type

# The events of a message, by their table. All but the last one are declared collections.
SOURCES = {
    "email_delivered": "delivered",
    "email_opened": "opened",
    "email_link_clicked": "clicked",
    "email_unsubscribed": "unsubscribed",
    "email_bounced": "bounced",
    "email_marked_as_spam": "spam",
    "email_converted": "converted",
}

TABLE_COMMENT = (
    "One row per e-mail to one person, and what became of it; plot by delivered_at. Folded from "
    "the six collections and email_converted at the end of each load."
)
OFF_COMMENT = (
    "Not filled, because the setting mart is off; email_messages_now has the same rows, computed "
    "from the events each time."
)
VIEW_COMMENT = (
    "The definition of email_messages: the same rows, computed from all events each time it is "
    "read, which is slow."
)


class MessageColumn(NamedTuple):
    """A column of a message."""

    name: str
    type: Type
    comment: str
    combine: Literal["key", "min", "max", "sum", "derived"]
    # Of an event, see `definition.py`: what is combined. Of a derived one: made of other columns,
    # as PostgreSQL prints it, for Alembic compares the two.
    sql: str
    where: str = ""  # which events count; default: all


def _first(name: str, comment: str, where: str) -> MessageColumn:
    return MessageColumn(name, "timestamptz", comment, "min", "happened_at", where)


def _count(name: str, comment: str, where: str) -> MessageColumn:
    return MessageColumn(name, "bigint", comment, "sum", "1", where)


def _any(name: str, comment: str) -> MessageColumn:
    return MessageColumn(name, "text", comment, "max", name)


def _derived(name: str, type_: Type, comment: str, sql: str) -> MessageColumn:
    return MessageColumn(name, type_, comment, "derived", sql)


# The day of a message, `metrics.DAY`, as PostgreSQL prints it, for Alembic compares the two.
DAY_OF_INDEX = "((COALESCE(delivered_at, bounced_at) AT TIME ZONE 'UTC'::text)::date)"

_HUMAN = "NOT by_machine AND NOT prefetched AND NOT synthetic"

COLUMNS = (
    _first("delivered_at", "When it was delivered; plot by this.", "kind = 'delivered'"),
    MessageColumn(
        "message_key",
        "text",
        "The message; delivery_id where the events have it, see key_kind.",
        "key",
        "message_key",
    ),
    _derived(
        "key_kind",
        "text",
        "What message_key is made of: delivery_id; email_id of older payloads; person (with "
        "campaign and template: legacy webhooks, where repeated sends are one message); or event, "
        "where nothing tells which message it belongs to.",
        "CASE \"left\"(message_key, 2) WHEN 'e:'::text THEN 'email_id'::text "
        "WHEN 'p:'::text THEN 'person'::text WHEN 'i:'::text THEN 'event'::text "
        "ELSE 'delivery_id'::text END",
    ),
    _derived(
        "message_kind",
        "text",
        "campaign, newsletter, broadcast, transactional or unknown.",
        "CASE WHEN (campaign_id IS NOT NULL) THEN 'campaign'::text "
        "WHEN (newsletter_id IS NOT NULL) THEN 'newsletter'::text "
        "WHEN (broadcast_id IS NOT NULL) THEN 'broadcast'::text "
        "WHEN (transactional_message_id IS NOT NULL) THEN 'transactional'::text "
        "ELSE 'unknown'::text END",
    ),
    _derived(
        "message_source_id",
        "text",
        "Id of that campaign, newsletter, broadcast or transactional message.",
        "COALESCE(campaign_id, newsletter_id, broadcast_id, transactional_message_id)",
    ),
    _any("campaign_id", "Campaign; null for other messages."),
    _any("newsletter_id", "Newsletter; null for other messages."),
    _any("broadcast_id", "API-triggered broadcast; null for other messages."),
    _any("transactional_message_id", "Transactional message; null for others."),
    _any("action_id", "Step of the campaign."),
    _any("parent_action_id", "Step that holds the step, as in an A/B test."),
    _any("content_id", "Variant of a newsletter."),
    _any("campaign_name", "Name of the campaign; only older payloads have it."),
    _any("subject", "Subject of the message."),
    _derived(
        "person",
        "text",
        "The person: user_id, else the e-mail address.",
        "COALESCE(user_id, email)",
    ),
    _any("user_id", "The person's id in Customer.io; null if they have none."),
    _any("email", "E-mail address of the person, in lower case."),
    _derived(
        "email_domain",
        "text",
        "What stands behind the @ of the address.",
        "NULLIF(split_part(email, '@'::text, 2), ''::text)",
    ),
    _first("first_opened_at", "First open by anybody or anything.", "kind = 'opened'"),
    _first(
        "first_human_opened_at",
        "First open that is not known to be by a machine, a prefetch or inferred from a click.",
        f"kind = 'opened' AND {_HUMAN}",
    ),
    _first(
        "first_clicked_at",
        "First click that is not known to be by a machine.",
        "kind = 'clicked' AND NOT by_machine",
    ),
    _first("unsubscribed_at", "First unsubscribe through the message.", "kind = 'unsubscribed'"),
    _first("bounced_at", "First bounce.", "kind = 'bounced'"),
    _first("spam_at", "First time it was marked as spam.", "kind = 'spam'"),
    _first("converted_at", "First conversion that Customer.io reports.", "kind = 'converted'"),
    _count("opens", "Opens by anybody or anything.", "kind = 'opened'"),
    _count(
        "human_opens",
        "Opens that are not known to be by a machine, a prefetch or inferred from a click.",
        f"kind = 'opened' AND {_HUMAN}",
    ),
    _count(
        "clicks",
        "Clicks that are not known to be by a machine.",
        "kind = 'clicked' AND NOT by_machine",
    ),
    _count("conversions", "Conversions that Customer.io reports.", "kind = 'converted'"),
    _any("bounce_reason", "What the receiving mail server said of the bounce."),
    _derived("is_delivered", "boolean", "It was delivered.", "delivered_at IS NOT NULL"),
    _derived(
        "is_opened", "boolean", "Opened by anybody or anything.", "first_opened_at IS NOT NULL"
    ),
    _derived(
        "is_human_opened",
        "boolean",
        "Opened by a person, as far as is known; who clicked has opened.",
        "((first_human_opened_at IS NOT NULL) OR (first_clicked_at IS NOT NULL))",
    ),
    _derived("is_clicked", "boolean", "Clicked by a person.", "first_clicked_at IS NOT NULL"),
    _derived("is_unsubscribed", "boolean", "Unsubscribed.", "unsubscribed_at IS NOT NULL"),
    _derived("is_bounced", "boolean", "Bounced.", "bounced_at IS NOT NULL"),
    _derived("is_spam", "boolean", "Marked as spam.", "spam_at IS NOT NULL"),
    _derived("is_converted", "boolean", "Converted.", "converted_at IS NOT NULL"),
)
