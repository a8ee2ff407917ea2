"""Rules that are no table: small pure functions, asked once per distinct value of a block."""

from loader.forms.model import Named
from loader.normalize.collections import UNSUBSCRIBED_ALIASES
from loader.normalize.names import table_name

# (channel, metric) -> event name, where it is not "<Channel> <Metric>".
_NAMES = {
    ("email", "clicked"): "Email Link Clicked",
    ("email", "spammed"): "Email Marked as Spam",
    ("email", "dropped"): "Email Suppressed",
}
_CHANNELS = {"sms": "SMS", "in_app": "In-App"}
# A change of the person's subscription; any channel can have triggered it.
_SUBSCRIPTION = {
    "subscribed": "Subscribed",
    "unsubscribed": "Unsubscribed",
    "cio_subscription_preferences_changed": "Subscription Preferences Changed",
}


def call_name(event: str, is_about_a_message: bool) -> Named | None:
    """The event of a track call; `Unsubscribed` about a message is `Email Unsubscribed`."""
    if not event or event.isspace():
        return None
    table = table_name(event)
    if table in UNSUBSCRIBED_ALIASES and is_about_a_message:
        table = "email_unsubscribed"
    return Named(event, table)


def webhook_name(
    channel: str, metric: str, delivery_type: str, is_about_a_message: bool
) -> Named | None:
    """The event that Customer.io's Segment integration would have sent for a metric.

    Webhooks about preferences may say only the type of the delivery that they came from.
    """
    channel = (channel or delivery_type).strip().lower().replace("-", "_")
    metric = metric.strip().lower()
    if not metric or (not channel and metric not in _SUBSCRIPTION):
        return None
    if metric in _SUBSCRIPTION and (
        channel in ("customer", "") or metric != "unsubscribed" or not is_about_a_message
    ):
        text = _SUBSCRIPTION[metric]
    else:
        title = _CHANNELS.get(channel) or channel.replace("_", " ").title()
        words = metric.replace("_", " ").title()
        text = _NAMES.get((channel, metric)) or f"{title} {words}"
    return Named(text, table_name(text), is_email=channel == "email")


def legacy_name(event_type: str, is_about_a_message: bool) -> Named | None:
    """A legacy webhook says both in one word, and is always about a message."""
    channel, _, metric = event_type.partition("_")
    return webhook_name(channel, metric, "", True)


def is_address(text: str) -> bool:
    """Whether `text` is one plain address: several of them, or a template, identify nobody."""
    if text.count("@") != 1:
        return False
    return not any(c.isspace() or c in ",;<>{}" for c in text)
