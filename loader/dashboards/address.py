"""The address by which a BI tool connects to the warehouse: nothing secret is in it."""

from loader.warehouse.opening import parse_url

# Superset's own exports have this in place of a password; its import asks for the password then.
PASSWORD = "X" * 10
# Options of a URL that say where the server is. Others may hold a password or name a file of it.
_OPTIONS = {"host", "port", "sslmode", "target_session_attrs"}


def address_of(url: str) -> str:
    """A warehouse's URL as a bundle may have it. Raises UsageError where it cannot be read."""
    parsed = parse_url(url)
    query = {name: value for name, value in parsed.query.items() if name in _OPTIONS}
    # A socket knows its user from the operating system.
    asks = parsed.password is not None or parsed.host is not None
    shown = parsed.set(
        drivername="postgresql",
        query=query,
        password=PASSWORD if asks and parsed.username is not None else None,
    )
    return shown.render_as_string(hide_password=False)
