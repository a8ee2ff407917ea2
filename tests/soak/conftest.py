"""What the long tests did and found is shown, whatever pytest captures."""

import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Show a sentence."""

    def say_it(what: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {what}\n")
            sys.stdout.flush()

    return say_it
