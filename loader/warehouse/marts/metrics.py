"""The one definition of each metric: what is counted of messages, and which counts make a rate.

Counts are aggregates over rows of `email_messages`, and stand in the views that group them; a rate
is a quotient of two sums of counts, and is stored nowhere, for a rate of a sum is no sum of rates.
What follows on a message counts on the day of its delivery, so only messages that are known to be
delivered count in it; docs/metrics.md says with which vendors the rates agree.
"""

from typing import NamedTuple


class Count(NamedTuple):
    """Something that is counted of messages."""

    name: str
    label: str
    sql: str  # an aggregate over rows of `email_messages`; never null
    comment: str


class Rate(NamedTuple):
    """A quotient of two counts; null where there is nothing to divide by."""

    name: str
    label: str
    of: str  # name of the count above the line
    per: str  # name of the count below it
    comment: str
    digits: int = 1  # behind the point of the percentage: more where a tenth of a percent is much


def _messages(name: str, label: str, where: str, comment: str) -> Count:
    return Count(name, label, f"count(*) FILTER (WHERE {where})", comment)


def _total(name: str, label: str, column: str, comment: str) -> Count:
    total = f"coalesce(sum({column}) FILTER (WHERE is_delivered), 0)::bigint"
    return Count(name, label, total, comment)


# When a message counts. One that was neither delivered nor bounced has no such time, and is in no
# view by day.
TIME = "coalesce(delivered_at, bounced_at)"
# The day of it, in UTC.
DAY = f"({TIME} AT TIME ZONE 'UTC')::date"

# What a mail server says of a bounce: an enhanced status code, else the code of its reply. Neither
# an address of a machine nor of a person is taken for one.
_BEFORE, _BEHIND = r"(?<![0-9A-Za-z._@])", r"(?![0-9A-Za-z_@]|\.[0-9A-Za-z])"
BOUNCE_CODE = (
    "coalesce(substring(bounce_reason from "
    rf"'{_BEFORE}([45]\.[0-9]{{1,3}}\.[0-9]{{1,3}}){_BEHIND}'), "
    f"substring(bounce_reason from '{_BEFORE}([45][0-5][0-9]){_BEHIND}'), 'unknown')"
)
# By how the code begins: for good, for now, and where there is none.
BOUNCE_CLASSES = {"5": "hard", "4": "soft", "u": "unknown"}

COUNTS = (
    _messages(
        "attempted",
        "Attempted",
        "is_delivered OR is_bounced",
        "Messages that were delivered or bounced; stands in for what was sent.",
    ),
    _messages("delivered", "Delivered", "is_delivered", "Messages that were delivered."),
    _messages("bounced", "Bounced", "is_bounced", "Messages that bounced."),
    _messages(
        "opened",
        "Opened",
        "is_delivered AND is_opened",
        "Delivered messages opened by anybody or anything.",
    ),
    _messages(
        "human_opened",
        "Opened by people",
        "is_delivered AND is_human_opened",
        "Delivered messages opened by a person, as far as is known; who clicked has opened.",
    ),
    _messages(
        "clicked",
        "Clicked",
        "is_delivered AND is_clicked",
        "Delivered messages with a click that is not known to be by a machine.",
    ),
    _messages(
        "unsubscribed",
        "Unsubscribed",
        "is_delivered AND is_unsubscribed",
        "Delivered messages through which somebody unsubscribed.",
    ),
    _messages(
        "marked_as_spam",
        "Marked as spam",
        "is_delivered AND is_spam",
        "Delivered messages that were marked as spam.",
    ),
    _messages(
        "converted",
        "Converted",
        "is_delivered AND is_converted",
        "Delivered messages with a conversion that Customer.io reports.",
    ),
    _total("total_opens", "Total opens", "opens", "Opens of delivered messages by anything."),
    _total(
        "total_human_opens",
        "Total opens by people",
        "human_opens",
        "Opens of delivered messages that are not known to be by a machine.",
    ),
    _total(
        "total_clicks",
        "Total clicks",
        "clicks",
        "Clicks on delivered messages that are not known to be by a machine.",
    ),
)

RATES = (
    Rate("open_rate", "Open rate", "opened", "delivered", "Machines and prefetches included."),
    Rate(
        "human_open_rate",
        "Human open rate",
        "human_opened",
        "delivered",
        "Without opens that are known to be by machines; who clicked has opened.",
    ),
    Rate("click_rate", "Click rate", "clicked", "delivered", "Without clicks by machines."),
    Rate(
        "click_to_open_rate",
        "Click-to-open rate",
        "clicked",
        "human_opened",
        "Of the messages that people opened.",
    ),
    Rate(
        "unsubscribe_rate",
        "Unsubscribe rate",
        "unsubscribed",
        "delivered",
        "Through the message.",
        digits=2,
    ),
    Rate("spam_rate", "Spam rate", "marked_as_spam", "delivered", "Marked as spam.", digits=2),
    Rate("bounce_rate", "Bounce rate", "bounced", "attempted", "Of what was attempted.", digits=2),
    Rate(
        "conversion_rate",
        "Conversion rate",
        "converted",
        "delivered",
        "Conversions that Customer.io reports.",
        digits=2,
    ),
)

# The stages that a message goes through, by the names of their counts.
FUNNEL = ("delivered", "human_opened", "clicked", "converted")


def rate_sql(rate: Rate) -> str:
    """A rate over rows that have the counts as columns, such as those of campaign_performance."""
    return f"sum({rate.of})::numeric / nullif(sum({rate.per}), 0)"


def rate_of_messages_sql(rate: Rate) -> str:
    """The same over rows of `email_messages`."""
    counts = {count.name: count.sql for count in COUNTS}
    return f"({counts[rate.of]})::numeric / nullif({counts[rate.per]}, 0)"
