"""Limits hold exactly: windows, calendars, slots and money, whoever asks and however often."""

import json
from collections import Counter

import pytest
import trio

from relay.store import Admitted, Booking, Caller, Estimate, Refused, RelayLimits, Store, name

from .test_store import with_account, with_key

MODEL = "claude-opus-5"


async def admit(
    store: Store, lease: str, estimate: Estimate | None = None, **changes: object
) -> Admitted | Refused:
    given = {"kind": "messages", "model": MODEL, **changes}
    return await store.leases.admit(
        lease, "p1", "key_1", "h1", estimate=estimate or Estimate(), **given
    )


async def settle(store: Store, lease: str, cost: int = 0, **changes: object) -> None:
    counters = {("acc_1", MODEL, "requests"): 1, ("acc_1", MODEL, "cost_micros"): cost}
    await store.leases.settle(Booking(lease, "settled", MODEL, counters, **changes))


async def flood(
    store: Store, count: int, estimate: Estimate | None = None, **changes: object
) -> Counter[str]:
    """So many admissions at once; how many passed, and why the others did not."""
    codes: Counter[str] = Counter()

    async def one(number: int) -> None:
        answer = await admit(store, f"req_{number}", estimate, **changes)
        codes["passed" if isinstance(answer, Admitted) else answer.code] += 1

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return codes


async def scope(store: Store, what: str = "key:key_1") -> dict[str, int]:
    fields = await store._db.hash(name("spend", what))
    return {field: int(value) for field, value in fields.items()}


@pytest.fixture
async def ready(opened: Store) -> Store:
    await with_account(opened)
    return opened


async def test_a_window_lets_through_what_it_holds(ready: Store):
    await with_key(ready, rate_max="10", rate_ms="60000")
    assert await flood(ready, 50) == {"passed": 10, "rate": 40}


async def test_a_window_slides(ready: Store):
    """What left the window makes room, one for one, and the rest is told to the second."""
    await with_key(ready, rate_max="2", rate_ms="1000")
    await flood(ready, 2)
    refused = await admit(ready, "a")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.detail, refused.back_s) == ("rate", "2|1000", "1")
    await ready._db.call("ZADD", name("window", "requests", "key_1"), 1, "req_0")
    assert isinstance(await admit(ready, "b"), Admitted)
    assert isinstance(await admit(ready, "c"), Refused)


async def test_the_relays_usual_window_counts_for_keys_without_their_own(ready: Store):
    await with_key(ready)
    usual = RelayLimits(rate_max=3)
    codes = [type(await admit(ready, f"r{number}", limits=usual)) for number in range(4)]
    assert codes == [Admitted] * 3 + [Refused]
    await ready.keys.change("key_1", {"rate_max": "5", "rate_ms": "60000"})
    assert isinstance(await admit(ready, "r5", limits=usual), Admitted)


async def test_slots_are_never_more_than_the_limit(ready: Store):
    await with_key(ready, concurrency="5")
    assert await flood(ready, 50) == {"passed": 5, "concurrency": 45}


async def test_the_whole_relay_has_a_limit_of_requests_at_one_time(ready: Store):
    await with_key(ready)
    most = RelayLimits(concurrency=2)
    codes = [type(await admit(ready, f"r{number}", limits=most)) for number in range(3)]
    assert codes == [Admitted, Admitted, Refused]


@pytest.mark.parametrize(
    ("field", "code"), [("daily_limit", "daily_limit"), ("monthly_limit", "monthly_limit")]
)
async def test_requests_are_counted_by_the_calendar(ready: Store, field: str, code: str):
    await with_key(ready, **{field: "3"})
    assert await flood(ready, 20) == {"passed": 3, code: 17}


async def test_tokens_of_a_minute_are_reserved_and_then_exact(ready: Store):
    await with_key(ready, tokens_per_minute="1000")
    expected = Estimate(input_tokens=400)
    for lease in ("a", "b"):
        assert isinstance(await admit(ready, lease, expected), Admitted)
    assert await flood(ready, 10, expected) == {"tokens": 10}
    await settle(ready, "a", tokens=100)
    await settle(ready, "b", tokens=100)
    assert isinstance(await admit(ready, "more", expected), Admitted)


async def test_what_is_larger_than_the_minute_goes_when_nothing_else_does(ready: Store):
    await with_key(ready, tokens_per_minute="1000")
    assert isinstance(await admit(ready, "a", Estimate(input_tokens=5000)), Admitted)
    assert isinstance(await admit(ready, "b", Estimate(input_tokens=1)), Refused)


async def test_a_strict_budget_lets_through_what_it_can_pay_for(ready: Store):
    await with_key(ready, budgets="total strict 20000")
    most = Estimate(most_micros=3000, input_micros=10)
    assert await flood(ready, 50, most) == {"passed": 6, "budget": 44}
    assert (await scope(ready))["held_most"] == 18_000


async def test_a_soft_budget_is_passed_by_no_more_than_expected(ready: Store):
    await with_key(ready, budgets="daily soft 20000")
    expected = Estimate(most_micros=1500, input_micros=1000)
    assert await flood(ready, 50, expected) == {"passed": 20, "budget": 30}


@pytest.mark.parametrize(("most", "passes"), [(3000, 13), (10_000, 4), (20_001, 1), (90_000, 1)])
async def test_what_runs_at_a_soft_budget_can_cost_one_budget_more_at_most(
    ready: Store, most: int, passes: int
):
    await with_key(ready, budgets="daily soft 20000")
    expected = Estimate(most_micros=most, input_micros=1)
    assert await flood(ready, 50, expected) == {"passed": passes, "budget": 50 - passes}


