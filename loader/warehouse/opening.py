"""How a connection is opened: its options, the search for a pooler, the settings of a session."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import unquote

import psycopg2
from psycopg2.extensions import connection as _Connection
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from loader.errors import TransientFault, UsageError

APPLICATION_NAME = "customerio-loader"

# Options of the client library, where the URL has none. A peer that vanished without a word is
# noticed within about a minute. No `options`: PgBouncer refuses connections that send them.
DEFAULTS = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": "15",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Before anything that is set otherwise, be it PGCLIENTENCODING, a service, or the role: the driver
# takes the encoding from the start of a session and does not notice that it changes later.
ALWAYS = {"client_encoding": "utf8"}


class Setting(NamedTuple):
    """A setting of the server that a session must not take from its role or database."""

    name: str
    value: str
    reason: str
    over: str = ""  # only in place of one of these values


# Every other setting is left as the owner of the server wants it. The tests load under hostile
# values of those that look harmful, and `check` names the limits of time.
SETTINGS = (
    Setting("TimeZone", "UTC", "times are shown and read in it"),
    Setting("DateStyle", "ISO", "the same"),
    Setting(
        "default_transaction_isolation", "read committed", "what another session commits shows"
    ),
    Setting("quote_all_identifiers", "off", "the server's names of types are read"),
    Setting("exit_on_error", "off", "a row that is there already is an error that is expected"),
    Setting("idle_session_timeout", "0", "while the input is slow, the session holds the lock"),
    Setting("synchronous_commit", "on", "a batch that is committed stays", over="off local"),
    # The server notices a vanished client as soon as the client a vanished server.
    Setting("tcp_keepalives_idle", "20", "a client that vanished must not keep the lock"),
    Setting("tcp_keepalives_interval", "10", "the same"),
    Setting("tcp_keepalives_count", "3", "the same"),
    Setting("tcp_user_timeout", "60000", "the same"),
)
# They protect a server from clients that take too long, so whoever set them decides.
LIMITS = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout")

# Settings that this version of the server does not have are passed over.
_SET_UP = """
SELECT set_config(name, value, false)
FROM unnest(%s::text[], %s::text[], %s::text[]) AS wanted(name, value, over)
WHERE current_setting(name, true) IS NOT NULL
  AND (over = '' OR current_setting(name, true) = ANY (string_to_array(over, ' ')));
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', ARRAY(
    SELECT ARRAY[name, current_setting(name)]
    FROM unnest(%s::text[]) AS limits(name)
    WHERE current_setting(name, true) <> '0'
)
"""


def parse_url(url: str) -> URL:
    """The URL for SQLAlchemy on psycopg2; `postgres://` is accepted. Raises UsageError."""
    scheme, separator, rest = url.partition("://")
    dialect = scheme.partition("+")[0]
    if not separator or dialect not in ("postgres", "postgresql"):
        raise UsageError(
            "the warehouse URL does not begin with postgresql://: "
            "write postgresql://USER@HOST:5432/DATABASE"
        )
    try:
        parsed = make_url(f"postgresql+psycopg2://{rest}")
        make_dsn(**dict.fromkeys(parsed.query, ""))  # are all of them options of libpq?
        if "\0" in unquote(rest):  # which the library has nowhere
            raise ValueError
    except (ArgumentError, NoSuchModuleError, ValueError, psycopg2.ProgrammingError):
        parsed = None
    # What passes for a host, a database or an option here may be a piece of a password.
    before, _, after = rest.partition("@")
    if (
        parsed is None
        or "@" in f"{after}{parsed.database}"
        or (parsed.username is not None and "?" in before)
    ):
        raise UsageError(
            "the warehouse URL cannot be read: write postgresql://USER@HOST:5432/DATABASE, behind "
            "? only options of libpq, and special characters in percent-encoding, as %40 for @, "
            "%2F for /, %3F for ?, %26 for &, %25 for %; or give the password in PGPASSWORD"
        )
    return parsed


def describe(url: URL) -> str:
    """Host and database of a URL, for people; never a password."""
    host = url.host or url.query.get("host") or "the local socket"
    return (
        f"{url.database or 'the default database'} on {host if isinstance(host, str) else host[0]}"
    )


class ServerConnection(_Connection):  # type: ignore[misc]
    """A connection of the driver's, and what was found when it was opened."""

    pooled = False  # a pooler stands before the server
    standby = False
    read_only = False  # a standby always is
    role = ""  # the library forgets it when the connection is lost
    limits: Mapping[str, str] = MappingProxyType({})  # those of `LIMITS` that are set

    @property
    def access(self) -> str:
        """Whether it can be written to, for people."""
        if self.standby:
            return "is a hot standby, which can only be read"
        if self.read_only:
            return "can only be read: default_transaction_read_only is on"
        return "can be written to"


def open_connection(place: str, options: dict[str, Any]) -> ServerConnection:
    """Connect with options of the client library; `place` is the server, for people.

    Raises UsageError if a pooler gives no session of our own.
    """
    opened: ServerConnection = psycopg2.connect(
        **options | ALWAYS, connection_factory=ServerConnection
    )
    try:
        opened.autocommit = True  # in one transaction, PgBouncer would keep to one backend
        opened.pooled = _backend(opened) != opened.info.backend_pid
        if opened.pooled:
            _refuse_shared_backends(opened, place, options)
        _set_up(opened)
        opened.autocommit = False
    except BaseException:
        opened.close()
        raise
    return opened


def _backend(connection: Any) -> int:
    """The server's process that carries out a statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((pid,),) = cursor.fetchall()
    return int(pid)


# A pooler tells its clients invented process ids, which is how it is noticed at no cost. In session
# mode each client has a backend of its own nevertheless.
_ROUNDS = 3


def _refuse_shared_backends(opened: ServerConnection, place: str, options: dict[str, Any]) -> None:
    """Raise if a second client meets the backend of the first, or one of them meets several.

    Nothing was set and no lock was taken yet that others could meet. A pool without other clients
    gives the backend used last, one with `server_round_robin` the others first: so the second
    client asks twice as often.
    """
    first, second = set(), set()
    try:
        other = psycopg2.connect(**options | ALWAYS)
        try:
            other.autocommit = True
            for _ in range(_ROUNDS):
                first.add(_backend(opened))
                second |= {_backend(other), _backend(other)}
        finally:
            other.close()
    except psycopg2.Error as error:
        raise TransientFault(
            f"the pooler before {place} gave no second connection: a load needs up to three at "
            "a time, so its pool_size must be larger; or connect to the server itself"
        ) from error
    if len(first) > 1 or len(second) > 1 or first == second:
        raise UsageError(
            f"{place} is behind a pooler that gives every transaction another session "
            "(PgBouncer in transaction mode?), in which the lock of a load does not hold: "
            "connect to the server itself (mostly port 5432), or to a pool in session mode"
        )


def _set_up(opened: ServerConnection) -> None:
    columns = [[s.name for s in SETTINGS], [s.value for s in SETTINGS], [s.over for s in SETTINGS]]
    with opened.cursor() as cursor:
        cursor.execute(_SET_UP, (*columns, list(LIMITS)))
        ((opened.standby, opened.read_only, limits),) = cursor.fetchall()
    opened.role, opened.limits = opened.info.user, dict(limits)
