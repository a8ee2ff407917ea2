"""What a fault of the server means: the driver's errors in our words, with what to do."""

from collections.abc import Iterable

from psycopg2 import errorcodes
from sqlalchemy import URL

from loader.errors import (
    LoaderError,
    MissingRight,
    SchemaDrift,
    TransientFault,
    WarehouseFailed,
    WarehouseUnavailable,
)
from loader.warehouse.opening import ServerConnection, describe

# What to do where nothing can be written: a standby, or a server set so.
READ_ONLY = (
    "name the primary in the URL (of several hosts, libpq finds it with "
    "target_session_attrs=read-write), or turn default_transaction_read_only off"
)
# Faults that pass by themselves, by SQLSTATE, and what to say when they did not.
_TRANSIENT = {
    errorcodes.SERIALIZATION_FAILURE: "it lost a race with another transaction",
    errorcodes.DEADLOCK_DETECTED: "it met a deadlock",
    errorcodes.LOCK_NOT_AVAILABLE: "someone holds a lock on a table: see pg_locks",
    errorcodes.TOO_MANY_CONNECTIONS: "raise max_connections, or end idle sessions",
    errorcodes.ADMIN_SHUTDOWN: "the session was ended, or the server is shutting down",
    errorcodes.CRASH_SHUTDOWN: "the server crashed",
    errorcodes.CANNOT_CONNECT_NOW: "the server is starting up",
    errorcodes.READ_ONLY_SQL_TRANSACTION: READ_ONLY,  # a standby may be about to be promoted
}
_ROOM = {
    errorcodes.DISK_FULL: "free disk space on the server",
    errorcodes.OUT_OF_MEMORY: "the server is out of memory, or of locks: raise "
    "max_locks_per_transaction",
}
# What the client library says, without a SQLSTATE, when trying again would not help.
_REFUSED = (
    *("authentication", "password", "does not exist", "pg_hba", "certificate", "role "),
    *("does not support SSL", "SSL error", "SSL is required"),
    *("unsupported startup parameter", "no such database", "no such user"),  # PgBouncer
)


def explain(error: BaseException | None, url: URL) -> LoaderError:
    """The loader's error for one of psycopg2's. Its text never holds a row or a password."""
    code = getattr(error, "pgcode", None)
    diag = getattr(error, "diag", None)
    message = (getattr(diag, "message_primary", None) or str(error)).strip().splitlines()
    said = _secretless(message[0] if message else "no reason given", url)
    where = describe(url)
    if code is not None and code.startswith("22"):
        said = said.partition(":")[0]  # what follows may be a value of a person
    if code is None:
        if "too many" not in said and any(word in said for word in _REFUSED):
            return WarehouseUnavailable(f"{where} refused the connection: {said}; {_hint(said)}")
        if limits := _limits(error, _SESSION_LIMITS):
            return TransientFault(f"the session in {where} ended: {said}; {limits}")
        return TransientFault(f"cannot reach {where}: {said}; {_hint(said)}")
    if code == errorcodes.QUERY_CANCELED and "user request" not in said:
        advice = _limits(error, ("statement_timeout",)) or "something else ended it"
        return TransientFault(f"{where} ended a statement: {said}; {advice}")
    if code in _TRANSIENT or code.startswith("08"):
        advice = _TRANSIENT.get(code, "the connection was lost")
        return TransientFault(f"{where} interrupted the load: {said}; {advice}; then load again")
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return MissingRight(
            f"the role {url.username!r} lacks a right in {where}: {said}; "
            "`customerio-loader check` names the GRANT"
        )
    if code in (
        errorcodes.UNDEFINED_TABLE,
        errorcodes.UNDEFINED_COLUMN,
        errorcodes.DATATYPE_MISMATCH,
        errorcodes.INVALID_SCHEMA_NAME,
    ):
        return SchemaDrift(
            f"a table in {where} is not as the loader made it: {said}; "
            "`alembic check` shows the difference"
        )
    if code == errorcodes.DEPENDENT_OBJECTS_STILL_EXIST:
        which = "; ".join((getattr(diag, "message_detail", None) or "").splitlines())
        return WarehouseFailed(
            f"{where} refused: {said} ({which}): drop them, try again, and make them again"
        )
    if code == errorcodes.DUPLICATE_TABLE:
        return SchemaDrift(
            f"a view, an index or a sequence in {where} has the name of a table that an event "
            f"needs: {said}; rename it"
        )
    if code.startswith("53"):
        advice = _ROOM.get(code, "free some")
        return WarehouseFailed(f"{where} is out of room: {said}; {advice}; then load again")
    return WarehouseFailed(f"{where} refused: {said} (SQLSTATE {code})")


_SESSION_LIMITS = ("transaction_timeout", "idle_in_transaction_session_timeout")


def _limits(error: BaseException | None, names: Iterable[str]) -> str:
    """What to do about limits of time that may be the reason of an error; empty without any.

    Of a session that was ended, the driver does not pass on why.
    """
    connection = getattr(getattr(error, "cursor", None), "connection", None)
    if not isinstance(connection, ServerConnection):
        return ""
    found = [(name, connection.limits[name]) for name in names if name in connection.limits]
    if not found:
        return ""
    shown = " and ".join(f"{name} is {value}" for name, value in found)
    return (
        f"{shown} for this role, which may be why: "
        f"ALTER ROLE {connection.role} RESET {found[0][0]}, or SET it to more"
    )


def _hint(said: str) -> str:
    if "startup parameter" in said:
        return (
            "a pooler stands before the server: leave the parameter out of the URL and of the "
            "PG... variables, or name it in PgBouncer's ignore_startup_parameters"
        )
    if "password" in said or "authentication" in said:
        return "check the role and its password (URL, PGPASSWORD or ~/.pgpass)"
    if "does not exist" in said or "no such" in said:
        return "check the role and the database in the URL"
    if "SSL" in said or "certificate" in said:
        return "check sslmode and sslrootcert in the URL"
    return "check that the server runs and that host and port are right"


def _secretless(said: str, url: URL) -> str:
    for secret in (url.password, url.query.get("password"), url.query.get("sslpassword")):
        said = said.replace(str(secret), "***") if secret else said
    return said
