"""How full a budget is, as the headers of an answer and /api/oauth/usage show it."""

import pytest

from relay import limits

PREFIX = b"anthropic-ratelimit-unified-"


def headers(used: int, limit: int = 1_000_000) -> dict[str, str]:
    shown = limits.utilisation({"used": used, "limit": limit, "till": 1_796_083_200_999})
    return {name.removeprefix(PREFIX).decode(): value.decode() for name, value in shown}


@pytest.mark.parametrize(
    ("used", "shown", "mark"),
    [
        (0, "0.00", None),
        (9_999, "0.00", None),
        (749_999, "0.74", None),
        (750_000, "0.75", "0.75"),
        (949_999, "0.94", "0.75"),
        (950_000, "0.95", "0.95"),
        (999_999, "0.99", "0.95"),
        (1_000_000, "0.99", "0.95"),
        (5_000_000, "0.99", "0.95"),
    ],
)
def test_the_headers_show_two_decimals_below_one_and_the_mark_that_was_passed(
    used: int, shown: str, mark: str | None
):
    told = headers(used)
    assert told["overage-utilization"] == shown
    assert told.get("overage-surpassed-threshold") == mark
    status = "allowed_warning" if mark else "allowed"
    assert (told["status"], told["overage-status"]) == (status, status)
    assert told["representative-claim"] == "overage"
    assert told["reset"] == told["overage-reset"] == "1796083200"


def test_a_key_without_a_budget_gets_no_headers():
    assert limits.utilisation(None) == []


@pytest.mark.parametrize(
    ("used", "limit", "shown"),
    [
        (271_400_000, 500_000_000, 54), (0, 1, 0), (1, 1, 100), (3, 2, 150), (2, 3, 66),
        (10**15 - 1, 10**15, 99),
    ],
)  # fmt: skip
def test_percents_are_whole_and_go_on_beyond_a_hundred(used: int, limit: int, shown: int):
    found = limits.percent(used, limit)
    assert (found, type(found)) == (shown, int)


@pytest.mark.parametrize(
    ("budgets", "which"),
    [
        ([], None),
        ([(10, 100, 5)], 0),
        ([(10, 100, 5), (20, 100, 3)], 1),
        ([(99, 100, 9), (100, 100, 5)], 1),
        ([(500, 100, 5), (100, 100, 9), (300, 100, 7)], 1),
    ],
)
def test_the_fullest_is_described_and_of_spent_ones_the_one_that_resets_last(
    budgets: list[tuple[int, int, int]], which: int | None
):
    rows = [{"used": used, "limit": limit, "till": till} for used, limit, till in budgets]
    assert limits.governing(rows) is (None if which is None else rows[which])
