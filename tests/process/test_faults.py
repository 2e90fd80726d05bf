"""Limits and money through the deaths of relays and of Redis, as processes live through them.

The deadlines are ten times the promises; tests/bench prints the figures themselves.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from relay.store import name
from tests.bench import faults_load, fleet
from tests.bench.faults_load import Away
from tests.bench.fleet import STREAM, Fleet

pytestmark = pytest.mark.slow

TEN_TIMES = 10
AWAY_S = 3.0


@pytest.fixture
async def pair() -> AsyncIterator[Fleet]:
    # A unix socket's path is short, so the folder's is as well.
    with TemporaryDirectory(prefix="fleet-", dir="/tmp") as folder:
        async with fleet.running(Path(folder)) as one:
            yield one


async def check(pair: Fleet, seen: Away, *, is_whole: bool = True) -> None:
    await faults_load.check_away(pair, seen, is_whole=is_whole)
    assert seen.slowest_refusal_s < TEN_TIMES * faults_load.REFUSED_IN_S
    assert seen.back_s() < TEN_TIMES * faults_load.BACK_IN_S


async def test_a_redis_that_stalls_makes_nobody_pass_a_limit_and_loses_no_cost(pair: Fleet):
    await check(pair, await faults_load.paused(pair, 10.0))


async def test_a_redis_that_is_restarted_makes_nobody_pass_a_limit_and_loses_no_cost(pair: Fleet):
    await check(pair, await faults_load.restarted(pair, AWAY_S))


async def test_a_redis_that_is_killed_makes_nobody_pass_a_limit_and_its_books_agree(pair: Fleet):
    # What it acknowledged while it waited for its disk it may have forgotten.
    await check(pair, await faults_load.killed(pair, AWAY_S), is_whole=False)


async def test_a_redis_that_is_full_makes_nobody_pass_a_limit_and_loses_no_cost(pair: Fleet):
    await check(pair, await faults_load.full(pair, AWAY_S))


async def test_a_killed_relays_slots_are_free_again_and_the_others_streams_go_on(pair: Fleet):
    seen = await faults_load.one_killed(pair, 100)
    await faults_load.check_killed(pair, seen, 100)
    assert seen.slots_free_s < TEN_TIMES * faults_load.SLOTS_FREE_IN_S


async def test_settlements_that_wait_in_a_killed_relay_become_the_survivors_estimates(pair: Fleet):
    key = await pair.key()
    slow = {"anthropic-sim-chunks": "30", "anthropic-sim-delay-ms": "150"}
    async with (
        pair.client(0, key) as client,
        client.stream("POST", "/v1/messages", content=STREAM, headers=slow) as answer,
    ):
        await until_a_heartbeat_has_told_of_output(pair, answer.headers["request-id"])
        await trio.to_thread.run_sync(pair.redis.stop)
        body = b"".join([data async for data in answer.aiter_raw()])
        assert b"event: message_stop" in body
        pair.relays[0].kill()
        await trio.to_thread.run_sync(pair.redis.start)
    await pair.until_settled(TEN_TIMES * faults_load.SLOTS_FREE_IN_S)
    books = await pair.books()
    books.check(scopes=1)
    (record,) = books.records
    (attempt,) = record["attempts"]
    (received,) = [one for one in pair.sim.requests if one.usage]
    assert (record["error"], attempt["is_estimated"]) == ("process_died", True)
    assert attempt["tokens"]["input"] == received.usage["input_tokens"]
    assert 0 < attempt["tokens"]["output"] <= received.usage["output_tokens"]


async def until_a_heartbeat_has_told_of_output(pair: Fleet, request_id: str) -> None:
    lease = name("lease", request_id)
    with trio.fail_after(30):
        while not int(await pair.ctx.store._db.call("HGET", lease, "chars") or 0) >= 8:  # noqa: ASYNC110
            await trio.sleep(0.02)
