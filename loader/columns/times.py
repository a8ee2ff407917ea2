"""Times as PostgreSQL counts them: in microseconds since 2000."""

from datetime import UTC, datetime, timedelta
from struct import Struct

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_LONG = Struct(">q")


def time_text(microseconds: int) -> str:
    """The text of a time, in ISO 8601."""
    return (EPOCH + int(microseconds) * MICROSECOND).isoformat()


def microseconds_of(text: str) -> int:
    """A time in ISO 8601, with its zone, in microseconds since 2000."""
    return (datetime.fromisoformat(text) - EPOCH) // MICROSECOND


def read_time(value: bytes) -> str:
    """The text of a time's value in the binary format of COPY, in ISO 8601."""
    return time_text(_LONG.unpack(value)[0])
