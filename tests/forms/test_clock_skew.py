"""When an event without a time of its own happened: Segment's rule for clocks that are off."""

from datetime import UTC, datetime

import numpy as np
import pytest

from loader.columns.times import microseconds_of, time_text
from loader.forms.events import Times
from loader.forms.times import when_it_happened

moment = datetime.fromisoformat


def times(text: str | None) -> Times:
    number = microseconds_of(text) if text else 0
    return Times(microseconds=np.array([number]), is_given=np.array([text is not None]))


def happened(received_at: str, sent_at: str | None, original_timestamp: str | None) -> datetime:
    given = {
        "timestamp": times(None),
        "received_at": times(received_at),
        "sent_at": times(sent_at),
        "original_timestamp": times(original_timestamp),
    }
    return moment(time_text(int(when_it_happened(given, 0)[0])))


RECEIVED = "2026-09-15T12:00:10.000Z"


@pytest.mark.parametrize(
    ("sent_at", "original_timestamp", "expected"),
    [
        pytest.param(None, None, RECEIVED, id="nothing: the arrival"),
        pytest.param("2026-09-15T12:00:05Z", None, RECEIVED, id="sent only: the arrival"),
        pytest.param(
            None, "2026-09-15T11:59:00Z", "2026-09-15T11:59:00Z", id="original only: as it is"
        ),
        pytest.param(
            "2026-09-15T13:00:05.000Z",
            "2026-09-15T13:00:01.500Z",
            "2026-09-15T12:00:06.500Z",
            id="both: corrected by the clock's skew",
        ),
        pytest.param(
            "2026-09-15T15:00:05+02:00",
            "2026-09-15T13:00:05Z",
            RECEIVED,
            id="both, in two zones",
        ),
        pytest.param(
            "0001-01-01T00:00:00Z",
            "9999-12-31T00:00:00Z",
            "9999-12-31T00:00:00Z",
            id="a correction beyond the calendar: original",
        ),
        pytest.param(
            "9999-12-31T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            id="a correction before the calendar: original",
        ),
    ],
)
def test_an_event_without_a_time_of_its_own_gets_one(
    sent_at: str | None, original_timestamp: str | None, expected: str
) -> None:
    assert moment(expected) == happened(RECEIVED, sent_at, original_timestamp)


def test_the_corrected_time_keeps_its_microseconds() -> None:
    actual = happened(
        "2026-09-15T12:00:10.000003Z", "2026-09-15T12:00:05.000002Z", "2026-09-15T12:00:05.000001Z"
    )
    assert datetime(2026, 9, 15, 12, 0, 10, 2, UTC) == actual
