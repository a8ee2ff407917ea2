"""The views over `email_messages`, as data. What is counted is defined in `metrics.py`."""

from loader.warehouse.marts.metrics import (
    BOUNCE_CLASSES,
    BOUNCE_CODE,
    COUNTS,
    DAY,
    FUNNEL,
    Count,
)
from loader.warehouse.marts.view import View, ViewColumn, counts_of, select_counts

_COUNTS = {count.name: count for count in COUNTS}
_HAS_DAY = "is_delivered OR is_bounced"

_DAY = ViewColumn(
    "day", "date", "UTC day of the delivery, else of the bounce; plot by this.", "part.day"
)
_KIND = ViewColumn(
    "message_kind",
    "text",
    "campaign, newsletter, broadcast, transactional or unknown.",
    "part.message_kind",
)
_SOURCE_ID = ViewColumn(
    "message_source_id",
    "text",
    "Id of that campaign, newsletter, broadcast or transactional message; group by this.",
    "part.message_source_id",
)
_NAME = ViewColumn(
    "message_name",
    "text",
    "Its name in dim_messages; else the campaign_name of the events; else the subject, where all "
    "messages of the row have the same; else kind and id.",
    "coalesce(nullif(dim.name, ''), part.campaign_name, part.subject, "
    "concat_ws(' ', part.message_kind, part.message_source_id))",
)
# What a name is made of, of some messages.
_NAMED = (
    "max(campaign_name) AS campaign_name, "
    "CASE WHEN min(subject) = max(subject) THEN max(subject) END AS subject"
)
_JOINED = (
    "LEFT JOIN {schema}.dim_messages AS dim ON dim.message_kind = part.message_kind "
    "AND dim.message_source_id = part.message_source_id"
)
# Of each message, by its kind and id.
_MESSAGE = "message_kind, message_source_id"


def _some(*names: str) -> tuple[Count, ...]:
    return tuple(_COUNTS[name] for name in names)


CAMPAIGN_PERFORMANCE = View(
    "campaign_performance",
    "One row per UTC day, message, step and variant, with what became of what was sent; plot by "
    "day. What follows counts on the day of the delivery. For a rate divide sums of counts.",
    (
        _DAY,
        _KIND,
        _SOURCE_ID,
        _NAME,
        ViewColumn("action_id", "text", "Step of the campaign.", "part.action_id"),
        ViewColumn(
            "parent_action_id",
            "text",
            "Step that holds the step, as in an A/B test.",
            "part.parent_action_id",
        ),
        ViewColumn("content_id", "text", "Variant of a newsletter.", "part.content_id"),
        *counts_of(COUNTS, "part"),
    ),
    f"(\nSELECT {DAY} AS day, {_MESSAGE}, action_id, parent_action_id, content_id, {_NAMED}, "
    f"{select_counts(COUNTS)}\nFROM {{schema}}.email_messages WHERE {_HAS_DAY} "
    f"GROUP BY 1, 2, 3, 4, 5, 6\n) AS part {_JOINED}",
)

# The stages of a message, in their order.
_STAGES = _some(*FUNNEL)

EMAIL_FUNNEL = View(
    "email_funnel",
    "One row per UTC day, message and stage of the funnel, with how many messages came so far; "
    "plot by day. A conversion need not follow a click.",
    (
        _DAY._replace(comment="UTC day of the delivery; plot by this."),
        _KIND,
        _SOURCE_ID,
        _NAME,
        ViewColumn("stage_number", "integer", "Order of the stages.", "stage.number"),
        ViewColumn(
            "stage", "text", f"{', '.join(stage.label for stage in _STAGES)}.", "stage.label"
        ),
        ViewColumn("messages", "bigint", "Messages that came to the stage.", "stage.messages"),
    ),
    f"(\nSELECT {DAY} AS day, {_MESSAGE}, {_NAMED}, {select_counts(_STAGES)}\n"
    "FROM {schema}.email_messages WHERE is_delivered GROUP BY 1, 2, 3\n"
    f") AS part {_JOINED}\nCROSS JOIN LATERAL (VALUES "
    + ", ".join(
        f"({number}, '{stage.label}', part.{stage.name})" for number, stage in enumerate(_STAGES, 1)
    )
    + ") AS stage(number, label, messages)",
)

_DELIVERABILITY = _some("attempted", "delivered", "bounced", "marked_as_spam")

