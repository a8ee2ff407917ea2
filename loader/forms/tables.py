"""The payload forms, as data. To add one, add a table and its mark; nothing else changes.

Sources: Segment's tracking API and the lines of its archive; Customer.io's reporting-webhook
specification (and its legacy version) and its message metrics source.
"""

from dataclasses import replace

from loader.forms.model import CONTEXT, PROPERTIES, Address, Columns, Container, Form, Mark, Name
from loader.forms.rules import call_name, legacy_name, webhook_name
from loader.normalize.collections import UNSUBSCRIBED_EVIDENCE

CALL = Form(
    name="Segment call",
    only=("type", "track", "not_a_track_call"),
    event=Name(
        by=("event",),
        rule=call_name,
        message_keys=("properties", UNSUBSCRIBED_EVIDENCE),
        not_text="event_not_string",
    ),
    id="messageId",
    user_id=("userId",),
    anonymous_id=("anonymousId",),
    email=("context.traits.email",),
    times={
        "received_at": "receivedAt",
        "sent_at": "sentAt",
        "original_timestamp": "originalTimestamp",
        "timestamp": "timestamp",
    },
    columns={
        "context": Columns(CONTEXT, "context_not_object"),
        "properties": Columns(PROPERTIES, "properties_not_object"),
    },
    spellings={
        "messageId": "message_id",
        "userId": "user_id",
        "anonymousId": "anonymous_id",
        "receivedAt": "received_at",
        "sentAt": "sent_at",
        "originalTimestamp": "original_timestamp",
    },
    is_renamed_for_id=True,
    transport=("type", "channel", "integrations", "projectId", "version", "_metadata", "writeKey"),
)

WEBHOOK = Form(
    name="reporting webhook",
    event=Name(
        by=("object_type", "metric"),
        hint="delivery_type",
        rule=webhook_name,
        message_keys=("data", frozenset({"delivery_id"})),
    ),
    id="event_id",
    user_id=("data.identifiers.id", "data.customer_id"),
    email=("data.identifiers.email", Address("data.recipient"), "data.email_address"),
    email_path="context.traits.email",
    times={
        "received_at": "received_at",
        "original_timestamp": "timestamp",
        "timestamp": "timestamp",
    },
    columns={"data": Columns(PROPERTIES, "data_not_object", required=True)},
    consumed=("data.identifiers.id", "data.identifiers.email"),
    lifted={
        "object_type": "data.object_type",
        "delivery_type": "data.delivery_type",
        "metric": "data.metric",
        "event_type": "data.event_type",
        "data.identifiers.cio_id": "data.cio_id",
    },
    spellings={"received_at": "receivedAt"},
    transport=("receivedAt",),
)

LEGACY_WEBHOOK = replace(
    WEBHOOK,
    name="legacy webhook",
    event=replace(WEBHOOK.event, by=("event_type",), hint=None, rule=legacy_name),
    lifted={
        "event_type": "data.event_type",
        "data.identifiers.cio_id": "data.cio_id",
        "data.variables.campaign.id": "data.campaign_id",
        "data.variables.campaign.name": "data.campaign_name",
        "data.variables.email_id": "data.email_id",
    },
)

ENVELOPE = Container(
    name="Segment batch envelope",
    items="batch",
    not_items="batch_not_array",
    no_items="empty_batch",
    inherited=("context", "sentAt", "receivedAt", "sent_at", "received_at"),
    merged=("context",),
    spellings={
        **{"sentAt": "sent_at", "receivedAt": "received_at"},
        **{"sent_at": "sentAt", "received_at": "receivedAt"},
    },
    transport=("integrations", "type", "writeKey"),
    rest="_batch",
)

# An API gateway hands on what it got as the text of a body, with headers around it.
GATEWAY = Container(
    name="API gateway",
    items="body",
    is_text=True,
    not_items="batch_not_array",
    no_items="empty_batch",
)
EVENT_LIST = replace(ENVELOPE, name="list of events", items="events")

# The first mark that a record has tells its form.
MARKS: tuple[tuple[Mark, Form | Container], ...] = (
    (Mark(has=("batch",), lacks=("event",)), ENVELOPE),
    (Mark(says=(("type", "track"),)), CALL),
    (Mark(has=("data",), gives=("metric",)), WEBHOOK),
    (Mark(has=("data", "event_type")), LEGACY_WEBHOOK),
    (Mark(has=("data", "metric")), WEBHOOK),
    (Mark(has=("event",)), CALL),
    (Mark(has=("type",)), CALL),
    (Mark(has=("headers", "body")), GATEWAY),
    (Mark(has=("events",)), EVENT_LIST),
)
