"""The charts of the dashboard, and where each one stands."""

from typing import Literal, NamedTuple

from loader.dashboards.datasets import IS_LOAD

Kind = Literal["figure", "lines", "bars", "table", "rows", "funnel"]

# What follows on a message, as columns of a table.
_RATES = ("human_open_rate", "click_rate", "click_to_open_rate", "unsubscribe_rate", "spam_rate")


class Chart(NamedTuple):
    """A chart on one mart. Its key stays for ever: by it a tool knows the chart again."""

    key: str
    title: str
    kind: Kind
    dataset: str
    metrics: tuple[str, ...] = ()  # of the dataset
    by: tuple[str, ...] = ()  # columns whose values get a line, a bar or a row each
    # The metric that decides it: of tables the highest first, by default the first one; of a
    # funnel the lowest first.
    order: str = ""
    across: str = ""  # of bars: what stands along the axis; default: the days
    present: tuple[str, ...] = ()  # columns of which only the rows count that have a value there
    where: str = ""  # SQL: of which rows it is
    columns: tuple[str, ...] = ()  # of rows: what is shown of each
    limit: int = 100  # parts or rows at most
    note: str = ""  # what a reader has to know


class Row(NamedTuple):
    """Charts side by side, each with its width in twelfths."""

    height: int  # in units of 8 pixels
    charts: tuple[tuple[Chart, int], ...]


class Tab(NamedTuple):
    """A page of the dashboard."""

    key: str
    title: str
    rows: tuple[Row, ...]


def _figure(metric: str, title: str, note: str) -> Chart:
    return Chart(f"figure_{metric}", title, "figure", "campaign_performance", (metric,), note=note)


_FIGURES = (
    _figure("sum_delivered", "Delivered", "messages"),
    _figure("human_open_rate", "Human open rate", "of delivered"),
    _figure("click_rate", "Click rate", "of delivered"),
    _figure("click_to_open_rate", "Click-to-open rate", "of opened by people"),
    _figure("unsubscribe_rate", "Unsubscribe rate", "of delivered"),
    _figure("spam_rate", "Spam rate", "of delivered"),
    _figure("bounce_rate", "Bounce rate", "of attempted"),
    _figure("conversion_rate", "Conversion rate", "of delivered"),
)

_RATES_BY_DAY = Chart(
    "rates_by_day",
    "Rates by day of delivery",
    "lines",
    "campaign_performance",
    ("open_rate", "human_open_rate", "click_rate"),
    note="What follows on a message counts on the day of its delivery: the last days still grow.",
)
_DELIVERED_BY_DAY = Chart(
    "delivered_by_day",
    "Delivered by day",
    "bars",
    "campaign_performance",
    ("sum_delivered",),
    ("message_kind",),
)
_MESSAGES = Chart(
    "messages",
    "Campaigns, newsletters, broadcasts and transactional messages",
    "table",
    "campaign_performance",
    ("last_name", "sum_delivered", *_RATES, "bounce_rate", "conversion_rate"),
    ("message_kind", "message_source_id"),
    order="sum_delivered",
)
_FUNNEL = Chart(
    "funnel",
    "From delivery to conversion",
    "funnel",
    "email_funnel",
    ("sum_messages",),
    ("stage",),
    order="first_stage_number",
    note="A conversion need not follow a click, so the last stage may be the larger one.",
)
_STEPS = Chart(
    "steps",
    "Steps and variants",
    "table",
    "campaign_performance",
    ("last_name", "sum_delivered", "human_open_rate", "click_rate"),
    ("message_kind", "message_source_id", "parent_action_id", "action_id", "content_id"),
    order="sum_delivered",
    note="Steps of campaigns, and variants of newsletters and A/B tests.",
)
_PRESSURE = Chart(
    "pressure",
    "Unsubscribe rate by messages a person gets in a week",
    "bars",
    "marketing_pressure",
    ("unsubscribe_rate",),
    across="messages_per_person",
    limit=30,
)
_PEOPLE = Chart(
    "people",
    "People and weeks, by messages they get in one",
    "bars",
    "marketing_pressure",
    ("sum_people",),
    across="messages_per_person",
    limit=30,
)

