"""All views of a schema but that of `definition.py`: make them, take them away, make them anew.

Revision 0009 makes them by the functions below, and has a digest of what these say, so that it
cannot change unseen. A later revision that changes what they say takes the views away and makes
them anew, and takes that step out of 0009. So does one that changes a table which a view reads:
with `remade` around it, for then the rights on the views stay as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from loader.normalize.collections import declared_tables
from loader.warehouse.engine import driver_cursor
from loader.warehouse.marts import event_views, ledger_views, message_views
from loader.warehouse.marts.texts import Tables, digest_of, in_schema, literal
from loader.warehouse.marts.view import View, create_view_sql

# Their order is that in which they are made.
OVER_EVENTS = (event_views.EMAIL_LINKS, event_views.IDENTITIES)
VIEWS: tuple[View, ...] = (
    message_views.CAMPAIGN_PERFORMANCE,
    message_views.EMAIL_FUNNEL,
    event_views.EMAIL_LINKS,
    message_views.DELIVERABILITY,
    message_views.PEOPLE_ENGAGEMENT,
    message_views.MARKETING_PRESSURE,
    event_views.IDENTITIES,
    message_views.MESSAGES,
    ledger_views.LOAD_HEALTH,
    ledger_views.SCHEMA_CHANGES,
    ledger_views.REJECTS_BY_REASON,
)

# All functions that we make in a schema, with the types of their arguments: whoever may read the
# views has to be allowed to call them. The last one is for people, and revision 0010 has it.
FUNCTIONS = (
    "_email_messages_now()",
    "_email_links()",
    "_identities()",
    "_url_text(text)",
    "attribution(regclass, regclass, text, integer)",
)


def create_functions_sql(schema: str, tables: Tables) -> list[str]:
    """Make the functions that views over events select from."""
    made = event_views.url_text_sql(schema)
    for view in OVER_EVENTS:
        made.append(event_views.function_sql(schema, view, tables))
        function = in_schema(schema, f"_{view.name}")
        made.append(f"COMMENT ON FUNCTION {function}() IS {literal(f'The rows of {view.name}.')}")
    return made


def create_views_sql(schema: str) -> list[str]:
    """Make the views."""
    return [statement for view in VIEWS for statement in create_view_sql(schema, view)]


def drop_views_sql(schema: str) -> list[str]:
    """Take the views away; PostgreSQL refuses it where something else uses them."""
    return [f"DROP VIEW IF EXISTS {in_schema(schema, view.name)}" for view in reversed(VIEWS)]


def drop_functions_sql(schema: str) -> list[str]:
    """Take the functions away."""
    functions = [f"{in_schema(schema, f'_{view.name}')}()" for view in reversed(OVER_EVENTS)]
    functions.append(f"{in_schema(schema, '_url_text')}(text)")
    return [f"DROP FUNCTION IF EXISTS {function}" for function in functions]


def digest_of_all() -> str:
    """A digest of all that is said here of the views."""
    said = [*create_functions_sql("s", declared_tables()), *create_views_sql("s")]
    return digest_of("\n".join(said))


@contextmanager
def remade(connection: Connection, schema: str) -> Iterator[None]:
    """Take the views away, and make them anew at the end, with the rights that roles had."""
    names = {"schema": schema, "views": [view.name for view in VIEWS]}
    grants = list(connection.scalars(_SELECT_GRANTS, names))
    with driver_cursor(connection) as cursor:
        cursor.execute("; ".join(drop_views_sql(schema)))
    yield
    with driver_cursor(connection) as cursor:
        cursor.execute("; ".join((*create_views_sql(schema), *grants)))


_SELECT_GRANTS = text(
    """
    -- Statements that give roles again what they may do with some views.
    SELECT format(
        'GRANT %s ON %I.%I TO %s%s', a.privilege_type, n.nspname, c.relname,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    WHERE n.nspname = :schema AND c.relname = ANY(:views) AND a.grantee <> c.relowner
    """
)
