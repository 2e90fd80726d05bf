"""What stands at a chart's axes."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.web import charts

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (5, 10), (11, 20), (21, 40), (41, 100), (2_600, 4_000)],
)
def test_the_top_of_a_chart_is_round_and_so_is_its_half(value: int, top: int):
    assert charts.rounded_up(value) == top


@pytest.mark.parametrize(
    ("hours", "texts"),
    [
        (1, ["00:00"]),
        (6, ["00:00", "01:00", "02:00", "03:00", "04:00", "05:00"]),
        (24, ["00:00", "06:00", "12:00", "18:00"]),
        (72, ["00:00", "12:00"] * 3),
    ],
)
def test_hours_are_named_by_the_parts_of_the_day(hours: int, texts: list[str]):
    moments = [MIDNIGHT + timedelta(hours=number) for number in range(hours)]

    assert [label.text for label in charts.named(moments, is_by_hour=True)] == texts


def test_days_are_named_evenly_apart_below_the_middle_of_their_bars():
    moments = [MIDNIGHT + timedelta(days=number) for number in range(10)]

    labels = charts.named(moments, is_by_hour=False)
    assert [label.text for label in labels] == ["11-23", "11-25", "11-27", "11-29", "12-01"]
    assert [label.at for label in labels] == [5, 25, 45, 65, 85]
