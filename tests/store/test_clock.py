"""What happens to leases and limits when the clock of the machine jumps.

The only clock that counts is Redis' own; here libfaketime sets it.
"""

from collections.abc import AsyncIterator

import pytest

from relay import store
from relay.store import Admitted, Refused, Store

from .conftest import ClockedRedis
from .test_limits import admit, settle
from .test_store import with_account, with_key

# tests/run --all installs libfaketime.
pytestmark = pytest.mark.root

LOOK_EVERY_S = BEAT_EVERY_S = 3
DEAD_AFTER_S = 10


@pytest.fixture
async def ready(clocked_redis: ClockedRedis) -> AsyncIterator[Store]:
    async with store.opened(clocked_redis.url) as opened:
        await with_account(opened)
        yield opened


async def orphans(ready: Store) -> list[str]:
    return [one.lease for one in await ready.leases.orphans()]


@pytest.mark.parametrize("jump_s", [-86_400, -60, -6, -1, 1, 4, 5, 6, 7, 8, 9, 60, 86_400])
async def test_a_jump_of_the_clock_is_nobodys_death(
    ready: Store, clocked_redis: ClockedRedis, jump_s: int
):
    """However the jump falls between heartbeats and looks, the living stay alive."""
    await with_key(ready)
    for late in range(LOOK_EVERY_S + 1):
        lease = f"req_{late}"
        await ready.leases.orphans()
        await admit(ready, lease)
        clocked_redis.step(BEAT_EVERY_S)
        assert await orphans(ready) == []
        clocked_redis.step(jump_s + late)
        assert await orphans(ready) == []
        await ready.leases.heartbeat([(lease, 0, 1, 1)])
        clocked_redis.step(LOOK_EVERY_S)
        assert await orphans(ready) == []
        await settle(ready, lease)


@pytest.mark.parametrize("jump_s", [-86_400, -4, 0, 4, 86_400])
async def test_the_dead_are_found_soon_after_a_jump_as_well(
    ready: Store, clocked_redis: ClockedRedis, jump_s: int
):
    await with_key(ready)
    await ready.leases.orphans()
    await admit(ready, "req_1")
    clocked_redis.step(jump_s)
    waited = 0
    while not await orphans(ready):
        clocked_redis.step(LOOK_EVERY_S)
        waited += LOOK_EVERY_S
        assert waited <= DEAD_AFTER_S + LOOK_EVERY_S + 4


async def test_a_clock_that_was_set_back_delays_nobody_longer_than_the_window(
    ready: Store, clocked_redis: ClockedRedis
):
    await with_key(ready, rate_max="1", rate_ms="60000", tokens_per_minute="10")
    assert isinstance(await admit(ready, "a"), Admitted)
    clocked_redis.step(-86_400)
    refused = await admit(ready, "b")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.back_s) == ("rate", "60")
    clocked_redis.step(60)
    assert isinstance(await admit(ready, "c"), Admitted)


async def test_a_window_and_a_day_are_over_when_the_clock_says_so(
    ready: Store, clocked_redis: ClockedRedis
):
    await with_key(ready, rate_max="1", rate_ms="60000", daily_limit="2")
    assert isinstance(await admit(ready, "a"), Admitted)
    clocked_redis.step(59)
    assert isinstance(await admit(ready, "b"), Refused)
    clocked_redis.step(1)
    assert isinstance(await admit(ready, "b"), Admitted)
    clocked_redis.step(3600)
    refused = await admit(ready, "c")
    assert isinstance(refused, Refused)
    midnight = -clocked_redis.now_s % 86_400
    assert (refused.code, refused.back_s) == ("daily_limit", str(midnight))
    clocked_redis.step(midnight)
    assert isinstance(await admit(ready, "c"), Admitted)
