"""How often and how long one request is tried again at the same account."""

import pytest

from relay.patience import Patience


def pauses(patience: Patience, stated_s: float = 0.0) -> list[float]:
    """The pauses of a request that fails every time."""
    found: list[float] = []
    while (pause_s := patience.pause_s(stated_s)) is not None:
        patience.use(pause_s)
        found.append(pause_s)
    return found


def test_pauses_double_and_are_spread():
    for number in range(3):
        drawn = {pauses(Patience(3, 1.0, 60.0))[number] for _ in range(50)}
        assert len(drawn) > 40
        assert 0.5 * 2**number <= min(drawn) <= max(drawn) <= 1.5 * 2**number


@pytest.mark.parametrize("most", [0, 1, 5])
def test_patience_is_bounded_in_count(most: int):
    assert len(pauses(Patience(most, 0.01, 60.0))) == most


@pytest.mark.parametrize("left_s", [0.0, 0.4, 3.0])
def test_patience_is_bounded_in_time(left_s: float):
    for _ in range(50):
        assert sum(pauses(Patience(20, 0.5, left_s))) <= left_s


def test_what_the_upstream_states_is_waited_for_if_there_is_patience():
    for _ in range(50):
        first, *_ = pauses(Patience(3, 0.5, 5.0), stated_s=2.0)
        assert 2.0 <= first <= 2.1
    assert pauses(Patience(3, 0.5, 5.0), stated_s=6.0) == []
