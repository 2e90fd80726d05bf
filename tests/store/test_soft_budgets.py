"""What a soft budget holds, what a burst may cost it, and that this bound stands in the docs."""

import json
import re
import uuid
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import store
from relay.pricing import Prices
from relay.store import (
    Admitted,
    Again,
    Booking,
    Estimate,
    Moved,
    Refused,
    RelayLimits,
    Rest,
    Store,
    name,
)

from .test_limits import MODEL, admit, flood, scope, settle
from .test_store import with_account, with_key

LIMITS = Path(__file__).parents[2] / "docs" / "limits.md"
# Of 1,000 tokens of output, which cost 10,000 micro-dollars.
ASKED = Estimate(most_micros=10_100, input_micros=100, max_tokens=1000, output_micros=10_000)


@pytest.fixture
async def ready(opened: Store) -> Store:
    await with_account(opened)
    await with_key(opened, budgets="daily soft 100000")
    return opened


async def ask(opened: Store, output: int, *, model: str = MODEL) -> None:
    """A request that gets so many tokens of output of the thousand that it asked for."""
    assert isinstance(await admit(opened, "one", ASKED, model=model), Admitted)
    cost = min(10 * output, ASKED.output_micros)
    counters = {("acc_1", model, "cost_micros"): cost, ("acc_1", model, "output_tokens"): output}
    await opened.leases.settle(Booking("one", "settled", model, counters))


async def expected(opened: Store, estimate: Estimate = ASKED, model: str = MODEL) -> int:
    """What is held for a request as its expected cost."""
    assert isinstance(await admit(opened, "probe", estimate, model=model), Admitted)
    held = (await scope(opened))["held_expected"]
    await opened.leases.settle(Booking("probe", "void"))
    return held


async def test_without_history_a_tenth_of_max_tokens_is_expected(ready: Store):
    assert await expected(ready) == 100 + 1000


async def test_a_key_learns_which_share_of_max_tokens_its_requests_use(ready: Store):
    """A share, not a count of tokens: a request that asks for more is expected to use more."""
    await ask(ready, 250)
    assert await expected(ready) == 100 + 2500
    larger = Estimate(80_100, 100, max_tokens=8000, output_micros=80_000)
    assert await expected(ready, larger) == 100 + 20_000


async def test_each_request_moves_the_share_by_a_fifth(ready: Store):
    for output in (500, 1000, 0, 1):
        await ask(ready, output)
    # What ended without an answer teaches nothing: 0.5, 0.6, 0.6, 0.4802.
    assert await expected(ready) == 100 + 4802


async def test_each_model_has_a_history_of_its_own(ready: Store):
    await ask(ready, 900)
    assert await expected(ready, model="claude-haiku-4-5") == 100 + 1000


async def test_a_share_is_never_more_than_all_of_it(ready: Store):
    await ask(ready, 70_000)
    assert await expected(ready) == 10_100


async def test_a_key_has_histories_of_two_hundred_models(ready: Store):
    for number in range(210):
        await ask(ready, 1, model=f"model-{number}")
    assert await ready._db.call("HLEN", name("average", "key_1")) == 200
    await ask(ready, 900, model="model-3")
    assert await expected(ready, model="model-3") == 100 + 1808


@pytest.mark.parametrize(
    ("stored", "share"), [("x", 0), ("nan", 0), ("-5", 0), ("inf", 1), ("1e30", 1), ("5e5", 0.5)]
)
async def test_a_stored_share_that_none_can_be_is_bounded(ready: Store, stored: str, share: float):
    await ready._db.call("HSET", name("average", "key_1"), f"{MODEL}|share", stored)
    assert await expected(ready) == 100 + 10_000 * share
    await ask(ready, 500)
    assert await expected(ready) == 100 + 10_000 * (0.8 * share + 0.1)


async def test_averages_of_the_release_before_count_until_a_share_is_known(ready: Store):
    await ready._db.call("HSET", name("average", "key_1"), MODEL, 4000, f"{MODEL}|tokens", 70)
    assert await expected(ready) == 4000
    assert await ready.batches.shares("key_1", [MODEL, "x"]) == {MODEL: (0, 4000), "x": (0.1, 0)}
    await ask(ready, 250)
    assert await expected(ready) == 100 + 2500
    assert await ready._db.hash(name("average", "key_1")) == {f"{MODEL}|share": "250000"}
    assert await ready.batches.shares("key_1", [MODEL]) == {MODEL: (0.25, 0)}


async def test_tokens_per_minute_are_reserved_by_the_same_share(ready: Store):
    await ready.keys.change("key_1", {"tokens_per_minute": "1000"})
    asked = Estimate(input_tokens=50, max_tokens=2000)
    await admit(ready, "a", asked)
    assert await ready._db.call("HGET", name("tokens", "key_1"), "sum") == b"250"


