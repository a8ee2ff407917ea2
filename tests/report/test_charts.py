"""Charts, as geometry."""

import itertools
from datetime import date, timedelta

import pytest

from loader.report.charts import draw_days, percent_label, rate_marks
from loader.report.numbers import Day, Figures, add_up


def days(*delivered_and_clicked: tuple[int, int]) -> list[Day]:
    nothing = add_up(()).counts
    return [
        Day(
            day=date(2026, 3, 1) + timedelta(days=number),
            figures=Figures({**nothing, "delivered": delivered, "clicked": clicked}),
        )
        for number, (delivered, clicked) in enumerate(delivered_and_clicked)
    ]


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0.0, ["0%", "0.1%"]),
        (0.0042, ["0%", "0.1%", "0.2%", "0.3%", "0.4%", "0.5%"]),
        (0.21, ["0%", "5%", "10%", "15%", "20%", "25%"]),
        (1.0, ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (7.0, ["0%", "140%", "280%", "420%", "560%", "700%"]),
    ],
)
def test_lines_across_are_round_and_few(highest: float, labels: list[str]) -> None:
    assert [percent_label(mark) for mark in rate_marks(highest)] == labels


def test_a_day_without_messages_is_a_gap() -> None:
    chart = draw_days(
        days((10, 5), (0, 0), (10, 5), (10, 0)), ["click_rate"], count="delivered", width=344
    )
    [line] = chart.lines
    assert len(line.dots) == 1
    assert line.path.count("M") == 1
    assert line.path.count("L") == 1
    assert len(chart.bars) == 3
    assert chart.most.label == "10"


@pytest.mark.parametrize("number", [1, 2, 30, 366])
@pytest.mark.parametrize("width", [344, 960])
def test_labels_of_days_have_room_and_the_last_one_is_there(number: int, width: int) -> None:
    chart = draw_days(days(*[(1, 1)] * number), ["click_rate"], count="delivered", width=width)
    last = date(2026, 3, 1) + timedelta(days=number - 1)
    assert chart.dates[-1].label == f"{last.day} {last:%b}"
    places = [mark.at for mark in chart.dates]
    assert all(b - a > 70 for a, b in itertools.pairwise(places))
    assert all(chart.left <= bar.x and bar.x + bar.width <= chart.right for bar in chart.bars)


def test_nothing_can_be_drawn() -> None:
    for some in ([], days((0, 0))):
        chart = draw_days(some, ["click_rate", "open_rate"], count="delivered", width=960)
        assert chart.bars == ()
        assert [line.path for line in chart.lines] == ["", ""]
