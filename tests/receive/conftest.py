"""Receivers that end with their test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from receive.receiving import Running, Start, config, start_receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Start]:
    """Start receivers in the folder of the test."""
    started: list[Running] = []

    def start_it(
        *arguments: str, settings: str | None = None, wait: bool = True, **options: object
    ) -> Running:
        if settings is not None or not (tmp_path / "loader.toml").exists():
            (tmp_path / "loader.toml").write_text(settings or config())
        ports = () if "--fd" in arguments or "--port" in arguments else ("--port", "0")
        running = start_receiver(tmp_path, *arguments, *ports, "--metrics-port", "0", **options)
        started.append(running)
        return running.wait_until_it_listens() if wait else running

    yield start_it
    for running in started:
        running.process.kill()
        running.process.wait()


@pytest.fixture
def running(receiver: Start) -> Running:
    """A receiver."""
    return receiver()
