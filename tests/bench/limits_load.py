"""The experiment of the limits: fifty requests at once, on two relay processes, against one limit.

The upstream holds every answer until all fifty have been decided, so that nothing has been
settled yet when the last one asks.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import trio

from relay.lease import CHARS_PER_TOKEN
from relay.pricing import Tokens
from tests.bench.fleet import BODY, CONTENT, Fleet

REQUESTS = 50
ROUNDS = 20
_DEADLINE_S = 60.0
_LOOK_EVERY_S = 0.005
# A key without history is expected to use one of so many parts of its max_tokens.
_USUAL_PART = 10
STRICT_MICROS, SOFT_MICROS = 20_000, 20_000
# What each row sets at its key.
LIMITS: dict[str, dict[str, Any]] = {
    "strict $0.02": {"budgets": {"total": "0.02"}, "budget_mode": "strict"},
    "soft $0.02": {"budgets": {"daily": "0.02"}, "budget_mode": "soft"},
    "10 a minute": {"rate": "10/60"},
    "5 at one time": {"concurrency": 5},
}


@dataclass(frozen=True, slots=True)
class LimitRow:
    """What one limit let through in all rounds.

    Attributes:
        bound: how many it may let through.
        spent_micros: the most that a round cost in the end; `budget_micros` is 0 without one.
        decided_s: until all were decided, the middle of the rounds.
    """

    name: str
    bound: int
    rounds: int
    fewest: int
    most: int
    budget_micros: int
    spent_micros: int
    decided_s: float

    @property
    def is_exact(self) -> bool:
        return self.fewest == self.most == self.bound


def bounds(fleet: Fleet) -> dict[str, int]:
    """How many requests each limit may let through while none has ended.

    A strict budget holds the most that a request can cost; a soft one its input and a tenth of its
    max_tokens, for these keys are new. What could be spent at most may pass it by one budget more.
    """
    prices = fleet.ctx.prices
    most = prices.most(BODY["model"], len(CONTENT), BODY["max_tokens"])
    expected = prices.cost(BODY["model"], Tokens(input=len(CONTENT) // CHARS_PER_TOKEN))
    expected += prices.cost(BODY["model"], Tokens(output=BODY["max_tokens"])) // _USUAL_PART
    soft = min(SOFT_MICROS // expected, 2 * SOFT_MICROS // most)
    counts = (STRICT_MICROS // most, soft, 10, 5)
    return dict(zip(LIMITS, counts, strict=True))


async def run(fleet: Fleet, names: Sequence[str], rounds: int) -> list[LimitRow]:
    """A row for each named limit; every round has a key of its own."""
    return [await _row(fleet, name, rounds) for name in names]


async def _row(fleet: Fleet, name: str, rounds: int) -> LimitRow:
    budget = {"strict $0.02": STRICT_MICROS, "soft $0.02": SOFT_MICROS}.get(name, 0)
    passed, spent, took = [], [], []
    for _ in range(rounds):
        before = (await fleet.books()).of_records
        began = trio.current_time()
        codes, decided_at = await _fifty(fleet, await fleet.key(**LIMITS[name]))
        took.append(decided_at - began)
        passed.append(codes[200])
        await fleet.until_settled(_DEADLINE_S)
        spent.append((await fleet.books()).of_records - before)
    middle = sorted(took)[math.ceil(len(took) / 2) - 1]
    bound = bounds(fleet)[name]
    return LimitRow(name, bound, rounds, min(passed), max(passed), budget, max(spent), middle)


async def _fifty(fleet: Fleet, key: str) -> tuple[Counter[int], float]:
    """Statuses of fifty requests, and when the last of them was decided."""
    codes: Counter[int] = Counter()
    fleet.sim.requests.clear()

    async def ask(client: httpx.AsyncClient) -> None:
        codes[(await client.post("/v1/messages", content=CONTENT)).status_code] += 1

    async with (
        fleet.client(0, key) as one,
        fleet.client(1, key) as two,
        trio.open_nursery() as nursery,
        fleet.sim.hold(),
    ):
        for number in range(REQUESTS):
            nursery.start_soon(ask, (one, two)[number % 2])
        with trio.fail_after(_DEADLINE_S):
            while codes.total() + _arrived(fleet) < REQUESTS:  # noqa: ASYNC110
                await trio.sleep(_LOOK_EVERY_S)
        decided_at = trio.current_time()
    return codes, decided_at


def _arrived(fleet: Fleet) -> int:
    """How many requests have got as far as the upstream."""
    return sum(received.method == "POST" for received in fleet.sim.requests)