async def test_a_request_alone_runs_while_the_budget_is_not_spent(ready: Store):
    """However much is expected of it: else a key whose requests are dear could never ask again."""
    await ready.keys.change("key_1", {"budgets": "daily soft 9000"})
    await ask(ready, 1000)
    await ready._db.call("DEL", name("spend", "key:key_1"))
    await ask(ready, 1000)
    refused = await admit(ready, "spent", ASKED)
    assert isinstance(refused, Refused)
    assert "crowded" not in json.loads(refused.detail)


async def test_what_others_may_use_up_is_free_again_when_they_end(ready: Store):
    await ready.keys.change("key_1", {"budgets": "daily soft 9000"})
    some = Estimate(most_micros=1, input_micros=5000)
    assert isinstance(await admit(ready, "a", some), Admitted)
    refused = await admit(ready, "b", some)
    assert isinstance(refused, Refused)
    assert (json.loads(refused.detail)["crowded"], refused.back_s) == (True, "1")
    await settle(ready, "a", cost=4000)
    assert isinstance(await admit(ready, "b", some), Admitted)


@pytest.mark.parametrize(
    ("burst", "passes"), [(0.0, 3), (0.5, 5), (1.0, 6), (2.0, 10), (100.0, 50)]
)
async def test_the_operator_says_how_many_budgets_more_may_be_under_way(
    ready: Store, burst: float, passes: int
):
    await ready.keys.change("key_1", {"budgets": "daily soft 10000"})
    codes = await flood(ready, 50, Estimate(most_micros=3000), limits=RelayLimits(soft_burst=burst))
    assert codes["passed"] == passes


@pytest.mark.parametrize("who", ["owner:team", "relay", "account:acc_1"])
async def test_the_bound_holds_for_every_kind_of_budget(ready: Store, who: str):
    budgets = "daily soft 10000"
    await ready.keys.change("key_1", {"budgets": "", "owner": "team"})
    if who == "owner:team":
        await ready._db.call("HSET", name("owner", "team"), "budgets", budgets)
    if who == "account:acc_1":
        await ready.accounts.change("acc_1", {"budgets": budgets})
    limits = RelayLimits(soft_burst=0.5, budgets=budgets if who == "relay" else "")
    assert (await flood(ready, 50, Estimate(most_micros=3000), limits=limits))["passed"] == 5
    assert (await scope(ready, who))["held_most"] == 15_000


async def test_the_share_of_an_account_that_failed_is_held_beside_the_next(ready: Store):
    """Also where the same account is asked again."""
    await admit(ready, "a", Estimate(most_micros=4000))
    answer = await ready.leases.move_on("a", Rest(), ["acc_1"], most_pause_ms=0, lost_micros=500)
    assert isinstance(answer, Again)
    assert (await scope(ready))["held_most"] == 4500
    await settle(ready, "a", cost=4500)
    assert (await scope(ready))["held_most"] == 0


@pytest.mark.parametrize(
    ("others", "lost", "goes_on"),
    [(0, 4000, True), (0, 10_001, False), (1, 4000, True), (1, 4001, False)],
)
async def test_a_lost_attempt_passes_no_bound(ready: Store, others: int, lost: int, goes_on: bool):
    """A budget of $0.01; a request of $0.008 and perhaps another one run."""
    await with_account(ready, "acc_2")
    await ready.keys.change("key_1", {"budgets": "daily soft 10000"})
    for lease in ["a", "b"][: 1 + others]:
        assert isinstance(await admit(ready, lease, Estimate(most_micros=8000)), Admitted)
    moved = await ready.leases.move_on("a", Rest(), ["acc_1"], lost_micros=lost)
    assert isinstance(moved, Moved) == goes_on


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "settle", "settle", "void", "recover", "move", "move"]),
        st.integers(0, 30),
        st.one_of(st.integers(0, 500), st.integers(0, 500), st.integers(0, 2500)),
    ),
    max_size=40,
)
BUDGET, ACCOUNTS = 1000, ("acc_1", "acc_2", "acc_3")