DELIVERABILITY = View(
    "deliverability",
    "One row per UTC day, domain of the recipients and code of the bounce; plot by day.",
    (
        _DAY,
        ViewColumn(
            "email_domain", "text", "What stands behind the @ of the address.", "part.email_domain"
        ),
        ViewColumn(
            "bounce_code",
            "text",
            "Enhanced status code of the bounce, such as 5.1.1, else the reply code, such as 550, "
            "else unknown; null where the messages did not bounce.",
            "part.bounce_code",
        ),
        ViewColumn(
            "bounce_class",
            "text",
            "hard: a code with 5, for good; soft: with 4, for now; unknown; null where the "
            "messages did not bounce.",
            "CASE left(part.bounce_code, 1) "
            + " ".join(f"WHEN '{one}' THEN '{name}'" for one, name in BOUNCE_CLASSES.items())
            + " END",
        ),
        *counts_of(_DELIVERABILITY, "part"),
    ),
    f"(\nSELECT day, email_domain, bounce_code, {select_counts(_DELIVERABILITY)}\n"
    f"FROM (\nSELECT {DAY} AS day, email_domain, is_delivered, is_bounced, is_spam, "
    f"CASE WHEN is_bounced THEN {BOUNCE_CODE} END AS bounce_code\n"
    f"FROM {{schema}}.email_messages WHERE {_HAS_DAY}\n"
    ") AS message GROUP BY 1, 2, 3\n) AS part",
)

_PERSON = _some("delivered", "human_opened", "clicked")

PEOPLE_ENGAGEMENT = View(
    "people_engagement",
    "One row per person, with what they got and when they last answered. Of the opens and clicks "
    "of each message the first ones count.",
    (
        ViewColumn(
            "last_engaged_at",
            "timestamptz",
            "Last open or click that is not known to be by a machine; null if never.",
            "max(greatest(first_human_opened_at, first_clicked_at))",
        ),
        ViewColumn("person", "text", "The person: user_id, else the e-mail address."),
        ViewColumn(
            "user_id",
            "text",
            "The person's id in Customer.io; null if they have none.",
            "max(user_id)",
        ),
        ViewColumn(
            "email", "text", "E-mail address, in lower case; one of them if several.", "max(email)"
        ),
        ViewColumn(
            "email_domain",
            "text",
            "What stands behind the @ of that address.",
            "nullif(split_part(max(email), '@', 2), '')",
        ),
        *(ViewColumn(c.name, "bigint", c.comment, c.sql) for c in _PERSON),
        ViewColumn("first_delivered_at", "timestamptz", "First delivery.", "min(delivered_at)"),
        ViewColumn("last_delivered_at", "timestamptz", "Last delivery.", "max(delivered_at)"),
        ViewColumn(
            "unsubscribed_at",
            "timestamptz",
            "First unsubscribe through a message.",
            "min(unsubscribed_at)",
        ),
        ViewColumn("bounced_at", "timestamptz", "First bounce.", "min(bounced_at)"),
        ViewColumn("spam_at", "timestamptz", "First time they marked spam.", "min(spam_at)"),
    ),
    "{schema}.email_messages WHERE person IS NOT NULL GROUP BY person",
)

_ANSWERS = _some("unsubscribed", "marked_as_spam")

MARKETING_PRESSURE = View(
    "marketing_pressure",
    "One row per week and number of messages that a person got in it, transactional ones left "
    "out: how many people got so many, and how many of the messages made them leave; plot by week.",
    (
        ViewColumn("week", "date", "Monday of the week of delivery, UTC; plot by this."),
        ViewColumn(
            "messages_per_person", "integer", "Messages that each of these people got in the week."
        ),
        ViewColumn("people", "bigint", "People who got so many.", "count(*)"),
        ViewColumn("messages", "bigint", "Messages that they got.", "sum(messages_per_person)"),
        *(ViewColumn(c.name, "bigint", c.comment, f"sum({c.name})") for c in _ANSWERS),
    ),
    "(\nSELECT date_trunc('week', delivered_at AT TIME ZONE 'UTC')::date AS week, "
    f"count(*) AS messages_per_person, {select_counts(_ANSWERS)}\n"
    "FROM {schema}.email_messages WHERE is_delivered AND person IS NOT NULL "
    "AND message_kind <> 'transactional'\nGROUP BY 1, person\n"
    ") AS part GROUP BY week, messages_per_person",
)

MESSAGES = View(
    "messages",
    "One row per campaign, newsletter, broadcast or transactional message, with its name.",
    (
        ViewColumn("last_delivered_at", "timestamptz", "Last delivery.", "part.last_delivered_at"),
        ViewColumn(
            "first_delivered_at", "timestamptz", "First delivery.", "part.first_delivered_at"
        ),
        _KIND,
        _SOURCE_ID,
        _NAME,
        ViewColumn("messages", "bigint", _COUNTS["attempted"].comment, "part.attempted"),
    ),
    "(\nSELECT max(delivered_at) AS last_delivered_at, min(delivered_at) AS first_delivered_at, "
    f"{_MESSAGE}, {_NAMED}, {select_counts(_some('attempted'))}\n"
    f"FROM {{schema}}.email_messages GROUP BY {_MESSAGE}\n) AS part {_JOINED}",
)
