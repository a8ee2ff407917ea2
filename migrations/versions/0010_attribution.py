"""`attribution`: a function that credits conversions to the messages that were clicked before them.

Makes the function, and two indexes on `email_messages` that find the clicks of a person. They are
partial: they have the messages that were clicked, some percent of all. They are hashes, because an
id or an address may be longer than the key of a B-tree. Each reads its table once; nobody who reads
waits for that, only who writes, which is a load, and that waits for a migration anyway.

Only adds: a loader of `oldest_loader` or newer can work with this schema too, even if it does not
know this revision.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
oldest_loader = "0.2.0"

# Whose clicks are looked for: by the id, and by the address.
PERSONS = ("user_id", "email")

COMMENT = (
    "Conversions with the clicked messages that are credited for them; conversions without such a "
    "message have one row with credit 0. sum(credit) and sum(amount) count each conversion once."
)

# `@` is the schema. Tables come as `regclass`: the text of one is quoted by PostgreSQL, and has its
# schema, as the search path of the function has none. No other part of the query is the caller's.
#
# Who a person is: a user id and an address. For a conversion without a user id, `identifies` says
# who used that browser then (the last one before the conversion), or else who it was later. A
# message is the person's if it has their user id, or has none and has their address; only where no
# such message was clicked, those of other user ids to that address count.
FUNCTION = r"""
CREATE FUNCTION @.attribution(
    conversions regclass,
    identifies regclass DEFAULT NULL,
    model text DEFAULT 'last_click',
    days integer DEFAULT 7
) RETURNS TABLE (
    converted_at timestamptz,
    conversion_id text,
    user_id text,
    amount numeric,
    message_key text,
    message_kind text,
    message_source_id text,
    clicked_at timestamptz,
    credit numeric
)
LANGUAGE plpgsql STABLE ROWS 10000
SET search_path = pg_catalog, pg_temp
AS $attribution$
DECLARE
    relations regclass[] := ARRAY[conversions, identifies];
    needed text[];
    types jsonb;
    name text;
    shown text;
    selects text[] := '{}';