async def test_a_burst_at_a_soft_budget_goes_on_as_its_requests_end(ready: Store):
    await with_key(ready, budgets="daily soft 20000")
    dear = Estimate(most_micros=30_000, input_micros=1)
    assert isinstance(await admit(ready, "a", dear), Admitted)
    refused = await admit(ready, "b", dear)
    assert isinstance(refused, Refused)
    assert (json.loads(refused.detail)["crowded"], refused.back_s) == (True, "1")
    await settle(ready, "a", cost=900)
    # It may cost more than is left, but nothing else runs and the budget is not spent.
    assert isinstance(await admit(ready, "b", dear), Admitted)


async def test_settling_spends_the_exact_cost_and_frees_the_rest(ready: Store):
    await with_key(ready, budgets="total strict 20000")
    await flood(ready, 6, Estimate(most_micros=3000, input_micros=10))
    for number in range(6):
        await settle(ready, f"req_{number}", cost=500)
        await settle(ready, f"req_{number}", cost=500)
    figures = await scope(ready)
    assert (figures["total"], figures["held_most"], figures["held_expected"]) == (3000, 0, 0)
    assert (await scope(ready, "relay"))["total"] == 3000
    assert (await scope(ready, "account:acc_1"))["total"] == 3000


async def test_a_budget_that_is_spent_says_which_and_until_when(ready: Store):
    await with_key(ready, budgets="daily soft 1000\nmonthly soft 1000")
    await admit(ready, "a")
    await settle(ready, "a", cost=1001)
    refused = await admit(ready, "b")
    assert isinstance(refused, Refused)
    passed = json.loads(refused.detail)
    assert (passed["period"], passed["limit"], passed["used"]) == ("monthly", 1000, 1001)
    assert int(refused.back_s) > 0


async def test_an_owners_accounts_and_relays_budgets_hold_as_well(ready: Store):
    await with_key(ready, owner="team")
    await ready._db.call("HSET", name("owner", "team"), "budgets", "total strict 5000")
    most = Estimate(most_micros=3000)
    assert isinstance(await admit(ready, "a", most), Admitted)
    assert await flood(ready, 5, most) == {"budget": 5}
    await settle(ready, "a", cost=1)
    whole = RelayLimits(budgets="daily strict 100")
    assert (await admit(ready, "x", most, limits=whole)).code == "budget"  # type: ignore[union-attr]
    await ready.accounts.change("acc_1", {"budgets": "daily strict 100"})
    assert (await admit(ready, "y", most)).code == "account_budget"  # type: ignore[union-attr]


async def test_what_cannot_be_bounded_is_refused_by_a_strict_budget_alone(ready: Store):
    await with_key(ready, budgets="daily soft 1000")
    endless = Estimate(unbounded="tools")
    assert isinstance(await admit(ready, "a", endless), Admitted)
    await ready.keys.change("key_1", {"budgets": "total strict 1000"})
    assert await admit(ready, "b", endless) == Refused("unbounded", "tools")


@pytest.mark.parametrize(
    ("networks", "address", "passes"),
    [
        ("", "0" * 32, True),
        ("00000000000000000000ffffc0a80000/112", "00000000000000000000ffffc0a80005", True),
        ("00000000000000000000ffffc0a80000/112", "00000000000000000000ffffc0a90005", False),
        ("00000000000000000000ffff0a000000/105", "00000000000000000000ffff0a7fffff", True),
        ("00000000000000000000ffff0a000000/105", "00000000000000000000ffff0a800000", False),
        ("00000000000000000000ffff0a000001/128", "00000000000000000000ffff0a000001", True),
    ],
)
async def test_a_key_is_used_from_its_networks_alone(
    ready: Store, networks: str, address: str, passes: bool
):
    await with_key(ready, networks=networks)
    answer = await admit(ready, "a", caller=Caller(address=address))
    assert isinstance(answer, Admitted) == passes


async def test_a_key_is_used_with_its_clients_alone(ready: Store):
    await with_key(ready, clients="claude_code\nown")
    assert (await admit(ready, "a")).code == "client"  # type: ignore[union-attr]
    assert isinstance(await admit(ready, "b", caller=Caller(clients=("x", "own"))), Admitted)


async def test_count_tokens_obeys_the_window_and_costs_nothing(ready: Store):
    await with_key(ready, rate_max="2", rate_ms="60000", daily_limit="1", budgets="total strict 1")
    for number in range(2):
        assert isinstance(await admit(ready, f"c{number}", kind="count_tokens"), Admitted)
    assert (await admit(ready, "c2", kind="count_tokens")).code == "rate"  # type: ignore[union-attr]


async def test_an_admission_that_was_taken_back_leaves_nothing(ready: Store):
    await with_key(
        ready, rate_max="1", rate_ms="60000", daily_limit="1", tokens_per_minute="10",
        budgets="total strict 10",
    )  # fmt: skip
    estimate = Estimate(most_micros=10, input_micros=1, input_tokens=10)
    for number in range(3):
        assert isinstance(await admit(ready, f"a{number}", estimate), Admitted)
        await ready.leases.settle(Booking(f"a{number}", "void"))
    figures = await scope(ready)
    assert not any(figures.values())