_BOUNCES_BY_DAY = Chart(
    "bounces_by_day",
    "Bounces by day",
    "bars",
    "deliverability",
    ("sum_bounced",),
    ("bounce_class",),
    present=("bounce_class",),
    note="hard: the address will not work (5xx); soft: it may work later (4xx).",
)
_TROUBLE_BY_DAY = Chart(
    "trouble_by_day",
    "Bounce and spam rate by day",
    "lines",
    "deliverability",
    ("bounce_rate", "spam_rate"),
)
_DOMAINS = Chart(
    "domains",
    "Domains of the addresses",
    "table",
    "deliverability",
    ("sum_attempted", "sum_delivered", "sum_bounced", "bounce_rate", "spam_rate"),
    ("email_domain",),
)
_CODES = Chart(
    "codes",
    "Why messages bounced",
    "table",
    "deliverability",
    ("sum_bounced",),
    ("bounce_code", "bounce_class"),
    present=("bounce_code",),
)
_PROVIDERS = Chart(
    "providers",
    "Opens and clicks by domain",
    "table",
    "email_messages",
    ("sum_delivered", "open_rate", "human_open_rate", "click_rate"),
    ("email_domain",),
    limit=50,
    note="A domain whose rates fall behind the others may put your messages into its spam folder.",
)

_CLICKS_BY_DAY = Chart(
    "clicks_by_day", "Clicks by day", "bars", "email_links", ("sum_clicks",), ("message_kind",)
)
_LINKS = Chart("links", "Links", "table", "email_links", ("sum_clicks",), ("link",))
_UTM = Chart(
    "utm",
    "UTM parameters",
    "table",
    "email_links",
    ("sum_clicks",),
    ("utm_source", "utm_medium", "utm_campaign", "utm_content"),
)

_LOAD_FIGURES = (
    Chart("figure_loads", "Loads", "figure", "load_health", ("loads",)),
    Chart("figure_failed", "Failed loads", "figure", "load_health", ("failed_loads",)),
    Chart("figure_rows", "Rows loaded", "figure", "load_health", ("sum_rows_loaded",)),
    Chart(
        "figure_rejects",
        "Reject ratio",
        "figure",
        "load_health",
        ("rejects_per_record",),
        note="of records not ignored",
    ),
)
_ROWS_BY_DAY = Chart(
    "rows_by_day",
    "What became of the records",
    "bars",
    "load_health",
    ("sum_rows_loaded", "sum_duplicates", "sum_rejects"),
)
_REASONS = Chart(
    "reasons",
    "Rejects by reason",
    "table",
    "rejects_by_reason",
    ("sum_rejects", "sum_waiting"),
    ("reason",),
)
_LOADS = Chart(
    "loads",
    "Load by load",
    "rows",
    "load_health",
    where=IS_LOAD,
    columns=(
        *("started_at", "load_id", "status", "seconds", "records_read", "rows_loaded"),
        *("duplicates", "rejects", "schema_changes", "last_timestamp", "loader_version"),
    ),
)

TABS = (
    Tab(
        "performance",
        "Performance",
        (
            Row(18, tuple((one, 3) for one in _FIGURES[:4])),
            Row(18, tuple((one, 3) for one in _FIGURES[4:])),
            Row(46, ((_RATES_BY_DAY, 6), (_DELIVERED_BY_DAY, 6))),
            Row(64, ((_MESSAGES, 12),)),
        ),
    ),
    Tab(
        "funnel",
        "Funnel",
        (
            Row(50, ((_FUNNEL, 4), (_STEPS, 8))),
            Row(46, ((_PRESSURE, 6), (_PEOPLE, 6))),
        ),
    ),
    Tab(
        "deliverability",
        "Deliverability",
        (
            Row(46, ((_TROUBLE_BY_DAY, 6), (_BOUNCES_BY_DAY, 6))),
            Row(56, ((_DOMAINS, 6), (_PROVIDERS, 6))),
            Row(40, ((_CODES, 12),)),
        ),
    ),
    Tab(
        "links",
        "Links",
        (
            Row(40, ((_CLICKS_BY_DAY, 12),)),
            Row(56, ((_LINKS, 6), (_UTM, 6))),
        ),
    ),
    Tab(
        "loads",
        "Loads",
        (
            Row(18, tuple((one, 3) for one in _LOAD_FIGURES)),
            Row(46, ((_ROWS_BY_DAY, 6), (_REASONS, 6))),
            Row(56, ((_LOADS, 12),)),
        ),
    ),
)
CHARTS = tuple(chart for tab in TABS for row in tab.rows for chart, _ in row.charts)