BEGIN
    IF conversions IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'conversions must be a table or view';
    ELSIF model IS NULL OR model NOT IN ('last_click', 'first_click', 'linear') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'model must be last_click, first_click or linear, not '
                || quote_nullable(model);
    ELSIF days IS NULL OR days NOT BETWEEN 1 AND 3650 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'days must be from 1 to 3650, not ' || quote_nullable(days);
    END IF;

    FOR number IN 1..2 LOOP
        SELECT coalesce(jsonb_object_agg(attname, format_type(atttypid, NULL)), '{}') INTO types
        FROM pg_attribute
        WHERE attrelid = relations[number] AND attnum > 0 AND NOT attisdropped;
        needed := CASE number
            WHEN 1 THEN ARRAY['id', 'timestamp'] ELSE ARRAY['anonymous_id', 'user_id', 'timestamp']
        END;
        IF relations[number] IS NULL THEN
            types := '{"timestamp": "date"}';
        ELSIF NOT types ?& needed THEN
            RAISE EXCEPTION USING ERRCODE = 'undefined_column',
                MESSAGE = relations[number]::text || ' has no column '
                    || (SELECT string_agg(quote_ident(one), ', ') FROM unnest(needed) AS one
                        WHERE NOT types ? one),
                HINT = 'Give a view in which it has that name.';
        ELSIF number = 1 AND NOT types ?| ARRAY['user_id', 'anonymous_id', 'email'] THEN
            RAISE EXCEPTION USING ERRCODE = 'undefined_column',
                MESSAGE = conversions::text
                    || ' has none of the columns user_id, anonymous_id, email',
                HINT = 'Give a view in which one of them says who it was.';
        END IF;
        IF types ->> 'timestamp' NOT IN
            ('timestamp with time zone', 'timestamp without time zone', 'date')
        THEN
            RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch',
                MESSAGE = 'the column timestamp of ' || relations[number]::text
                    || ' is no time but ' || (types ->> 'timestamp');
        END IF;
        shown := '';
        FOREACH name IN ARRAY ARRAY['id', 'user_id', 'anonymous_id', 'email'] LOOP
            shown := shown || CASE
                WHEN NOT types ? name THEN 'NULL'
                WHEN name = 'email' THEN 'nullif(lower(btrim(r.email::text)), '''')'
                ELSE 'nullif(r.' || name || '::text, '''')'
            END || '::text COLLATE "C" AS ' || name || ', ';
        END LOOP;
        name := (
            SELECT one FROM unnest(ARRAY['amount', 'revenue', 'total', 'value'])
                WITH ORDINALITY AS known (one, place)
            WHERE types ? one ORDER BY place LIMIT 1
        );
        shown := shown || CASE WHEN number = 1 THEN coalesce('r.' || name, 'NULL') ELSE 'NULL' END
            || '::numeric AS amount, ' || CASE types ->> 'timestamp'
                WHEN 'timestamp with time zone' THEN 'r."timestamp"'
                ELSE 'r."timestamp"::timestamp AT TIME ZONE ''UTC'''
            END || ' AS happened_at FROM ';
        selects[number] := shown
            || coalesce(relations[number]::text, '(SELECT NULL::date AS "timestamp" WHERE false)')
            || ' AS r';
    END LOOP;

    RETURN QUERY EXECUTE
        'WITH conversion AS MATERIALIZED (SELECT row_number() OVER () AS n, ' || selects[1] || '),
        identify AS NOT MATERIALIZED (SELECT ' || selects[2] || $query$),
        said AS (
            SELECT c.n, i.user_id, i.email, i.happened_at,
                coalesce(i.happened_at <= c.happened_at, false) AS is_before
            FROM conversion AS c JOIN identify AS i ON i.anonymous_id = c.anonymous_id
            WHERE c.user_id IS NULL
            UNION ALL
            SELECT c.n, c.user_id, i.email, i.happened_at,
                coalesce(i.happened_at <= c.happened_at, false)
            FROM conversion AS c JOIN identify AS i ON i.user_id = c.user_id
            WHERE c.email IS NULL AND i.email IS NOT NULL
        ),
        identified AS (
            SELECT DISTINCT ON (n) n, user_id FROM said WHERE user_id IS NOT NULL
            ORDER BY n, is_before DESC, CASE WHEN is_before THEN happened_at END DESC,
                happened_at, user_id
        ),
        addressed AS (
            SELECT DISTINCT ON (n) n, email FROM said LEFT JOIN identified USING (n)
            WHERE email IS NOT NULL
                AND (said.user_id IS NULL OR said.user_id = identified.user_id)
            ORDER BY n, is_before DESC, CASE WHEN is_before THEN happened_at END DESC,
                happened_at, email
        ),
        person AS MATERIALIZED (
            SELECT c.n, c.id, c.amount, c.happened_at, coalesce(c.user_id, i.user_id) AS user_id,
                coalesce(c.email, a.email) AS email
            FROM conversion AS c
            LEFT JOIN identified AS i USING (n)
            LEFT JOIN addressed AS a USING (n)
        ),
        click AS (
            SELECT p.n, 1 AS rank, m.message_key, m.message_kind, m.message_source_id,
                m.first_clicked_at AS clicked_at
            FROM person AS p JOIN @.email_messages AS m ON m.user_id = p.user_id
                AND m.first_clicked_at <= p.happened_at
                AND m.first_clicked_at > p.happened_at - $1
            UNION ALL
            SELECT p.n, CASE WHEN m.user_id IS NULL OR p.user_id IS NULL THEN 1 ELSE 2 END,
                m.message_key, m.message_kind, m.message_source_id, m.first_clicked_at
            FROM person AS p JOIN @.email_messages AS m ON m.email = p.email
                AND m.first_clicked_at <= p.happened_at
                AND m.first_clicked_at > p.happened_at - $1
            WHERE m.user_id IS NULL OR p.user_id IS NULL OR m.user_id <> p.user_id
        ),
        ranked AS (SELECT *, min(rank) OVER (PARTITION BY n) AS best FROM click),
        placed AS (
            SELECT *, count(*) OVER (PARTITION BY n) AS clicks,
                row_number() OVER (PARTITION BY n ORDER BY clicked_at, message_key) AS place
            FROM ranked WHERE rank = best
        ),
        credited AS (
            -- The last click has what rounding leaves, so that the sum is exactly 1.
            SELECT *, CASE
                WHEN $2 <> 'linear' THEN 1
                WHEN place < clicks THEN trunc(1.0 / clicks, 10)
                ELSE trim_scale(1 - (clicks - 1) * trunc(1.0 / clicks, 10))
            END AS credit
            FROM placed
            WHERE $2 = 'linear' OR place = CASE $2 WHEN 'last_click' THEN clicks ELSE 1 END
        )
        SELECT p.happened_at, p.id, p.user_id, p.amount * coalesce(c.credit, 1), c.message_key,
            c.message_kind, c.message_source_id, c.clicked_at, coalesce(c.credit, 0)
        FROM person AS p LEFT JOIN credited AS c USING (n)$query$
    USING make_interval(hours => 24 * days), model;
END
$attribution$
"""


def upgrade() -> None:
    for column in PERSONS:
        op.execute(
            "-- squawk-ignore require-concurrent-index-creation\n"
            f"CREATE INDEX email_messages_{column}_idx ON email_messages USING hash ({column}) "
            "WHERE first_clicked_at IS NOT NULL"
        )
    schema = '"' + context.config.attributes["schema"].replace('"', '""') + '"'
    comment = f"COMMENT ON FUNCTION @.attribution IS '{COMMENT}'"
    for statement in (FUNCTION.strip(), comment):
        op.execute(sa.text(statement.replace("@", schema).replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS attribution(regclass, regclass, text, integer)")
    for column in reversed(PERSONS):
        op.drop_index(f"email_messages_{column}_idx")
