"""200 random kills, 50 deaths of the server, 40 standbys promoted, 8 loads at once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.faults import (
    Start,
    all_at_once,
    check_settled,
    copy_of,
    kill_at_random,
    mixed,
    own_server,
    server_deaths,
)
from acceptance.harness import Server
from acceptance.standbys import crashes, failovers

pytestmark = pytest.mark.soak
Say = Callable[[str], None]


def test_two_hundred_kills_at_random_moments_cost_no_record(
    server: Server,
    template: str,
    start: Start,
    tmp_path: Path,
    say: Say,
) -> None:
    report = kill_at_random(server, template, start, tmp_path, seed=200, kills=200)
    say(f"kills: {report}")
    assert report.faults == 200


def test_fifty_deaths_of_the_server_cost_no_record(start: Start, tmp_path: Path, say: Say) -> None:
    with own_server() as mortal:
        report = server_deaths(mortal, start, tmp_path, seed=50, deaths=50)
    say(f"server deaths: {report}")
    assert report.faults == 50


def test_forty_standbys_that_take_over_cost_no_record(
    start: Start, tmp_path: Path, say: Say
) -> None:
    report = failovers(start, tmp_path, seed=40, count=40)
    say(f"failovers: {report}")
    assert report.faults == 40


def test_thirty_crashes_of_a_server_that_answers_before_it_writes_cost_no_record(
    start: Start, tmp_path: Path, say: Say
) -> None:
    report = crashes(start, tmp_path, seed=30, count=30)
    say(f"crashes: {report}")
    assert report.faults == 30


def test_eight_loads_at_once_twenty_times_load_each_record_once(
    server: Server,
    template: str,
    start: Start,
    tmp_path: Path,
    say: Say,
) -> None:
    given = mixed(3_000)
    path = given.write(tmp_path / "given.ndjson")
    codes: Counter[int] = Counter()
    for number in range(20):
        with copy_of(server, template) as db:
            codes.update(all_at_once(start, db, path, 8, *["--wait"] * (number % 2)))
            check_settled(db, given)
    say(f"eight at once, 20 times: exit codes {dict(codes)}")
    assert set(codes) == {0, 75}