class Play:
    """Plays events at one key with a soft budget, each as dear as it can be or less."""

    def __init__(self, opened: Store, burst: float) -> None:
        self.table, self.key, self.burst = opened.leases, f"key_{uuid.uuid4().hex}", burst
        self.opened = opened
        # By lease: the most that its present attempt can cost, what it has lost, where it was.
        self.open: dict[str, tuple[int, int, list[str]]] = {}
        self.dearest_alone = self.booked = 0

    async def set_up(self) -> None:
        for account in ACCOUNTS:
            if account not in await self.opened.accounts.ids():
                await self.opened.accounts.add(account, {"name": account, "enabled": "1"})
        fields = {"name": self.key, "hash": self.key, "enabled": "1", "expires_at": "",
                  "models": "", "budgets": f"total soft {BUDGET}"}  # fmt: skip
        await self.opened.keys.add(self.key, fields)

    async def step(self, what: str, place: int, amount: int) -> None:
        if what == "admit":
            await self.admit(amount, place)
        elif self.open:
            lease = list(self.open)[place % len(self.open)]
            await (self.move if what == "move" else self.end)(lease, what, amount)

    async def admit(self, most: int, place: int) -> None:
        lease = f"req_{uuid.uuid4().hex}"
        asked = Estimate(most, most * (place % 4) // 10, max_tokens=100, output_micros=most // 2)
        answer = await self.table.admit(
            lease, "p", self.key, self.key, kind="messages", model=MODEL, estimate=asked,
            limits=RelayLimits(soft_burst=self.burst),
        )  # fmt: skip
        if isinstance(answer, Admitted):
            # Beside requests that cost nothing it is alone.
            if not self.held():
                self.dearest_alone = max(self.dearest_alone, most)
            self.open[lease] = most, 0, [answer.account_id]
        elif not self.open:
            assert self.booked + asked.input_micros > BUDGET

    async def move(self, lease: str, _: str, amount: int) -> None:
        most, lost, tried = self.open[lease]
        now = min(amount, most)
        answer = await self.table.move_on(lease, Rest(), tried, lost_micros=now)
        if isinstance(answer, Moved):
            if self.held() == most + lost:
                self.dearest_alone = max(self.dearest_alone, most)
            self.open[lease] = most, lost + now, [*tried, answer.account_id]

    async def end(self, lease: str, what: str, amount: int) -> None:
        most, lost, _ = self.open.pop(lease)
        state = {"settle": "settled", "recover": "recovered", "void": "void"}[what]
        cost = 0 if what == "void" else lost + min(amount, most)
        counters = {
            ("acc_1", MODEL, "cost_micros"): cost,
            ("acc_1", MODEL, "output_tokens"): amount % 100,
        }
        given = {} if what == "void" else counters
        assert await self.table.settle(Booking(lease, state, MODEL, given)) == 1
        self.booked += cost

    def held(self) -> int:
        return sum(most + lost for most, lost, _ in self.open.values())

    async def check(self) -> None:
        figures = await self.opened._db.hash(name("spend", f"key:{self.key}"))
        held = self.held()
        assert int(figures.get("held_most", 0)) == held
        assert int(figures.get("total", 0)) == self.booked
        # Also if all that runs turned out as dear as it can be.
        assert self.booked + held <= max((1 + self.burst) * BUDGET, BUDGET + self.dearest_alone)


# Each example has a key of its own.
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS, st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_whatever_happens_a_soft_budget_is_passed_by_its_bound_at_most(
    redis_url: str, steps: list[tuple[str, int, int]], burst: float
) -> None:
    async def run() -> None:
        async with store.opened(redis_url) as opened:
            play = Play(opened, burst)
            await play.set_up()
            for what, place, amount in steps:
                await play.step(what, place, amount)
                await play.check()

    trio.run(run)


async def test_two_hundred_at_once_over_two_connections_pass_no_bound(redis_url: str):
    """A hundred different sizes, of which each turns out as dear as it can be."""
    budget = 50_000
    async with store.opened(redis_url) as one, store.opened(redis_url) as two:
        await with_account(one)
        await with_key(one, budgets=f"daily soft {budget}")
        passed: list[tuple[str, int]] = []

        async def run(number: int) -> None:
            lease, most = f"req_{number}", 300 + 37 * (number % 100)
            estimate = Estimate(most, 1, max_tokens=100, output_micros=most - 1)
            if isinstance(await admit((one, two)[number % 2], lease, estimate), Admitted):
                passed.append((lease, most))

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(run, number)
        assert budget < sum(most for _, most in passed) <= 2 * budget
        for number, (lease, most) in enumerate(passed):
            await settle((two, one)[number % 2], lease, cost=most)
        assert (await scope(one))["total"] <= 2 * budget
        assert (await scope(one))["held_most"] == 0


def documented(pattern: str) -> int:
    """A figure of docs/limits.md in micro-dollars."""
    text = LIMITS.read_text(encoding="utf-8").replace("\n", " ")
    found = re.search(pattern, text)
    assert found is not None, pattern
    return round(1_000_000 * float(found[1].replace(",", "")))


async def test_the_docs_state_the_worst_case_of_a_burst(ready: Store):
    budget = documented(r"worst case of a soft budget of \$(\d+\.\d+) is")
    await ready.keys.change("key_1", {"budgets": f"daily soft {budget}"})
    await flood(ready, 30, Estimate(most_micros=500_000))
    for number in range(30):
        await settle(ready, f"req_{number}", cost=500_000)
    assert (await scope(ready))["total"] == documented(r"is \$(\d+\.\d+) in a burst")


async def test_the_docs_state_the_worst_case_of_a_single_request(ready: Store):
    budget = documented(r"worst case of a soft budget of \$(\d+\.\d+) is")
    await ready.keys.change("key_1", {"budgets": f"daily soft {budget}"})
    await admit(ready, "a", Estimate(most_micros=1))
    await settle(ready, "a", cost=budget)
    most = Prices.load().most("claude-opus-5", 1_000_000, 128_000)
    assert isinstance(await admit(ready, "dear", Estimate(most_micros=most)), Admitted)
    await settle(ready, "dear", cost=most)
    assert documented(r"single request[^.]*?\$(\d+\.\d+) with claude-opus-5") == most
    assert (await scope(ready))["total"] == documented(r"together \$(\d+\.\d+)")
