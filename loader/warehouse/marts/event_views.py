"""The views over events, as data, and the functions that they select from.

A function looks up its tables when it is called, so the views stand in nobody's way who changes or
swaps a table of events (see `definition.py`). It is made anew where a table is new, wider or gone.
"""

from collections.abc import Mapping

from loader.normalize.collections import TRACKS, Type
from loader.warehouse.marts.definition import key_sql
from loader.warehouse.marts.messages import COLUMNS
from loader.warehouse.marts.texts import Tables, address_of, flag_of, in_schema, text_of
from loader.warehouse.marts.view import View, ViewColumn

_CLICKS = "email_link_clicked"
# The tables of events that are read here.
READ = (TRACKS, _CLICKS)

_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")

EMAIL_LINKS = View(
    "email_links",
    "One row per UTC day, message, link and utm parameters of the link, with its clicks that are "
    "not known to be by a machine; plot by day.",
    (
        ViewColumn("day", "date", "UTC day of the click; plot by this."),
        ViewColumn(
            "message_kind", "text", "campaign, newsletter, broadcast, transactional or unknown."
        ),
        ViewColumn(
            "message_source_id",
            "text",
            "Id of that campaign, newsletter, broadcast or transactional message.",
        ),
        ViewColumn(
            "link",
            "text",
            "Address of the link without what follows ? or #, as it was sent, whatever its scheme; "
            "null if unknown.",
        ),
        *(
            ViewColumn(name, "text", f"Value of {name} in the address; null if it has none.")
            for name in _UTM
        ),
        ViewColumn("clicks", "bigint", "Clicks that are not known to be by a machine."),
        ViewColumn(
            "messages",
            "bigint",
            "Different messages that were clicked. Do not add them up over links or days: one "
            "message may count in several rows.",
        ),
    ),
    "{schema}._email_links()",
)

IDENTITIES = View(
    "identities",
    "One row per e-mail address and user_id that events have together; plot by last_seen_at.",
    (
        ViewColumn("last_seen_at", "timestamptz", "Last event of both."),
        ViewColumn("first_seen_at", "timestamptz", "First event of both."),
        ViewColumn("email", "text", "E-mail address, in lower case."),
        ViewColumn(
            "user_id", "text", "The person's id in Customer.io; null: events without an id."
        ),
        ViewColumn("events", "bigint", "Events of both."),
        ViewColumn("user_ids_of_email", "bigint", "Different user_ids of the address."),
        ViewColumn(
            "is_current",
            "boolean",
            "True on one row of each address: its latest user_id, or none if it never had one.",
        ),
    ),
    "{schema}._identities()",
)


def function_sql(schema: str, view: View, tables: Tables) -> str:
    """Make the function that a view selects from, or make it anew; rights on it stay."""
    types = ", ".join(f"{column.name} {column.type}" for column in view.columns)
    return (
        f"CREATE OR REPLACE FUNCTION {in_schema(schema, '_' + view.name)}()\n"
        f"RETURNS TABLE ({types})\nLANGUAGE sql STABLE PARALLEL SAFE AS $rows$\n"
        f"{_ROWS[view.name](schema, tables)}\n$rows$"
    )


def _from(schema: str, table: str, tables: Tables) -> tuple[Mapping[str, Type], str]:
    """The columns of a table, and what stands behind FROM; no row where the table is gone."""
    if table in tables:
        return tables[table], f"{in_schema(schema, table)} AS e WHERE true"
    return {}, '(SELECT NULL::text AS id, NULL::timestamptz AS "timestamp") AS e WHERE false'


_DERIVED = {column.name: column.sql for column in COLUMNS if column.combine == "derived"}
_SOURCE_IDS = ("campaign_id", "newsletter_id", "broadcast_id", "transactional_message_id")


