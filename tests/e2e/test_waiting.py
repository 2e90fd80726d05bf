"""Calls that wait for a slot are served in their order, over all processes, or told in time."""

import json
from pathlib import Path

import trio

from relay.store import name

from .conftest import BODY, SOON_S, Running, redis_process, redis_url, relay_running
from .test_pool import two_relays

__all__ = ["redis_process", "redis_url"]


async def ask(relay: Running, number: int, into: dict[int, int]) -> None:
    """One request that the upstream can tell by its number; its status goes into `into`."""
    body = {**BODY, "messages": [{"role": "user", "content": f"number {number}"}]}
    async with relay.client(timeout=30) as client:
        into[number] = (await client.post("/v1/messages", json=body)).status_code


async def running(relay: Running) -> None:
    """Wait until a request has the one slot."""
    with trio.fail_after(SOON_S):
        while await relay.ctx.store.leases.count() != 1:  # noqa: ASYNC110
            await trio.sleep(0.005)


def posted(relay: Running) -> list[str]:
    """What the upstream was asked, in the order that it came."""
    bodies = [json.loads(got.body) for got in relay.sim.requests if got.method == "POST"]
    return [body["messages"][0]["content"] for body in bodies]


async def standing(relay: Running, count: int, scope: str = "relay") -> None:
    """Wait until so many calls stand in line."""
    with trio.fail_after(SOON_S):
        while await relay.ctx.store._db.call("ZCARD", name("waiting", scope)) != count:  # noqa: ASYNC110
            await trio.sleep(0.005)


async def test_one_after_the_other_as_they_came(redis_url: str, tmp_path: Path):
    async with two_relays(redis_url, tmp_path, max_concurrent=1) as relays:
        one = relays[0]
        codes: dict[int, int] = {}
        async with trio.open_nursery() as nursery, one.sim.hold():
            nursery.start_soon(ask, one, 0, codes)
            await running(one)
            for number in range(1, 9):
                nursery.start_soon(ask, relays[number % 2], number, codes)
                await standing(one, number)
            assert posted(one) == ["number 0"]
        assert posted(one) == [f"number {number}" for number in range(9)]
        assert codes == dict.fromkeys(range(9), 200)
        await standing(one, 0)


async def test_a_full_line_is_an_overloaded_relay(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, max_concurrent=1, most_waiting=1) as relay:
        codes: dict[int, int] = {}
        async with trio.open_nursery() as nursery, relay.sim.hold():
            nursery.start_soon(ask, relay, 0, codes)
            await running(relay)
            nursery.start_soon(ask, relay, 1, codes)
            await standing(relay, 1)
            await ask(relay, 2, codes)
            assert codes == {2: 529}
        assert codes == {0: 200, 1: 200, 2: 529}


async def test_whose_patience_ends_is_told_so(redis_url: str, tmp_path: Path):
    async with relay_running(redis_url, tmp_path, max_concurrent=1, wait_s=0.05) as relay:
        codes: dict[int, int] = {}
        async with trio.open_nursery() as nursery, relay.sim.hold():
            nursery.start_soon(ask, relay, 0, codes)
            await running(relay)
            await ask(relay, 1, codes)
            assert codes == {1: 529}
            await standing(relay, 0)


async def test_a_client_that_goes_away_leaves_the_line(relay: Running):
    await relay.ctx.keys.edit("alice", concurrency=1, wait=20)
    key = (await relay.ctx.keys.find("alice")).id
    codes: dict[int, int] = {}
    async with trio.open_nursery() as nursery, relay.sim.hold():
        nursery.start_soon(ask, relay, 0, codes)
        await running(relay)
        gone = await relay.raw(BODY)
        await standing(relay, 1, f"key:{key}")
        nursery.start_soon(ask, relay, 1, codes)
        await standing(relay, 2, f"key:{key}")
        await gone.aclose()
        await standing(relay, 1, f"key:{key}")
    assert codes == {0: 200, 1: 200}
    assert posted(relay) == ["number 0", "number 1"]
    await relay.settled()
