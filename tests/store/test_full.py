"""A full Redis: nothing new runs, what runs ends on the books, and it serves again after."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay import errors, store
from relay.pricing import Tokens
from relay.redis_link import RedisAway
from relay.store import Estimate, Store

from .conftest import RedisProcess
from .test_lease import CALL, FakeMeter, office_at
from .test_limits import admit, scope, settle
from .test_store import with_account, with_key

ESTIMATE = Estimate(most_micros=100, input_tokens=10)


def fill(server: RedisProcess) -> None:
    server.command(b"CONFIG SET maxmemory 1\r\n")


def empty(server: RedisProcess) -> None:
    server.command(b"CONFIG SET maxmemory 0\r\n")


@pytest.fixture
async def ready(own_redis: RedisProcess) -> AsyncIterator[Store]:
    async with store.opened(own_redis.url) as opened:
        await with_account(opened)
        yield opened


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"rate_max": "5", "rate_ms": "60000"},
        {"tokens_per_minute": "100"},
        {"rate_max": "5", "rate_ms": "60000", "budgets": "daily strict 1000", "concurrency": "4"},
    ],
)
async def test_a_full_redis_admits_nobody_and_changes_nothing(
    ready: Store, own_redis: RedisProcess, limits: dict[str, str]
):
    await with_key(ready, **limits)
    await admit(ready, "before", ESTIMATE)
    before = await scope(ready)
    fill(own_redis)
    with pytest.raises(RedisAway, match="OOM") as caught:
        await admit(ready, "while", ESTIMATE)
    assert not caught.value.maybe_done
    assert await ready.leases.count() == 1
    assert await scope(ready) == before
    empty(own_redis)
    await admit(ready, "after", ESTIMATE)
    assert await ready.leases.count() == 2


async def test_what_runs_is_kept_alive_and_settled_while_redis_is_full(
    ready: Store, own_redis: RedisProcess
):
    await with_key(ready, budgets="total strict 1000")
    await admit(ready, "req_1", ESTIMATE)
    fill(own_redis)
    assert await ready.leases.heartbeat([("req_1", 0, 1, 1)]) == 1
    await settle(ready, "req_1", cost=42)
    assert await ready.leases.count() == 0
    assert (await scope(ready))["total"] == 42
    assert (await scope(ready))["held_most"] == 0


async def test_a_process_can_come_back_to_a_redis_that_is_full(own_redis: RedisProcess):
    async with office_at(own_redis.url) as office:
        fill(own_redis)
        async with store.opened(own_redis.url) as again:
            assert (await again.keys.read(office.ref.id))["name"] == "alice"


async def test_a_client_hears_that_the_relay_is_away_and_nothing_is_left_to_settle(
    own_redis: RedisProcess,
):
    async with office_at(own_redis.url) as office:
        async with office.leases.admit("req_1", office.ref, CALL) as one:
            fill(own_redis)
            with pytest.raises(errors.Unavailable):
                async with office.leases.admit("req_2", office.ref, CALL):
                    raise AssertionError("nobody may be admitted")
            one.was_sent, one.status = True, 200
            one.meter = FakeMeter(Tokens(input=10, output=5), 0, is_complete=True)
        assert office.leases.settlements.waiting_count == 0
        assert (await office.total())["cost_micros"] == 10 * 5 + 5 * 25


@pytest.mark.root
async def test_an_older_redis_is_understood_when_it_is_full(tmp_path: Path):
    server = RedisProcess(tmp_path, "/usr/bin/redis-server")
    server.start()
    try:
        async with office_at(server.url) as office:
            fill(server)
            with pytest.raises(errors.Unavailable):
                await office.leases._admit("req_1", office.ref, CALL)
    finally:
        server.kill()