def _links_sql(schema: str, tables: Tables) -> str:
    """Clicks of each message, counted, and then the messages."""
    columns, rows = _from(schema, _CLICKS, tables)
    ids = ", ".join(f"{text_of(columns, name)} AS {name}" for name in _SOURCE_IDS)
    address = f"coalesce({text_of(columns, 'href')}, {text_of(columns, 'link_url')})"
    values = ", ".join(
        f"nullif(substring(query from '&{name}=([^&]*)'), '') AS {name}" for name in _UTM
    )
    # The function is called for few values: most have nothing to be decoded.
    decoded = ", ".join(
        rf"CASE WHEN {name} ~ '[\u0025+]' THEN {in_schema(schema, '_url_text')}({name}) "
        f"ELSE {name} END AS {name}"
        for name in _UTM
    )
    shown = f"day, message_kind, message_source_id, link, {', '.join(_UTM)}"
    return f"""\
SELECT {shown}, sum(clicks)::bigint AS clicks, count(*) AS messages
FROM (
SELECT {shown}, message_key, count(*) AS clicks
FROM (
SELECT day, message_key, message_kind, message_source_id, link, {decoded}
FROM (
SELECT day, message_key, message_kind, message_source_id, link, {values}
FROM (
SELECT (happened_at AT TIME ZONE 'UTC')::date AS day, message_key,
    {_DERIVED["message_kind"]} AS message_kind,
    {_DERIVED["message_source_id"]} AS message_source_id,
    nullif(split_part(address, '?', 1), '') AS link,
    CASE WHEN position('?' in address) > 0
        THEN '&' || substr(address, position('?' in address) + 1) END AS query
FROM (
SELECT e."timestamp" AS happened_at, {key_sql(columns, "e")} AS message_key, {ids},
    split_part({address}, '#', 1) AS address
FROM {rows} AND NOT ({flag_of(columns, "machine")})
) AS click
) AS parted
) AS asked
) AS told
GROUP BY {shown}, message_key
) AS message
GROUP BY {shown}"""


def _identities_sql(schema: str, tables: Tables) -> str:
    columns, rows = _from(schema, TRACKS, tables)
    user = f'{text_of(columns, "user_id")} COLLATE "C"'
    return f"""\
SELECT last_seen_at, first_seen_at, email, user_id, events,
    count(user_id) OVER (PARTITION BY email) AS user_ids_of_email,
    row_number() OVER (PARTITION BY email
        ORDER BY user_id IS NULL, last_seen_at DESC, user_id) = 1 AS is_current
FROM (
SELECT max(happened_at) AS last_seen_at, min(happened_at) AS first_seen_at, email, user_id,
    count(*) AS events
FROM (
SELECT e."timestamp" AS happened_at, {address_of(columns)} COLLATE "C" AS email, {user} AS user_id
FROM {rows}
) AS event
WHERE email IS NOT NULL
GROUP BY email, user_id
) AS pair"""


_ROWS = {EMAIL_LINKS.name: _links_sql, IDENTITIES.name: _identities_sql}

# A percent sign is written as an escape, because drivers take it for a parameter.
_P, _T = r"\u0025", r"\u0025[89ab][0-9a-f]"
# Bytes that are escaped in an address, of which whole characters but NUL can be made.
_DECODABLE = (
    rf"^(?:[^{_P}]|{_P}0[1-9a-f]|{_P}[1-7][0-9a-f]|{_P}(?:c[2-9a-f]|d[0-9a-f]){_T}"
    rf"|{_P}e0{_P}[ab][0-9a-f]{_T}|{_P}e[1-9abcef](?:{_T}){{2}}|{_P}ed{_P}[89][0-9a-f]{_T}"
    rf"|{_P}f0{_P}[9ab][0-9a-f](?:{_T}){{2}}|{_P}f[123](?:{_T}){{3}}"
    rf"|{_P}f4{_P}8[0-9a-f](?:{_T}){{2}})*$"
)


def url_text_sql(schema: str) -> list[str]:
    """Make the function that decodes a value of an address; what it cannot decode stays as is."""
    function = in_schema(schema, "_url_text")
    return [
        f"""\
CREATE OR REPLACE FUNCTION {function}(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $text$
SELECT CASE WHEN value ~* '{_DECODABLE}' THEN (
    SELECT convert_from(string_agg(CASE WHEN starts_with(part[1], chr(37))
        THEN decode(replace(part[1], chr(37), ''), 'hex')
        ELSE convert_to(replace(part[1], '+', ' '), 'UTF8') END, ''::bytea ORDER BY n), 'UTF8')
    FROM regexp_matches(value, '(?:{_P}[0-9a-f]{{2}})+|[^{_P}]+', 'gi')
        WITH ORDINALITY AS found(part, n)
) ELSE value END
$text$""",
        f"COMMENT ON FUNCTION {function}(text) IS "
        "'A value of an address, decoded; as it is where that gives no text.'",
    ]
