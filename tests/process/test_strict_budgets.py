"""No number of requests at one time passes a strict budget, over two processes of the relay."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import trio

from tests.bench import fleet
from tests.bench.fleet import Fleet
from tests.e2e.everything import DEAREST, EVERYTHING, FABLE, OPUS, SONNET, held_by, usd

pytestmark = pytest.mark.slow

DEADLINE_S = 60.0
AT_ONCE, FIT = 200, 5
BODY = json.dumps({**fleet.BODY, **EVERYTHING})


@pytest.fixture
async def pair() -> AsyncIterator[Fleet]:
    # A unix socket's path is short, so the folder's is as well.
    with TemporaryDirectory(prefix="fleet-", dir="/tmp") as folder:
        async with fleet.running(Path(folder)) as one:
            yield one


@pytest.mark.parametrize("is_held", [True, False], ids=["all at once", "as they end"])
async def test_two_hundred_at_once_over_two_processes_pass_no_strict_budget(
    pair: Fleet, is_held: bool
):
    """With fallbacks in fast mode, an advisor, searches and compaction, each at its dearest."""
    budget = FIT * held_by(pair.ctx.prices, BODY) + 1
    key = await pair.key(budgets={"total": usd(budget)}, budget_mode="strict")
    codes: Counter[tuple[int, int]] = Counter()

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        headers = {"anthropic-sim-usage": json.dumps(DEAREST)}
        answer = await client.post("/v1/messages", content=BODY, headers=headers)
        codes[number, answer.status_code] += 1

    def refused() -> int:
        return codes[0, 429] + codes[1, 429]

    async with (
        pair.client(0, key) as first,
        pair.client(1, key) as second,
        AsyncExitStack() as stack,
    ):
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                if is_held:
                    await stack.enter_async_context(pair.sim.hold())
                for turn in range(AT_ONCE):
                    nursery.start_soon(ask, (first, second)[turn % 2], turn % 2)
                while is_held and refused() < AT_ONCE - FIT:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                await stack.aclose()
    await pair.until_settled(DEADLINE_S)
    books = await pair.books()
    books.check(scopes=1)
    assert {status for _, status in codes} == {200, 429}
    assert refused() == AT_ONCE - len(books.records)
    assert len(books.records) == FIT if is_held else len(books.records) >= FIT
    # It is nearly spent, and not by a micro-dollar more.
    assert budget * 0.7 < books.of_records <= budget
    shares = {share["model"] for record in books.records
              for attempt in record["attempts"] for share in attempt["shares"]}  # fmt: skip
    assert shares == {OPUS, FABLE, SONNET}
