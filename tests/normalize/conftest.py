"""The same examples in every run: a property that breaks, breaks again."""

import pytest
from hypothesis import HealthCheck, settings

from loader import plain
from loader.sources import records

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")


@pytest.fixture
def few_lines_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size go the short way, and it may leave them only by saying so."""
    monkeypatch.setattr(records, "_ENOUGH_BYTES", 0)
    monkeypatch.setattr(records, "_ODD", 1)
    monkeypatch.setattr(plain, "_ODD", 1)
    monkeypatch.setattr(plain.Plain, "_tell", raise_it)


def raise_it(_: plain.Plain, error: Exception) -> None:
    raise error
